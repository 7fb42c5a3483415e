"""Stops a cluster and leaves nothing of it: processes, containers and their shims, mounts, namespaces, links, rules,
control groups.

Works from what is there (the record, /proc, the mount table), not from what should be, so it also cleans up after a
crash or half a start. Objects, images and certificates stay in the state folder until `purge`.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from switchboard.node import shims

from . import cgroups, network, running, shutdown
from .command import attempt
from .config import ClusterConfig
from .supervise import start_time

GRACE = 2.0
_CNI_RESULTS = Path("/var/lib/cni/results")  # <network>-<sandbox>-<interface>, a path built into containerd


def stop(config: ClusterConfig, *, grace: float = GRACE) -> bool:
    """Stop everything; containers get SIGTERM and `grace` seconds. False when nothing was there."""
    something = config.run.exists() or os.path.lexists(config.netns_path)
    sandboxes = _sandboxes(config)
    end_processes(config)
    stop_containers(config, grace)
    remove_leftovers(config, sandboxes)
    shutdown.forget(config)
    return something


def purge(config: ClusterConfig) -> None:
    """Forget a stopped cluster: objects, images, certificates, logs. Raises OSError."""
    _unmount_below([config.state])
    if config.state.exists():
        shutil.rmtree(config.state, ignore_errors=False)
    _remove_if_empty(config.state.parent)


def end_processes(config: ClusterConfig) -> None:
    """End the supervisor, which ends the others in their order, then what is left: of one that died or cannot end, and
    of one that was started just now and has written a record of its own.
    """
    if supervisor := running.supervisor(config):
        _signal([supervisor], signal.SIGTERM)
        wait_gone([supervisor], 40.0)
    while left := [*(process.pid for process in running.processes(config)), *running.strays(config)]:
        (config.run / "processes.json").unlink(missing_ok=True)  # without it nobody starts another supervisor
        if not stop_processes(left):
            break


def stop_processes(pids: list[int]) -> bool:
    """End processes of ours that nobody supervises; False when some cannot be ended."""
    _signal(pids, signal.SIGTERM)
    if wait_gone(pids, 5.0):
        return True
    _signal(pids, signal.SIGKILL)
    return wait_gone(pids, 5.0)


def stop_containers(config: ClusterConfig, grace: float) -> None:
    """End every container of the cluster's containerd, politely first, then its shims."""
    inits = _container_inits(config)
    _signal(inits, signal.SIGTERM)
    wait_gone(inits, grace)
    shims = _shims(config)
    _signal([*_container_inits(config), *inits], signal.SIGKILL)
    cgroups.kill(config.cgroup)
    _signal(shims, signal.SIGKILL)
    wait_gone([*shims, *inits], 5.0)


def remove_leftovers(config: ClusterConfig, sandboxes: set[str]) -> None:
    """Everything on disk and in the kernel that a cluster has only while it runs."""
    for sandbox in sandboxes:
        shims.forget(str(config.containerd_socket), sandbox)
    _forget_results(sandboxes)
    _unmount_below([config.run, config.state])
    network.remove(config)
    cgroups.remove(config.cgroup)
    shutil.rmtree(config.run, ignore_errors=True)
    for folder in (config.run.parent, shims.FOLDER, shims.FOLDER.parent, _CNI_RESULTS, _CNI_RESULTS.parent):
        _remove_if_empty(folder)


def wait_gone(pids: Iterable[int], seconds: float) -> bool:
    """Wait until none of the processes lives; False when the time is over first. They need not be our children."""
    poll = select.poll()
    open_fds = set()
    for pid in set(pids):
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        open_fds.add(fd)
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + seconds
    try:
        while open_fds:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                return False
            for fd, _ in ready:
                poll.unregister(fd)
                open_fds.discard(fd)
                os.close(fd)
        return True
    finally:
        for fd in open_fds:
            os.close(fd)


def _bundles(config: ClusterConfig) -> list[Path]:
    """Folders of the runtime's containers: one per container or sandbox that has a shim."""
    return list((config.run / "containerd" / "io.containerd.runtime.v2.task" / "k8s.io").glob("*"))


def _sandboxes(config: ClusterConfig) -> set[str]:
    """Ids of all sandboxes that the runtime knew, or that have a shim."""
    known = [*config.run.glob("containerd/*.cri/sandboxes/*"), *config.state.glob("containerd/*.cri/sandboxes/*")]
    return {folder.name for folder in (*known, *_bundles(config))} | set(_shims(config).values())


def _forget_results(sandboxes: set[str]) -> None:
    """What libcni remembers of sandboxes that ended without being asked to."""
    for result in _CNI_RESULTS.glob("*-*-*"):
        if result.name.rsplit("-", 2)[1] in sandboxes:
            result.unlink(missing_ok=True)


def _container_inits(config: ClusterConfig) -> list[int]:
    pids = []
    for bundle in _bundles(config):
        try:
            pid = int((bundle / "init.pid").read_text())
        except (OSError, ValueError):
            continue
        if start_time(pid):
            pids.append(pid)
    return pids


def _shims(config: ClusterConfig) -> dict[int, str]:
    """Shims of the cluster's containerd, and whose they are: their command line names its socket and a sandbox."""
    wanted = str(config.containerd_socket).encode()
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"containerd-shim" in words[0] and wanted in words and b"-id" in words[:-1]:
                found[int(entry)] = words[words.index(b"-id") + 1].decode()
    return found


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _unmount_below(folders: list[Path]) -> None:
    """Unmount everything mounted at or below the folders, the deepest first; lazily, for something may still look at
    it.
    """
    tops = [os.path.realpath(folder) for folder in folders]
    points = []
    with open("/proc/self/mountinfo") as table:
        for line in table:
            # octal escapes for space, tab, newline and backslash: proc(5)
            point = line.split()[4].encode().decode("unicode_escape")
            if any(point == top or point.startswith(top + "/") for top in tops):
                points.append(point)
    points.reverse()
    for start in range(0, len(points), 200):
        attempt(["umount", "-l", *points[start : start + 200]])


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass
