"""APIServices: local ones for everything served here, and requests that go on to another server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from switchboard.api.identity import AUTHENTICATED, Identity
from switchboard.api.settings import Settings
from switchboard.testing.agent import FakeAgent
from switchboard.testing.apiserver import ApiServer
from switchboard.testing.certificates import Authority
from switchboard.testing.extension import GROUP, ROOT, VERSION, ExtensionServer
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Connection

Object = dict[str, Any]
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = f"{VERSION}.{GROUP}"
MERGE = {"content-type": "application/merge-patch+json"}
AGGREGATED = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
JANE = Identity("jane", ("readers", AUTHENTICATED), "u-1", (("example.com/a b", ("1", "2")),))


class Home(FakeAgent):
    """Every pod's address is this machine's."""

    async def dial(self, node: str, host: str, port: int) -> Connection:
        return await super().dial(node, "127.0.0.1", port)


class World:
    """An API and an extension server behind it."""

    def __init__(self, api: ApiServer, extension: ExtensionServer, port: int, bundle: str) -> None:
        self.api, self.extension, self.port, self.bundle = api, extension, port, bundle

    async def condition(self, name: str = NAME) -> tuple[str, str, str]:
        _, answer = await self.api.call("GET", f"{SERVICES}/{name}")
        status = answer["status"] if answer["kind"] == "APIService" else {}
        found = (status.get("conditions") or [{}])[0]
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    async def until(self, look: Callable[[tuple[str, str, str]], bool], name: str = NAME) -> tuple[str, str, str]:
        async with asyncio.timeout(10):
            while True:
                found = await self.condition(name)
                if look(found):
                    return found
                await asyncio.sleep(0.01)

    async def post(self, path: str, body: Object) -> None:
        code, answer = await self.api.call("POST", path, body)
        assert code == 201, answer

    async def register(self, **spec: Any) -> None:
        service = {"namespace": "default", "name": "wardle", "port": 443}
        base = {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 1000, "versionPriority": 15}
        await self.post(SERVICES, {"metadata": {"name": NAME}, "spec": {**base, "service": service, **spec}})

    async def expose(self) -> None:
        await self.post(
            "/api/v1/namespaces/default/services",
            {"metadata": {"name": "wardle"}, "spec": {"ports": [{"name": "https", "port": 443}]}},
        )
        endpoint = {"addresses": ["10.1.2.3"], "conditions": {"ready": True}, "nodeName": "n1"}
        meta = {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}}
        ports = [{"name": "https", "port": self.port, "protocol": "TCP"}]
        body = {"metadata": meta, "addressType": "IPv4", "endpoints": [endpoint], "ports": ports}
        await self.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", body)

    async def serve(self) -> None:
        await self.expose()
        await self.register(caBundle=self.bundle)
        await self.until(lambda c: c[0] == "True")


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    for name in ("serving", "front"):
        (tmp_path / name).mkdir()
    serving, front = Authority(tmp_path / "serving"), Authority(tmp_path / "front")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "wardle")])
    pair = serving.issue("wardle", subject, server=True, names=["wardle.default.svc"])
    client = front.client("front-proxy-client", ())
    extension = ExtensionServer(0, str(pair[0]), str(pair[1]), str(front.certificate))
    settings = Settings(
        proxy_client=(str(client[0]), str(client[1])), proxy_ca=front.certificate.read_text(), root_ca="the clients' CA"
    )
    port = extension.begin()
    try:
        async with Home() as agent, ApiServer(settings=settings, kubelet=agent) as api:
            yield World(api, extension, port, base64.b64encode(serving.certificate.read_bytes()).decode())
    finally:
        extension.end()


async def test_requests_go_on_with_who_asks(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.serve()
        path = f"{ROOT}/namespaces/default/flunders"
        body = {"metadata": {"name": "one"}}
        given = {"x-remote-user": "root", "x-remote-group": "system:masters", "authorization": "Bearer secret"}
        assert (await w.api.call("POST", path, body, given, JANE))[0] == 403
        role = {"metadata": {"name": "f"}, "rules": [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]}]}
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        await w.post(f"{rbac}/clusterroles", role)
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "f"}
        subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
        await w.post(
            f"{rbac}/clusterrolebindings", {"metadata": {"name": "f"}, "roleRef": reference, "subjects": [subject]}
        )
        response = await w.api.request("POST", path, body, given, JANE)
        assert response.status == 201
        bearer = [("authorization", f"Bearer {w.api.token}")]
        async with HttpClient() as client:
            answer = await client.request("GET", f"{w.api.url}{path}", bearer)
        sent = next(dict(headers) for asked, headers in w.extension.seen if asked == f"GET {path}")
        assert sent["audit-id"] == answer.headers["audit-id"]
        assert response.stream is not None and b'"one"' in b"".join([piece async for piece in response.stream])
        # looks at its health come in between
        [pairs] = [pairs for what, pairs in w.extension.seen if what == f"POST {path}"]
        headers: dict[str, list[str]] = {}
        for name, value in pairs:
            headers.setdefault(name.lower(), []).append(value)
        assert headers["x-remote-user"] == ["jane"]
        assert headers["x-remote-uid"] == ["u-1"]
        assert headers["x-remote-group"] == ["readers", AUTHENTICATED]
        assert headers["x-remote-extra-example.com%2fa%20b"] == ["1", "2"]
        assert "authorization" not in headers


async def test_discovery_and_openapi_show_what_others_serve(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.serve()
        groups = (await w.api.call("GET", "/apis"))[1]["groups"]
        version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
        assert next(g for g in groups if g["name"] == GROUP) == {
            "name": GROUP,
            "versions": [version],
            "preferredVersion": version,
        }
        assert (await w.api.call("GET", f"/apis/{GROUP}"))[1]["versions"] == [version]
        items = (await w.api.call("GET", "/apis", headers=AGGREGATED))[1]["items"]
        item = next(i for i in items if i["metadata"]["name"] == GROUP)
        [shown] = item["versions"]
        assert (item["metadata"]["name"], shown["freshness"]) == (GROUP, "Current")
        assert shown["resources"][0]["resource"] == "flunders"
        assert shown["resources"][0]["responseKind"] == {"group": GROUP, "version": VERSION, "kind": "Flunder"}
        paths = (await w.api.call("GET", "/openapi/v3"))[1]["paths"]
        assert paths[ROOT[1:]]["serverRelativeURL"] == f"/openapi/v3{ROOT}?hash=1"
        response = await w.api.request("GET", f"/openapi/v3{ROOT}?hash=1")
        assert response.stream is not None and b"wardle" in b"".join([piece async for piece in response.stream])
        await w.api.call("DELETE", f"{SERVICES}/{NAME}")
        assert GROUP not in [g["name"] for g in (await w.api.call("GET", "/apis"))[1]["groups"]]
        assert (await w.api.call("GET", ROOT))[0] == 404


async def test_the_condition_says_what_is_missing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.register(caBundle=w.bundle)
        missing = ("False", "ServiceNotFound", 'service/wardle in "default" is not present')
        assert await w.until(lambda c: c[0] == "False") == missing
        code, answer = await w.api.call("GET", f"{ROOT}/namespaces/default/flunders")
        assert (code, answer) == (503, b"service unavailable\n")
        await w.expose()
        assert await w.until(lambda c: c[0] == "True") == ("True", "Passed", "all checks passed")
        w.extension.healthy = False
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/wardle-1"
        await w.api.call("PATCH", slices, {"metadata": {"labels": {"seen": "again"}}}, MERGE)
        found = await w.until(lambda c: c[1] == "FailedDiscoveryCheck")
        assert "bad status from https://wardle.default.svc:443/apis/wardle.example.com/v1alpha1: 404" in found[2]
        await w.api.call("PATCH", slices, {"endpoints": []}, MERGE)
        await w.until(lambda c: c[1] == "MissingEndpoints")
        await w.api.call("DELETE", slices)
        await w.until(lambda c: c[1] == "EndpointsNotFound")
        service = {"spec": {"ports": [{"name": "https", "port": 444}]}}
        await w.api.call("PATCH", "/api/v1/namespaces/default/services/wardle", service, MERGE)
        await w.until(lambda c: c[1] == "ServicePortError")


@pytest.mark.parametrize("insecure", [False, True])
async def test_certificates_are_verified_unless_told_otherwise(tmp_path: Path, insecure: bool) -> None:
    async with world(tmp_path) as w:
        await w.expose()
        other = base64.b64encode((tmp_path / "front" / "ca.crt").read_bytes()).decode()
        await w.register(**({"insecureSkipTLSVerify": True} if insecure else {"caBundle": other}))
        found = await w.until(lambda c: c[0] in ("True", "False"))
        assert found[1] == ("Passed" if insecure else "FailedDiscoveryCheck")


async def test_everything_served_here_has_a_local_one(tmp_path: Path) -> None:
    async with ApiServer() as api:
        w = World(api, None, 0, "")  # type: ignore[arg-type]
        local = ("True", "Local", "Local APIServices are always available")
        for name in ("v1.", "v1.apps", "v2.autoscaling", "v1.apiregistration.k8s.io"):
            assert await w.until(lambda c: c[0] == "True", name) == local
        names = {"plural": "bars", "singular": "bar", "kind": "Bar", "listKind": "BarList"}
        schema = {"openAPIV3Schema": {"type": "object"}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        spec = {"group": "foo.dev", "names": names, "scope": "Namespaced", "versions": [version]}
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await w.post(definitions, {"metadata": {"name": "bars.foo.dev"}, "spec": spec})
        assert await w.until(lambda c: c[0] == "True", "v1.foo.dev") == local
        held = (await api.call("GET", f"{SERVICES}/v1.foo.dev"))[1]
        assert held["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
        await api.call("DELETE", f"{definitions}/bars.foo.dev")
        await w.until(lambda c: c[0] == "", "v1.foo.dev")


async def test_extension_servers_find_whom_to_trust(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        data = (await w.api.call("GET", path))[1]["data"]
        assert data["client-ca-file"] == "the clients' CA"
        assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
        assert data["requestheader-client-ca-file"] == (tmp_path / "front" / "ca.crt").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "v2"}, "metadata.name: Invalid value"),
        ({"versionPriority": 0}, "spec.versionPriority: Invalid value: 0: must be positive and less than 1000"),
        ({"service": {"name": "x"}}, "spec.service.namespace: Required value"),
        ({"service": None, "insecureSkipTLSVerify": True}, "local APIServices may not have insecureSkipTLSVerify"),
        ({"insecureSkipTLSVerify": True, "caBundle": "eA=="}, "may not be true if caBundle is present"),
    ],
)
async def test_what_may_not_be_registered(change: Object, message: str) -> None:
    async with ApiServer() as api:
        service = {"namespace": "default", "name": "wardle"}
        base = {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 1000, "versionPriority": 15}
        body = {"metadata": {"name": NAME}, "spec": {**base, "service": service, **change}}
        code, answer = await api.call("POST", SERVICES, body)
        assert code == 422 and message in answer["message"], answer
