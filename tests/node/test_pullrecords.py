"""Files that say with what images were pulled: who may use them, also after the node's process has begun anew."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from switchboard.node.imagenames import repository
from switchboard.node.pullrecords import PullRecords
from switchboard.node.pulls import Images, PullFailure
from switchboard.node.pullsecrets import credentials
from switchboard.node.runtime import RuntimeFailure

IMAGE = "registry.example:5000/team/app:v1"


def secret(name: str, password: str, uid: str = "", host: str = "registry.example:5000") -> dict[str, Any]:
    config = json.dumps({"auths": {f"https://{host}": {"username": "u", "password": password}}})
    data = {".dockerconfigjson": base64.b64encode(config.encode()).decode()}
    return {"metadata": {"name": name, "namespace": "ns", "uid": uid or f"uid-of-{name}"}, "data": data}


def pulled(records: PullRecords, image: str, reference: str, *secrets: dict[str, Any]) -> None:
    records.begin(image)
    records.add(image, reference, next(iter(credentials(image, list(secrets))), None))
    records.end(image)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("docker.io/library/nginx:1", "docker.io/library/nginx"),
        ("docker.io/nginx:1", "docker.io/library/nginx"),
        ("index.docker.io/me/app", "docker.io/me/app"),
        ("me/app:v1@sha256:" + "0" * 64, "docker.io/me/app"),
        ("registry.example:5000/app", "registry.example:5000/app"),
        (IMAGE, "registry.example:5000/team/app"),
        ("localhost/app:latest", "localhost/app"),
    ],
)
def test_the_repository_of_an_image(image: str, name: str) -> None:
    assert repository(image) == name


def test_what_is_known_outlives_the_process(tmp_path: Path) -> None:
    pulled(PullRecords(tmp_path), IMAGE, "sha256:one", secret("s", "right"))
    records = PullRecords(tmp_path)
    assert not records.left_over

    def opens(*secrets: dict[str, Any], image: str = IMAGE) -> bool:
        return records.opens("sha256:one", image, list(secrets))

    assert opens(secret("s", "right"))
    assert opens(secret("s", "changed since"))  # the same secret
    assert opens(secret("other", "right"))  # another one that says the same
    assert not opens() and not opens(secret("other", "wrong")) and not opens(secret("s", "right", host="elsewhere"))
    assert opens(secret("s", "right"), image="registry.example:5000/team/app:v2")  # the same repository
    assert not opens(secret("s", "right"), image="registry.example:5000/another/app:v1")
    assert records.opens("sha256:never-pulled", IMAGE, [])
    pulled(records, IMAGE, "sha256:one")
    assert opens() and PullRecords(tmp_path).opens("sha256:one", IMAGE, [])
    pulled(records, IMAGE, "sha256:one", secret("s", "right"))
    assert opens()  # what is everybody's stays so


def test_the_file_is_as_upstreams(tmp_path: Path) -> None:
    for name, password in (("s", "right"), ("t", "also right"), ("s", "changed")):
        pulled(PullRecords(tmp_path), IMAGE, "sha256:one", secret(name, password))
    (file,) = (tmp_path / "pulled").iterdir()
    assert not list((tmp_path / "pulling").iterdir())
    record = json.loads(file.read_text())
    assert (record["kind"], record["imageRef"]) == ("ImagePulledRecord", "sha256:one")
    secrets = record["credentialMapping"]["registry.example:5000/team/app"]["kubernetesSecrets"]
    assert [(one["namespace"], one["name"], one["uid"]) for one in secrets] == [
        ("ns", "t", "uid-of-t"),
        ("ns", "s", "uid-of-s"),
    ]
    assert all(len(one["credentialHash"]) == 64 for one in secrets) and "right" not in file.read_text()


def test_a_file_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    records = PullRecords(tmp_path)
    for broken in (
        "",
        "{",
        "[]",
        '{"credentialMapping": 3}',
        '{"credentialMapping": {"registry.example:5000/team/app": 1}}',
    ):
        pulled(records, IMAGE, "sha256:one", secret("s", "right"))
        (file,) = (tmp_path / "pulled").iterdir()
        file.write_text(broken)
        assert not records.opens("sha256:one", IMAGE, [secret("s", "right")])
    pulled(records, IMAGE, "sha256:one", secret("s", "right"))
    assert records.opens("sha256:one", IMAGE, [secret("s", "right")])


def test_records_go_with_their_images(tmp_path: Path) -> None:
    records = PullRecords(tmp_path)
    for reference in ("sha256:one", "sha256:two", "sha256:new"):
        pulled(records, IMAGE, reference, secret("s", "right"))
    for file in (tmp_path / "pulled").iterdir():
        if json.loads(file.read_text())["imageRef"] != "sha256:new":
            os.utime(file, (1, 1))
    records.prune({"sha256:one"}, before=time.time() - 60)
    left = sorted(json.loads(file.read_text())["imageRef"] for file in (tmp_path / "pulled").iterdir())
    assert left == ["sha256:new", "sha256:one"]


class Runtime:
    """Has images; pulls need a password."""

    def __init__(self, *here: str) -> None:
        self.here = set(here)
        self.down = False

    async def image_status(self, image: str) -> dict[str, Any] | None:
        if self.down:
            raise RuntimeFailure("UNKNOWN", "no disk")
        return {"id": f"id of {image}", "size": 1} if image in self.here else None

    async def list_images(self) -> list[dict[str, Any]]:
        return [{"id": f"id of {image}"} for image in self.here]

    async def pull_image(self, image: str, auth: dict[str, Any] | None = None) -> str:
        if (auth or {}).get("password") != "right":
            raise RuntimeFailure("NOT_FOUND", "not found")
        self.here.add(image)
        return f"id of {image}"


async def tried(images: Images, *secrets: dict[str, Any], image: str = IMAGE) -> bool:
    container = {"image": image, "imagePullPolicy": "Never"}
    try:
        await images.ensure({"metadata": {"uid": "1"}, "spec": {}}, container, list(secrets), lambda *_: None)
    except PullFailure:
        return False
    return True


async def test_a_pull_that_was_cut_off_is_nobodys(tmp_path: Path) -> None:
    for image in (IMAGE, "gone"):
        PullRecords(tmp_path).begin(image)  # and the process ends
    runtime = Runtime(IMAGE, "preloaded")
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    assert await tried(images, image="preloaded")
    assert not await tried(images) and not await tried(images, secret("s", "right"))
    again = Images(runtime, tmp_path)  # type: ignore[arg-type]
    assert not await tried(again, secret("s", "right"))
    assert not list((tmp_path / "pulling").iterdir())
    container = {"image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    await again.ensure({"metadata": {"uid": "2"}, "spec": {}}, container, [secret("s", "right")], lambda *_: None)
    assert await tried(again, secret("s", "right")) and not await tried(again, secret("t", "wrong"))


async def test_a_pull_that_cannot_be_recorded_is_nobodys(tmp_path: Path) -> None:
    images = Images(Runtime(), tmp_path)  # type: ignore[arg-type]
    (tmp_path / "pulled").write_text("a file where the folder should be")
    container = {"image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    await images.ensure({"metadata": {"uid": "1"}, "spec": {}}, container, [secret("s", "right")], lambda *_: None)
    assert not await tried(images) and not await tried(images, secret("s", "right"))
    (tmp_path / "pulled").unlink()
    assert not await tried(images, secret("s", "right"))
    await images.ensure({"metadata": {"uid": "1"}, "spec": {}}, container, [secret("s", "right")], lambda *_: None)
    assert await tried(images, secret("s", "right"))


async def test_images_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    runtime = Runtime()
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    container = {"image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    await images.ensure({"metadata": {"uid": "1"}, "spec": {}}, container, [secret("s", "right")], lambda *_: None)
    (file,) = (tmp_path / "pulled").iterdir()
    os.utime(file, (1, 1))
    await images.prune()
    assert file.exists()
    runtime.here.clear()
    await images.prune()
    assert not file.exists()
