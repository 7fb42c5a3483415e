"""Makes one image layer: a tar written in one pass from packages, folders and literal files, without unpacking
anything as root.

Debian 12 is a merged-/usr system whose packages still name /bin, /sbin and /lib: such names are rewritten, and the
first layer has the symbolic links. Times are zero, so the same content has the same digest wherever it is made.
"""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import sys
import tarfile
from collections.abc import Collection, Iterator, Set
from pathlib import Path
from typing import IO

from . import debian
from .libraries import Libraries
from .oci import BlobWriter

_MERGED = ("bin/", "sbin/", "lib/", "lib32/", "lib64/", "libx32/")
_LEFT_OUT = (
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/locale/",
    "usr/share/lintian/",
    "usr/share/bash-completion/",
    "usr/share/info/",
    "usr/share/bug/",
    "usr/share/perl5/",
    "usr/lib/systemd/",
    "etc/init.d/",
    "etc/logrotate.d/",
    "etc/ufw/",
    "usr/lib/python3.11/test/",
    "usr/share/pixmaps/",
    "usr/share/vim/",
    "usr/share/zsh/",
    "usr/share/apport/",
)
_OF_ANY_ARCHITECTURE = (
    "/gconv/",  # glibc's tables of old character sets: a third of the smallest image
    "/audit/",  # for debugging the dynamic loader
    "/engines-3/",  # OpenSSL for hardware that is not here
    "/ossl-modules/",  # its ciphers of long ago
    "/initramfs-tools/",
    "/sasl2/",  # passwords in a database, for curl's LDAP
    "/krb5/plugins/",
)
_MODULES = ("usr/lib/python3", "opt/packages/")
_CERTIFICATES = "usr/share/ca-certificates/"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"


class Layer:
    """A layer while it is written; the first entry of a name is the one that counts. `below` names what the layers
    under it have: packages need not put that there again.
    """

    def __init__(self, target: BlobWriter, below: Set[str] = frozenset()) -> None:
        self._tar = tarfile.TarFile(fileobj=target, mode="w", format=tarfile.PAX_FORMAT)  # type: ignore[arg-type]
        self.names: set[str] = set()
        self._below = below
        self._certificates: list[bytes] = []

    def close(self) -> None:
        """Write what was gathered, and the end."""
        if self._certificates and BUNDLE not in self._below:
            self.file(BUNDLE, b"".join(self._certificates))
        self._tar.close()

    def packages(self, files: Collection[Path], named: Collection[str] = ()) -> None:
        """The content of Debian packages, without the libraries that none of their programs load. Those of the
        packages `named` are for layers above and stay. Raises ImageError.
        """
        libraries = Libraries()
        for file in files:
            for name, entry, content in self._entries(file):
                data = content.read() if content else b""
                libraries.add(name, entry.linkname, data, keep=debian.package_name(file) in named)
        unneeded = libraries.unneeded()
        for file in files:
            for name, entry, content in self._entries(file):
                if content and name.startswith(_CERTIFICATES):
                    self._certificates.append(content.read().rstrip(b"\n") + b"\n")
                elif name not in unneeded:
                    self._parents(name)
                    self._add(entry, content)

    def _entries(self, file: Path) -> Iterator[tuple[str, tarfile.TarInfo, IO[bytes] | None]]:
        """What of a package belongs into this layer, under the names it has there."""
        for entry, content in debian.contents(file):
            name = entry.name = merged(entry.name)
            if entry.islnk():
                entry.linkname = merged(entry.linkname)
            if name and name not in self._below and not _left_out(f"{name}/"):
                yield name, entry, content

    def folder(self, source: Path, under: str) -> None:
        """A folder of this machine, its content owned by root, below `under`."""
        for path, folders, files in os.walk(source):
            folders.sort()
            place = os.path.normpath(os.path.join(under, os.path.relpath(path, source)))
            self.directory(place)
            for name in sorted(files):
                data = Path(path, name).read_bytes()
                self.file(f"{place}/{name}", data, 0o755 if os.access(f"{path}/{name}", os.X_OK) else 0o644)

    def directory(self, name: str, mode: int = 0o755) -> None:
        """A folder, and those above it."""
        parent = os.path.dirname(name)
        if parent:
            self.directory(parent)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._add(entry, None)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A file owned by root."""
        self._parents(name)
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), mode
        self._add(entry, io.BytesIO(data))

    def symlink(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._parents(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        self._add(entry, None)

    def link(self, name: str, target: str) -> None:
        """One more name of a file that is in the layer: unlike a symbolic link, it is no file more to make."""
        self._parents(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.mode = tarfile.LNKTYPE, target, 0o755
        self._add(entry, None)

    def _bytecode(self, name: str, source: bytes) -> None:
        """A module's compiled form beside it, as Debian makes when it installs a package: it halves the start of a
        program.

        Trusted without looking at the source (PEP 552, unchecked), because the two are never apart.
        """
        folder, _, file = name.rpartition("/")
        try:
            code = marshal.dumps(compile(source, f"/{name}", "exec", dont_inherit=True))
        except (SyntaxError, ValueError):  # templates and test data that only look like modules
            return
        head = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little") + importlib.util.source_hash(source)
        self.file(f"{folder}/__pycache__/{file.removesuffix('.py')}.cpython-311.pyc", head + code)

    def _parents(self, name: str) -> None:
        if parent := os.path.dirname(name):
            self.directory(parent)

    def _add(self, entry: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        name = entry.name.rstrip("/")
        if name in self.names:
            return
        self.names.add(name)
        entry.name, entry.mtime, entry.uname, entry.gname = name, 0, "", ""
        entry.pax_headers = {}
        source = content.read() if content and _is_module(name) else None
        self._tar.addfile(entry, content if source is None else io.BytesIO(source))
        if source is not None:
            self._bytecode(name, source)


def _is_module(name: str) -> bool:
    """Whether to add bytecode: Debian 12's Python is 3.11, and only the same version writes what it reads."""
    return sys.version_info[:2] == (3, 11) and name.endswith(".py") and name.startswith(_MODULES)


def _left_out(name: str) -> bool:
    return any(name.startswith(out) for out in _LEFT_OUT) or any(out in name for out in _OF_ANY_ARCHITECTURE)


def merged(name: str) -> str:
    """A package's path as it is on a merged-/usr system, without a leading "./"; "" for the root and the merged
    folders.
    """
    path = os.path.normpath(name)
    if path in (".", "/"):
        return ""
    path = path.lstrip("/")
    if path + "/" in _MERGED:
        return ""
    return f"usr/{path}" if path.startswith(_MERGED) else path
