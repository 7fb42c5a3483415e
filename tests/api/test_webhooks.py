"""Admission webhooks: what they are asked, what they change, what they refuse, and what happens without them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard.testing.agent import FakeAgent
from switchboard.testing.apiserver import ApiServer
from switchboard.testing.webhook import FakeWebhook
from switchboard.transport.messages import Connection

Object = dict[str, Any]
CONFIGS = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/ns/configmaps"
RULE = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


def hook(config: Object, name: str = "one.example.com", **more: Any) -> Object:
    base = {"name": name, "clientConfig": config, "rules": [RULE], "sideEffects": "None"}
    return {**base, "admissionReviewVersions": ["v1"], **more}


async def configure(api: ApiServer, mode: str, *hooks: Object, name: str = "c") -> None:
    body = {"metadata": {"name": name}, "webhooks": list(hooks)}
    status, answer = await api.call("POST", f"{CONFIGS}/{mode}webhookconfigurations", body)
    assert status == 201, answer


def patch(*operations: Object) -> Object:
    text = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": text}


async def create(api: ApiServer, name: str = "m", query: str = "", **body: Any) -> tuple[int, Any]:
    return await api.call("POST", f"{MAPS}{query}", {"metadata": {"name": name}, **body})


@pytest.fixture
async def allowing() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook(lambda _: {"allowed": True}) as webhook:
        yield webhook


async def test_a_validating_webhook_sees_the_whole_operation(api: ApiServer, allowing: FakeWebhook) -> None:
    await configure(api, "validating", hook(allowing.client_config))
    assert (await create(api, data={"a": "b"}))[0] == 201
    assert (
        await api.call("PATCH", f"{MAPS}/m", {"data": {"a": "c"}}, {"content-type": "application/merge-patch+json"})
    )[0] == 200
    assert (await api.call("DELETE", f"{MAPS}/m"))[0] == 200
    created, updated, deleted = allowing.reviews
    assert (created["operation"], created["name"], created["namespace"]) == ("CREATE", "m", "ns")
    assert created["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert created["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert created["object"]["data"] == {"a": "b"}
    assert created["oldObject"] is None
    assert created["userInfo"]["username"] == "system:apiserver"
    assert created["options"]["kind"] == "CreateOptions"
    assert (updated["object"]["data"], updated["oldObject"]["data"]) == ({"a": "c"}, {"a": "b"})
    assert updated["options"]["kind"] == "PatchOptions"
    assert (deleted["operation"], deleted["object"]) == ("DELETE", None)
    assert deleted["oldObject"]["data"] == {"a": "c"}


async def test_a_refusal_keeps_the_webhooks_words(api: ApiServer) -> None:
    answers = iter(
        (
            {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": "no maps today"}},
            {"allowed": False},
            {"allowed": True, "warnings": ["mind the gap"]},
        )
    )
    async with FakeWebhook(lambda _: next(answers)) as webhook:
        await configure(api, "validating", hook(webhook.client_config))
        status, answer = await create(api)
        assert (status, answer["reason"]) == (403, "Forbidden")
        assert answer["message"] == 'admission webhook "one.example.com" denied the request: no maps today'
        status, answer = await create(api)
        assert status == 400
        assert answer["message"] == 'admission webhook "one.example.com" denied the request without explanation'
        response = await api.request("POST", MAPS, {"metadata": {"name": "m"}})
        assert response.status == 201
        assert ("warning", '299 - "mind the gap"') in response.headers


async def test_mutating_webhooks_see_each_others_changes(api: ApiServer) -> None:
    def first(request: Object) -> Object:
        if "data" in request["object"]:
            return {"allowed": True}
        return patch({"op": "add", "path": "/data", "value": {"first": "1"}})

    def second(request: Object) -> Object:
        return patch({"op": "add", "path": "/data/second", "value": str(sorted(request["object"]["data"]))})

    async with FakeWebhook(first) as one, FakeWebhook(second) as two:
        hooks = (
            hook(one.client_config, "a.example.com", reinvocationPolicy="IfNeeded"),
            hook(two.client_config, "b.example.com"),
        )
        await configure(api, "mutating", *hooks)
        status, made = await create(api)
        assert status == 201, made
        assert made["data"] == {"first": "1", "second": "['first']"}
        assert len(one.reviews) == 2  # asked again, because the second changed what it had seen
        assert len(two.reviews) == 1
        assert one.reviews[1]["object"]["data"] == {"first": "1", "second": "['first']"}


async def test_a_patched_object_is_validated_and_defaulted(api: ApiServer) -> None:
    def change(request: Object) -> Object:
        container = {"name": "side", "image": "proxy"}
        return patch({"op": "add", "path": "/spec/containers/-", "value": container})

    account = {"metadata": {"name": "default"}}
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", account)
    async with FakeWebhook(change) as webhook:
        rule = {**RULE, "operations": ["CREATE"], "resources": ["pods"]}
        await configure(api, "mutating", hook(webhook.client_config, rules=[rule]))
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        status, made = await api.call("POST", "/api/v1/namespaces/ns/pods", pod)
        assert status == 201, made
        side = made["spec"]["containers"][1]
        assert side["imagePullPolicy"] == "Always"
        mounts = [m["mountPath"] for m in side["volumeMounts"]]  # other plugins saw the new container too
        assert mounts == ["/var/run/secrets/kubernetes.io/serviceaccount"]


@pytest.mark.parametrize(("policy", "code"), [("Fail", 500), ("Ignore", 201)])
async def test_failure_policy(api: ApiServer, policy: str, code: int) -> None:
    async with FakeWebhook(lambda _: {"allowed": False, "http": 503}) as webhook:
        await configure(api, "validating", hook(webhook.client_config, failurePolicy=policy))
        status, answer = await create(api)
        assert status == code
        if policy == "Fail":
            start = 'Internal error occurred: failed calling webhook "one.example.com": failed to call webhook: Post "'
            assert answer["message"].startswith(start)


async def test_an_untrusted_server_and_a_slow_one_fail(api: ApiServer) -> None:
    async def slow(_: Object) -> Object:
        await asyncio.sleep(30)
        return {"allowed": True}

    async with FakeWebhook(slow) as webhook, FakeWebhook(slow) as other:
        config = {**webhook.client_config, "caBundle": other.bundle}
        await configure(api, "validating", hook(config), name="untrusted")
        status, answer = await create(api)
        assert (status, "certificate verify failed" in answer["message"]) == (500, True)
        assert webhook.reviews == []
        await api.call("DELETE", f"{CONFIGS}/validatingwebhookconfigurations/untrusted")
        await configure(api, "validating", hook(webhook.client_config, timeoutSeconds=1), name="slow")
        status, answer = await create(api)
        assert status == 500
        assert answer["message"].endswith("context deadline exceeded")


async def test_selectors_choose_what_is_asked(api: ApiServer, allowing: FakeWebhook) -> None:
    label = {"content-type": "application/merge-patch+json"}
    await configure(
        api,
        "validating",
        hook(
            allowing.client_config,
            namespaceSelector={"matchLabels": {"watched": "yes"}},
            objectSelector={"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
        ),
    )
    assert (await create(api, "a"))[0] == 201
    assert allowing.reviews == []
    await api.call("PATCH", "/api/v1/namespaces/ns", {"metadata": {"labels": {"watched": "yes"}}}, label)
    body = {"metadata": {"name": "b", "labels": {"skip": ""}}}
    assert (await api.call("POST", MAPS, body))[0] == 201
    assert allowing.reviews == []
    assert (await create(api, "c"))[0] == 201
    assert len(allowing.reviews) == 1


async def test_dry_runs_reach_only_webhooks_without_side_effects(api: ApiServer, allowing: FakeWebhook) -> None:
    await configure(api, "validating", hook(allowing.client_config), name="harmless")
    assert (await create(api, "a", "?dryRun=All"))[0] == 201
    assert allowing.reviews[0]["dryRun"] is True
    beta = hook(allowing.client_config, "two.example.com", sideEffects="NoneOnDryRun")
    await configure(api, "validating", beta, name="dry")
    assert (await create(api, "a", "?dryRun=All"))[0] == 201
    assert (await api.call("GET", f"{MAPS}/a"))[0] == 404


async def test_matching_equivalent_versions(api: ApiServer, allowing: FakeWebhook) -> None:
    rule = {**RULE, "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}
    await configure(api, "validating", hook(allowing.client_config, rules=[rule]))
    exact = hook(allowing.client_config, "exact.example.com", rules=[rule], matchPolicy="Exact")
    await configure(api, "validating", exact, name="exact")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}},
    }
    body = {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [metric]}}
    path = "/apis/autoscaling/v2/namespaces/ns/horizontalpodautoscalers"
    status, answer = await api.call("POST", path, body)
    assert status == 201, answer
    (review,) = allowing.reviews
    assert review["kind"]["version"] == "v1"
    assert review["requestKind"]["version"] == "v2"
    assert review["object"]["spec"]["targetCPUUtilizationPercentage"] == 5


class Tunnel(FakeAgent):
    """An agent whose pods all live on the loopback interface."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[tuple[str, str, int]] = []

    async def dial(self, node: str, host: str, port: int) -> Connection:
        self.dialled.append((node, host, port))
        return await super().dial(node, "127.0.0.1", port)


