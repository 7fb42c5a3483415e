"""Runs one program of the system and turns its failure into words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import ClusterError

# Programs that a start needs -> the Debian package each is in.
NEEDED = {
    "containerd": "containerd",
    "ctr": "containerd",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "runc": "runc",
}


def require(programs: Mapping[str, str]) -> None:
    """ClusterError that names every program which is not there, and the packages to install."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        packages = sorted({programs[program] for program in missing})
        raise ClusterError(
            f"this machine lacks {', '.join(missing)} (looked for in $PATH)", f"apt-get install {' '.join(packages)}"
        )


def require_space(folder: Path, least: int = 64 << 20) -> None:
    """ClusterError when the disk that a folder is on, or will be, has less than so many bytes left: what starts on a
    full disk waits in silence.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    disk = os.statvfs(there)
    free = disk.f_bavail * disk.f_frsize
    if free < least:
        raise ClusterError(
            f"the disk of {folder} is full: {free / 1e6:.1f} MB are left, a start needs {least / 1e6:.0f} MB",
            "make room there, or give another folder in $SWITCHBOARD_STATE_DIR",
        )


def run(argv: Sequence[str], *, given: str = "", why: str = "", advice: str = "") -> str:
    """The program's output; ClusterError with what it said when it fails or is missing. `given` goes to its input."""
    try:
        done = subprocess.run(argv, input=given, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ClusterError(f"could not run {argv[0]}{_for(why)}: {error}", advice or f"install {argv[0]}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"it ended with status {done.returncode}"
        usual = "run as root" if os.geteuid() else "mend what it says, then run this again: it goes on from here"
        raise ClusterError(f"{' '.join(argv)} failed{_for(why)}: {said}", advice or usual)
    return done.stdout


def attempt(argv: Sequence[str], *, given: str = "") -> bool:
    """True when the program ran and succeeded: for taking away what may not be there."""
    try:
        return subprocess.run(argv, input=given, capture_output=True, text=True, check=False).returncode == 0
    except OSError:
        return False


def _for(why: str) -> str:
    return f" ({why})" if why else ""
