"""Reads image archives into a layout: what `docker save`, `podman save`, `buildah push oci-archive:` and `ctr
export` write.

Two formats, told apart by what is inside: an OCI layout (`index.json` and blobs), or Docker's (`manifest.json` that
names files). Newer `docker save` writes both at once; then the OCI part is taken and names come from either. The
file may be compressed as a whole.
"""

from __future__ import annotations

import json
import lzma
import os
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from . import names, oci
from .errors import ImageError
from .oci import Descriptor, Layout

_AGAIN = "the archive is damaged; make it again"


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image of an archive: its manifest in the layout, and the full names it was given."""

    manifest: Descriptor
    names: tuple[names.Name, ...]


def read(source: IO[bytes], layout: Layout) -> list[Loaded]:
    """Every named image of an archive, its parts put into `layout`. Raises ImageError in words when it is no such
    archive.
    """
    with tempfile.TemporaryDirectory(prefix=".load-", dir=layout.root) as scratch:
        folder = Path(scratch)
        files = _unpack(source, folder)
        if "index.json" in files:
            loaded = _read_layout(folder, files, layout)
        elif "manifest.json" in files:
            loaded = _read_docker(folder, files, layout)
        else:
            raise ImageError(
                "the archive has neither index.json (OCI) nor manifest.json (docker save)",
                "make it with `docker save IMAGE >FILE` or `podman save --format oci-archive IMAGE >FILE`",
            )
    if not any(image.names for image in loaded):
        raise ImageError("the images in the archive have no name", "save the image by name: docker save NAME:TAG >FILE")
    return [image for image in loaded if image.names]


def _unpack(source: IO[bytes], folder: Path) -> dict[str, Path]:
    """Regular files by their name in the archive. They are stored under numbers, so no name can lead out of the
    folder.
    """
    files: dict[str, Path] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            for entry in archive:
                name = os.path.normpath(entry.name).lstrip("/")
                if entry.isreg() and (content := archive.extractfile(entry)):
                    files[name] = folder / str(len(files))
                    with open(files[name], "wb") as target:
                        while chunk := content.read(1 << 20):
                            target.write(chunk)
                elif entry.issym():  # docker save of old writes a layer that appears twice as a link
                    links[name] = os.path.normpath(os.path.join(os.path.dirname(name), entry.linkname))
                elif entry.islnk():
                    links[name] = os.path.normpath(entry.linkname)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk is full, say; what is wrong with the archive's content has no number
        raise ImageError(f"this is not an image archive: {error}", "give the file `docker save` wrote") from error
    return files | {name: files[target] for name, target in links.items() if target in files}


def _json(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ImageError(f"{what} in the archive is not JSON: {error}") from error


def _entries(content: Any, what: str) -> list[dict[str, Any]]:
    """A list of JSON objects. Raises ImageError."""
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ImageError(f"{what} in the archive has another form than it should", "make the archive again")
    return content


def _tags(entry: dict[str, Any]) -> list[str]:
    """The names that Docker's manifest.json gives an image."""
    return [str(tag) for tag in entry.get("RepoTags") or ()]


def _read_layout(folder: Path, files: dict[str, Path], layout: Layout) -> list[Loaded]:
    index = _json(files["index.json"], "index.json")
    for name, path in files.items():
        if name.startswith("blobs/sha256/"):
            with open(path, "rb") as blob:
                layout.add_stream(blob, "", oci.check_digest("sha256:" + name.rsplit("/", 1)[1]))
    tags = _docker_names(files)
    loaded = []
    for raw in _entries(index.get("manifests", []) if isinstance(index, dict) else None, "index.json"):
        descriptor = Descriptor.of(raw)
        notes = raw.get("annotations") or {}
        given = notes.get(oci.NAME_ANNOTATION) or notes.get(oci.REF_ANNOTATION)
        found = [given] if given and ("/" in given or ":" in given or not tags) else []
        parts = layout.parts(descriptor)
        for part in parts:
            layout.require(part.digest)
        if not found:  # Docker's names are those of configs: the image's own, or of an index the one that is there
            digests = {part.digest for part in parts}
            found = [tag for digest, some in tags.items() if digest in digests for tag in some]
            found = found or ([given] if given else [])
        loaded.append(Loaded(descriptor, tuple(names.parse(name) for name in found)))
    return loaded


def _layer_digests(config: dict[str, Any]) -> list[Any]:
    """What an image's layers are when they are not compressed, by its config; empty when it does not say."""
    root = config.get("rootfs")
    found = root.get("diff_ids") if isinstance(root, dict) else None
    return found if isinstance(found, list) else []


def _docker_names(files: dict[str, Path]) -> dict[str, list[str]]:
    """Digest of the config -> names, from the manifest.json a layout may carry beside its index."""
    if "manifest.json" not in files:
        return {}
    entries = _entries(_json(files["manifest.json"], "manifest.json"), "manifest.json")
    return {
        "sha256:" + str(entry.get("Config", "")).rsplit("/", 1)[-1].removesuffix(".json"): _tags(entry)
        for entry in entries
    }


def _read_docker(folder: Path, files: dict[str, Path], layout: Layout) -> list[Loaded]:
    loaded = []
    for entry in _entries(_json(files["manifest.json"], "manifest.json"), "manifest.json"):
        try:
            config_path = files[os.path.normpath(str(entry["Config"]))]
            layer_paths = [files[os.path.normpath(str(name))] for name in entry["Layers"] or ()]
        except KeyError as error:
            raise ImageError(f"the archive lacks the file {error}", _AGAIN) from error
        config = layout.add(config_path.read_bytes(), oci.DOCKER_CONFIG)
        wanted = _layer_digests(layout.read_json(config.digest)) or [None] * len(layer_paths)
        if len(wanted) != len(layer_paths):
            raise ImageError(f"the image has {len(wanted)} layers and the archive {len(layer_paths)}", _AGAIN)
        layers = []
        for path, digest in zip(layer_paths, wanted, strict=True):
            with open(path, "rb") as blob:
                compressed = blob.read(2) == b"\x1f\x8b"
                blob.seek(0)
                layer = layout.add_stream(blob, oci.DOCKER_LAYER + (".gzip" if compressed else ""))
            if digest and not compressed and layer.digest != digest:
                raise ImageError(f"a layer of the image should be {digest} and is {layer.digest}", _AGAIN)
            layers.append(layer)
        manifest = layout.add_manifest(config, layers, oci.DOCKER_MANIFEST)
        loaded.append(Loaded(manifest, tuple(names.parse(name) for name in _tags(entry))))
    return loaded
