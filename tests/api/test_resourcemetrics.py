"""metrics.k8s.io: what node agents count becomes what nodes and pods use."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard.api.identity import AUTHENTICATED, Identity
from switchboard.api.resourcemetrics import go_duration
from switchboard.testing.agent import FakeAgent
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.messages import Request, Response

Object = dict[str, Any]
ROOT = "/apis/metrics.k8s.io/v1beta1"
REGISTRATION = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"


class Counting(FakeAgent):
    """Its node uses half a CPU and every container a quarter, from the first moment on."""

    uids: tuple[str, ...] = ()
    down = False

    async def _handle(self, request: Request) -> Response:
        if request.path != "/stats/summary":
            return await super()._handle(request)
        self.requests.append("summary")
        if self.down:
            return Response(503, [], b"")
        now = time.monotonic_ns()

        def use(share: int, size: int) -> Object:
            return {"cpu": {"usageCoreNanoSeconds": now // share}, "memory": {"workingSetBytes": size}}

        containers = [{"name": "c", **use(4, 10 << 20)}]
        pods = [{"podRef": {"uid": uid}, "containers": containers} for uid in self.uids]
        return Response(200, [], json.dumps({"node": use(2, 1 << 30), "pods": pods}).encode())


@pytest.fixture
async def agent() -> AsyncIterator[Counting]:
    async with Counting() as made:
        yield made


@pytest.fixture
async def api(agent: Counting) -> AsyncIterator[ApiServer]:
    async with ApiServer(kubelet=agent) as server:
        await server.call("POST", "/api/v1/nodes", {"metadata": {"name": "n1", "labels": {"a": "b"}}})
        await server.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        agent.uids = (await pod(server, "one"), await pod(server, "two"))
        yield server


async def pod(api: ApiServer, name: str) -> str:
    """A running pod's uid."""
    container = {"name": "c", "image": "i"}
    spec = {"nodeName": "n1", "containers": [container]}
    code, made = await api.call(
        "POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
    )
    assert code == 201, made
    state = {"name": "c", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": {"running": {}}}
    made["status"] = {"phase": "Running", "containerStatuses": [state]}
    code, answer = await api.call("PUT", f"/api/v1/namespaces/default/pods/{name}/status", made)
    assert code == 200, answer
    return str(made["metadata"]["uid"])


def milli(cpu: str) -> float:
    return int(cpu.removesuffix("n")) / 1e6 if cpu.endswith("n") else int(cpu.removesuffix("u")) / 1e3


async def test_nodes_and_pods(api: ApiServer) -> None:
    code, nodes = await api.call("GET", f"{ROOT}/nodes")
    assert (code, nodes["kind"], nodes["metadata"]) == (200, "NodeMetricsList", {})
    [node] = nodes["items"]
    assert (node["metadata"]["name"], node["metadata"]["labels"]) == ("n1", {"a": "b"})
    assert milli(node["usage"]["cpu"]) == pytest.approx(500, rel=0.05)
    assert node["usage"]["memory"] == "1Gi"
    code, pods = await api.call("GET", f"{ROOT}/namespaces/default/pods")
    assert [p["metadata"]["name"] for p in pods["items"]] == ["one", "two"]
    [container] = pods["items"][0]["containers"]
    assert container["name"] == "c"
    assert milli(container["usage"]["cpu"]) == pytest.approx(250, rel=0.05)
    code, one = await api.call("GET", f"{ROOT}/namespaces/default/pods/two")
    assert (code, one["kind"], one["metadata"]["name"]) == (200, "PodMetrics", "two")


@pytest.mark.parametrize("query", ["labelSelector=app%3Dtwo", "fieldSelector=metadata.name%3Dtwo"])
async def test_selectors(api: ApiServer, query: str) -> None:
    _, found = await api.call("GET", f"{ROOT}/pods?{query}")
    assert [p["metadata"]["name"] for p in found["items"]] == ["two"]


async def test_many_askers_are_one_look(api: ApiServer, agent: Counting) -> None:
    await asyncio.gather(*(api.call("GET", f"{ROOT}/nodes") for _ in range(20)))
    assert agent.requests.count("summary") == 2


async def test_a_container_that_came_between_two_counts_is_left_out(api: ApiServer, agent: Counting) -> None:
    await api.call("GET", f"{ROOT}/nodes")
    uid = await pod(api, "three")
    agent.uids = (*agent.uids, uid)
    _, found = await api.call("GET", f"{ROOT}/pods")
    assert [p["metadata"]["name"] for p in found["items"]] == ["one", "two"]


async def test_a_node_that_does_not_answer(api: ApiServer, agent: Counting) -> None:
    agent.down = True
    assert (await api.call("GET", f"{ROOT}/nodes"))[1]["items"] == []
    code, status = await api.call("GET", f"{ROOT}/nodes/n1")
    assert (code, status["message"]) == (404, 'nodemetrics.metrics.k8s.io "n1" not found')


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/nodes", 405),
        ("DELETE", "/nodes/n1", 405),
        ("GET", "/nodes?watch=1", 405),
        ("GET", "/gadgets", 404),
        ("GET", "/pods?labelSelector=%3D%3D", 400),
        ("GET", "/pods?fieldSelector=spec.x%3D1", 400),
        ("GET", "/namespaces/default/pods/none", 404),
    ],
)
async def test_refusals(api: ApiServer, method: str, path: str, code: int) -> None:
    found, status = await api.call(method, ROOT + path, {} if method == "POST" else None)
    assert (found, status["kind"]) == (code, "Status")


