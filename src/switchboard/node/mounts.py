"""Mounts of the machine: tmpfs for emptyDir in memory, files of images, and taking away what is mounted below a
folder.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

_MNT_DETACH = 2


def mount_tmpfs(folder: Path, size: int = 0) -> None:
    """Mount a tmpfs (of at most `size` bytes, 0 for the kernel's own bound), unless one is there. Raises OSError."""
    if os.path.ismount(folder):
        return
    options = f"mode=0777,size={size}" if size else "mode=0777"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mounting a tmpfs: {os.strerror(code)}", str(folder))


async def mount_layers(folder: Path, kind: str, source: str, options: Sequence[str]) -> None:
    """Mount what a snapshotter says, read-only and without programs. Raises OSError."""
    lower = next((o.removeprefix("lowerdir=").split(":") for o in options if o.startswith("lowerdir=")), [])
    where = os.path.commonpath(lower) if len(lower) > 1 else "/"
    if lower:  # the kernel takes one page of options: an image of many layers fits in by short names
        short = ":".join(os.path.relpath(path, where) for path in lower)
        options = [f"lowerdir={short}" if o.startswith("lowerdir=") else o for o in options]
    words = ",".join([*(o for o in options if o != "rw"), "ro", "noexec"])
    argv = ["mount", "-t", kind, "-o", words, source, str(folder)]
    if kind == "bind":
        del argv[1:3]
    made = await asyncio.create_subprocess_exec(
        *argv, cwd=where, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await made.communicate()
    if made.returncode:
        raise OSError(f"mounting an image: {said.decode(errors='replace').strip()}")


def unmount_below(folder: Path) -> None:
    """Detach every mount at or below `folder`, innermost first."""
    root = os.path.realpath(folder)
    with open("/proc/self/mountinfo") as table:
        points = [line.split()[4].encode().decode("unicode_escape") for line in table]
    libc = ctypes.CDLL(None, use_errno=True)
    for point in sorted((p for p in points if p == root or p.startswith(root + "/")), key=len, reverse=True):
        libc.umount2(os.fsencode(point), _MNT_DETACH)
