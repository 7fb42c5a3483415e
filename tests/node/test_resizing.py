"""Resizes of running pods: what is asked for, allocated and in force, and what is said meanwhile."""

from __future__ import annotations

from typing import Any

from switchboard.client.resources import NODES, PODS
from switchboard.node.resizing import changes
from switchboard.node.room import shortage
from switchboard.objects.podresources import amounts, of_pod, settled
from switchboard.testing.node import Node, condition, container

SLEEP = {"command": ["sleep", "1000"]}
BOTH = ("PodResizePending", "PodResizeInProgress")


def asked(cpu: str, memory: str) -> dict[str, dict[str, str]]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


async def resize(node: Node, name: str, **resources: dict[str, dict[str, str]]) -> None:
    patch = {"spec": {"containers": [{"name": n, "resources": given} for n, given in resources.items()]}}
    await node.client.patch(PODS, name, patch, "default", kind="strategic", subresource="resize")


def quiet(pod: dict[str, Any]) -> bool:
    return not any(c["type"] in BOTH for c in pod["status"]["conditions"])


async def test_a_restart_for_memory_is_told_when_it_has_happened(node: Node) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    burst = {"requests": {"cpu": "20m", "memory": "35Mi"}, "limits": {"cpu": "30m", "memory": "45Mi"}}
    await node.apply("grown", {**SLEEP, "resources": burst, "resizePolicy": policy})
    await node.ready("grown")
    more = {"requests": {"cpu": "20m", "memory": "40Mi"}, "limits": {"cpu": "30m", "memory": "45Mi"}}
    await resize(node, "grown", c=more)
    pod = await node.until("grown", lambda p: container(p)["resources"] == more and container(p)["ready"])
    assert container(pod)["restartCount"] == 1  # the request alone is reason enough, and it is told no earlier
    assert container(pod)["allocatedResources"] == more["requests"]
    assert quiet(pod)
    said = [e["reason"] for e in await node.events("grown")]
    assert said.count("ResizeStarted") == said.count("ResizeCompleted") == 1


async def test_what_does_not_fit_waits_or_is_refused(node: Node) -> None:
    small = asked("50m", "32Mi")
    await node.apply("one", {**SLEEP, "resources": small})
    await node.ready("one")
    can = (await node.client.get(NODES, node.settings.name))["status"]["allocatable"]
    whole = amounts(can)["cpu"]
    half, most = f"{whole // 2}m", f"{whole * 3 // 4}m"
    await node.apply("two", {**SLEEP, "resources": asked(half, "32Mi")})
    await node.ready("two")
    await resize(node, "one", c=asked(most, "32Mi"))
    pod = await node.until("one", lambda p: condition(p, "PodResizePending") == "True")
    told = next(c for c in pod["status"]["conditions"] if c["type"] == "PodResizePending")
    assert told["reason"] == "Deferred"
    assert told["message"].startswith("Node didn't have enough resource: cpu, requested: ")
    assert told["observedGeneration"] == pod["metadata"]["generation"] == pod["status"]["observedGeneration"]
    assert container(pod)["resources"] == small
    assert container(pod)["allocatedResources"] == small["requests"]
    assert of_pod(settled(pod))["cpu"] == whole * 3 // 4  # the scheduler keeps that free
    await resize(node, "two", c=asked("50m", "32Mi"))  # makes room
    pod = await node.until("one", lambda p: quiet(p) and container(p)["resources"] == asked(most, "32Mi"))
    assert container(pod)["restartCount"] == 0
    await resize(node, "one", c=asked(f"{whole + 1}m", "32Mi"))
    pod = await node.until("one", lambda p: condition(p, "PodResizePending") == "True")
    told = next(c for c in pod["status"]["conditions"] if c["type"] == "PodResizePending")
    assert told["reason"] == "Infeasible"
    assert told["message"] == f"Node didn't have enough capacity: cpu, requested: {whole + 1}, capacity: {whole}"
    assert of_pod(settled(pod))["cpu"] == whole * 3 // 4
    await node.stop()
    node.start()  # what was allocated is known to whoever comes after
    await resize(node, "one", c=small)
    await node.until("one", lambda p: quiet(p) and container(p)["resources"] == small)


async def test_a_limit_below_what_is_in_use_is_an_error(node: Node) -> None:
    fill = {"command": ["sh", "-c", "head -c 20000000 /dev/zero | tail -c 20000000 > /dev/shm/x; exec sleep 1000"]}
    await node.apply("full", {**fill, "resources": asked("50m", "64Mi")})
    await node.ready("full")
    await node.sh("full", "until [ $(stat -c %s /dev/shm/x) = 20000000 ]; do :; done")
    await resize(node, "full", c=asked("50m", "10Ki"))
    pod = await node.until("full", lambda p: condition(p, "PodResizeInProgress") == "True")
    told = next(c for c in pod["status"]["conditions"] if c["type"] == "PodResizeInProgress")
    assert told["reason"] == "Error"
    assert told["message"].startswith('attempting to set container "c" memory limit (10240) below current usage (')
    assert container(pod)["resources"] == asked("50m", "64Mi")
    await resize(node, "full", c=asked("50m", "64Mi"))
    await node.until("full", quiet)


async def test_the_bounds_of_a_pod_as_a_whole(node: Node) -> None:
    small, large = asked("100m", "64Mi"), asked("200m", "96Mi")
    await node.apply("whole", SLEEP, resources=small)
    await node.ready("whole")
    pod = await node.until("whole", lambda p: p["status"].get("resources") == small)
    assert pod["status"]["allocatedResources"] == small["requests"]
    await node.client.patch(PODS, "whole", {"spec": {"resources": large}}, "default", subresource="resize")
    pod = await node.until("whole", lambda p: p["status"].get("resources") == large and quiet(p))
    assert pod["status"]["allocatedResources"] == large["requests"] and of_pod(settled(pod))["cpu"] == 200
    assert container(pod)["restartCount"] == 0
    can = (await node.client.get(NODES, node.settings.name))["status"]["allocatable"]
    most = asked(f"{amounts(can)['cpu'] + 1}m", "96Mi")
    await node.client.patch(PODS, "whole", {"spec": {"resources": most}}, "default", subresource="resize")
    pod = await node.until("whole", lambda p: condition(p, "PodResizePending") == "True")
    assert pod["status"]["resources"] == large and of_pod(settled(pod))["cpu"] == 200


def test_only_what_grows_needs_room() -> None:
    whole = {"cpu": 1000, "memory": 100}
    assert shortage({"cpu": 900}, {"cpu": 800, "memory": 50}, [{"cpu": 900}], whole) is None
    assert shortage({}, {"cpu": 1001}, [], whole) == (
        "Infeasible", "Node didn't have enough capacity: cpu, requested: 1001, capacity: 1000",
    )  # fmt: skip
    assert shortage({"memory": 20}, {"memory": 30}, [{"memory": 40}, {"memory": 31}], whole) == (
        "Deferred", "Node didn't have enough resource: memory, requested: 30, used: 71, capacity: 100",
    )  # fmt: skip


def test_equal_amounts_are_no_change() -> None:
    assert changes({"requests": {"cpu": "1000m"}}, {"requests": {"cpu": "1", "gpu": "2"}}) == set()
    assert changes({"limits": {"cpu": "2m"}}, {"limits": {"cpu": "1m"}, "requests": {"memory": "1"}}) == {
        "cpu",
        "memory",
    }
