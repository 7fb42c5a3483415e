"""Who may what: roles and bindings, default policy, escalation, impersonation, nodes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from switchboard.api.authn import from_certificate
from switchboard.api.escalation import compact, describe, uncovered
from switchboard.api.identity import ANONYMOUS, AUTHENTICATED, Identity
from switchboard.objects.errors import Unauthorized
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Request

Object = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
GROUP_OF_USERS = "authentication.k8s.io"
MERGE = {"content-type": "application/merge-patch+json"}
ALICE = Identity("alice", ("dev", AUTHENTICATED))
NODE = Identity("system:node:n1", ("system:nodes", AUTHENTICATED))


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        for name in ("ns", "other"):
            await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
            account = {"metadata": {"name": "default"}}
            await server.call("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account)
        yield server


def rule(verbs: str, resources: str, group: str = "", **more: Any) -> Object:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


async def grant(api: ApiServer, subject: Object, *rules: Object, namespace: str = "", name: str = "g") -> None:
    """A role with these rules, bound to a subject; in a namespace, or everywhere."""
    where = f"{RBAC}/namespaces/{namespace}/" if namespace else f"{RBAC}/cluster"
    kind = "Role" if namespace else "ClusterRole"
    status, answer = await api.call("POST", f"{where}roles", {"metadata": {"name": name}, "rules": list(rules)})
    assert status == 201, answer
    reference = {"apiGroup": GROUP, "kind": kind, "name": name}
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    status, answer = await api.call("POST", f"{where}rolebindings", body)
    assert status == 201, answer


def user(name: str) -> Object:
    return {"kind": "User", "apiGroup": GROUP, "name": name}


async def code(api: ApiServer, who: Identity, method: str, path: str, body: Any = None) -> int:
    headers = MERGE if method == "PATCH" else None
    return (await api.call(method, path, body, headers, identity=who))[0]


async def test_roles_allow_what_they_name_and_nothing_else(api: ApiServer) -> None:
    await grant(api, user("alice"), rule("get list", "configmaps", resourceNames=["c"]), namespace="ns")
    maps = "/api/v1/namespaces/ns/configmaps"
    assert await code(api, ALICE, "GET", f"{maps}/c") == 404
    assert await code(api, ALICE, "GET", f"{maps}/d") == 403
    assert await code(api, ALICE, "GET", maps) == 403
    assert await code(api, ALICE, "GET", f"{maps}?fieldSelector=metadata.name%3Dc") == 200
    assert await code(api, ALICE, "GET", "/api/v1/namespaces/other/configmaps/c") == 403
    assert await code(api, ALICE, "DELETE", f"{maps}/c") == 403
    await api.call("DELETE", f"{RBAC}/namespaces/ns/rolebindings/g")
    assert await code(api, ALICE, "GET", f"{maps}/c") == 403  # decisions kept are forgotten


async def test_subresources_groups_and_service_accounts(api: ApiServer) -> None:
    await grant(api, {"kind": "Group", "apiGroup": GROUP, "name": "dev"}, rule("get", "*/status pods"), name="a")
    account = {"kind": "ServiceAccount", "name": "default", "namespace": "ns"}
    await grant(api, account, rule("*", "*", "*"), namespace="other", name="b")
    assert await code(api, ALICE, "GET", "/api/v1/namespaces/ns/pods/p/status") == 404
    assert await code(api, ALICE, "GET", "/api/v1/namespaces/ns/pods/p/log") == 403
    robot = Identity("system:serviceaccount:ns:default")
    assert await code(api, robot, "GET", "/api/v1/namespaces/other/secrets") == 200
    assert await code(api, robot, "GET", "/api/v1/namespaces/ns/secrets") == 403


async def test_paths(api: ApiServer) -> None:
    for path in ("/version", "/healthz", "/readyz"):
        assert await code(api, ANONYMOUS, "GET", path) == 200
    for path in ("/api", "/apis", "/openapi/v3", "/metrics"):
        assert await code(api, ANONYMOUS, "GET", path) == 403
    assert await code(api, ALICE, "GET", "/api") == 200
    assert await code(api, ALICE, "GET", "/metrics") == 403
    await grant(api, user("alice"), {"verbs": ["get"], "nonResourceURLs": ["/metrics"]})
    assert await code(api, ALICE, "GET", "/metrics") == 200


async def test_default_roles_are_there_and_view_is_the_union_of_its_parts(api: ApiServer) -> None:
    _, found = await api.call("GET", f"{RBAC}/clusterroles")
    roles = {role["metadata"]["name"]: role for role in found["items"]}
    assert {"cluster-admin", "admin", "edit", "view", "system:discovery", "system:node", "system:kube-dns"} <= set(
        roles
    )
    assert uncovered(roles["view"]["rules"], roles["system:aggregate-to-view"]["rules"]) == []
    assert uncovered(roles["admin"]["rules"], roles["edit"]["rules"]) == []
    assert uncovered(roles["edit"]["rules"], roles["view"]["rules"]) == []
    assert uncovered(roles["view"]["rules"], [rule("get", "secrets")])
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    body = {"metadata": {"name": "more", "labels": label}, "rules": [rule("get", "widgets", "example.com")]}
    assert (await api.call("POST", f"{RBAC}/clusterroles", body))[0] == 201
    async with asyncio.timeout(5):
        while True:
            _, admin = await api.call("GET", f"{RBAC}/clusterroles/admin")
            if not uncovered(admin["rules"], body["rules"]):  # type: ignore[arg-type]  # a list of rules
                break
            await asyncio.sleep(0.005)


async def test_a_role_cannot_give_more_than_its_author_has(api: ApiServer) -> None:
    own = rule("create update patch get", "roles rolebindings", GROUP)
    await grant(api, user("alice"), own, rule("get list", "pods"), namespace="ns")
    roles, bindings = f"{RBAC}/namespaces/ns/roles", f"{RBAC}/namespaces/ns/rolebindings"
    fine = {"metadata": {"name": "fine"}, "rules": [rule("get", "pods")]}
    assert await code(api, ALICE, "POST", roles, fine) == 201
    body = {"metadata": {"name": "x"}, "rules": [rule("get delete", "pods"), rule("get", "secrets")]}
    status, answer = await api.call("POST", roles, body, identity=ALICE)
    assert status == 403
    assert answer["message"] == (
        'roles.rbac.authorization.k8s.io "x" is forbidden: user "alice" (groups=["dev" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    binding = {"metadata": {"name": "b"}, "subjects": [user("alice")]}
    admin = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "cluster-admin"}
    assert await code(api, ALICE, "POST", bindings, {**binding, "roleRef": admin}) == 403
    missing = {"apiGroup": GROUP, "kind": "Role", "name": "missing"}
    assert await code(api, ALICE, "POST", bindings, {**binding, "roleRef": missing}) == 404
    assert await code(api, ALICE, "PATCH", f"{roles}/fine", {"rules": [rule("*", "*", "*")]}) == 403
    assert await code(api, ALICE, "PATCH", f"{roles}/fine", {"metadata": {"labels": {"a": "b"}}}) == 200
    bind = rule("bind", "clusterroles", GROUP, resourceNames=["cluster-admin"])
    await grant(api, user("alice"), bind, namespace="ns", name="binder")
    assert await code(api, ALICE, "POST", bindings, {**binding, "roleRef": admin}) == 201


async def test_reasons_and_rules_of_reviews(api: ApiServer) -> None:
    await grant(api, user("alice"), rule("get", "pods"), namespace="ns")
    attributes = {"verb": "get", "resource": "pods", "namespace": "ns"}
    body = {"spec": {"user": "alice", "resourceAttributes": attributes}}
    _, answer = await api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    why = 'RBAC: allowed by RoleBinding "g/ns" of Role "g" to User "alice"'
    assert answer["status"] == {"allowed": True, "reason": why}
    await api.call("DELETE", f"{RBAC}/namespaces/ns/roles/g")
    _, answer = await api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    assert answer["status"] == {"allowed": False, "reason": 'RBAC: role.rbac.authorization.k8s.io "g" not found'}
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    _, answer = await api.call("POST", path, {"spec": {"namespace": "ns"}}, identity=ALICE)
    assert rule("create", "selfsubjectreviews", "authentication.k8s.io") in answer["status"]["resourceRules"]


async def test_impersonation_needs_a_right_for_each_part(api: ApiServer) -> None:
    await grant(api, user("alice"), rule("impersonate", "users", resourceNames=["bob"]))
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

    async def as_(**headers: str) -> int:
        given = {"authorization": "Bearer alice", **{k.replace("_", "-"): v for k, v in headers.items()}}
        result = api.app.handle(Request("POST", review, "", given, b"{}"))
        return (result if not hasattr(result, "__await__") else await result).status

    api.settings.tokens["alice"] = ALICE
    assert await as_(impersonate_user="bob") == 201
    assert await as_(impersonate_user="carol") == 403
    assert await as_(impersonate_user="bob", impersonate_group="system:masters") == 403
    assert await as_(impersonate_user="bob", impersonate_uid="1") == 403
    assert await as_(impersonate_user="bob", impersonate_extra_team="a") == 403
    more = rule("impersonate", "uids userextras/team", "authentication.k8s.io")
    await grant(api, user("alice"), more, name="more")
    assert await as_(impersonate_user="bob", impersonate_uid="1") == 201
    assert await as_(impersonate_user="bob", impersonate_extra_team="a") == 201


async def test_constrained_impersonation_needs_a_right_to_the_request_and_to_the_user(api: ApiServer) -> None:
    caller = ALICE

    async def as_(path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        api.settings.tokens["alice"] = caller
        given = {"authorization": "Bearer alice", **{k.replace("_", "-"): v for k, v in headers.items()}}
        result = api.app.handle(Request("GET", path, "", given, b""))
        answer = result if not hasattr(result, "__await__") else await result
        told = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
        return answer.status, json.loads(told)

    pods, maps = "/api/v1/namespaces/ns/pods", "/api/v1/namespaces/ns/configmaps"
    for who in ("bob", "system:serviceaccount:ns:robot"):
        await grant(api, user(who), rule("list", "pods configmaps"), name=f"reads-{who.split(':')[-1]}")
    status, told = await as_(pods, impersonate_user="bob")
    assert (status, told["message"]) == (
        403,
        'pods is forbidden: User "alice" cannot impersonate-on:user-info:list resource "pods" in API group "" in the '
        'namespace "ns"',
    )
    await grant(api, user("alice"), rule("impersonate-on:user-info:list", "pods"), name="on")
    status, told = await as_(pods, impersonate_user="bob")
    assert (status, told["message"]) == (
        403,
        'users.authentication.k8s.io "bob" is forbidden: User "alice" cannot impersonate:user-info resource "users" in '
        'API group "authentication.k8s.io" at the cluster scope',
    )
    await grant(api, user("alice"), rule("impersonate:user-info", "users groups", GROUP_OF_USERS), name="who")
    assert (await as_(pods, impersonate_user="bob"))[0] == 200
    assert (await as_(maps, impersonate_user="bob"))[0] == 403
    status, told = await as_(pods, impersonate_user="bob", impersonate_group="system:masters")
    assert status == 403
    assert told["message"].endswith("scope: impersonating the system:masters group is not allowed")
    robot = "system:serviceaccount:ns:robot"
    assert (await as_(pods, impersonate_user=robot))[0] == 403
    account = rule("impersonate:serviceaccount", "serviceaccounts", GROUP_OF_USERS)
    await grant(api, user("alice"), rule("impersonate-on:serviceaccount:list", "pods"), account, name="robots")
    assert (await as_(pods, impersonate_user=robot))[0] == 200
    assert (await as_(pods, impersonate_user=robot, impersonate_group="a"))[0] == 403
    own = rule("impersonate:associated-node", "nodes", GROUP_OF_USERS)
    await grant(api, user("system:serviceaccount:ns:agent"), rule("impersonate-on:associated-node:get", "nodes"), own)
    await api.call("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    extra = (("authentication.kubernetes.io/node-name", ("n1",)),)
    caller = Identity("system:serviceaccount:ns:agent", (AUTHENTICATED,), "", extra)
    assert (await as_("/api/v1/nodes/n1", impersonate_user="system:node:n1"))[0] == 200
    assert (await as_("/api/v1/nodes/n1", impersonate_user="system:node:n2"))[0] == 403
    caller = Identity("root", ("system:masters",))
    assert (await as_("/api/v1/nodes/n1", impersonate_user="system:node:n1"))[0] == 200
    assert (await as_(pods, impersonate_group="a"))[0] == 400


async def test_a_node_reads_what_its_pods_need(api: ApiServer) -> None:
    for name in ("used", "unused"):
        await api.call("POST", "/api/v1/namespaces/ns/secrets", {"metadata": {"name": name}})
        await api.call("POST", "/api/v1/namespaces/ns/configmaps", {"metadata": {"name": name}})
    container = {"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": "used"}}]}
    volumes: list[Object] = [{"name": "v", "secret": {"secretName": "used"}}]
    sources = [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]
    volumes += [{"name": "t", "projected": {"sources": sources}}, {"name": "c", "csi": {"driver": "d"}}]
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [container], "volumes": volumes}}
    status, made = await api.call("POST", "/api/v1/namespaces/ns/pods", pod)
    assert status == 201, made
    secrets, maps = "/api/v1/namespaces/ns/secrets", "/api/v1/namespaces/ns/configmaps"
    assert await code(api, NODE, "GET", f"{secrets}/used") == 200
    assert await code(api, NODE, "GET", f"{maps}/used") == 200
    assert await code(api, NODE, "GET", f"{secrets}/unused") == 403
    assert await code(api, NODE, "GET", secrets) == 403
    assert await code(api, NODE, "GET", f"{secrets}?fieldSelector=metadata.name%3Dused") == 200
    other = Identity("system:node:n2", ("system:nodes",))
    assert await code(api, other, "GET", f"{secrets}/used") == 403
    assert await code(api, NODE, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1") == 200
    assert await code(api, NODE, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2") == 403
    assert await code(api, NODE, "GET", "/api/v1/pods") == 403
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"]}
    token = "/api/v1/namespaces/ns/serviceaccounts/default/token"
    assert await code(api, NODE, "POST", token, {"spec": {"boundObjectRef": reference}}) == 201
    bound = {"boundObjectRef": reference}
    assert await code(api, NODE, "POST", token, {"spec": {**bound, "audiences": ["vault"]}}) == 201
    assert await code(api, NODE, "POST", token, {"spec": {**bound, "audiences": ["vault", "x"]}}) == 403
    assert await code(api, NODE, "POST", token, {"spec": {**bound, "audiences": ["csi"]}}) == 403
    driver = {"metadata": {"name": "d"}, "spec": {"tokenRequests": [{"audience": "csi"}]}}
    assert (await api.call("POST", "/apis/storage.k8s.io/v1/csidrivers", driver))[0] == 201
    assert await code(api, NODE, "POST", token, {"spec": {**bound, "audiences": ["csi"]}}) == 201
    other_audience = {"spec": {**bound, "audiences": ["registry"]}}
    status, told = await api.call("POST", token, other_audience, identity=NODE)
    assert (status, told["message"]) == (
        403,
        'serviceaccounts "default" is forbidden: audience "registry" not found in pod spec volume, system:node:n1 is '
        "not authorized to request tokens for this audience",
    )
    nodes = {"kind": "Group", "apiGroup": GROUP, "name": "system:nodes"}
    await grant(api, nodes, rule("request-serviceaccounts-token-audience", "registry"), name="audience")
    assert await code(api, NODE, "POST", token, other_audience) == 201
    assert await code(api, NODE, "POST", token, {"spec": {}}) == 403
    assert await code(api, other, "POST", token, {"spec": {"boundObjectRef": reference}}) == 403
    await api.call("DELETE", "/api/v1/namespaces/ns/pods/p?gracePeriodSeconds=0")
    assert await code(api, NODE, "GET", f"{secrets}/used") == 403


async def test_a_node_writes_what_is_its_own(api: ApiServer) -> None:
    nodes, leases = "/api/v1/nodes", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    assert await code(api, NODE, "POST", nodes, {"metadata": {"name": "n1"}}) == 201
    assert await code(api, NODE, "POST", nodes, {"metadata": {"name": "n2"}}) == 403
    assert await code(api, NODE, "PATCH", f"{nodes}/n1", {"metadata": {"labels": {"zone": "a"}}}) == 200
    label = {"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}
    assert await code(api, NODE, "PATCH", f"{nodes}/n1", label) == 403
    assert await code(api, NODE, "PATCH", f"{nodes}/n1", {"spec": {"taints": None}}) == 403
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": "u"}
    assert await code(api, NODE, "PATCH", f"{nodes}/n1", {"metadata": {"ownerReferences": [owner]}}) == 403
    requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    for name, wanted in (("n1", 201), ("n2", 403)):
        asked = {"request": signing_request(f"system:node:{name}", "system:nodes"), "usages": ["client auth"]}
        asked["signerName"] = "kubernetes.io/kube-apiserver-client-kubelet"
        assert await code(api, NODE, "POST", requests, {"metadata": {"name": name}, "spec": asked}) == wanted
    slices = "/apis/resource.k8s.io/v1/resourceslices"
    for name, wanted in (("n1", 201), ("n2", 403)):
        pool = {"name": "p", "resourceSliceCount": 1}
        spec = {"nodeName": name, "driver": "d.example.com", "pool": pool}
        assert await code(api, NODE, "POST", slices, {"metadata": {"name": name}, "spec": spec}) == wanted
    _, node = await api.call("GET", f"{nodes}/n1")
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    assert await code(api, NODE, "POST", leases, {"metadata": {"name": "n1"}, "spec": {}}) == 201
    assert await code(api, NODE, "POST", leases, {"metadata": {"name": "n2"}, "spec": {}}) == 403
    assert await code(api, NODE, "GET", f"{nodes}/n2") == 403
    pod = {"metadata": {"name": "q"}, "spec": {"nodeName": "n2", "containers": [{"name": "c", "image": "i"}]}}
    assert (await api.call("POST", "/api/v1/namespaces/ns/pods", pod))[0] == 201
    assert await code(api, NODE, "DELETE", "/api/v1/namespaces/ns/pods/q") == 403
    assert await code(api, NODE, "PATCH", "/api/v1/namespaces/ns/pods/q/status", {"status": {"phase": "Failed"}}) == 403
    assert await code(api, NODE, "POST", "/api/v1/namespaces/ns/pods", pod) == 403


async def test_signers_are_approved_by_those_who_may(api: ApiServer) -> None:
    group = "certificates.k8s.io"
    await grant(api, user("alice"), rule("update patch", "certificatesigningrequests/approval", group))
    spec = {"request": signing_request("bob"), "signerName": "example.com/x", "usages": ["client auth"]}
    path = f"/apis/{group}/v1/certificatesigningrequests"
    status, answer = await api.call("POST", path, {"metadata": {"name": "r"}, "spec": spec})
    assert status == 201, answer
    approval = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Fine"}]}}
    assert await code(api, ALICE, "PATCH", f"{path}/r/approval", approval) == 403
    await grant(api, user("alice"), rule("approve", "signers", group, resourceNames=["example.com/*"]), name="s")
    assert await code(api, ALICE, "PATCH", f"{path}/r/approval", approval) == 200
    spec = {"request": signing_request("eve", "system:masters"), "signerName": "kubernetes.io/kube-apiserver-client"}
    body = {"metadata": {"name": "e"}, "spec": {**spec, "usages": ["client auth"]}}
    status, answer = await api.call("POST", path, body)
    assert status == 403
    assert "with system:masters group is not allowed" in answer["message"]


def signing_request(name: str, *groups: str) -> str:
    """A PKCS #10 request as the API takes it."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes)).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


