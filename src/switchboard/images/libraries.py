"""Which shared libraries of Debian packages a layer's programs load; the others stay out of the image.

Packages are cut for systems where anything may be installed: libc6 alone has a megabyte of vector mathematics and name
services nobody asks. Every byte of a layer is hashed twice and written twice when an image is pulled for the first
time. Source: elf(5) (section headers, `DT_NEEDED`).
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field

_MAGIC = b"\x7fELF\x02\x01"  # 64 bit, little-endian: every architecture images are built for
_SHT_DYNAMIC, _DT_NEEDED = 6, 1
_LIBRARY = re.compile(r"usr/lib/[^/]+-linux-gnu[^/]*/[^/]+\.so(?:\.[\d.]+)?")
# Loaded by name while a program runs (threads that are cancelled, name services), or looked for by programs that were
# built elsewhere and are copied into a container.
_BY_NAME = re.compile(r"ld-linux.*|lib(?:gcc_s|pthread|dl|rt|util|anl|resolv|nss_files|nss_dns)\.so\.\d+")


def needed(content: bytes) -> list[str]:
    """The libraries an ELF file asks the dynamic loader for; none when it is not one, or static, or damaged."""
    if not content.startswith(_MAGIC):
        return []
    try:
        (table,) = struct.unpack_from("<Q", content, 0x28)
        size, count = struct.unpack_from("<HH", content, 0x3A)
        for index in range(count):
            kind, _, _, start, length, strings = struct.unpack_from("<IQQQQI", content, table + index * size + 4)
            if kind == _SHT_DYNAMIC:
                (names,) = struct.unpack_from("<Q", content, table + strings * size + 0x18)
                entries = struct.iter_unpack("<QQ", content[start : start + length // 16 * 16])
                return [_text(content, names + offset) for tag, offset in entries if tag == _DT_NEEDED]
    except struct.error:
        pass
    return []


def _text(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode()


@dataclass
class Libraries:
    """The programs and libraries of one layer, as they are found in its packages."""

    _paths: dict[str, str] = field(default_factory=dict)  # by the library's name
    _leads: dict[str, list[str]] = field(default_factory=dict)  # to what it needs, or to what the link is of
    _wanted: list[str] = field(default_factory=list)

    def add(self, path: str, target: str, content: bytes, *, keep: bool) -> None:
        """A file (`content`) or a symbolic link (to `target`); `keep` a library even if nothing here loads it."""
        name = os.path.basename(path)
        leads = [os.path.basename(target)] if target else needed(content)
        if not _LIBRARY.fullmatch(path):
            self._wanted += leads
            return
        self._paths[name], self._leads[name] = path, leads
        if keep or _BY_NAME.fullmatch(name):
            self._wanted.append(name)

    def unneeded(self) -> set[str]:
        """The paths of libraries that nothing loads."""
        kept: set[str] = set()
        waiting = list(self._wanted)
        while waiting:
            name = waiting.pop()
            if name in self._leads and name not in kept:
                kept.add(name)
                waiting += self._leads[name]
        return {path for name, path in self._paths.items() if name not in kept}
