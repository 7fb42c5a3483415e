"""That nothing of a cluster runs on after it was stopped, whoever else starts something meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from switchboard.cluster import config as configs
from switchboard.cluster import stop
from switchboard.cluster.supervise import start_time


def entry(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    return {"pid": process.pid, "start": start_time(process.pid)}


def test_a_supervisor_that_begins_while_its_cluster_is_stopped_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was started for one that had died, and writes its record when the old one has been read."""
    monkeypatch.setenv("SWITCHBOARD_STATE_DIR", str(tmp_path / "lib"))
    monkeypatch.setenv("SWITCHBOARD_RUN_DIR", str(tmp_path / "run"))
    config = configs.new("one")
    config.run.mkdir(parents=True)
    record, fresh = config.run / "processes.json", tmp_path / "fresh.json"
    until_told = "import signal, shutil, sys\nsignal.sigwait([signal.SIGTERM])\nshutil.copy(*sys.argv[1:])"
    blocked = (
        f"import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\nprint(flush=True)\n{until_told}"
    )
    argv = [sys.executable, "-c", blocked, str(fresh), str(record)]
    with (
        subprocess.Popen(["sleep", "1000"]) as later,
        subprocess.Popen(argv, stdout=subprocess.PIPE) as orphan,
    ):
        try:
            assert orphan.stdout is not None and orphan.stdout.readline() == b"\n"
            fresh.write_text(json.dumps({"supervisor": entry(later), "processes": {}}))
            dead = {"pid": 4194305, "start": 7}  # a process that cannot be
            record.write_text(json.dumps({"supervisor": dead, "processes": {"server": entry(orphan)}}))
            stop.end_processes(config)
            assert orphan.poll() is not None and later.poll() is not None
            assert not record.exists()
        finally:
            later.kill()
            orphan.kill()