async def test_through_a_service_and_a_nodes_tunnel() -> None:
    async with Tunnel() as tunnel, ApiServer(kubelet=tunnel) as api:
        assert (await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}}))[0] == 201
        await check_service(api, tunnel)


async def check_service(api: ApiServer, tunnel: Tunnel) -> None:
    async with FakeWebhook(lambda _: {"allowed": True}, names=("checker.ns.svc",)) as webhook:
        service = {"metadata": {"name": "checker"}, "spec": {"ports": [{"port": 443, "targetPort": webhook.port}]}}
        assert (await api.call("POST", "/api/v1/namespaces/ns/services", service))[0] == 201
        slice_ = {
            "metadata": {"name": "checker-1", "labels": {"kubernetes.io/service-name": "checker"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.244.0.9"], "nodeName": "n1", "conditions": {"ready": True}}],
            "ports": [{"port": webhook.port, "name": ""}],
        }
        path = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"
        status, answer = await api.call("POST", path, slice_)
        assert status == 201, answer
        await configure(api, "validating", hook(webhook.service("checker", "ns", "/check")))
        status, answer = await create(api)
        assert status == 201, answer
        assert webhook.paths == ["/check"]
        assert tunnel.dialled == [("n1", "10.244.0.9", webhook.port)]
        await api.call("DELETE", f"{path}/checker-1")
        await api.app.webhooks.close()
        status, answer = await create(api, "n")
        assert status == 500
        assert answer["message"].endswith('no endpoints available for service "checker"')


async def test_their_own_configurations_are_never_shown_to_webhooks(api: ApiServer) -> None:
    async with FakeWebhook(lambda _: {"allowed": False}) as webhook:
        rule = {**RULE, "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
        await configure(api, "validating", hook(webhook.client_config, rules=[rule]))
        assert (await create(api))[0] == 400
        status, _ = await api.call("DELETE", f"{CONFIGS}/validatingwebhookconfigurations/c")
        assert status == 200
        assert (await create(api))[0] == 201


def conditions(*texts: str) -> list[Object]:
    return [{"name": f"c{i}", "expression": text} for i, text in enumerate(texts)]


async def test_conditions_choose_what_is_asked(api: ApiServer, allowing: FakeWebhook) -> None:
    texts = (
        "request.operation != 'DELETE' && request.resource.resource == 'configmaps'",
        "!('system:nodes' in request.userInfo.groups)",
        "has(object.data) && object.data.?kind.orValue('') == 'asked'",
        "oldObject == null || oldObject.data != object.data",
    )
    await configure(api, "validating", hook(allowing.client_config, matchConditions=conditions(*texts)))
    assert (await create(api, "plain"))[0] == 201
    assert (await create(api, "other", data={"kind": "other"}))[0] == 201
    assert (await create(api, "m", data={"kind": "asked"}))[0] == 201
    patched = {"content-type": "application/merge-patch+json"}
    assert (await api.call("PATCH", f"{MAPS}/m", {"metadata": {"labels": {"a": "b"}}}, patched))[0] == 200
    assert (await api.call("PATCH", f"{MAPS}/m", {"data": {"more": "x"}}, patched))[0] == 200
    assert (await api.call("DELETE", f"{MAPS}/m"))[0] == 200
    assert [(r["operation"], r["name"]) for r in allowing.reviews] == [("CREATE", "m"), ("UPDATE", "m")]


@pytest.mark.parametrize(("policy", "code"), [("Fail", 403), ("Ignore", 201)])
async def test_conditions_that_fail(api: ApiServer, allowing: FakeWebhook, policy: str, code: int) -> None:
    failing = "object.data.a == 'b'"
    await configure(
        api, "mutating", hook(allowing.client_config, failurePolicy=policy, matchConditions=conditions(failing))
    )
    status, answer = await create(api, data={})
    assert status == code
    if code == 403:
        assert answer["message"] == (
            f"configmaps \"m\" is forbidden: expression '{failing}' resulted in error: no such key: data"
        )
    assert allowing.reviews == []


async def test_a_false_condition_decides_over_one_that_fails(api: ApiServer, allowing: FakeWebhook) -> None:
    texts = conditions("object.data.a == 'b'", "object.metadata.name == 'other'")
    await configure(api, "mutating", hook(allowing.client_config, matchConditions=texts))
    assert (await create(api))[0] == 201
    assert allowing.reviews == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("object.a ==", "compilation failed: ERROR: <input>:1:12: Syntax error"),
        ("request.nope == 1", "compilation failed: ERROR: <input>:1:8: undefined field 'nope'"),
        ("request.name", "must evaluate to bool"),
    ],
)
async def test_conditions_are_checked_with_their_configuration(api: ApiServer, text: str, why: str) -> None:
    config = {"url": "https://example.com/x"}
    body = {"metadata": {"name": "c"}, "webhooks": [hook(config, matchConditions=conditions(text))]}
    status, answer = await api.call("POST", f"{CONFIGS}/validatingwebhookconfigurations", body)
    assert status == 422
    (cause,) = answer["details"]["causes"]
    assert cause["field"] == "webhooks[0].matchConditions[0].expression"
    assert why in cause["message"]


async def connectable(api: ApiServer) -> str:
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})
    containers = [{"name": name, "image": "i"} for name in ("one", "two")]
    spec = {"nodeName": "n", "containers": containers}
    pods = "/api/v1/namespaces/ns/pods"
    assert (await api.call("POST", pods, {"metadata": {"name": "p"}, "spec": spec}))[0] == 201
    return f"{pods}/p"


