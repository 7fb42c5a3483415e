"""Where pods go and what is said of those that go nowhere: tables over the pure parts, then a real API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.api.identity import LOOPBACK
from switchboard.client import Client
from switchboard.client.resources import EVENTS, NAMESPACES, NODES, PODS, SERVICEACCOUNTS
from switchboard.cluster.loopback import Loopback
from switchboard.objects.errors import NotFound
from switchboard.objects.podresources import of_pod
from switchboard.scheduler import messages, preemption
from switchboard.scheduler.claims import UNALLOCATED, ClaimCheck
from switchboard.scheduler.filters import Filter
from switchboard.scheduler.podinfo import PodInfo
from switchboard.scheduler.run import run_scheduler
from switchboard.scheduler.scores import choose, scores
from switchboard.scheduler.snapshot import Snapshot
from switchboard.testing.apiserver import ApiServer

Object = dict[str, Any]


def node(name: str, cpu: str = "4", zone: str = "", **spec: Any) -> Object:
    labels = {"kubernetes.io/hostname": name} | ({"topology.kubernetes.io/zone": zone} if zone else {})
    amounts = {"cpu": cpu, "memory": "8Gi", "pods": "10"}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": amounts}}


def pod(name: str = "p", cpu: str = "", labels: Object | None = None, host_port: int = 0, **spec: Any) -> Object:
    container: Object = {"name": "c", "image": "i"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    if host_port:
        container["ports"] = [{"containerPort": 80, "hostPort": host_port}]
    meta = {"name": name, "namespace": "t", "uid": name, "labels": labels or {}}
    return {"metadata": meta, "spec": {"containers": [container], **spec}}


def snapshot(nodes: list[Object], placed: dict[str, list[Object]] | None = None) -> Snapshot:
    out = Snapshot()
    for n in nodes:
        out.set_node(n["metadata"]["name"], n)
    for where, pods in (placed or {}).items():
        for p in pods:
            out.place(PodInfo(p).lighten(), where)
    return out


def refusals(p: Object, world: Snapshot) -> dict[str, list[str]]:
    check = Filter(PodInfo(p), world)
    return {n.name: check.refuse(n) for n in world}


def affinity(operator: str, *values: str, key: str = "kubernetes.io/hostname", field: bool = False) -> Object:
    expression = {"key": key, "operator": operator, "values": list(values)}
    term = {"matchFields": [expression]} if field else {"matchExpressions": [expression]}
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": rule}


def near(kind: str, app: str, topology: str = "kubernetes.io/hostname") -> Object:
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
NODE_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
CASES: list[tuple[str, Object, Object, list[str]]] = [
    ("fits", node("a"), pod(cpu="1"), []),
    ("cordoned", node("a", unschedulable=True), pod(), ["node(s) were unschedulable"]),
    ("tainted", node("a", taints=[TAINT]), pod(), ["node(s) had untolerated taint(s)"]),
    ("prefer only", node("a", taints=[{**TAINT, "effect": "PreferNoSchedule"}]), pod(), []),
    ("tolerated", node("a", taints=[TAINT]), pod(tolerations=[{"key": "k", "value": "v"}]), []),
    ("all tolerated", node("a", taints=[TAINT]), pod(tolerations=[{"operator": "Exists"}]), []),
    (
        "other value",
        node("a", taints=[TAINT]),
        pod(tolerations=[{"key": "k", "value": "w"}]),
        ["node(s) had untolerated taint(s)"],
    ),
    ("selector", node("a"), pod(nodeSelector={"disk": "ssd"}), [NODE_AFFINITY]),
    ("affinity in", node("a"), pod(affinity=affinity("In", "a", "b")), []),
    ("affinity not in", node("a"), pod(affinity=affinity("NotIn", "a")), [NODE_AFFINITY]),
    ("field", node("a"), pod(affinity=affinity("In", "a", key="metadata.name", field=True)), []),
    ("other field", node("a"), pod(affinity=affinity("In", "b", key="metadata.name", field=True)), [NODE_AFFINITY]),
    ("too much", node("a", cpu="1"), pod(cpu="1500m"), ["Insufficient cpu"]),
    ("pod affinity", node("a"), pod(affinity=near("podAffinity", "x")), ["node(s) didn't match pod affinity rules"]),
    ("first of its kind", node("a"), pod(labels={"app": "x"}, affinity=near("podAffinity", "x")), []),
]


@pytest.mark.parametrize(("what", "where", "p", "why"), CASES, ids=[c[0] for c in CASES])
def test_one_node(what: str, where: Object, p: Object, why: list[str]) -> None:
    assert refusals(p, snapshot([where]))["a"] == why


def test_a_node_that_is_not_ready() -> None:
    lost = node("a")
    lost["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    assert refusals(pod(), snapshot([lost]))["a"] == ["node(s) had untolerated taint(s)"]


def test_host_ports() -> None:
    world = snapshot([node("a"), node("b")], {"a": [pod("other", host_port=80)]})
    assert refusals(pod(host_port=80), world) == {
        "a": ["node(s) didn't have free ports for the requested pod ports"],
        "b": [],
    }
    special = pod("other")
    special["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}]
    mine = pod()
    mine["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}]
    assert refusals(mine, snapshot([node("a")], {"a": [special]}))["a"] == []


def test_anti_affinity_works_in_both_directions() -> None:
    grumpy = pod("g", labels={"app": "x"}, affinity=near("podAntiAffinity", "x"))
    world = snapshot([node("a", zone="z1"), node("b", zone="z1")], {"a": [grumpy]})
    assert refusals(pod(labels={"app": "x"}), world) == {
        "a": ["node(s) didn't satisfy existing pods anti-affinity rules"],
        "b": [],
    }
    zone = near("podAntiAffinity", "x", "topology.kubernetes.io/zone")
    assert refusals(pod(labels={"app": "y"}, affinity=zone), world) == {
        "a": ["node(s) didn't match pod anti-affinity rules"],
        "b": ["node(s) didn't match pod anti-affinity rules"],
    }


def test_spread() -> None:
    rule = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
    mine = pod(labels={"app": "x"}, topologySpreadConstraints=[rule])
    world = snapshot([node("a"), node("b")], {"a": [pod("o", labels={"app": "x"})]})
    assert refusals(mine, world) == {"a": ["node(s) didn't match pod topology spread constraints"], "b": []}
    bare = node("c")
    bare["metadata"]["labels"] = {}
    assert refusals(mine, snapshot([bare])) == {
        "c": ["node(s) didn't match pod topology spread constraints (missing required label)"]
    }


def test_requests() -> None:
    def container(cpu: str, **more: Any) -> Object:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("100m"), container("1")],
        "initContainers": [container("200m", restartPolicy="Always"), container("3")],
        "overhead": {"cpu": "10m"},
    }
    assert of_pod(spec) == {"cpu": 3210}
    assert of_pod({**spec, "initContainers": [container("200m", restartPolicy="Always")]}) == {"cpu": 1310}


def test_scores_prefer_room_and_what_is_asked_for() -> None:
    world = snapshot([node("a"), node("b")], {"a": [pod("busy", cpu="3")]})
    assert choose(PodInfo(pod()), list(world), world).name == "b"
    wish = {
        "weight": 100,
        "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}]},
    }
    picky = PodInfo(pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}))
    assert choose(picky, list(world), world).name == "a"
    world = snapshot([node("a", taints=[{**TAINT, "effect": "PreferNoSchedule"}]), node("b")])
    assert choose(PodInfo(pod()), list(world), world).name == "b"


def test_siblings_are_spread() -> None:
    def owned(name: str) -> Object:
        out = pod(name)
        out["metadata"]["ownerReferences"] = [{"uid": "rs", "controller": True}]
        return out

    world = snapshot([node("a"), node("b")], {"a": [owned("1")]})
    result = scores(PodInfo(owned("2")), list(world), world)
    assert result["b"] > result["a"]


def test_messages() -> None:
    found = {"a": ["Insufficient cpu", "Too many pods"], "b": ["Insufficient cpu"], "c": ["node(s) were unschedulable"]}
    text = messages.preemption_text(
        3, {"a": preemption.NO_VICTIMS, "b": preemption.NO_VICTIMS, "c": preemption.NOT_HELPFUL}
    )
    assert messages.unschedulable(3, found, text) == (
        "0/3 nodes are available: 1 Too many pods, 1 node(s) were unschedulable, 2 Insufficient cpu. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: "
        "1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    )
    assert messages.unschedulable(0, {}, "") == "no nodes available to schedule pods"


def test_preemption_takes_the_fewest_and_least_important() -> None:
    world = snapshot(
        [node("a", cpu="2"), node("b", cpu="2")],
        {
            "a": [pod("a1", cpu="1", priority=5), pod("a2", cpu="1", priority=1)],
            "b": [pod("b1", cpu="2", priority=5)],
        },
    )
    urgent = pod("urgent", cpu="1", priority=10)
    chosen, _ = preemption.find(PodInfo(urgent), world, refusals(urgent, world))
    assert chosen is not None
    assert (chosen.node, [v.name for v in chosen.victims]) == ("a", ["a2"])
    modest = pod("modest", cpu="1", priority=1)
    chosen, reasons = preemption.find(PodInfo(modest), world, refusals(modest, world))
    assert chosen is None
    assert set(reasons.values()) == {preemption.NO_VICTIMS}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.booleans()), max_size=40))
@settings(max_examples=100, deadline=None)
def test_sums_of_a_node_are_always_those_of_its_pods(steps: list[tuple[str, int, bool]]) -> None:
    world = snapshot([node(n) for n in "abc"])
    truth: dict[str, tuple[str, int]] = {}
    for where, number, stays in steps:
        name = f"p{number % 7}"
        if stays:
            world.place(PodInfo(pod(name, cpu=f"{number}m", host_port=number)).lighten(), where)
            truth[name] = (where, number)
        else:
            world.remove(f"t/{name}")
            truth.pop(name, None)
    for n in world:
        mine = [number for where, number in truth.values() if where == n.name]
        assert n.requested.get("cpu", 0) == sum(mine)
        assert {port for _, _, port in n.ports} == {number for number in mine if number}


def test_a_pod_waits_for_its_claims_and_goes_where_they_were_allocated() -> None:
    claims: dict[str, Object] = {}
    check = ClaimCheck(claims.get)
    entries = [{"name": "a", "resourceClaimName": "own"}, {"name": "b", "resourceClaimTemplateName": "t"}]
    raw = pod("p", resourceClaims=entries)
    assert check.blocked(PodInfo(raw)) == 'resourceclaim "own" not found'
    claims["t/own"] = {"metadata": {"name": "own"}}
    assert check.blocked(PodInfo(raw)) == UNALLOCATED
    terms = [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
    claims["t/own"]["status"] = {"allocation": {"nodeSelector": {"nodeSelectorTerms": terms}}}
    assert check.blocked(PodInfo(raw)) == 'waiting for the claim of "b" to be made'
    raw["status"] = {"resourceClaimStatuses": [{"name": "b"}]}  # none was needed
    assert check.blocked(PodInfo(raw)) is None
    other = node("n2")
    other["metadata"]["labels"]["gpu"] = "x"
    found = [check.refuse(PodInfo(raw), n) for n in snapshot([node("n1"), other])]
    assert found == ["resourceclaim not available on the node", None]


class TestLive:
    """On a real API."""

    async def _run(self, body: Callable[[Client], Any], nodes: list[Object]) -> None:
        async with ApiServer() as api:
            client = Client(Loopback(api.app, LOOPBACK))
            await client.create(NAMESPACES, {"metadata": {"name": "t"}})
            await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "t"}})
            for n in nodes:
                await client.create(NODES, n)
                await client.patch(NODES, n["metadata"]["name"], {"status": n["status"]}, subresource="status")
                taints = {"spec": {"taints": n["spec"].get("taints")}}  # without what admission adds
                await client.patch(NODES, n["metadata"]["name"], taints)
            task = asyncio.create_task(run_scheduler(client))
            try:
                await body(client)
            finally:
                task.cancel()
                results = await asyncio.gather(task, return_exceptions=True)
                assert not isinstance(results[0], Exception), results[0]

    @staticmethod
    def _fresh(p: Object) -> Object:
        return {**p, "metadata": {k: v for k, v in p["metadata"].items() if k != "uid"}}

    @staticmethod
    async def _until(look: Callable[[], Any]) -> Any:
        async with asyncio.timeout(5):
            while True:
                try:
                    if found := await look():
                        return found
                except NotFound:
                    pass
                await asyncio.sleep(0.003)

    async def test_bound_and_said(self) -> None:
        async def body(client: Client) -> None:
            await client.create(PODS, self._fresh(pod("a", cpu="1")))
            await client.create(PODS, self._fresh(pod("other", schedulerName="somebody-else")))
            placed = await self._until(lambda: self._placed(client, "a"))
            [condition] = [c for c in placed["status"]["conditions"] if c["type"] == "PodScheduled"]
            assert condition["status"] == "True"
            event = await self._until(lambda: self._event(client, "Scheduled"))
            assert event["message"] == "Successfully assigned t/a to n1"
            assert event["source"]["component"] == "default-scheduler"
            assert not (await client.get(PODS, "other", "t"))["spec"].get("nodeName")

        await self._run(body, [node("n1")])

    async def test_waits_until_there_is_room(self) -> None:
        async def body(client: Client) -> None:
            for name in "abc":
                await client.create(PODS, self._fresh(pod(name, cpu="3")))
            event = await self._until(lambda: self._event(client, "FailedScheduling"))
            assert event["message"].startswith(
                "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preem"
            )
            waiting = (await self._pods(client, placed=False))[0]
            [condition] = [c for c in waiting["status"]["conditions"] if c["type"] == "PodScheduled"]
            assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
            for _ in range(2):
                first = (await self._pods(client, placed=True))[0]["metadata"]["name"]
                count = len(await self._pods(client, placed=False))
                await client.delete(PODS, first, "t", options={"gracePeriodSeconds": 0})
                await self._until(lambda count=count: self._fewer(client, count))

        await self._run(body, [node("n1")])

    async def test_gates_and_nodes_that_come_later(self) -> None:
        async def body(client: Client) -> None:
            await client.create(PODS, self._fresh(pod("gated", schedulingGates=[{"name": "example.com/g"}])))
            await client.create(PODS, self._fresh(pod("picky", nodeSelector={"disk": "ssd"})))
            await self._until(lambda: self._event(client, "FailedScheduling"))
            await client.patch(NODES, "n1", {"metadata": {"labels": {"disk": "ssd"}}})
            await self._until(lambda: self._placed(client, "picky"))
            assert not (await client.get(PODS, "gated", "t"))["spec"].get("nodeName")
            await client.patch(PODS, "gated", {"spec": {"schedulingGates": []}}, "t")
            await self._until(lambda: self._placed(client, "gated"))

        await self._run(body, [node("n1")])

    async def test_priority_makes_room(self) -> None:
        async def body(client: Client) -> None:
            from switchboard.client.resources import PRIORITYCLASSES

            await client.create(PRIORITYCLASSES, {"metadata": {"name": "high"}, "value": 1000})
            await client.create(PODS, self._fresh(pod("low", cpu="3")))
            await self._until(lambda: self._placed(client, "low"))
            await client.create(PODS, self._fresh(pod("urgent", cpu="3", priorityClassName="high", priority=1000)))
            low = await self._until(lambda: self._going(client, "low"))
            assert any(c["type"] == "DisruptionTarget" for c in low["status"]["conditions"])
            await client.delete(PODS, "low", "t", options={"gracePeriodSeconds": 0})
            await self._until(lambda: self._placed(client, "urgent"))

        await self._run(body, [node("n1")])

    async def test_a_resize_makes_room_when_it_is_in_force(self) -> None:
        async def body(client: Client) -> None:
            await client.create(PODS, self._fresh(pod("big", cpu="3")))
            placed = await self._until(lambda: self._placed(client, "big"))
            name = placed["spec"]["containers"][0]["name"]

            async def tell(cpu: str) -> None:
                has = {"allocatedResources": {"cpu": cpu}, "resources": {"requests": {"cpu": cpu}}}
                told = {"containerStatuses": [{"name": name, "image": "i", "imageID": "", "ready": True, **has}]}
                told["containerStatuses"][0]["restartCount"] = 0
                await client.patch(PODS, "big", {"status": told}, "t", subresource="status")

            await tell("3")
            less = {"spec": {"containers": [{"name": name, "resources": {"requests": {"cpu": "1"}}}]}}
            await client.patch(PODS, "big", less, "t", kind="strategic", subresource="resize")
            await client.create(PODS, self._fresh(pod("next", cpu="3")))
            await self._until(lambda: self._event(client, "FailedScheduling"))
            assert not (await client.get(PODS, "next", "t"))["spec"].get("nodeName")
            await tell("1")
            await self._until(lambda: self._placed(client, "next"))

        await self._run(body, [node("n1")])

    async def _going(self, client: Client, name: str) -> Object | None:
        p = await client.get(PODS, name, "t")
        return p if p["metadata"].get("deletionTimestamp") else None

    async def _placed(self, client: Client, name: str) -> Object | None:
        p = await client.get(PODS, name, "t")
        return p if p["spec"].get("nodeName") else None

    async def _pods(self, client: Client, *, placed: bool) -> list[Object]:
        found = (await client.list(PODS, "t"))["items"]
        return [p for p in found if bool(p["spec"].get("nodeName")) == placed]

    async def _fewer(self, client: Client, count: int) -> bool:
        return len(await self._pods(client, placed=False)) < count

    async def _event(self, client: Client, reason: str) -> Object | None:
        found = (await client.list(EVENTS, "t"))["items"]
        return next((e for e in found if e["reason"] == reason), None)
