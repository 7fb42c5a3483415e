"""What only shows over the wire, and what the server does by itself."""

import gzip
import json
import ssl

from switchboard.api import housekeeping
from switchboard.api.settings import Settings
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.http import HttpClient

CONFIGS = "/api/v1/namespaces/default/configmaps"


async def test_client_certificates() -> None:
    async with ApiServer(tls=True) as api:
        assert api.authority is not None
        for user, groups, code in (("root", ("system:masters",), 200), ("eve", ("devs",), 403)):
            context = ssl.create_default_context(cafile=str(api.authority.certificate))
            context.load_cert_chain(*api.client(user, *groups))
            async with HttpClient(ssl=context) as client:
                answer = await client.request("GET", api.url + CONFIGS)
                assert answer.status == code
                if code == 403:
                    assert 'User "eve" cannot list' in json.loads(answer.body)["message"]
        context = ssl.create_default_context(cafile=str(api.authority.certificate))
        async with HttpClient(ssl=context) as client:
            answer = await client.request("GET", api.url + CONFIGS)  # nobody in particular
            assert answer.status == 403 and "system:anonymous" in json.loads(answer.body)["message"]
            assert (await client.request("GET", api.url + CONFIGS, [("Authorization", "Bearer x")])).status == 401


async def test_each_line_of_an_impersonation_header_is_one_value() -> None:
    async with ApiServer(tls=True) as api:
        assert api.authority is not None
        context = ssl.create_default_context(cafile=str(api.authority.certificate))
        context.load_cert_chain(*api.client("root", "system:masters"))
        admins = "cn=admins,ou=groups,dc=example"
        sent = [("Impersonate-User", "bob"), ("Impersonate-Extra-Team", "a, b"), ("Content-Type", "application/json")]
        async with HttpClient(ssl=context) as client:
            for groups in ([admins], [admins, "devs", " spaced , "]):
                headers = [*sent, *(("Impersonate-Group", group) for group in groups)]
                path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
                answer = await client.request("POST", api.url + path, headers, b"{}")
                user = json.loads(answer.body)["status"]["userInfo"]
                assert user["groups"] == [*(group.strip() for group in groups), "system:authenticated"]
                assert user["extra"] == {"team": ["a, b"]}


async def test_without_anonymous_callers() -> None:
    async with ApiServer(settings=Settings(anonymous=False)) as api, HttpClient() as client:
        assert (await client.request("GET", api.url + "/healthz")).status == 401


async def test_large_answers_are_packed_when_asked_for(api: ApiServer) -> None:
    for i in range(3):
        body = {"metadata": {"name": f"c{i}"}, "data": {"x": "y" * 60_000}}
        assert (await api.call("POST", CONFIGS, body))[0] == 201
    headers = {"accept-encoding": "gzip"}
    packed = await api.request("GET", CONFIGS, headers=headers)
    assert ("content-encoding", "gzip") in packed.headers
    plain = await api.request("GET", CONFIGS)
    assert isinstance(packed.body, list) and isinstance(plain.body, list)
    assert gzip.decompress(b"".join(packed.body)) == b"".join(plain.body)
    small = await api.request("GET", CONFIGS + "/c0", headers=headers)
    assert ("content-encoding", "gzip") not in small.headers


async def test_pretty_and_yaml(api: ApiServer) -> None:
    await api.call("POST", CONFIGS, {"metadata": {"name": "a"}})
    pretty = await api.request("GET", CONFIGS + "/a?pretty=true")
    plain = await api.request("GET", CONFIGS + "/a")
    assert isinstance(pretty.body, list) and isinstance(plain.body, list)
    assert b'\n  "kind": "ConfigMap"' in pretty.body[0]
    assert json.loads(b"".join(pretty.body)) == json.loads(b"".join(plain.body))
    as_yaml = await api.request("GET", CONFIGS + "/a", headers={"accept": "application/yaml"})
    assert isinstance(as_yaml.body, list) and b"kind: ConfigMap" in as_yaml.body[0]


