"""Control groups of a cluster, in every version of them: found by mount table, filled by the supervisor, killed and
removed at the end.

A cluster owns `switchboard/<name>` below each hierarchy's root: one leaf per process of ours, and `pods` for the
containers. In version 2 a group with children may hold no process itself, so nothing is ever put into
`switchboard/<name>` directly. The same rule holds for the top of what a machine shows us, unless that is the kernel's
own root: inside a container the programs that are there already stand in the way of every container of ours, and are
moved aside (`make_room`) until the last cluster has gone (`give_back`).
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

_CALLERS = "switchboard-callers"  # where processes of others wait that stood at the top


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


def unified_root() -> Path | None:
    """The hierarchy of version 2 when containers use it, that is, when none of version 1 is there."""
    found = hierarchies()
    return found[0] if len(found) == 1 and (found[0] / "cgroup.controllers").exists() else None


def make_room(root: Path) -> None:
    """Let groups below the top of a version 2 hierarchy have its controllers: runc enables them on the way to a
    container, and cannot where processes stand. Raises OSError.
    """
    missing = _words(root / "cgroup.controllers") - _words(root / "cgroup.subtree_control")
    if not missing or not (root / "cgroup.type").exists():
        return  # the kernel's own root may have both, and systemd keeps it in order
    try:
        _enable(root, missing)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        (root / _CALLERS).mkdir(exist_ok=True)
        _move(root, root / _CALLERS)
        _enable(root, missing)


def give_back(root: Path) -> None:
    """Undo `make_room` when no cluster is left; somebody else's groups that have controllers by now keep them."""
    if not (root / _CALLERS).is_dir() or (root / "switchboard").exists():
        return
    for name in _words(root / "cgroup.subtree_control"):
        try:
            _write(root / "cgroup.subtree_control", f"-{name}")
        except OSError:
            return
    _move(root / _CALLERS, root)
    _rmdir(root / _CALLERS)


def _enable(root: Path, names: set[str]) -> None:
    refused = None
    for name in sorted(names):
        try:
            _write(root / "cgroup.subtree_control", f"+{name}")
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise
            refused = error  # real-time processes keep `cpu` from being shared, say; the others are as good
    if refused is not None and not _words(root / "cgroup.subtree_control"):
        raise refused


def _move(source: Path, target: Path) -> None:
    """Move all processes of a group to another one; until none is left, for they fork meanwhile."""
    for _ in range(100):
        pids = (source / "cgroup.procs").read_text().split()
        if not any(pid != "0" for pid in pids):
            return
        for pid in pids:
            try:
                _write(target / "cgroup.procs", pid)
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.EINVAL):
                    raise


def _words(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except FileNotFoundError:
        return set()


def _write(path: Path, text: str) -> None:
    path.write_text(text)


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
        try:
            give_back(root)
        except OSError:
            pass  # who stands there has gone, or was put elsewhere


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
