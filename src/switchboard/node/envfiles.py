"""Variables that an earlier container wrote into a file of an emptyDir volume (KEP-3721, `fileKeyRef`).

The file has lines `NAME='value'`; a value may go over several lines, and has no escapes. Blank lines and lines that
begin with `#` say nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from switchboard.node.failures import ConfigFailure

Object = dict[str, Any]
_LIMIT = 64 << 10  # bytes of a file
_LINE = re.compile(r"[ \t]*(?:(?P<name>[^=\s#][^=\s]*)='(?P<value>[^']*)'[ \t]*|#[^\n]*|[ \t\r]*)(?:\n|\Z)")


def from_file(ref: Object, folders: Mapping[str, Path]) -> str | None:
    """The value a `fileKeyRef` leads to, None for an optional one that leads nowhere. Raises ConfigFailure."""
    volume, path, key = ref.get("volumeName", ""), ref.get("path", ""), ref.get("key", "")
    root = folders.get(volume)
    if root is None:
        raise ConfigFailure(f'cannot find the volume "{volume}" referenced by FileKeyRef')
    try:
        values = parse(_read(root, path))
    except FileNotFoundError:
        if ref.get("optional"):
            return None
        raise ConfigFailure(f"environment file {path!r} of volume {volume!r} does not exist") from None
    except (OSError, ValueError) as why:
        raise ConfigFailure(f"couldn't parse env file {path!r} of volume {volume!r}: {why}") from None
    if key not in values and not ref.get("optional"):
        raise ConfigFailure(f'environment variable key "{key}" not found in file "{path}"')
    return values.get(key)


def _read(root: Path, path: str) -> str:
    """A file below `root`, which containers write: no link and no device leads elsewhere. Raises OSError."""
    real, base = Path(os.path.realpath(root / path)), Path(os.path.realpath(root))
    if base not in real.parents:
        raise ValueError("the file is not in its volume")
    found = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(found, "rb") as file:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise ValueError("not a regular file")
        content = file.read(_LIMIT + 1)
    if len(content) > _LIMIT:
        raise ValueError(f"the file is longer than {_LIMIT} bytes")
    return content.decode()


def parse(text: str) -> dict[str, str]:
    """The variables of a file, the last of a name. Raises ValueError with the line that is none."""
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _LINE.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"invalid environment variable format at line {text.count(chr(10), 0, at) + 1}")
        if match["name"]:
            values[match["name"]] = match["value"]
        at = match.end()
    return values