async def test_a_connection_is_shown_to_webhooks_as_its_options(api: ApiServer) -> None:
    pod = await connectable(api)
    rule = {**RULE, "operations": ["CONNECT"], "resources": ["pods/attach"]}
    async with FakeWebhook(lambda _: {"allowed": False, "status": {"message": "no attaching"}}) as webhook:
        await configure(api, "validating", hook(webhook.client_config, rules=[rule]))
        status, answer = await api.call("POST", f"{pod}/attach?container=one&stdin=true&stdout=true&stderr=0")
        assert (status, answer["message"][-12:]) == (400, "no attaching")
    asked = webhook.reviews[0]
    assert (asked["operation"], asked["subResource"], asked["oldObject"]) == ("CONNECT", "attach", None)
    assert asked["kind"] == {"group": "", "version": "v1", "kind": "PodAttachOptions"}
    assert asked["object"] == {
        "kind": "PodAttachOptions",
        "apiVersion": "v1",
        "stdin": True,
        "stdout": True,
        "container": "one",
    }


async def test_a_webhook_changes_what_a_connection_asks_for(api: ApiServer, agent: FakeAgent) -> None:
    pod = await connectable(api)
    rule = {**RULE, "operations": ["CONNECT"], "resources": ["pods/exec"]}
    operations = [
        {"op": "replace", "path": "/container", "value": "two"},
        {"op": "add", "path": "/command/0", "value": "env"},
        {"op": "remove", "path": "/stdin"},
    ]
    async with FakeWebhook(lambda _: patch(*operations)) as webhook:
        await configure(api, "mutating", hook(webhook.client_config, rules=[rule]))
        query = "container=one&command=id&command=-u&stdin=1&stdout=1"
        await api.call("POST", f"{pod}/exec?{query}", headers={"connection": "Upgrade", "upgrade": "SPDY/3.1"})
    assert agent.requests == ["POST /exec/ns/p/two?command=env&command=id&command=-u&output=1"]


