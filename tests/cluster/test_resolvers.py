"""Whom the node asks about names of the world, when the host is asked by other names."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from switchboard.cluster import network, resolvers, wiring
from switchboard.cluster.config import ClusterConfig


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterConfig:
    monkeypatch.setattr(resolvers, "_RESOLV_CONF", tmp_path / "resolv.conf")
    monkeypatch.setattr(resolvers, "_BEHIND_STUBS", (tmp_path / "behind",))
    monkeypatch.setattr(wiring, "_RESOLVERS_EVERY", 0.005)
    (tmp_path / "run").mkdir()
    return ClusterConfig("one", tmp_path / "state", tmp_path / "run", tmp_path / "images", egress=True)


def servers(config: ClusterConfig) -> list[str]:
    lines = wiring.write_resolv_conf(config).read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver ")]


def test_a_resolver_of_the_hosts_loopback_is_never_the_nodes(config: ClusterConfig, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\noptions edns0\n")
    assert servers(config) == [] and resolvers.stubs() == []
    (tmp_path / "behind").write_text("nameserver 127.0.0.1\nnameserver 198.51.100.53\nnameserver 198.51.100.54\n")
    assert servers(config) == ["198.51.100.53", "198.51.100.54"]
    assert resolvers.stubs() == [("127.0.0.53", "198.51.100.53")]
    assert servers(replace(config, egress=False)) == []


async def test_the_host_moves_to_another_network_while_the_cluster_runs(
    config: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 198.51.100.53\n")
    assert servers(config) == ["198.51.100.53"]
    read: asyncio.Queue[list[str]] = asyncio.Queue()
    told: asyncio.Queue[list[tuple[str, str]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(_: ClusterConfig) -> None:  # in a thread, as it runs a program
        loop.call_soon_threadsafe(told.put_nowait, resolvers.stubs())

    monkeypatch.setattr(network, "tell_resolvers", tell)
    task = asyncio.create_task(
        wiring._follow_resolvers(config, lambda: read.put_nowait((config.run / "resolv.conf").read_text().split()))
    )
    async with asyncio.timeout(10):
        await asyncio.sleep(0)
        (tmp_path / "resolv.conf").write_text("nameserver 203.0.113.53\n")
        assert await read.get() == ["nameserver", "203.0.113.53"]
        assert await told.get() == []
        (tmp_path / "behind").write_text("nameserver 203.0.113.54\n")
        await told.get()
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\n")
        while await read.get() != ["nameserver", "203.0.113.54"]:
            pass
        while await told.get() != [("127.0.0.53", "203.0.113.54")]:
            pass
    task.cancel()
