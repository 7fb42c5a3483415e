"""The node among its neighbours: its Node and Lease, a runtime that dies, an API that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from switchboard.client import Disconnected
from switchboard.client.resources import EVENTS, LEASES, NODES
from switchboard.node.cleanup import remove_everything
from switchboard.testing.node import NODE_IP, Machine, Node, condition, container


async def until(holds: Callable[[], Any], seconds: float = 15) -> Any:
    """The first true value of an asynchronous question."""
    async with asyncio.timeout(seconds):
        while not (found := await holds()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return found


async def test_the_node_registers_and_reports(node: Node) -> None:
    async def there() -> Any:
        items = (await node.client.list(NODES))["items"]
        return items[0] if items else None

    found = await until(there)
    status = found["status"]
    assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "one"
    assert found["metadata"]["annotations"] == {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    assert found["spec"]["podCIDR"] == "10.244.0.0/24"
    assert {a["type"]: a["address"] for a in status["addresses"]} == {"InternalIP": NODE_IP, "Hostname": "one"}
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "Ready": "True",
    }
    assert status["capacity"]["pods"] == "110" and status["allocatable"]["cpu"] == status["capacity"]["cpu"]
    assert status["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://1.")
    assert status["nodeInfo"]["kubeletVersion"] == "v1.36.2"
    assert any("docker.io/library/busybox:latest" in image["names"] for image in status["images"])

    async def leased() -> Any:
        return (await node.client.list(LEASES, "kube-node-lease"))["items"]

    lease = (await until(leased))[0]
    assert lease["spec"]["holderIdentity"] == "one" and lease["spec"]["leaseDurationSeconds"] == 40
    assert lease["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]

    async def said() -> Any:
        events = (await node.client.list(EVENTS, "default"))["items"]
        reasons = {e["reason"] for e in events if e["involvedObject"]["kind"] == "Node"}
        return {"Starting", "NodeReady", "NodeHasSufficientMemory"} <= reasons

    await until(said)


async def test_a_restarted_node_takes_its_object_over(node: Node) -> None:
    async def there() -> Any:
        return (await node.client.list(NODES))["items"]

    await until(there)
    await node.stop()
    own = {"metadata": {"labels": {"mine": "stays"}, "annotations": {"a": "b"}}}
    await node.client.patch(NODES, "one", own)
    node.start()
    await node.apply("web", {"command": ["sleep", "1000"]})
    await node.ready("web")
    found = (await there())[0]
    assert found["metadata"]["labels"]["mine"] == "stays"
    assert found["metadata"]["annotations"]["a"] == "b"
    assert found["metadata"]["annotations"]["volumes.kubernetes.io/controller-managed-attach-detach"] == "true"
    assert found["metadata"]["labels"]["kubernetes.io/os"] == "linux"


async def test_containers_outlive_their_runtime(node: Node, machine: Machine) -> None:
    await node.apply("steady", {"command": ["sleep", "1000"]})
    await node.apply("victim", {"command": ["sleep", "1000"]})
    before, victim = await node.ready("steady"), await node.ready("victim")
    machine.kill()
    await node.apply("late", {"command": ["sleep", "1000"]})
    machine.start()
    await node.ready("late")
    ident = container(victim)["containerID"].removeprefix("containerd://")
    node.runtime.close()
    await node.runtime.stop_container(ident, 0)
    await node.until("victim", lambda p: container(p)["restartCount"] == 1 and condition(p, "Ready") == "True")
    after = await node.ready("steady")
    assert container(after)["containerID"] == container(before)["containerID"]
    assert container(after)["restartCount"] == 0


async def test_containers_restart_while_the_api_is_away(node: Node) -> None:
    await node.apply("lonely", {"command": ["sleep", "1000"]})
    before = await node.ready("lonely")
    transport = node.agent._client.transport
    request = transport.request

    async def away(*_: Any) -> Any:
        raise Disconnected("the API is away")

    transport.request = away  # type: ignore[method-assign]
    try:
        ident = container(before)["containerID"].removeprefix("containerd://")
        await node.runtime.stop_container(ident, 0)

        async def again() -> Any:
            running = [c for c in await node.runtime.list_containers() if c.get("state") == 1]
            return running and running[0]["id"] != ident

        await until(again)
    finally:
        transport.request = request  # type: ignore[method-assign]
    after = await node.until("lonely", lambda p: container(p)["restartCount"] == 1 and condition(p, "Ready") == "True")
    assert after["status"]["podIP"] == before["status"]["podIP"]


async def test_everything_can_be_removed_without_the_api(node: Node) -> None:
    volumes = [{"name": "mem", "emptyDir": {"medium": "Memory"}}]
    mounts = [{"name": "mem", "mountPath": "/m"}]
    await node.apply("one", {"command": ["sleep", "1000"], "volumeMounts": mounts}, volumes=volumes)
    pod = await node.ready("one")
    await node.stop()
    assert await remove_everything(node.settings, grace=0) == 1
    assert await node.leftovers(pod["metadata"]["uid"]) == []
    assert str(node.settings.root_dir) not in Path("/proc/self/mounts").read_text()


async def test_pods_after_the_runtime_has_forgotten_everything(node: Node) -> None:
    await node.apply("server", {"command": ["sleep", "1000"]})
    await node.apply("job", {"command": ["true"]}, restartPolicy="Never")
    await node.ready("server")
    done = await node.phase("job", "Succeeded")
    await node.stop()
    await remove_everything(node.settings, grace=0)
    node.start()
    await node.until("server", lambda p: container(p)["restartCount"] == 1)
    after = await node.ready("server")
    assert container(after)["lastState"].get("terminated", {}).get("exitCode", 137) == 137
    job = await node.pod("job")
    assert job is not None and job["status"]["phase"] == "Succeeded"
    assert container(job)["state"] == container(done)["state"]
    assert [s["metadata"]["name"] for s in await node.runtime.list_sandboxes()] == ["server"]