async def test_only_who_may(api: ApiServer) -> None:
    jane = Identity("jane", (AUTHENTICATED,))
    assert (await api.call("GET", f"{ROOT}/nodes", identity=jane))[0] == 403


async def test_discovery_and_registration(api: ApiServer) -> None:
    _, listing = await api.call("GET", ROOT)
    assert [(r["name"], r["kind"], r["namespaced"]) for r in listing["resources"]] == [
        ("nodes", "NodeMetrics", False),
        ("pods", "PodMetrics", True),
    ]
    _, groups = await api.call("GET", "/apis")
    assert [g["preferredVersion"]["version"] for g in groups["groups"] if g["name"] == "metrics.k8s.io"] == ["v1beta1"]

    async def registered(want: str) -> Object:
        async with asyncio.timeout(10):
            while True:
                code, held = await api.call("GET", REGISTRATION)
                found = (held.get("status") or {}).get("conditions") or [{}] if code == 200 else [{}]
                if found[0].get("reason") == want:
                    return held
                await asyncio.sleep(0.01)

    held = await registered("Local")
    # Somebody else's server takes the place, and gives it back.
    held["spec"] |= {"service": {"namespace": "kube-system", "name": "metrics-server"}, "insecureSkipTLSVerify": True}
    code, answer = await api.call("PUT", REGISTRATION, held)
    assert code == 200, answer
    await registered("ServiceNotFound")
    assert (await api.call("GET", f"{ROOT}/nodes"))[0] == 503
    await api.call("DELETE", REGISTRATION)
    await registered("Local")
    assert (await api.call("GET", f"{ROOT}/nodes"))[0] == 200


@pytest.mark.parametrize(("seconds", "want"), [(15.0134, "15.013s"), (60.5, "1m0.5s"), (2, "2s"), (0.25, "0.25s")])
def test_durations(seconds: float, want: str) -> None:
    assert go_duration(seconds) == want


async def test_openapi_describes_both_kinds(api: ApiServer) -> None:
    _, index = await api.call("GET", "/openapi/v3")
    url = index["paths"]["apis/metrics.k8s.io/v1beta1"]["serverRelativeURL"]
    _, document = await api.call("GET", url)
    pods = document["paths"][f"{ROOT}/namespaces/{{namespace}}/pods"]["get"]
    assert pods["x-kubernetes-group-version-kind"]["kind"] == "PodMetrics"
    schemas = document["components"]["schemas"]
    assert "containers" in schemas["io.k8s.metrics.v1beta1.PodMetrics"]["properties"]
    assert "usage" in schemas["io.k8s.metrics.v1beta1.NodeMetrics"]["properties"]
    _, older = await api.call("GET", "/openapi/v2")
    assert older["definitions"]["io.k8s.metrics.v1beta1.NodeMetrics"] and f"{ROOT}/nodes" in older["paths"]
