"""Mounts of the machine: tmpfs for emptyDir in memory, and taking away whatever is mounted below a folder."""

from __future__ import annotations

import ctypes
import os
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


def unmount_below(folder: Path) -> None:
    """Detach every mount at or below `folder`, innermost first."""
    root = os.path.realpath(folder)
    with open("/proc/self/mountinfo") as table:
        points = [line.split()[4].encode().decode("unicode_escape") for line in table]
    libc = ctypes.CDLL(None, use_errno=True)
    for point in sorted((p for p in points if p == root or p.startswith(root + "/")), key=len, reverse=True):
        libc.umount2(os.fsencode(point), _MNT_DETACH)
