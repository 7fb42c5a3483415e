"""Pods that name this node and cannot be on it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from switchboard.client.resources import NODES, PODS
from switchboard.node.admission import refusal
from switchboard.node.room import Given
from switchboard.testing.node import Node, condition, container

SLEEP = {"command": ["sleep", "1000"]}
PORT = {"ports": [{"containerPort": 80, "hostPort": 80}]}
NODE: dict[str, Any] = {"metadata": {"name": "n", "labels": {"disk": "ssd"}}}
CAN = {"cpu": "2", "memory": "1Gi", "pods": "3"}


async def test_a_taken_host_port_fails_the_second_pod_until_it_is_free(node: Node) -> None:
    await node.apply("first", {**SLEEP, **PORT})
    await node.ready("first")
    await node.apply("second", {**SLEEP, **PORT})
    status = (await node.phase("second", "Failed"))["status"]
    why = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert (status["reason"], status["message"]) == ("NodePorts", f"Pod was rejected: {why}")
    assert "NodePorts" in [e["reason"] for e in await node.events("second")]
    await node.client.delete(PODS, "first", "default")
    await node.gone("first")
    await node.apply("third", {**SLEEP, **PORT})  # at once: what has left the API has left the node's books
    await node.ready("third")
    await node.stop()
    node.start()
    await node.apply("fourth", {**SLEEP, **PORT})
    await node.phase("fourth", "Failed")
    assert condition(await node.ready("third"), "Ready") == "True"  # not asked again


async def test_labels_are_looked_at_as_they_are_now(node: Node) -> None:
    await node.apply("before", SLEEP)
    await node.ready("before")
    await node.client.patch(NODES, node.settings.name, {"metadata": {"labels": {"new": "yes"}}})
    await node.apply("wants", SLEEP, nodeSelector={"new": "yes"})
    await node.ready("wants")
    await node.apply("other", SLEEP, nodeSelector={"new": "no"})
    assert (await node.phase("other", "Failed"))["status"]["reason"] == "NodeAffinity"


async def test_what_the_runtime_cannot_do_is_not_done_otherwise(node: Node) -> None:
    await node.apply("users", SLEEP, hostUsers=False)
    mount = {"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": "Enabled"}
    await node.apply("strict", {**SLEEP, "volumeMounts": [mount]}, volumes=[{"name": "v", "emptyDir": {}}])
    await node.until("strict", lambda p: container(p)["state"]["waiting"]["reason"] == "CreateContainerConfigError")
    said = "Failed to create pod sandbox: rpc error: code = Unimplemented desc = the runtime does not support user"

    async def told() -> bool:
        return any(e["message"].startswith(said) for e in await node.events("users"))

    async with asyncio.timeout(20):
        while not await told():  # noqa: ASYNC110  # another process tells us nothing
            await asyncio.sleep(0.05)


def pod(requests: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "resources": {"requests": requests or {}}}], **spec}}


@pytest.mark.parametrize(
    ("asked", "others", "reason"),
    [
        (pod(), [], None),
        (pod({"cpu": "1500m"}), [pod({"cpu": "500m"})["spec"]], None),
        (pod({"cpu": "1501m"}), [pod({"cpu": "500m"})["spec"]], "OutOfcpu"),
        (pod({"memory": "2Gi"}), [], "OutOfmemory"),
        (pod({"example.com/fpga": "1"}), [], None),
        (pod(), [pod()["spec"]] * 3, "OutOfpods"),
        (pod(nodeSelector={"disk": "ssd"}), [], None),
        (pod(nodeSelector={"disk": "tape"}), [], "NodeAffinity"),
        (pod(os={"name": "windows"}), [], "PodOSNotSupported"),
        (pod(securityContext={"supplementalGroupsPolicy": "Strict"}), [], "SupplementalGroupsPolicyNotSupported"),
        (pod(securityContext={"sysctls": [{"name": "kernel.sem", "value": "1"}]}), [], "SysctlForbidden"),
    ],
)
def test_refusals(asked: dict[str, Any], others: list[Any], reason: str | None) -> None:
    found = refusal(asked, NODE, [Given.of(other) for other in others], CAN)
    assert (found and found[0]) == reason


def test_a_shortage_is_told_in_numbers_and_a_taint_by_its_plugin() -> None:
    found = refusal(pod({"cpu": "1800m"}), NODE, [Given.of(pod({"cpu": "500m"})["spec"])], CAN)
    numbers = "requested: 1800, used: 500, capacity: 2000"
    assert found == ("OutOfcpu", f"Pod was rejected: Node didn't have enough resource: cpu, {numbers}")
    tainted = {**NODE, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}
    found = refusal(pod(), tainted, [], CAN)
    assert found is not None and found[0] == "TaintToleration"
    assert refusal(pod(tolerations=[{"operator": "Exists"}]), tainted, [], CAN) is None
