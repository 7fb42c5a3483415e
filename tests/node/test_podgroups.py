"""Control groups of pods as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from switchboard.client.resources import PODS
from switchboard.node.configs import cgroup_of, oom_score
from switchboard.node.fields import resource_field
from switchboard.node.podgroups import Bounds, bounds, files
from switchboard.testing.node import Node, container
from switchboard.testing.waiting import wait_for

SLEEP = {"command": ["sleep", "1000"]}
MIB = 1 << 20


def asked(cpu: str, memory: str) -> dict[str, dict[str, str]]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def held(node: Node, pod: dict[str, Any], *names: str) -> str:
    """What stands in the one file of these that the pod's group has."""
    path = cgroup_of(pod, node.settings).strip("/")
    top = Path("/sys/fs/cgroup")
    found = [root / path / name for root in (top, *top.iterdir()) for name in names]
    return next(file.read_text().strip() for file in found if file.exists())


async def test_containers_without_limits_are_held_by_their_pods(node: Node) -> None:
    resources = {"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "32Mi"}}
    fill = {"command": ["sh", "-c", "head -c 60000000 /dev/zero | tail -c 60000000 > /dev/null; exec sleep 1000"]}
    await node.apply("whole", fill, resources=resources, restartPolicy="Never")
    pod = await node.phase("whole", "Running")
    assert held(node, pod, "memory.limit_in_bytes", "memory.max") == str(32 * MIB)
    assert held(node, pod, "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert held(node, pod, "cpu.shares", "cpu.weight") in ("102", "4")


async def test_pods_without_requests_are_together_worth_least_and_others_what_they_ask_for(node: Node) -> None:
    """A hundred pods that ask for nothing may not outweigh one that asked for half a processor."""

    def shares(name: str) -> str:
        top, path = Path("/sys/fs/cgroup"), f"{node.settings.cgroup_parent}/{name}".strip("/")
        found = [root / path / file for root in (top, *top.iterdir()) for file in ("cpu.shares", "cpu.weight")]
        return next(file.read_text().strip() for file in found if file.exists())

    def some(cpu: str) -> dict[str, Any]:
        return {**SLEEP, "resources": {"requests": {"cpu": cpu}}}

    def worth(shares: int) -> tuple[str, str]:
        return str(shares), str(1 + (shares - 2) * 9999 // 262142)

    await node.apply("nothing", SLEEP)
    await node.apply("some", some("250m"))
    await node.ready("nothing")
    await node.ready("some")
    assert shares("besteffort") in worth(2) and shares("burstable") in worth(256)
    await node.apply("more", some("500m"))
    await node.ready("more")
    assert shares("burstable") in worth(768)
    await node.delete("some", gracePeriodSeconds=0)
    await node.gone("some")
    await node.apply("another", SLEEP)
    await node.ready("another")
    assert shares("burstable") in worth(512)


async def test_the_group_of_a_bounded_pod_follows_a_resize(node: Node) -> None:
    await node.apply("grown", {**SLEEP, "resources": asked("100m", "32Mi")}, {**SLEEP, "name": "d"})
    await node.apply("both", {**SLEEP, "resources": asked("100m", "32Mi")})
    pod, part = await node.ready("both"), await node.ready("grown")
    memory = ("memory.limit_in_bytes", "memory.max")
    assert held(node, pod, *memory) == str(32 * MIB)
    assert held(node, part, *memory) in (str((1 << 63) - 4096), "max")  # not all of it is bounded
    for cpu, size, quota in (("200m", "64Mi", "20000"), ("50m", "24Mi", "5000")):
        patch = {"spec": {"containers": [{"name": "c", "resources": asked(cpu, size)}]}}
        await node.client.patch(PODS, "both", patch, "default", kind="strategic", subresource="resize")
        wanted = asked(cpu, size)
        await node.until("both", lambda p, wanted=wanted: container(p)["resources"] == wanted)
        wait_for(lambda size=size: held(node, pod, *memory) == str(int(size[:-2]) * MIB), 10, what="the group")
        assert held(node, pod, "cpu.cfs_quota_us", "cpu.max").split()[0] == quota


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    found = [{"name": str(i), "resources": each} for i, each in enumerate(containers)]
    return {"metadata": {"uid": "u"}, "spec": {"containers": found, **spec}}


def test_bounds() -> None:
    assert bounds(pod({})) == Bounds(2, None, None)
    assert bounds(pod(asked("1", "1Mi"), asked("500m", "2Mi"))) == Bounds(1536, 150_000, 3 * MIB)
    assert bounds(pod(asked("1", "1Mi"), {"limits": {"cpu": "1"}})) == Bounds(1024, 200_000, None)
    whole = pod({}, resources={"requests": {"cpu": "250m"}, "limits": {"memory": "8Mi"}})
    assert bounds(whole) == Bounds(256, None, 8 * MIB)
    assert Bounds(5, 10, None).widest(Bounds(7, 9, 3)) == Bounds(7, 10, None)
    assert files(Bounds(1024, None, 5)) == {
        "cpu.shares": "1024",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "-1",
        "memory.limit_in_bytes": "5",
        "cpu.weight": "39",
        "cpu.max": "max 100000",
        "memory.max": "5",
    }


def test_what_a_container_has_of_its_pod() -> None:
    whole = pod({}, {"requests": {"memory": "20"}}, resources={"requests": {"memory": "60"}, "limits": {"cpu": "2"}})
    first, second = whole["spec"]["containers"]
    assert resource_field(whole, first, {"resource": "limits.cpu"}, {"cpu": "8"}) == "2"
    assert (oom_score(whole, first, 100), oom_score(whole, second, 100)) == (800, 600)