async def test_old_events_are_forgotten(api: ApiServer) -> None:
    events = "/api/v1/namespaces/ns/events"
    body = {"metadata": {"name": "e"}, "involvedObject": {"namespace": "ns", "kind": "Pod", "name": "p"}}
    assert (await api.call("POST", events, body))[0] == 201
    assert await housekeeping.expire(api.app) == 0
    api.app.settings.event_ttl = -5.0  # as if the hour were over
    assert await housekeeping.expire(api.app) == 1
    assert (await api.call("GET", events + "/e"))[0] == 404


async def test_metrics_and_health(api: ApiServer) -> None:
    await api.call("GET", CONFIGS)
    _, text = await api.call("GET", "/metrics")
    assert isinstance(text, bytes)
    wanted = 'apiserver_request_total{code="200",dry_run="",group="",resource="configmaps",scope="namespace"'
    assert wanted.encode() in text
    assert b'\nkubernetes_build_info{major="1",' in text
    assert (await api.call("GET", "/livez/ping"))[1] == b"ok"
    _, verbose = await api.call("GET", "/readyz?verbose")
    assert verbose.endswith(b"readyz check passed\n")
    checks = set(verbose.decode().splitlines())
    hooks = ("crd-informer-synced", "rbac/bootstrap-roles", "apiservice-openapi-controller")
    assert {f"[+]poststarthook/{name} ok" for name in hooks} | {"[+]informer-sync ok"} <= checks
    for path in ("/livez", "/healthz"):
        assert b"[+]poststarthook/crd-informer-synced ok\n" in (await api.call("GET", f"{path}?verbose"))[1]
    slis = (await api.call("GET", "/metrics/slis"))[1].decode().splitlines()
    assert 'kubernetes_healthcheck{name="ping",type="livez"} 1' in slis
    assert 'kubernetes_healthchecks_total{name="ping",status="success",type="livez"} 2' in slis
    api.app.ready = False
    assert b"[-]poststarthook/crd-informer-synced failed" in (await api.call("GET", "/healthz"))[1]
    assert (await api.call("GET", "/readyz"))[0] == 500
    assert (await api.call("GET", "/livez"))[0] == 200
    slis = (await api.call("GET", "/metrics/slis"))[1].decode().splitlines()
    assert 'kubernetes_healthcheck{name="informer-sync",type="readyz"} 0' in slis
    assert 'kubernetes_healthchecks_total{name="informer-sync",status="error",type="readyz"} 1' in slis
    assert 'kubernetes_healthchecks_total{name="informer-sync",status="success",type="readyz"} 1' in slis


async def test_a_restart_keeps_everything(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "store.db"
    async with ApiServer(path=path) as api:
        _, made = await api.call("POST", CONFIGS, {"metadata": {"name": "a"}, "data": {"x": "y"}})
        revision = api.store.revision
    async with ApiServer(path=path) as api:
        assert await api.call("GET", CONFIGS + "/a") == (200, made)
        new = [record.key for record in api.store.scan("/") if record.revision > revision]
        # a start with nothing to mend writes nothing but whose server it is now
        assert all(key.startswith("/coordination.k8s.io/leases/kube-system/apiserver-") for key in new), new


async def test_a_timeout_must_be_a_duration(api: ApiServer) -> None:
    for good in ("3m", "0s", "0", "1h2m3.5s", ".5s"):
        assert (await api.call("GET", f"/version?timeout={good}"))[0] == 200
    for path in ("/version", CONFIGS, "/api/v1/namespaces/ns"):
        for bad in ("invalid", "5", "3x", "s"):
            status, answer = await api.call("GET", f"{path}?timeout={bad}")
            assert (status, answer["reason"]) == (400, "BadRequest")
            assert answer["message"].startswith("invalid timeout specified in the request URL")
    assert (await api.call("DELETE", f"{CONFIGS}/none?timeout=x"))[0] == 400
