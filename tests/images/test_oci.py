"""Layouts and archives: what is written is read back, what is damaged is refused in words."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from switchboard.images import archive, names, oci
from switchboard.images.errors import ImageError
from switchboard.images.oci import Descriptor, Layout
from switchboard.images.publish import hosts, publish, published
from switchboard.images.spec import Image


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            made.addfile(entry)
    return out.getvalue()


def simple(layout: Layout) -> Descriptor:
    layer = layout.add(tar({"hello": b"world"}), oci.LAYER)
    return layout.add_image(Image(command=("/hello",)), [layer], "amd64")


def docker_archive(
    tags: list[str] | None, *, layer: bytes = b"", diff_ids: list[str] | None = None, **changes: Any
) -> bytes:
    content = layer or tar({"hello": b"world"})
    layers = ["sha256:" + hashlib.sha256(content).hexdigest()] if diff_ids is None else diff_ids
    root = {"type": "layers", "diff_ids": layers}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": root}).encode()
    entry = {"Config": "c.json", "RepoTags": tags, "Layers": ["l/layer.tar"]} | changes
    return tar({"c.json": config, "l/layer.tar": content, "manifest.json": json.dumps([entry]).encode()})


def test_a_written_archive_is_read_back_part_by_part(tmp_path: Path) -> None:
    one, two = Layout(tmp_path / "one"), Layout(tmp_path / "two")
    manifest = simple(one)
    out = io.BytesIO()
    oci.write_archive(out, one, [("docker.io/library/a:1", manifest), ("ghcr.io/b/c:2", manifest)])
    loaded = archive.read(io.BytesIO(out.getvalue()), two)
    assert [[str(name) for name in image.names] for image in loaded] == [["docker.io/library/a:1"], ["ghcr.io/b/c:2"]]
    for part in one.parts(manifest):
        assert two.read(part.digest) == one.read(part.digest)
        assert "sha256:" + hashlib.sha256(one.read(part.digest)).hexdigest() == part.digest


@pytest.mark.parametrize("compressed", [False, True])
def test_docker_archives_are_read_also_compressed(tmp_path: Path, compressed: bool) -> None:
    data = docker_archive(["app:1", "me/app:2"])
    layout = Layout(tmp_path)
    (image,) = archive.read(io.BytesIO(gzip.compress(data) if compressed else data), layout)
    assert [str(name) for name in image.names] == ["docker.io/library/app:1", "docker.io/me/app:2"]
    manifest = layout.read_json(image.manifest.digest)
    assert manifest["layers"][0]["mediaType"] == oci.DOCKER_LAYER
    assert layout.read(manifest["layers"][0]["digest"]) == tar({"hello": b"world"})


def test_a_layer_that_is_a_link_or_compressed_is_read(tmp_path: Path) -> None:
    config, entry = b"{}", {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["one/layer.tar", "two/layer.tar"]}
    files = {"c.json": config, "one/layer.tar": gzip.compress(b"x"), "manifest.json": json.dumps([entry]).encode()}
    layout = Layout(tmp_path)
    (image,) = archive.read(io.BytesIO(tar(files, {"two/layer.tar": "../one/layer.tar"})), layout)
    layers = layout.read_json(image.manifest.digest)["layers"]
    assert layers[0] == layers[1]
    assert layers[0]["mediaType"].endswith(".tar.gzip")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not an image archive"),
        (b"text, and not a short one" * 100, "not an image archive"),
        (tar({"x": b""}), "neither"),
        (docker_archive(None), "no name"),
        (docker_archive(["a:1"], Config="missing"), "lacks the file 'missing'"),
        (docker_archive(["A B"]), "not an image name"),
        (tar({"manifest.json": b"{"}), "not JSON"),
        (tar({"manifest.json": b"{}"}), "another form"),
        (tar({"manifest.json": b'["x"]'}), "another form"),
        (tar({"index.json": b"[]"}), "another form"),
        (tar({"index.json": b'{"manifests": ["x"]}', "manifest.json": b"7"}), "another form"),
        (docker_archive(["a:1"], Layers=["gone/layer.tar"]), "lacks the file 'gone/layer.tar'"),
        (gzip.compress(docker_archive(["a:1"]))[:-40], "not an image archive"),
        (gzip.compress(docker_archive(["a:1"]))[:60] + b"x" * 200, "not an image archive"),
        (docker_archive(["a:1"])[:700], "not an image archive"),
        (docker_archive(["a:1"], diff_ids=["sha256:" + "0" * 64]), "a layer of the image should be"),
        (docker_archive(["a:1"], diff_ids=["sha256:" + "0" * 64] * 2), "2 layers and the archive 1"),
        (tar({"index.json": json.dumps({"manifests": [{"digest": "../../x"}]}).encode()}), "descriptor"),
        (tar({"index.json": b"{}", f"blobs/sha256/{'0' * 64}": b"other"}), "damaged|should be"),
    ],
)
def test_damaged_archives_are_refused_in_words(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        archive.read(io.BytesIO(data), Layout(tmp_path))


def test_an_archive_that_lacks_a_layer_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    one, data = Layout(tmp_path / "one"), io.BytesIO()
    manifest = simple(one)
    oci.write_archive(data, one, [("docker.io/library/a:1", manifest)])
    gone = one.read_json(manifest.digest)["layers"][0]["digest"]
    less = io.BytesIO()
    data.seek(0)
    with tarfile.open(fileobj=data) as whole, tarfile.open(fileobj=less, mode="w") as part:
        for entry in whole:
            if not entry.name.endswith(gone[7:]):
                part.addfile(entry, whole.extractfile(entry))
    less.seek(0)
    with pytest.raises(ImageError, match=f"lacks its part {gone}"):
        archive.read(less, Layout(tmp_path / "two"))


def test_a_full_disk_is_not_the_archives_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", lambda *words, **more: Full())
    with pytest.raises(OSError, match="No space left"):
        archive.read(io.BytesIO(docker_archive(["a:1"])), Layout(tmp_path))


def test_names_in_an_archive_never_lead_out_of_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    files = {"../../outside": b"x", "/etc/outside": b"x", "manifest.json": b"[]"}
    with pytest.raises(ImageError):
        archive.read(io.BytesIO(tar(files)), Layout(tmp_path / "deep" / "layout"))
    assert not outside.exists()


def test_docker_names_an_index_by_the_image_of_it_that_is_there(tmp_path: Path) -> None:
    """What `docker save` writes of an image of many platforms, of which it has one: an index, and its own manifest."""
    one = Layout(tmp_path / "one")
    here = simple(one)
    elsewhere = Descriptor(oci.MANIFEST, "sha256:" + "1" * 64, 9)
    content = {"schemaVersion": 2, "manifests": [elsewhere.json(), here.json()]}
    index = one.add(json.dumps(content).encode(), oci.INDEX)
    config = one.read_json(here.digest)["config"]["digest"]
    files = {f"blobs/sha256/{part.digest[7:]}": one.read(part.digest) for part in one.parts(index)}
    noted = index.json() | {"annotations": {oci.REF_ANNOTATION: "v1"}}
    entry = {"Config": f"blobs/sha256/{config[7:]}", "RepoTags": ["app:v1"], "Layers": []}
    files |= {"index.json": json.dumps({"manifests": [noted]}).encode(), "manifest.json": json.dumps([entry]).encode()}
    two = Layout(tmp_path / "two")
    (image,) = archive.read(io.BytesIO(tar(files)), two)
    assert (image.manifest.digest, [str(name) for name in image.names]) == (index.digest, ["docker.io/library/app:v1"])
    assert two.read(here.digest) == one.read(here.digest)


def test_published_images_are_listed_by_name(tmp_path: Path) -> None:
    layout, storage = Layout(tmp_path / "layout"), tmp_path / "storage"
    manifest = simple(layout)
    for name in ("nginx:alpine", "ghcr.io/a/b:1", "localhost:5000/c:2"):
        publish(layout, manifest, names.parse(name), storage)
        publish(layout, manifest, names.parse(name), storage)
    everything = ("docker.io/library/nginx:alpine", "ghcr.io/a/b:1", "localhost:5000/c:2")
    assert published(storage) == dict.fromkeys(everything, manifest.digest)
    assert hosts(storage) == {"docker.io", "ghcr.io", "localhost:5000"}
