"""Where images come from: the files containerd reads, read with a TOML reader."""

from __future__ import annotations

import socket
import threading
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from switchboard.cluster import cni, containerd
from switchboard.cluster.config import ClusterConfig

MIRROR = "http://192.168.49.1:5000/v2/docker.io"
UPSTREAM = "https://registry-1.docker.io"


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    made = ClusterConfig("x", tmp_path / "state", tmp_path / "run", tmp_path / "images", egress=False)
    for folder in (made.state, made.run):
        folder.mkdir()
    return made


def order(config: ClusterConfig, host: str = "docker.io") -> list[str]:
    content = tomllib.loads((config.run / "certs.d" / host / "hosts.toml").read_text())
    return [*content["host"], content["server"]]


def test_without_a_way_out_nothing_but_the_mirror_is_asked(config: ClusterConfig) -> None:
    containerd.write(config, {"ghcr.io"})
    assert order(config) == [MIRROR, MIRROR]
    assert order(config, "ghcr.io") == ["http://192.168.49.1:5000/v2/ghcr.io"] * 2
    containerd.look_upstream(config)
    assert order(config) == [MIRROR, MIRROR]


def test_a_registry_that_can_be_reached_is_asked_first(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, egress=True)
    containerd.write(config, set())
    assert order(config) == [MIRROR, UPSTREAM, UPSTREAM]
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(containerd, "_PROBE", server.getsockname())
        containerd.look_upstream(config)
    assert order(config) == [UPSTREAM, MIRROR, UPSTREAM]


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_a_registry_that_cannot_be_reached_is_asked_last(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    config = replace(config, egress=True)
    containerd.write(config, set())
    answer = threading.Event()

    def connect(*_: object, **__: object) -> socket.socket:
        if how == "silent":
            answer.wait(10)
        raise ConnectionRefusedError

    monkeypatch.setattr(containerd.socket, "create_connection", connect)
    containerd.look_upstream(config, seconds=0.05)
    answer.set()
    assert order(config) == [MIRROR, UPSTREAM, UPSTREAM]


@pytest.mark.parametrize("capable", [True, False])
def test_the_configuration_is_toml_and_says_what_this_machine_can(config: ClusterConfig, capable: bool) -> None:
    text = containerd.configuration(config, snapshotter="native", may_lower_oom_score=capable, cni_bin="/usr/lib/cni")
    content = tomllib.loads(text)
    cri = content["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is not capable
    assert cri["containerd"]["snapshotter"] == "native"
    assert content["grpc"]["address"] == str(config.containerd_socket)


@pytest.mark.parametrize(("bridged", "kind"), [(True, "bridge"), (False, "ptp")])
def test_pods_hang_on_a_bridge_or_on_links_of_their_own(config: ClusterConfig, bridged: bool, kind: str) -> None:
    (plugin,) = cni.configuration(config, bridged=bridged)["plugins"]
    assert plugin["type"] == kind
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.244.0.0/24"}]]
    assert plugin["ipMasq"] is False
