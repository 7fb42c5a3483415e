"""Bounds of what pods write to the node's disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from switchboard.node import standing
from switchboard.node.storage import Usage, excess, limited, size_of
from switchboard.testing.node import Node, container

MIB = 1 << 20


async def test_a_pod_that_fills_its_scratch_volume_is_evicted(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "_MEASURE", 0.1)
    volume = {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}
    fill = {"command": ["sh", "-c", "trap '' TERM; head -c 3000000 /dev/zero > /v/x; while :; do sleep 1; done"]}
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    await node.apply("full", {**fill, **mounts}, volumes=[volume], terminationGracePeriodSeconds=1000)
    pod = await node.phase("full", "Failed")
    message = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert (pod["status"]["reason"], pod["status"]["message"]) == ("Evicted", message)
    assert container(pod)["state"]["terminated"]["exitCode"] == 137
    assert "Evicted" in [e["reason"] for e in await node.events("full")]


def pod(limit: str = "", **volumes: dict[str, str]) -> dict[str, Any]:
    resources = {"resources": {"limits": {"ephemeral-storage": limit}}} if limit else {}
    found = [{"name": name, "emptyDir": source} for name, source in volumes.items()]
    return {"spec": {"containers": [{"name": "a", **resources}, {"name": "b"}], "volumes": found}}


def test_what_is_too_much() -> None:
    assert not limited(pod(v={}, m={"medium": "Memory", "sizeLimit": "1Mi"}))
    assert limited(pod(v={"sizeLimit": "1Mi"})) and limited(pod("1Mi"))
    sized = pod(v={"sizeLimit": "1Mi"}, w={})
    assert excess(sized, Usage({"v": MIB, "w": 9 * MIB})) is None
    assert excess(sized, Usage({"v": MIB + 1})) == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    whole = excess(pod("2Mi", w={}), Usage({"w": MIB}, {"a": MIB, "b": 1}))
    assert whole == f"Pod ephemeral local storage usage exceeds the total limit of containers {2 * MIB}. "
    assert excess(pod("2Mi", w={}), Usage({"w": MIB}, {"a": MIB})) is None


def test_a_container_beyond_its_own_limit() -> None:
    both = pod("2Mi")
    both["spec"]["containers"][1]["resources"] = {"limits": {"ephemeral-storage": "8Mi"}}
    said = excess(both, Usage({}, {"a": 3 * MIB}))
    assert said == 'Container a exceeded its local ephemeral storage limit "2Mi". '


def test_sizes_are_those_on_disk_and_links_count_once(tmp_path: Path) -> None:
    empty = size_of(tmp_path)
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "away").symlink_to("/usr")
    assert 100_000 <= size_of(tmp_path) - empty < 120_000
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert size_of(tmp_path) - empty < 120_000
    assert size_of(tmp_path / "absent") == 0
