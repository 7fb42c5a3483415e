"""Probes on real containers: who is ready, who is restarted, and when."""

from __future__ import annotations

import asyncio

from switchboard.testing.node import Node, condition, container

HTTPD = "mkdir -p /www; echo ok > /www/ok; httpd -p 8080 -h /www; "


async def test_readiness_follows_what_the_probe_finds(node: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    await node.apply("web", {"command": ["sleep", "1000"], "readinessProbe": probe})
    pod = await node.phase("web", "Running")
    assert condition(pod, "Ready") == "False" and container(pod)["started"]
    await node.sh("web", "touch /ready")
    await node.ready("web", 5)
    await node.sh("web", "rm /ready")
    pod = await node.until("web", lambda p: condition(p, "Ready") == "False", 5)
    assert container(pod)["restartCount"] == 0
    said = [e for e in await node.events("web") if e["reason"] == "Unhealthy"]
    assert said[0]["message"].startswith("Readiness probe failed:")


async def test_http_tcp_and_named_ports(node: Node) -> None:
    ports = [{"name": "web", "containerPort": 8080}]
    main = {"command": ["sh", "-c", HTTPD + "exec sleep 1000"], "ports": ports}
    http = {"httpGet": {"path": "/ok", "port": "web"}, "periodSeconds": 1}
    bad = {"httpGet": {"path": "/missing", "port": 8080}, "periodSeconds": 1}
    await node.apply("http", {**main, "readinessProbe": http})
    await node.apply("tcp", {**main, "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}})
    await node.apply("bad", {**main, "readinessProbe": bad})
    await node.apply(
        "deaf", {"command": ["sleep", "1000"], "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    )
    await node.ready("http", 5)
    await node.ready("tcp", 5)
    async with asyncio.timeout(5):
        for name, message in (
            ("bad", "Readiness probe failed: HTTP probe failed with statuscode: 404"),
            ("deaf", "Readiness probe failed: dial tcp {ip}:8080: connect: connection refused"),
        ):
            while not (said := [e for e in await node.events(name) if e["reason"] == "Unhealthy"]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            pod = await node.pod(name)
            assert pod is not None and condition(pod, "Ready") == "False"
            assert said[0]["message"] == message.format(ip=pod["status"]["podIP"])


async def test_a_container_that_does_not_live_is_restarted(node: Node) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test -e /ok || { echo sick; exit 1; }"]}, "periodSeconds": 1}
    live = {"command": ["sleep", "1000"], "livenessProbe": {**probe, "failureThreshold": 2}}
    await node.apply("sick", live, terminationGracePeriodSeconds=0)
    await node.until("sick", lambda p: container(p)["restartCount"] == 1, 15)
    said = {e["reason"]: e["message"] for e in await node.events("sick")}
    assert said["Unhealthy"] == "Liveness probe failed: sick\n"
    assert said["Killing"] == "Container c failed liveness probe, will be restarted"


async def test_nothing_else_is_asked_before_the_startup_probe_has_passed(node: Node) -> None:
    main = {
        "command": ["sleep", "1000"],
        "startupProbe": {"exec": {"command": ["test", "-e", "/up"]}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"exec": {"command": ["test", "-e", "/up"]}, "periodSeconds": 1, "failureThreshold": 1},
    }
    hopeless = {**main, "startupProbe": {**main["startupProbe"], "failureThreshold": 1}}  # type: ignore[dict-item]
    await node.apply("slow", main)
    await node.apply("hopeless", hopeless, terminationGracePeriodSeconds=0)
    pod = await node.phase("slow", "Running")
    assert not container(pod)["started"] and condition(pod, "Ready") == "False"
    again = await node.until("hopeless", lambda p: container(p)["restartCount"] >= 1, 10)
    said = {e["reason"]: e["message"] for e in await node.events("hopeless")}
    assert said["Killing"] == "Container c failed startup probe, will be restarted"
    assert container(again)["restartCount"] >= 1
    pod = await node.pod("slow")
    assert pod is not None and container(pod)["restartCount"] == 0
    await node.sh("slow", "touch /up")
    pod = await node.ready("slow", 5)
    assert container(pod)["started"]


async def test_a_probe_that_takes_too_long_has_failed(node: Node) -> None:
    probe = {"exec": {"command": ["sleep", "10"]}, "periodSeconds": 1, "timeoutSeconds": 1}
    await node.apply("late", {"command": ["sleep", "1000"], "readinessProbe": probe})
    async with asyncio.timeout(10):
        while not (said := [e for e in await node.events("late") if e["reason"] == "Unhealthy"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert said[0]["message"] == 'Readiness probe failed: command timed out: "sleep 10" timed out after 1s'


async def test_an_agent_that_starts_again_keeps_what_it_told(node: Node) -> None:
    """Until a probe finds otherwise: a node that is updated takes no pod out of its Services."""
    held = {"exec": {"command": ["sh", "-c", "while [ -e /hold ]; do sleep 0.1; done; test -e /ready"]}}
    held |= {"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 60}  # type: ignore[dict-item]
    up = {"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1, "failureThreshold": 60}
    await node.apply("kept", {"command": ["sleep", "1000"], "readinessProbe": held, "startupProbe": up})
    await node.phase("kept", "Running")
    await node.sh("kept", "touch /ready")
    before = await node.ready("kept", 5)
    await node.sh("kept", "touch /hold")
    await node.stop()
    node.start()
    await node.apply("after", {"command": ["sleep", "1000"]})
    await node.ready("after")
    pod = await node.pod("kept")
    assert pod is not None and container(pod)["started"] and container(pod)["ready"]
    assert pod["status"]["conditions"] == before["status"]["conditions"]
    await node.sh("kept", "rm /ready /hold")
    pod = await node.until("kept", lambda p: condition(p, "Ready") == "False", 5)
    assert container(pod)["started"]


async def test_readiness_gates_wait_for_somebody_else(node: Node) -> None:
    from switchboard.client.resources import PODS

    gates = [{"conditionType": "example.com/open"}]
    await node.apply("gated", {"command": ["sleep", "1000"]}, readinessGates=gates)
    pod = await node.until("gated", lambda p: condition(p, "ContainersReady") == "True")
    assert condition(pod, "Ready") == "False"
    opened = {"status": {"conditions": [{"type": "example.com/open", "status": "True"}]}}
    await node.client.patch(PODS, "gated", opened, "default", kind="strategic", subresource="status")
    pod = await node.ready("gated", 5)
    assert condition(pod, "example.com/open") == "True"
