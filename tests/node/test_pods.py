"""Pods on real containers: from the API object to a running process and back to nothing."""

from __future__ import annotations

from switchboard.testing.node import Node, container


async def test_a_pod_runs_has_an_address_and_is_gone_without_a_trace(node: Node) -> None:
    await node.apply("web", {"command": ["sh", "-c", "echo hello; exec sleep 1000"]})
    pod = await node.ready("web")
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("10.244.0.")
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["hostIP"] == node.settings.ip
    assert container(pod)["containerID"].startswith("containerd://")
    assert container(pod)["restartCount"] == 0
    assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True"
    )
    assert await node.log("web") == "hello\n"
    uid = pod["metadata"]["uid"]
    await node.delete("web")
    await node.nothing_left(uid)
    said = [e["reason"] for e in await node.events("web")]
    assert said == ["Pulled", "Created", "Started", "Killing"]