@pytest.mark.parametrize(
    ("owned", "wanted", "missing"),
    [
        (rule("*", "*", "*"), rule("get", "pods"), 0),
        (rule("get", "pods"), rule("get", "pods", resourceNames=["a"]), 0),
        (rule("get", "pods", resourceNames=["a"]), rule("get", "pods"), 1),
        (rule("get", "*/status"), rule("get", "pods/status pods"), 1),
        (rule("get list", "pods"), rule("*", "pods"), 1),
        ({"verbs": ["get"], "nonResourceURLs": ["/a/*"]}, {"verbs": ["get"], "nonResourceURLs": ["/a/b", "/c"]}, 1),
    ],
)
def test_covering(owned: Object, wanted: Object, missing: int) -> None:
    assert len(uncovered([owned], [wanted])) == missing


def test_rules_are_shown_joined_by_verbs() -> None:
    left = uncovered([], [rule("get list", "pods", resourceNames=["a"])])
    assert [describe(r) for r in compact(left)] == [
        '{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get" "list"]}'
    ]


def test_a_certificate_may_name_the_uid_of_its_user() -> None:
    def found(*pairs: tuple[str, str]) -> Identity | None:
        subject = tuple((pair,) for pair in (("commonName", "jane"), ("organizationName", "dev"), *pairs))
        return from_certificate(Request("GET", "/", "", {}, b"", peer_certificate={"subject": subject}))

    oid = "1.3.6.1.4.1.57683.2"
    assert found() == Identity("jane", ("dev", AUTHENTICATED))
    assert found((oid, "u")) == Identity("jane", ("dev", AUTHENTICATED), "u")
    with pytest.raises(Unauthorized):
        found((oid, "u"), (oid, "v"))


async def test_a_certificate_is_a_credential_with_a_name() -> None:
    async with ApiServer(tls=True) as api:
        assert api.authority is not None
        certificate, key = api.client("jane", "dev")
        context = ssl.create_default_context(cafile=str(api.authority.certificate))
        context.load_cert_chain(certificate, key)
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
        body = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
        async with HttpClient(ssl=context) as client:
            url = f"{api.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
            answer = await client.request("POST", url, [("content-type", "application/json")], body)
        user = json.loads(answer.body)["status"]["userInfo"]
    assert (user["username"], user["groups"]) == ("jane", ["dev", AUTHENTICATED])
    assert user["extra"] == {"authentication.kubernetes.io/credential-id": [f"X509SHA256={digest}"]}
