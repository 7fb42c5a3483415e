"""Images into a running cluster: from docker and OCI archives, from a file and through a pipe, for every pull
policy.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from switchboard.images import oci
from switchboard.images.build import built
from switchboard.images.oci import Descriptor, Layout
from switchboard.testing.cluster import PrivateCluster

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def alpine(stand_in_images: Path) -> tuple[Layout, Descriptor]:
    done = built(stand_in_images)
    assert done
    return Layout(stand_in_images), done["docker.io/library/alpine:latest"]


def docker_archive(layout: Layout, manifest: Descriptor, name: str) -> bytes:
    """What `docker save` writes, of an image of a layout."""
    content = layout.read_json(manifest.digest)
    layers = [f"{layer['digest'][7:]}/layer.tar" for layer in content["layers"]]
    entry = {"Config": "config.json", "RepoTags": [name], "Layers": layers}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(layout.path(content["config"]["digest"]), "config.json")
        for layer, path in zip(content["layers"], layers, strict=True):
            archive.add(layout.path(layer["digest"]), path)
        data = json.dumps([entry]).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def says(cluster: PrivateCluster, name: str, image: str, policy: str) -> str:
    """What a pod of that image says when it may only come from there."""
    options = ("--restart=Never", f"--image-pull-policy={policy}")
    cluster.kubectl("run", name, f"--image={image}", *options, "--command", "--", "echo", "it runs")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=30s")
    phase = cluster.get("pod", name)["status"]["containerStatuses"][0]["state"]["terminated"]["reason"]
    cluster.kubectl("delete", "pod", name, "--wait=false")
    return str(phase)


@pytest.mark.parametrize("policy", ["Never", "Always", "IfNotPresent"])
def test_a_docker_archive_can_be_run(
    cluster: PrivateCluster, alpine: tuple[Layout, Descriptor], tmp_path: Path, policy: str
) -> None:
    name = f"mine-{policy.lower()}"
    file = tmp_path / "image.tar"
    file.write_bytes(docker_archive(*alpine, f"{name}:1"))
    assert f"loaded docker.io/library/{name}:1" in cluster.switchboard("image", "load", str(file)).stdout
    assert says(cluster, name, f"{name}:1", policy) == "Completed"
    line = next(x for x in cluster.switchboard("image", "list").stdout.splitlines() if f"library/{name}:1" in x)
    assert line.split()[1] == "yes"
    assert "-" not in line.split()[2:]


def test_an_oci_archive_of_another_registry_comes_through_a_pipe(
    cluster: PrivateCluster, alpine: tuple[Layout, Descriptor]
) -> None:
    out = io.BytesIO()
    oci.write_archive(out, alpine[0], [("ghcr.io/me/tool:2", alpine[1])])
    process = cluster.popen("./switchboard", "image", "load", "-", stdin=subprocess.PIPE, cwd=Path(__file__).parents[2])
    process.communicate(out.getvalue(), timeout=60)
    assert process.returncode == 0
    assert says(cluster, "piped", "ghcr.io/me/tool:2", "Always") == "Completed"


def test_an_image_of_a_registry_with_a_port_is_pulled_from_the_mirror(
    cluster: PrivateCluster, alpine: tuple[Layout, Descriptor], tmp_path: Path
) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(docker_archive(*alpine, "localhost:5000/ported"))
    assert "loaded localhost:5000/ported:latest" in cluster.switchboard("image", "load", str(file)).stdout
    assert says(cluster, "ported", "localhost:5000/ported", "Always") == "Completed"
    assert "\nlocalhost:5000/ported:latest  " in cluster.switchboard("image", "list").stdout


def test_what_is_no_image_is_refused_in_words(cluster: PrivateCluster, tmp_path: Path) -> None:
    for content, said in ((b"no archive" * 100, "not an image archive"), (b"", "not an image archive")):
        file = tmp_path / "file"
        file.write_bytes(content)
        done = cluster.switchboard("image", "load", str(file), check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert "what to do: " in done.stderr
    missing = cluster.switchboard("image", "load", str(tmp_path / "missing"), check=False)
    assert "No such file" in missing.stderr


def test_an_image_nobody_has_is_a_failed_pull_that_says_so(cluster: PrivateCluster) -> None:
    cluster.kubectl("run", "nobody", "--image=nobody/has:this", "--restart=Never")
    reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    cluster.kubectl("wait", f"--for={reason}=ErrImagePull", "pod/nobody", "--timeout=30s")
    cluster.kubectl("delete", "pod", "nobody", "--wait=false")
