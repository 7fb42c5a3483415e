"""Starts the supervisor process, and starts it again when it dies: it watches server and node, they watch it. So
whichever two of the three die, the third has them started again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import supervise
from .config import ClusterConfig

_log = logging.getLogger("switchboard.supervisor")

_AGAIN = 1.0  # seconds until a supervisor that was started is looked for in the record


def start_supervisor(config: ClusterConfig, within: Sequence[str] = ()) -> int:
    """Start the supervisor in a session of its own; `within` is a command that leads to where it belongs. Returns its
    pid.
    """
    config.logs.mkdir(parents=True, exist_ok=True)
    # imported by its bare name from its own folder: as `switchboard.cluster.supervise`, or run by path (which
    # compiles it in the process), it would weigh more
    code = (
        f"import sys; sys.path.insert(0, {str(Path(supervise.__file__).parent)!r}); import supervise; supervise.main()"
    )
    with open(config.logs / "supervisor.log", "ab") as log:
        process = subprocess.Popen(
            [*within, sys.executable, "-I", "-S", "-c", code, str(config.run)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    return process.pid


def guard_supervisor(config: ClusterConfig, *, wait: float = 0.0) -> None:
    """Start another supervisor whenever the present one dies, unless somebody else has done so after `wait` seconds.
    The new one takes over the processes that run.
    """
    path = config.run / "processes.json"
    try:
        record = json.loads(path.read_bytes())["supervisor"]
        pid = int(record["pid"])
        space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    except (OSError, ValueError, KeyError, TypeError):
        return  # run by hand, without one
    # the supervisor's network is the host's, which a process inside the node is not in
    within = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{space}", "--")
    _Guard(config, path, within, wait).look()


class _Guard:
    """Watches one supervisor after the other, as long as there is a record of them: without it, the cluster stops."""

    def __init__(self, config: ClusterConfig, path: Path, within: Sequence[str], wait: float) -> None:
        self._config, self._path, self._within, self._wait = config, path, within, wait
        self._loop = asyncio.get_running_loop()

    def look(self) -> None:
        """Wait for the end of the supervisor that the record names; start one when it names none that lives."""
        try:
            record = json.loads(self._path.read_bytes())["supervisor"]
            fd = os.pidfd_open(record["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            self._start()
            return
        if supervise.start_time(record["pid"]) != record["start"]:
            os.close(fd)
            self._start()
            return

        def died() -> None:
            self._loop.remove_reader(fd)
            os.close(fd)
            if self._path.exists():
                _log.warning("the supervisor (pid %d) died", record["pid"])
                self._loop.call_later(self._wait, self.look)

        self._loop.add_reader(fd, died)

    def _start(self) -> None:
        if self._path.exists():
            _log.warning("starting another supervisor")
            start_supervisor(self._config, self._within)
            self._loop.call_later(_AGAIN, self.look)
