"""Control groups of a cluster, in every version of them: found by mount table, filled by the supervisor, killed and
removed at the end.

A cluster owns `switchboard/<name>` below each hierarchy's root: one leaf per process of ours, and `pods` for the
containers. In version 2 a group with children may hold no process itself, so nothing is ever put into
`switchboard/<name>` directly.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def hierarchies() -> list[Path]:
    """Root folders of all mounted hierarchies, version 2 first."""
    two, one = [], []
    with open("/proc/mounts") as mounts:
        for line in mounts:
            words = line.split()
            if words[2] == "cgroup2":
                two.append(Path(words[1]))
            elif words[2] == "cgroup":
                one.append(Path(words[1]))
    return two + one


def tracking_root() -> Path | None:
    """The one hierarchy our own processes are put into, to be found again: version 2, else `systemd` or `pids`."""
    found = hierarchies()
    for root in found:
        if (root / "cgroup.controllers").exists():
            return root
    return next((root for name in ("systemd", "pids") for root in found if root.name == name), None)


def processes(path: str) -> set[int]:
    """Pids in `path` and below, in any hierarchy."""
    return {pid for root in hierarchies() for pid in _pids_below(root / path)}


def kill(path: str, *, patience: float = 5.0) -> bool:
    """SIGKILL everything in `path` and below until nothing is left; False when something survives `patience`
    seconds.
    """
    deadline = time.monotonic() + patience
    pause = 0.002
    while pids := processes(path):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)  # a killed process leaves its group when the kernel has torn it down; nothing to wait on
        pause = min(pause * 2, 0.05)
    return True


def remove(path: str) -> None:
    """Remove the empty groups of `path`, and `switchboard` when no cluster is left in it."""
    for root in hierarchies():
        top = root / path
        for folder, _, _ in os.walk(top, topdown=False):
            _rmdir(folder)
        _rmdir(top.parent)


def _pids_below(top: Path) -> set[int]:
    pids: set[int] = set()
    for folder, _, _ in os.walk(top):
        try:
            with open(f"{folder}/cgroup.procs") as file:
                pids.update(int(line) for line in file)
        except OSError:
            continue
    pids.discard(0)  # a process of another pid namespace, which is not ours to signal
    return pids


def _rmdir(path: str | Path) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass
