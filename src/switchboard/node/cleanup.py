"""Leaves nothing of a node's pods: sandboxes, containers, what was mounted for them, their files and control groups."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path

from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.node.settings import NodeSettings

log = logging.getLogger(__name__)

_MNT_DETACH = 2


async def remove_everything(settings: NodeSettings, *, grace: float = 2.0) -> int:
    """Stop and remove every pod sandbox of the runtime (`grace` seconds for its containers), then all files of pods.

    Works from what the runtime has, not from any Pod object. Returns how many sandboxes there were; raises RuntimeGone
    when the runtime does not answer (files are removed even so).
    """
    runtime = CriRuntime(str(settings.cri_socket))
    try:
        sandboxes = await runtime.list_sandboxes()
        running = [c["id"] for c in await runtime.list_containers() if c.get("state", 0) == 1]
        await asyncio.gather(*(_quietly(runtime.stop_container(id_, grace)) for id_ in running))
        for sandbox in sandboxes:
            await _quietly(runtime.stop_sandbox(sandbox["id"]))
            await _quietly(runtime.remove_sandbox(sandbox["id"]))
        return len(sandboxes)
    finally:
        runtime.close()
        remove_files(settings.root_dir / "pods")
        remove_files(settings.log_dir)
        remove_cgroups(settings.cgroup_parent)


async def _quietly(work: asyncio.Future[None] | object) -> None:
    try:
        await work  # type: ignore[misc]
    except RuntimeFailure as error:
        log.warning("cleaning up: %s", error)


def mounts_below(folder: Path) -> list[str]:
    """Mount points at or below a folder, the deepest first."""
    top = os.path.realpath(folder)
    found = []
    with open("/proc/self/mountinfo") as table:
        for line in table:
            point = line.split()[4].encode().decode("unicode_escape")  # octal escapes, proc(5)
            if point == top or point.startswith(top + "/"):
                found.append(point)
    return found[::-1]


def remove_files(folder: Path) -> None:
    """Unmount what is mounted below and remove the rest; what is still in use is unmounted lazily."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    for point in mounts_below(folder):
        if libc.umount2(os.fsencode(point), _MNT_DETACH) != 0:
            log.warning("umount %s: %s", point, os.strerror(ctypes.get_errno()))
    if mounts_below(folder):
        return  # never remove through a mount: it may be somebody's data
    shutil.rmtree(folder, ignore_errors=True)


def pods_with_cgroups(parent: str) -> dict[str, str]:
    """UID -> control group (below a hierarchy's root) of every pod that has one below `parent`."""
    top, below = Path("/sys/fs/cgroup"), parent.strip("/")
    found: dict[str, str] = {}
    for root in [top, *top.iterdir()]:
        if (root / "cgroup.procs").exists() and (root / below).is_dir():
            for folder in [*(root / below).glob("pod*"), *(root / below).glob("*/pod*")]:
                found[folder.name.removeprefix("pod")] = str(folder.relative_to(root))
    return found


def remove_cgroups(parent: str) -> None:
    """Remove the (empty) control groups below `parent` in every hierarchy; those with processes stay."""
    top = Path("/sys/fs/cgroup")
    for root in [top, *top.iterdir()]:
        folder = root / parent.strip("/")
        if not (root / "cgroup.procs").exists() or not folder.is_dir():
            continue
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                pass  # in use
