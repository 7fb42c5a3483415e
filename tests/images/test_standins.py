"""The stand-in images in a real registry: every one can be pulled whole, and has inside what a tutorial uses."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from switchboard.cluster import mirror
from switchboard.cluster.config import ClusterConfig
from switchboard.images import oci
from switchboard.images.build import built, publish_all
from switchboard.images.layer import merged
from switchboard.images.libraries import needed
from switchboard.images.oci import Layout
from switchboard.images.standins import LAYERS, STAND_INS, are_published
from switchboard.testing.host import Host

CLIENT = """
import hashlib, json, sys, urllib.request
base, names = sys.argv[1], json.loads(sys.argv[2])
accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
for name in names:
    repository, _, tag = name.rpartition(":")
    url = f"{base}/v2/{repository}/manifests/{tag}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=accept)) as answer:
        manifest = json.load(answer)
    for part in [manifest["config"], *manifest["layers"]]:
        with urllib.request.urlopen(f"{base}/v2/{repository}/blobs/{part['digest']}") as answer:
            assert "sha256:" + hashlib.sha256(answer.read()).hexdigest() == part["digest"], name
print("whole")
"""


@pytest.fixture(scope="module")
def storage(stand_in_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "registry"
    folder.mkdir()
    assert publish_all(stand_in_images, folder, print)
    return folder


@pytest.fixture(scope="module")
def contents(stand_in_images: Path) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Repository -> path -> entry, over all layers."""
    layout, done = Layout(stand_in_images), built(stand_in_images)
    assert done
    found: dict[str, dict[str, tarfile.TarInfo]] = {}
    for stand_in in STAND_INS:
        manifest = layout.read_json(done[f"{stand_in.repository}:{stand_in.tags[0]}"].digest)
        entries: dict[str, tarfile.TarInfo] = {}
        for layer in manifest["layers"]:
            with tarfile.open(layout.path(layer["digest"])) as archive:
                entries |= {entry.name: entry for entry in archive}
        found[stand_in.repository.rsplit("/", 1)[1]] = entries
    return found


def test_every_image_is_pulled_whole_from_a_real_registry(storage: Path, tmp_path: Path) -> None:
    names = [f"{s.repository}:{s.tags[-1]}" for s in STAND_INS]
    config = ClusterConfig("x", storage.parent, tmp_path, tmp_path, node_subnet="10.9.0.0/24")
    mirror.write(config)
    with Host() as host:
        host.run("ip", "addr", "add", f"{config.gateway}/32", "dev", "lo")
        registry = host.popen("docker-registry", "serve", str(tmp_path / "registry.yml"), stderr=subprocess.DEVNULL)
        try:
            ready = f"import socket; socket.create_connection(({config.gateway!r}, 5000), 1)"
            deadline = time.monotonic() + 10
            while host.python(ready, check=False).returncode:
                assert time.monotonic() < deadline
            said = host.python(CLIENT, f"http://{config.mirror}", json.dumps(names)).stdout
            assert said == "whole\n"
        finally:
            registry.terminate()
            registry.wait(10)


def test_a_second_time_nothing_is_done(stand_in_images: Path, storage: Path) -> None:
    assert are_published(storage)
    said: list[str] = []
    assert not publish_all(stand_in_images, storage, said.append)
    assert said == []


@pytest.mark.parametrize(
    ("image", "paths"),
    [
        (
            "alpine",
            ["usr/bin/sh", "usr/bin/busybox", "usr/bin/nslookup", "usr/bin/wget", "usr/bin/curl", "usr/sbin/apk"],
        ),
        (
            "alpine",
            [
                "etc/ssl/certs/ca-certificates.crt",
                "tmp",
                "etc/passwd",
                "bin",
                "lib64",
                "usr/bin/printenv",
                "usr/bin/awk",
            ],
        ),
        ("nginx", ["usr/sbin/nginx", "usr/share/nginx/html/index.html", "etc/nginx/conf.d/default.conf"]),
        ("flask", ["app/app.py", "usr/bin/python3", "usr/lib/python3/dist-packages/flask/__init__.py"]),
        ("agent", ["app/main.py", "opt/packages/fastapi/__init__.py", "opt/packages/uvicorn/__init__.py"]),
        ("pause", ["usr/bin/catatonit"]),
    ],
)
def test_images_have_what_tutorials_use(
    contents: dict[str, dict[str, tarfile.TarInfo]], image: str, paths: list[str]
) -> None:
    assert [path for path in paths if path not in contents[image]] == []


