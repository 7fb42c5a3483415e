"""Debian packages as image content: apt resolves and downloads them for an empty system, nothing is installed on
this one.

`apt-get -o Dir::State::status=<empty file>` answers what a package needs where nothing is there, and
`--download-only` fetches it with apt's own checks of signatures and hashes.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from .errors import ImageError

# Needed only by scripts that run when a package is installed, which they never are here; or data no program here reads.
NOT_NEEDED = frozenset(
    "adduser debconf dpkg tar perl-base gcc-12-base init-system-helpers lsb-base sysvinit-utils openssl iproute2 "
    "libcap2-bin libbpf1 libelf1 libmnl0 libxtables12 libjs-jquery debian-archive-keyring base-passwd".split()
)
_URI = re.compile(r"^'([^']+)' (\S+) \d+", re.MULTILINE)


class Packages:
    """A folder of downloaded packages and the questions apt answers about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "partial").mkdir(parents=True, exist_ok=True)
        self._empty = folder / "empty-status"
        self._empty.touch()

    def download(self, packages: Iterable[str]) -> None:
        """Fetch packages and all they need, unless they are there. Raises ImageError."""
        wanted = list(packages)
        done = self._apt("--download-only", *wanted)
        if done.returncode:
            subprocess.run(["apt-get", "update"], stdin=subprocess.DEVNULL, capture_output=True)
            done = self._apt("--download-only", *wanted)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise ImageError(
                f"apt-get could not download {' '.join(wanted)}: {said[-1] if said else 'no reason given'}",
                "see that this machine reaches a Debian mirror (apt-get update), then run this again",
            )

    def closure(self, packages: Iterable[str]) -> list[Path]:
        """The package files of `packages` and all they need, in apt's order. Raises ImageError when apt cannot tell."""
        done = self._apt("--print-uris", *packages)
        files = [self._file(uri, name) for uri, name in _URI.findall(done.stdout)]
        if not files:  # apt prints nothing for what is in its archive folder: then another, empty one is asked
            raise ImageError(f"apt-get knows no packages {' '.join(packages)}: {done.stderr.strip()}", "apt-get update")
        return [file for file in files if package_name(file) not in NOT_NEEDED]

    def _file(self, uri: str, name: str) -> Path:
        # what a mirror on this very disk has is not downloaded by apt, but used where it lies
        return Path(unquote(uri.removeprefix("file:"))) if uri.startswith("file:") else self.folder / name

    def _apt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # what is in the archive folder has no URI to print, so questions are asked with another folder
        archives = self.folder if "--download-only" in arguments else self.folder / "none"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        options = {
            "Dir::State::status": self._empty,
            "Dir::Cache::archives": archives,
            "APT::Install-Recommends": "0",
            "APT::Sandbox::User": "root",
            "DPkg::Lock::Timeout": "300",
        }
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        argv = ["apt-get", "-q", "-y", *flags, arguments[0], "install", *arguments[1:]]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def package_name(file: Path) -> str:
    """`libssl3` of `libssl3_3.0.15-1~deb12u1_amd64.deb`."""
    return file.name.partition("_")[0]


def contents(file: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """What a package would put on a system, entry by entry with its content. Raises ImageError."""
    argv: Sequence[str] = ["dpkg-deb", "--fsys-tarfile", str(file)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for entry in archive:
                    yield entry, archive.extractfile(entry) if entry.isreg() else None
            process.stdout.read()
        except tarfile.TarError as error:
            said = process.stderr.read().decode(errors="replace").strip()
            raise ImageError(
                f"{file} cannot be unpacked: {said or error}", f"remove {file} and run this again"
            ) from error
