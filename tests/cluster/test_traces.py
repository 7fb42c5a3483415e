"""Whose things are taken for those of a cluster that lost its description."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from switchboard.cli import down
from switchboard.cluster import cgroups, traces
from switchboard.cluster.errors import ClusterError


def test_a_cluster_that_has_its_description_elsewhere_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was started with another folder in the environment: nobody stops it, or forgets its objects, by mistake."""
    monkeypatch.setenv("SWITCHBOARD_STATE_DIR", str(tmp_path / "here"))
    monkeypatch.setenv("SWITCHBOARD_RUN_DIR", str(tmp_path / "run"))
    description = tmp_path / "elsewhere" / "never-there" / "cluster.json"
    description.parent.mkdir(parents=True)
    description.write_text("{}")
    argv = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", str(description)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"\n"
        monkeypatch.setattr(cgroups, "processes", lambda path: {server.pid})
        for words in ([], ["--purge"]):
            with pytest.raises(ClusterError, match=f"keeps its state in {tmp_path}/elsewhere"):
                down.run("down", words, "never-there")
        assert server.poll() is None and description.exists()
        description.unlink()
        left = traces.left("never-there")
        assert left is not None and left.state == description.parent
