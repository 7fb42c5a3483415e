"""The audit log: which requests are written down, how much of them, and what others add."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from switchboard.api import auditpolicy
from switchboard.api.auditpolicy import Policy, PolicyError
from switchboard.api.identity import AUTHENTICATED, Identity
from switchboard.api.paths import parse
from switchboard.api.settings import Settings
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Request, Response

Object = dict[str, Any]
BOB = Identity("bob", ("devs", AUTHENTICATED), "1", (("team", ("a",)),))
CONFIGS = "/api/v1/namespaces/default/configmaps"
HEAD = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}


def server(tmp_path: Path, *rules: Object, **more: Any) -> ApiServer:
    (tmp_path / "policy.yaml").write_text(json.dumps(HEAD | more | {"rules": list(rules)}))
    return ApiServer(settings=Settings(audit_policy=str(tmp_path / "policy.yaml"), audit_log=str(tmp_path / "log")))


async def events(tmp_path: Path, wanted: Callable[[Object], bool]) -> list[Object]:
    await asyncio.sleep(0)  # lines of one turn are written at its end
    written = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    return [event for event in written if wanted(event)]


def of(user: str) -> Callable[[Object], bool]:
    return lambda event: event["user"].get("username") == user


async def test_levels_and_stages(tmp_path: Path) -> None:
    rules: list[Object] = [
        {"level": "None", "users": ["bob"], "verbs": ["list"]},
        {"level": "Metadata", "users": ["bob"], "verbs": ["get"], "omitStages": ["RequestReceived"]},
        {"level": "Request", "users": ["bob"], "verbs": ["patch"]},
        {"level": "RequestResponse", "users": ["bob"], "omitManagedFields": True},
    ]
    async with server(tmp_path, *rules) as api:
        binding: Object = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}}
        binding["subjects"] = [{"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}]
        path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
        assert (await api.call("POST", path, {"metadata": {"name": "b"}, **binding}))[0] == 201
        assert (await api.call("POST", CONFIGS, {"metadata": {"name": "a"}, "data": {"x": "y"}}, identity=BOB))[
            0
        ] == 201
        assert (await api.call("GET", CONFIGS, identity=BOB))[0] == 200
        assert (await api.call("GET", CONFIGS + "/a?pretty=true", identity=BOB))[0] == 200
        merge = {"content-type": "application/merge-patch+json"}
        assert (await api.call("PATCH", CONFIGS + "/a", {"data": {"x": "z"}}, merge, identity=BOB))[0] == 200
        assert (await api.call("DELETE", "/api/v1/nodes/n", identity=BOB))[0] == 403
        received, made, got, patch, patched, _, refused = await events(tmp_path, of("bob"))
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert (received["stage"], received["level"], received["verb"]) == ("RequestReceived", "RequestResponse", "create")
    assert "responseStatus" not in received and received["auditID"] == made["auditID"] != got["auditID"]
    assert made["kind"] == "Event" and made["user"] == BOB.user_info() and made["sourceIPs"] and made["userAgent"]
    reference = {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"}
    assert (made["stage"], made["objectRef"]) == ("ResponseComplete", reference)
    assert made["responseStatus"] == {"metadata": {}, "code": 201} and made["requestObject"]["data"] == {"x": "y"}
    assert made["responseObject"]["metadata"]["uid"] and "managedFields" not in made["responseObject"]["metadata"]
    assert made["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert made["annotations"]["authorization.k8s.io/reason"].startswith("RBAC: allowed by RoleBinding")
    assert (got["stage"], got["requestURI"]) == ("ResponseComplete", CONFIGS + "/a?pretty=true")
    assert "requestObject" not in got and patch["stage"] == "RequestReceived"
    assert patched["requestObject"] == {"data": {"x": "z"}} and "responseObject" not in patched
    assert (refused["responseStatus"]["code"], refused["responseStatus"]["reason"]) == (403, "Forbidden")
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"


async def test_who_is_not_known_and_who_acts_as_another(tmp_path: Path) -> None:
    async with server(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"]) as api:
        api.settings.tokens["root"] = Identity("root", ("system:masters", AUTHENTICATED))
        for token in ("root", "wrong"):
            headers = {"authorization": f"Bearer {token}", "impersonate-user": "eve", "audit-id": f"id-{token}"}
            answer = await cast("Awaitable[Response]", api.app.handle(Request("GET", "/version", "", headers, b"")))
            assert answer.status == (200 if token == "root" else 401)
        acted, unknown = await events(tmp_path, lambda e: e["auditID"].startswith("id-"))
    assert acted["user"]["username"] == "root" and acted["impersonatedUser"]["username"] == "eve"
    assert (unknown["user"], unknown["stage"], unknown["responseStatus"]["code"]) == ({}, "ResponseStarted", 401)


async def ids(api: ApiServer, client: HttpClient, *paths: str, **more: str) -> list[str]:
    headers = [("authorization", f"Bearer {api.token}"), *more.items()]
    found = []
    for path in paths:
        async with client.stream("GET", api.url + path, headers) as answer:
            found.append(answer.headers["audit-id"])
    return found


async def test_every_answer_has_an_id_without_any_audit() -> None:
    paths = ("/version", "/apis", CONFIGS, f"{CONFIGS}/none", "/nothing", f"{CONFIGS}?watch=true", "/livez")
    async with ApiServer() as api, HttpClient() as client:
        found = await ids(api, client, *paths)
        assert len({uuid.UUID(one) for one in found}) == len(paths)
        assert await ids(api, client, *paths, **{"Audit-ID": "a" * 70}) == ["a" * 70] * len(paths)
        refused = await client.request("GET", f"{api.url}/api/v1/pods", [("authorization", "Bearer wrong")])
        assert refused.status == 401 and uuid.UUID(refused.headers["audit-id"]).version == 4


async def test_the_answer_has_the_id_of_the_log(tmp_path: Path) -> None:
    async with server(tmp_path, {"level": "Metadata"}) as api, HttpClient() as client:
        made, given = [*await ids(api, client, "/version"), *await ids(api, client, "/apis", **{"Audit-Id": "b" * 70})]
        logged = await events(tmp_path, lambda event: event["requestURI"] in ("/version", "/apis"))
    assert [event["auditID"] for event in logged] == [made, made, given, given] and given == "b" * 70


async def test_what_lasts_is_over_when_it_is_over(tmp_path: Path) -> None:
    async with server(tmp_path, {"level": "Metadata", "verbs": ["watch"], "users": ["admin"]}) as api:
        admin = Identity("admin", ("system:masters", AUTHENTICATED))
        answer = await api.request("GET", CONFIGS + "?watch=true&timeoutSeconds=1", identity=admin)
        assert answer.push is not None or answer.stream is not None
        stages = [event["stage"] for event in await events(tmp_path, of("admin"))]
    assert stages == ["RequestReceived", "ResponseStarted"]


async def test_a_watch_is_over_when_its_client_leaves(tmp_path: Path) -> None:
    async with server(tmp_path, {"level": "Metadata", "verbs": ["watch"]}) as api, HttpClient() as client:
        headers = [("authorization", f"Bearer {api.token}")]
        async with client.stream("GET", f"{api.url}{CONFIGS}?watch=true", headers) as answer:
            assert answer.status == 200
        stages: list[str] = []
        async with asyncio.timeout(10):
            while "ResponseComplete" not in stages:
                stages = [event["stage"] for event in await events(tmp_path, lambda event: event["verb"] == "watch")]
        assert stages == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
        assert not api.app.watchers


async def test_annotations_of_admission(tmp_path: Path) -> None:
    async with server(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"]) as api:
        labels = {"pod-security.kubernetes.io/audit": "restricted"}
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "watched", "labels": labels}})
        await api.call("POST", "/api/v1/namespaces/watched/serviceaccounts", {"metadata": {"name": "default"}})
        group = "/apis/admissionregistration.k8s.io/v1"
        rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
        spec = {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "true"}, {"expression": "object.metadata.name != 'p'", "message": "no p"}],
            "auditAnnotations": [{"key": "image", "valueExpression": "object.spec.containers[0].image"}],
        }
        path = f"{group}/validatingadmissionpolicies"
        assert (await api.call("POST", path, {"metadata": {"name": "x.example"}, "spec": spec}))[0] == 201
        bound = {"metadata": {"name": "b"}, "spec": {"policyName": "x.example", "validationActions": ["Audit"]}}
        assert (await api.call("POST", f"{group}/validatingadmissionpolicybindings", bound))[0] == 201
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        assert (await api.call("POST", "/api/v1/namespaces/watched/pods", pod))[0] == 201
        (event,) = await events(
            tmp_path, lambda e: e.get("objectRef", {}).get("resource") == "pods" and e["verb"] == "create"
        )
    notes = event["annotations"]
    assert notes["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest"
    start = 'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    assert notes["pod-security.kubernetes.io/audit-violations"].startswith(start)
    assert notes["x.example/image"] == "i"
    (failure,) = json.loads(notes["validation.policy.admission.k8s.io/validation_failure"])
    assert failure == {
        "message": "no p",
        "policy": "x.example",
        "binding": "b",
        "expressionIndex": 1,
        "validationActions": ["Audit"],
    }


@pytest.mark.parametrize(
    ("rule", "verb", "path", "matches"),
    [
        ({"users": ["bob"]}, "get", "/api/v1/pods", True),
        ({"users": ["eve"]}, "get", "/api/v1/pods", False),
        ({"userGroups": ["x", "devs"]}, "get", "/api/v1/pods", True),
        ({"resources": [{"group": ""}]}, "get", "/api/v1/pods", True),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, "get", "/api/v1/namespaces/a/pods/p", True),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, "get", "/api/v1/namespaces/a/pods/p/log", False),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, "get", "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"group": "*", "resources": ["*/log"]}]}, "get", "/api/v1/namespaces/a/pods/p/log", True),
        (
            {"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["q"]}]},
            "get",
            "/api/v1/namespaces/a/pods/p",
            False,
        ),
        ({"namespaces": ["a"]}, "get", "/api/v1/namespaces/a/pods/p", True),
        ({"namespaces": [""]}, "get", "/api/v1/nodes/n", True),
        ({"namespaces": ["a"]}, "get", "/version", False),
        ({"nonResourceURLs": ["/healthz*"]}, "get", "/healthz/etcd", True),
        ({"nonResourceURLs": ["*"]}, "get", "/api/v1/pods", False),
        ({"verbs": ["get"]}, "list", "/api/v1/pods", False),
    ],
)
def test_rules(rule: Object, verb: str, path: str, matches: bool) -> None:
    policy = Policy(HEAD | {"rules": [{"level": "Metadata", **rule}]})
    assert policy.wanted(BOB, verb, parse(path)).level == (1 if matches else 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "cannot be read"),
        ("kind: Policy", "is no audit.k8s.io/v1 Policy"),
        (json.dumps(HEAD), "has no rules"),
        (json.dumps(HEAD | {"rules": [{"level": "All"}]}), "level: must be one of"),
        (json.dumps(HEAD | {"rules": [{"level": "None", "omitStages": ["x"]}]}), "omitStages"),
        (json.dumps(HEAD | {"rules": [{"level": "None", "verbs": "get"}]}), "verbs: must be a list"),
        (json.dumps(HEAD | {"rules": [{"level": "None", "nonResourceURLs": ["/a*b"]}]}), "may end with"),
    ],
)
def test_wrong_policies(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(PolicyError, match=why):
        auditpolicy.load(tmp_path / "p")
