"""Reads and writes container images as OCI image layouts (github.com/opencontainers/image-spec, image-layout.md) and
archives of them.

A layout is a folder of blobs named by their digest, and `index.json` that names images. Blobs are written beside
their final place and renamed, so what has its name is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import ImageError
from .spec import Image

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
INDEXES = (INDEX, DOCKER_INDEX)
NAME_ANNOTATION = "io.containerd.image.name"
REF_ANNOTATION = "org.opencontainers.image.ref.name"

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Points at a blob: media type, `sha256:<hex>`, size in bytes."""

    media_type: str
    digest: str
    size: int

    def json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Descriptor:
        """From a manifest. Raises ImageError."""
        try:
            return cls(str(raw["mediaType"]), check_digest(raw["digest"]), int(raw["size"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ImageError(f"a manifest holds a descriptor that is none: {raw!r}") from error


def check_digest(text: Any) -> str:
    """A sha256 digest, or ImageError: it becomes a file name."""
    if isinstance(text, str) and text.startswith("sha256:") and len(text) == 71:
        with contextlib.suppress(ValueError):
            int(text[7:], 16)
            return text
    raise ImageError(f"{text!r} is not a sha256 digest")


class Layout:
    """An image layout folder; made when it is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob of a digest lies, whether it is there or not."""
        return self._blobs / check_digest(digest)[7:]

    def read(self, digest: str) -> bytes:
        """A whole blob (a manifest, a config). Raises ImageError when it is missing."""
        self.require(digest)
        return self.path(digest).read_bytes()

    def require(self, digest: str) -> None:
        """Raise ImageError when a blob is missing."""
        if not self.path(digest).exists():
            raise ImageError(f"the image lacks its part {digest}", "make the archive again: it is not complete")

    def read_json(self, digest: str) -> dict[str, Any]:
        """A blob that must be a JSON object. Raises ImageError."""
        try:
            value = json.loads(self.read(digest))
        except ValueError as error:
            raise ImageError(f"{digest} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ImageError(f"{digest} is not a JSON object")
        return value

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Store a small blob."""
        return self.add_stream(io.BytesIO(data), media_type)

    def add_stream(self, source: IO[bytes], media_type: str, expected: str | None = None) -> Descriptor:
        """Store a blob of any size; with `expected`, ImageError when the content has another digest."""
        with self.writer() as blob:
            while chunk := source.read(_CHUNK):
                blob.write(chunk)
        if expected and blob.digest != expected:
            self.path(blob.digest).unlink(missing_ok=True)
            raise ImageError(f"a part of the image should be {expected} and is {blob.digest}", "the archive is damaged")
        return Descriptor(media_type, blob.digest, blob.size)

    @contextlib.contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """A file to write a blob to; afterwards it has its `digest` and `size`."""
        descriptor, name = tempfile.mkstemp(dir=self._blobs, prefix=".new-")
        blob = BlobWriter(os.fdopen(descriptor, "wb"))
        try:
            yield blob
            blob.close()
            os.chmod(name, 0o644)
            os.replace(name, self.path(blob.digest))
        except BaseException:
            blob.file.close()
            Path(name).unlink(missing_ok=True)
            raise

    def add_image(self, image: Image, layers: Iterable[Descriptor], architecture: str) -> Descriptor:
        """Store config and manifest of an image over layers that are there and are not compressed."""
        stack = list(layers)
        run: dict[str, Any] = {"Env": list(image.env), "WorkingDir": image.folder}
        optional = {
            "Entrypoint": list(image.entrypoint),
            "Cmd": list(image.command),
            "ExposedPorts": {f"{port}/tcp": {} for port in image.ports},
            "User": image.user,
            "StopSignal": image.stop_signal,
            "Labels": image.labels,
        }
        run |= {key: value for key, value in optional.items() if value}
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in stack]},
        }
        stored = self.add(json.dumps(config).encode(), CONFIG)
        return self.add_manifest(stored, stack, MANIFEST)

    def add_manifest(self, config: Descriptor, layers: list[Descriptor], media_type: str) -> Descriptor:
        """Store a manifest (schema version 2, OCI or Docker by its media type)."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.json(),
            "layers": [layer.json() for layer in layers],
        }
        return self.add(json.dumps(manifest).encode(), media_type)

    def parts(self, manifest: Descriptor) -> list[Descriptor]:
        """The manifest, and everything it needs (of an index: what is there), each once. Raises ImageError."""
        content = self.read_json(manifest.digest)
        found = [manifest]
        if manifest.media_type in INDEXES or "manifests" in content:
            children = [Descriptor.of(raw) for raw in content.get("manifests") or ()]
            for child in children:
                if self.path(child.digest).exists():
                    found += self.parts(child)
            if len(found) == 1:
                raise ImageError("the image index names no image that is in the archive")
        else:
            found += [Descriptor.of(raw) for raw in [content.get("config"), *(content.get("layers") or ())]]
        return list({part.digest: part for part in found}.values())


class BlobWriter:
    """A file that knows its digest and size while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = 0
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Append."""
        self._hash.update(data)
        self.size += len(data)
        return self.file.write(data)

    def close(self) -> None:
        """No more will come."""
        self.file.close()

    def tell(self) -> int:
        """Bytes written so far; tarfile asks."""
        return self.size

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of what was written."""
        return f"sha256:{self._hash.hexdigest()}"


def write_archive(target: IO[bytes], layout: Layout, images: Iterable[tuple[str, Descriptor]]) -> None:
    """Write images as one OCI archive, a tar of a layout: what `ctr images import`, `podman load`, `docker load`
    read.
    """
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        manifests, done = [], set()
        for name, manifest in images:
            tag = name.rsplit(":", 1)[-1]
            manifests.append(manifest.json() | {"annotations": {NAME_ANNOTATION: name, REF_ANNOTATION: tag}})
            for part in layout.parts(manifest):
                if part.digest not in done:
                    done.add(part.digest)
                    archive.add(layout.path(part.digest), f"blobs/sha256/{part.digest[7:]}", recursive=False)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        for path, content in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