@pytest.mark.parametrize(
    ("change", "code", "seconds"),
    [
        ({"op": "replace", "path": "/spec/expirationSeconds", "value": 4000}, 201, 4000),
        ({"op": "remove", "path": "/spec/expirationSeconds"}, 201, 3600),
        ({"op": "replace", "path": "/spec/expirationSeconds", "value": 5}, 422, None),
    ],
)
async def test_a_webhook_changes_a_request_for_a_token(
    api: ApiServer, change: Object, code: int, seconds: int | None
) -> None:
    account = "/api/v1/namespaces/ns/serviceaccounts"
    assert (await api.call("POST", account, {"metadata": {"name": "robot"}}))[0] == 201
    rule = {**RULE, "operations": ["CREATE"], "resources": ["serviceaccounts/token"]}
    async with FakeWebhook(lambda _: patch(change)) as webhook:
        await configure(api, "mutating", hook(webhook.client_config, rules=[rule]))
        status, made = await api.call("POST", f"{account}/robot/token", {"spec": {"expirationSeconds": 3607}})
    assert (status, made.get("spec", {}).get("expirationSeconds")) == (code, seconds), made


async def test_a_webhook_changes_an_eviction(api: ApiServer) -> None:
    pod = await connectable(api)
    rule = {**RULE, "operations": ["CREATE"], "resources": ["pods/eviction"]}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    merge = {"content-type": "application/merge-patch+json"}
    assert (await api.call("PATCH", f"{pod}/status", {"status": status}, merge))[0] == 200
    add = {"op": "add", "path": "/deleteOptions", "value": {"gracePeriodSeconds": 77}}
    async with FakeWebhook(lambda _: patch(add)) as webhook:
        await configure(api, "mutating", hook(webhook.client_config, rules=[rule]))
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        assert (await api.call("POST", f"{pod}/eviction", eviction))[0] == 201
    assert (await api.call("GET", pod))[1]["metadata"]["deletionGracePeriodSeconds"] == 77
