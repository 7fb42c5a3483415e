"""Puts images into the mirror by writing its storage folder: blobs as hard links, and the small link files that name
them.

The layout is that of distribution 2.x (`registry/storage/paths.go`), which has not changed since 2015. It takes
milliseconds where an upload takes seconds and a second copy, and the registry need not run; it looks at its folder
on every request.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .names import Name, host_of
from .oci import Descriptor, Layout


def publish(layout: Layout, manifest: Descriptor, name: Name, storage: Path) -> None:
    """Make `name` pullable from the registry whose storage folder this is. Raises OSError, ImageError."""
    repository = storage / "docker/registry/v2/repositories" / name.repository
    for part in layout.parts(manifest):
        _place(layout.path(part.digest), _blob(storage, part.digest))
        # a manifest is also a revision; harmless for the rest, and an index names manifests of its own
        kind = "_manifests/revisions" if "manifest" in part.media_type or "index" in part.media_type else "_layers"
        _link(repository / kind / "sha256" / part.digest[7:], part.digest)
    (repository / "_uploads").mkdir(parents=True, exist_ok=True)
    tag = repository / "_manifests/tags" / name.tag
    _link(tag / "index/sha256" / manifest.digest[7:], manifest.digest)
    _link(tag / "current", manifest.digest)


def published(storage: Path) -> dict[str, str]:
    """Every `host/path:tag` of the storage folder with its digest."""
    root = storage / "docker/registry/v2/repositories"
    found = {}
    for link in sorted(root.glob("**/_manifests/tags/*/current/link")):
        host, *path = link.parents[4].relative_to(root).parts
        found[f"{'/'.join([host_of(host), *path])}:{link.parent.parent.name}"] = link.read_text()
    return found


def hosts(storage: Path) -> set[str]:
    """The image hosts the storage folder has anything of."""
    try:
        return {host_of(name) for name in os.listdir(storage / "docker/registry/v2/repositories")}
    except FileNotFoundError:
        return set()


def _blob(storage: Path, digest: str) -> Path:
    return storage / "docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"


def _place(source: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".data.{os.getpid()}")
    try:
        os.link(source, temporary)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _link(folder: Path, digest: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".link.{os.getpid()}"
    temporary.write_text(digest)
    os.replace(temporary, folder / "link")
