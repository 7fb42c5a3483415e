"""A machine that stops, stops the cluster first: what systemd is told, and what it then runs."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from switchboard.cluster import shutdown
from switchboard.cluster.config import ClusterConfig


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    return ClusterConfig("mine", tmp_path / "state", tmp_path / "run", tmp_path / "images")


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def systemd_words(line: str) -> list[str]:
    """A command line as systemd takes it apart; its quoting is close enough to the shell's, then come % and $."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


@pytest.mark.parametrize(("state", "stops"), [("stopping", True), ("running", False), ("degraded", False)])
def test_the_cluster_is_stopped_with_the_machine_and_only_then(
    config: ClusterConfig, tmp_path: Path, state: str, stops: bool
) -> None:
    folder = tmp_path / "50% of $HOME"
    folder.mkdir()
    launcher = program(folder, "switchboard", f'echo "$*" >{tmp_path}/called')
    program(tmp_path, "systemctl", f"echo {state}; [ {state} = running ]")
    argv = shutdown.command(config, str(launcher))
    line = next(word.partition("ExecStop=")[2] for word in argv if "ExecStop=" in word)
    subprocess.run(systemd_words(line), check=True, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    called = tmp_path / "called"
    assert called.exists() == stops
    assert not stops or called.read_text() == "down --name mine\n"


def test_the_unit_comes_and_goes_with_the_cluster_and_not_while_it_is_being_stopped(
    config: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("systemd-run", "systemctl"):
        program(tmp_path, name, f'echo {name} "$@" >>{tmp_path}/said')
    said = tmp_path / "said"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SWITCHBOARD_LAUNCHER", "/opt/switchboard/switchboard")
    monkeypatch.setenv("SWITCHBOARD_STATE_DIR", "/srv/state")
    monkeypatch.setattr(shutdown, "_FIRST_NETWORK", Path("/proc/self/ns/net"))
    monkeypatch.setattr(shutdown, "_SYSTEMD", tmp_path / "none")
    shutdown.register(config)
    shutdown.forget(config)
    assert not said.exists()
    monkeypatch.setattr(shutdown, "_SYSTEMD", tmp_path)
    shutdown.register(config)
    made = said.read_text()
    assert "--unit=switchboard-mine.service" in made and "--setenv=SWITCHBOARD_STATE_DIR=/srv/state" in made
    said.unlink()
    shutdown.forget(config)
    assert said.read_text() == "systemctl stop switchboard-mine.service\n"
    said.unlink()
    monkeypatch.setenv(shutdown.STOPPED_BY, "1")
    shutdown.forget(config)  # it would wait for itself
    assert not said.exists()
