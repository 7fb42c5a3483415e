"""Files of a volume replaced all at once: a folder of links onto `..data`, which is swung from one content to the next.

The layout is pkg/volume/util/atomic_writer.go's, on which programs that watch their configuration rely.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class File:
    """Content, permission bits and owner (None: root) of one file."""

    data: bytes
    mode: int = 0o644
    user: int | None = None


def write(folder: Path, files: Mapping[str, File], *, group: int | None = None) -> bool:
    """Make the volume hold exactly `files` (relative paths). True when something changed. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "..data"
    if link.is_symlink() and _holds(link, files):
        return False
    stamped = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    os.chmod(stamped, 0o755)
    for path, file in files.items():
        target = stamped / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        mode = file.mode
        if file.user is not None or group is not None:
            os.chown(target, -1 if file.user is None else file.user, -1 if group is None else group)
        if group is not None:
            mode |= 0o440 if mode & 0o400 else 0
        os.chmod(target, mode)
    before = os.readlink(link) if link.is_symlink() else ""
    fresh = folder / "..data_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(stamped.name)
    os.replace(fresh, link)
    _link(folder, files)
    if before:
        shutil.rmtree(folder / before, ignore_errors=True)
    return True


def _holds(link: Path, files: Mapping[str, File]) -> bool:
    found = {str(p.relative_to(link)) for p in link.rglob("*") if p.is_file()}
    try:
        return found == set(files) and all((link / path).read_bytes() == f.data for path, f in files.items())
    except OSError:
        return False


def _link(folder: Path, files: Mapping[str, File]) -> None:
    """The names a program sees: one link for each first part of a path."""
    wanted = {path.split("/", 1)[0] for path in files}
    for name in wanted:
        visible = folder / name
        if not visible.is_symlink():
            visible.symlink_to(f"..data/{name}")
    for visible in folder.iterdir():
        if visible.is_symlink() and not visible.name.startswith("..") and visible.name not in wanted:
            visible.unlink()
