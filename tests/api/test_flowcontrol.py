"""Priority and fairness: default objects, how requests are classified, status, validation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard.api.identity import AUTHENTICATED, MASTERS, UNAUTHENTICATED, Identity
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.messages import Response

Object = dict[str, Any]
GROUP = "/apis/flowcontrol.apiserver.k8s.io/v1"
SCHEMAS, LEVELS = f"{GROUP}/flowschemas", f"{GROUP}/prioritylevelconfigurations"
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


def account(namespace: str, name: str) -> Identity:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return Identity(f"system:serviceaccount:{namespace}:{name}", groups)


def flow_of(response: Response) -> tuple[str, str]:
    found = {name.lower(): value for name, value in response.headers}
    prefix = "x-kubernetes-pf-"
    return found.get(f"{prefix}flowschema-uid", ""), found.get(f"{prefix}prioritylevel-uid", "")


async def names(api: ApiServer, response: Response) -> tuple[str, str]:
    """The schema and the level that an answer names."""
    found = []
    for path, uid in zip((SCHEMAS, LEVELS), flow_of(response), strict=True):
        _, objects = await api.call("GET", path)
        found.append(next((o["metadata"]["name"] for o in objects["items"] if o["metadata"]["uid"] == uid), ""))
    return found[0], found[1]


ANYBODY = Identity("u", (AUTHENTICATED,))
NODE = Identity("system:node:n", ("system:nodes", AUTHENTICATED))
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize(
    ("who", "method", "path", "schema", "level"),
    [
        (Identity("admin", (MASTERS, AUTHENTICATED)), "GET", PODS, "exempt", "exempt"),
        (ANYBODY, "GET", PODS, "global-default", "global-default"),
        (ANYBODY, "GET", "/healthz", "probes", "exempt"),
        (ANYBODY, "GET", "/version", "global-default", "global-default"),
        (Identity("system:anonymous", (UNAUTHENTICATED,)), "GET", "/livez", "probes", "exempt"),
        (NODE, "GET", "/api/v1/nodes", "system-node-high", "node-high"),
        (NODE, "GET", f"{LEASES}/x", "system-node-high", "node-high"),
        (NODE, "GET", PODS, "system-nodes", "system"),
        (account("default", "sa"), "GET", PODS, "service-accounts", "workload-low"),
        (account("kube-system", "sa"), "GET", PODS, "kube-system-service-accounts", "workload-high"),
        (account("kube-system", "sa"), "GET", f"{LEASES}/x", "system-leader-election", "leader-election"),
        (account("kube-system", "sa"), "GET", LEASES, "kube-system-service-accounts", "workload-high"),
    ],
)
async def test_answers_name_what_the_request_belongs_to(
    api: ApiServer, who: Identity, method: str, path: str, schema: str, level: str
) -> None:
    response = await api.request(method, path, identity=who)
    assert await names(api, response) == (schema, level)


async def test_a_new_schema_is_in_force_at_once_and_its_condition_follows_its_level(api: ApiServer) -> None:
    rules = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    subjects = [{"kind": "User", "user": {"name": "noxu"}}]
    spec = {
        "priorityLevelConfiguration": {"name": "mine"},
        "matchingPrecedence": 1000,
        "rules": [{"subjects": subjects, "nonResourceRules": rules}],
    }
    status, schema = await api.call("POST", SCHEMAS, {"metadata": {"name": "mine"}, "spec": spec})
    assert (status, schema["metadata"]["generation"]) == (201, 1)

    async def condition(wanted: str) -> Object:
        async with asyncio.timeout(10):
            while True:
                _, obj = await api.call("GET", f"{SCHEMAS}/mine")
                for found in obj.get("status", {}).get("conditions", ()):
                    if (found["type"], found["status"]) == ("Dangling", wanted):
                        return dict(found)
                await asyncio.sleep(0.005)

    assert (await condition("True"))["reason"] == "NotFound"
    who = Identity("noxu", (AUTHENTICATED,))
    assert (await names(api, await api.request("GET", "/version", identity=who)))[0] == "global-default"
    limited = {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}
    body = {"metadata": {"name": "mine"}, "spec": {"type": "Limited", "limited": limited}}
    status, level = await api.call("POST", LEVELS, body)
    assert (status, level["spec"]["limited"]["lendablePercent"]) == (201, 0)
    assert (await condition("False"))["reason"] == "Found"
    response = await api.request("GET", "/version", identity=who)
    assert flow_of(response) == (schema["metadata"]["uid"], level["metadata"]["uid"])
    metrics = await api.request("GET", "/metrics")
    text = metrics.body if isinstance(metrics.body, bytes) else b"".join(metrics.body)
    assert b'apiserver_flowcontrol_nominal_limit_seats{priority_level="mine"} 12' in text


async def shares(api: ApiServer, name: str) -> int:
    _, level = await api.call("GET", f"{LEVELS}/{name}")
    return int(level["spec"]["limited"]["nominalConcurrencyShares"])


async def test_what_every_cluster_has_comes_back(api: ApiServer) -> None:
    assert (await api.call("DELETE", f"{SCHEMAS}/catch-all"))[0] == 200
    foreign = {"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}}
    assert (await api.call("PATCH", f"{LEVELS}/system", foreign, MERGE))[0] == 200
    more = {"spec": {"limited": {"nominalConcurrencyShares": 31}}}
    for name in ("system", "workload-low"):
        assert (await api.call("PATCH", f"{LEVELS}/{name}", more, MERGE))[0] == 200
    async with asyncio.timeout(10):
        while (await api.call("GET", f"{SCHEMAS}/catch-all"))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        while await shares(api, "workload-low") == 31:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await shares(api, "system") == 31


async def test_status_is_written_apart(api: ApiServer) -> None:
    extra = {"type": "Mine", "status": "True", "reason": "r", "message": "m"}
    patch = {"status": {"conditions": [extra]}, "metadata": {"annotations": {"a": "b"}}}
    status, made = await api.call("PATCH", f"{LEVELS}/system/status", patch, MERGE)
    assert (status, made["status"]["conditions"][0]["type"]) == (200, "Mine")
    double = {"status": {"conditions": [extra, extra]}}
    assert (await api.call("PATCH", f"{LEVELS}/system/status", double, MERGE))[0] == 422


LEVEL = {"name": "global-default"}


@pytest.mark.parametrize(
    ("path", "spec", "field"),
    [
        (SCHEMAS, {"priorityLevelConfiguration": LEVEL, "matchingPrecedence": 1}, "spec.matchingPrecedence"),
        (SCHEMAS, {"matchingPrecedence": 10}, "spec.priorityLevelConfiguration.name"),
        (SCHEMAS, {"priorityLevelConfiguration": LEVEL, "rules": [{}]}, "spec.rules[0].subjects"),
        (
            SCHEMAS,
            {"priorityLevelConfiguration": LEVEL, "rules": [{"subjects": [{"kind": "User"}], "nonResourceRules": [
                {"verbs": ["get"], "nonResourceURLs": ["x"]}]}]},
            "spec.rules[0].subjects[0].user",
        ),
        (LEVELS, {"type": "Exempt"}, "spec.type"),
        (LEVELS, {"type": "Limited"}, "spec.limited"),
        (
            LEVELS,
            {"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}},
            "spec.limited.limitResponse.queuing",
        ),
        (
            LEVELS,
            {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {
                "queues": 512, "handSize": 8, "queueLengthLimit": 1}}}},
            "spec.limited.limitResponse.queuing.handSize",
        ),
    ],
)  # fmt: skip
async def test_what_is_refused(api: ApiServer, path: str, spec: Object, field: str) -> None:
    status, answer = await api.call("POST", path, {"metadata": {"name": "x"}, "spec": spec})
    assert status == 422, answer
    assert answer["details"]["causes"][0]["field"] == field


async def test_what_every_cluster_must_have_may_not_be_changed(api: ApiServer) -> None:
    for path, name in ((SCHEMAS, "exempt"), (SCHEMAS, "catch-all"), (LEVELS, "catch-all"), (LEVELS, "exempt")):
        _, obj = await api.call("GET", f"{path}/{name}")
        obj["metadata"]["labels"] = {"a": "b"}
        assert (await api.call("PUT", f"{path}/{name}", obj))[0] == 200
        _, obj = await api.call("GET", f"{path}/{name}")
        if name == "exempt" and path == LEVELS:
            obj["spec"]["exempt"]["lendablePercent"] = 5
            status, obj = await api.call("PUT", f"{path}/{name}", obj)
            assert status == 200, obj
            obj["spec"] |= {"type": "Limited", "exempt": None}
        elif path == LEVELS:
            obj["spec"]["limited"]["lendablePercent"] = 5
        else:
            obj["spec"]["matchingPrecedence"] += 1 if name == "exempt" else -1
        status, told = await api.call("PUT", f"{path}/{name}", obj)
        assert status == 422
        but = " except the 'spec.exempt' field" if (name, path) == ("exempt", LEVELS) else ""
        assert told["message"].rstrip("]").endswith(f"spec of '{name}'{but} must equal the fixed value")
