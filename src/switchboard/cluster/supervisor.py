"""Starts the supervisor process, and starts it again when it dies while the server lives: it watches the server, the
server watches it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from . import supervise
from .config import ClusterConfig

_log = logging.getLogger("switchboard.server")


def start_supervisor(config: ClusterConfig) -> int:
    """Start the supervisor in a session of its own. Returns its pid."""
    config.logs.mkdir(parents=True, exist_ok=True)
    # imported by its bare name from its own folder: as `switchboard.cluster.supervise`, or run by path (which
    # compiles it in the process), it would weigh more
    code = (
        f"import sys; sys.path.insert(0, {str(Path(supervise.__file__).parent)!r}); import supervise; supervise.main()"
    )
    with open(config.logs / "supervisor.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, str(config.run)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    return process.pid


def guard_supervisor(config: ClusterConfig) -> None:
    """Start another supervisor whenever the present one dies; it takes over the processes that run."""
    path = config.run / "processes.json"
    try:
        record = json.loads(path.read_bytes())["supervisor"]
        if supervise.start_time(record["pid"]) != record["start"]:
            raise ProcessLookupError
        fd = os.pidfd_open(record["pid"])
    except (OSError, ValueError, KeyError):
        return  # run by hand, without one
    loop = asyncio.get_running_loop()

    def died() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        if path.exists():  # else it was told to stop
            _log.warning("the supervisor (pid %d) died; starting another", record["pid"])
            start_supervisor(config)
            loop.call_later(1.0, guard_supervisor, config)

    loop.add_reader(fd, died)