def test_links_lead_somewhere_and_nothing_lies_beside_the_merged_folders(
    contents: dict[str, dict[str, tarfile.TarInfo]],
) -> None:
    for entries in contents.values():
        for name, entry in entries.items():
            assert not name.startswith(("bin/", "sbin/", "lib/", "lib64/", "/", "./"))
            if entry.islnk():
                assert entry.linkname in entries, name


def test_every_library_that_is_asked_for_is_there(stand_in_images: Path) -> None:
    layout, done = Layout(stand_in_images), built(stand_in_images)
    assert done
    for stand_in in STAND_INS:
        names: set[str] = set()
        asked: dict[str, list[str]] = {}
        for layer in layout.read_json(done[f"{stand_in.repository}:{stand_in.tags[0]}"].digest)["layers"]:
            with tarfile.open(layout.path(layer["digest"])) as archive:
                for entry in archive:
                    names.add(entry.name.rpartition("/")[2])
                    if entry.isreg() and (content := archive.extractfile(entry)):
                        asked[entry.name] = needed(content.read())
        assert any("libc.so.6" in each for each in asked.values()) != (stand_in.layers == ("pause",))
        assert {path: left for path, each in asked.items() if (left := set(each) - names)} == {}


def test_what_no_program_loads_is_not_in_an_image(contents: dict[str, dict[str, tarfile.TarInfo]]) -> None:
    nginx = {path.rpartition("/")[2] for path in contents["nginx"]}
    assert {"libssl.so.3", "libc.so.6", "libnss_dns.so.2", "libgcc_s.so.1"} <= nginx
    assert not {"libmvec.so.1", "libdb-5.3.so", "libbrotlienc.so.1", "libm.so.6"} & nginx
    python = {path.rpartition("/")[2] for path in contents["python"]}
    assert {"libm.so.6", "libdb-5.3.so"} <= python  # its modules load them


def test_upper_layers_have_nothing_of_packages_again(stand_in_images: Path) -> None:
    layout, done = Layout(stand_in_images), built(stand_in_images)
    assert done
    seen: set[str] = set()
    for layer in layout.read_json(done["docker.io/library/flask:latest"].digest)["layers"]:
        with tarfile.open(layout.path(layer["digest"])) as archive:
            files = {entry.name for entry in archive if not entry.isdir()}
        assert files
        assert not files & seen
        seen |= files


def test_layers_are_shared(stand_in_images: Path) -> None:
    layout, done = Layout(stand_in_images), built(stand_in_images)
    assert done
    layers = {d["digest"] for manifest in done.values() for d in layout.read_json(manifest.digest)["layers"]}
    assert len(layers) == len(LAYERS)


def test_config_names_the_layers_as_they_are(stand_in_images: Path) -> None:
    layout, done = Layout(stand_in_images), built(stand_in_images)
    assert done
    for manifest in done.values():
        content: dict[str, Any] = layout.read_json(manifest.digest)
        config = layout.read_json(content["config"]["digest"])
        assert content["layers"][0]["mediaType"] == oci.LAYER
        assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in content["layers"]]


@pytest.mark.parametrize(
    ("path", "becomes"),
    [
        ("./bin/ls", "usr/bin/ls"),
        ("./lib64/ld.so", "usr/lib64/ld.so"),
        ("./usr/bin/x", "usr/bin/x"),
        ("./", ""),
        ("./lib", ""),
        ("./library/x", "library/x"),
    ],
)
def test_paths_of_packages_are_moved_below_usr(path: str, becomes: str) -> None:
    assert merged(path) == becomes
