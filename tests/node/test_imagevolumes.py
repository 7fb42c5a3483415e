"""Volumes of type `image`: another image's files in a container, and what is said when they are not to be had."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.testing.node import BUSYBOX, Node, condition, container

SLEEP = {"command": ["sleep", "1000"]}


async def test_an_images_files_are_there_and_only_to_be_read(node: Node) -> None:
    image = {"name": "files", "image": {"reference": BUSYBOX, "pullPolicy": "IfNotPresent"}}
    mounts = [
        {"name": "files", "mountPath": "/volume"},
        {"name": "files", "mountPath": "/part", "subPath": "etc", "readOnly": True},
    ]
    await node.apply("reader", {**SLEEP, "volumeMounts": mounts}, volumes=[image])
    uid = (await node.ready("reader"))["metadata"]["uid"]
    assert await node.sh("reader", "cmp /volume/bin/busybox /bin/busybox && echo same") == "same\n"
    assert await node.sh("reader", "cat /part/passwd") == await node.sh("reader", "cat /volume/etc/passwd")
    assert "Read-only" in await node.sh("reader", "touch /volume/new 2>&1 || true")
    mount = node.settings.pod_dir(uid) / "volumes" / "kubernetes.io~image" / "files"
    assert mount.is_mount()
    await node.delete("reader")
    await node.nothing_left(uid)
    assert str(mount) not in Path("/proc/self/mounts").read_text()


async def test_an_image_that_cannot_be_pulled_holds_up_who_mounts_it(node: Node) -> None:
    absent = {"name": "files", "image": {"reference": "127.0.0.1:1/absent:1", "pullPolicy": "IfNotPresent"}}
    mounts = [{"name": "files", "mountPath": "/volume"}]
    await node.apply("held", SLEEP, {**SLEEP, "name": "d", "volumeMounts": mounts}, volumes=[absent])
    reasons = ("ErrImagePull", "ImagePullBackOff")
    pod = await node.until("held", lambda p: container(p, "d")["state"].get("waiting", {}).get("reason") in reasons)
    assert "running" in container(await node.until("held", lambda p: container(p)["ready"]))["state"]
    assert condition(pod, "Ready") == "False"
    await node.delete("held")


async def test_a_view_that_somebody_left_behind_is_no_obstacle(node: Node) -> None:
    verbose = {"image": {"image": BUSYBOX}, "verbose": True}
    info = json.loads((await node.runtime.call("ImageStatus", verbose, images=True))["info"]["info"])
    config = json.loads((await node.runtime.call("Status", {"verbose": True}))["info"]["config"])
    ctr = ["ctr", "-a", str(node.settings.cri_socket), "-n", "k8s.io", "snapshots"]
    view = ["--snapshotter", config["containerd"]["snapshotter"], "view", "left", info["chainID"]]
    subprocess.run([*ctr, *view], check=True, capture_output=True)
    first = await node.runtime.image_layers(BUSYBOX, "left")
    assert first == await node.runtime.image_layers(BUSYBOX, "left")


async def test_what_the_runtime_refuses_is_said_and_holds_up_nobody_else(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(runtime: CriRuntime, image: str, key: str) -> list[dict[str, object]]:
        raise RuntimeFailure("UNKNOWN", "no such snapshotter")

    monkeypatch.setattr(CriRuntime, "image_layers", refuse)
    image = {"name": "files", "image": {"reference": BUSYBOX, "pullPolicy": "IfNotPresent"}}
    mounts = {"volumeMounts": [{"name": "files", "mountPath": "/volume"}]}
    await node.apply("refused", {**SLEEP, **mounts}, {**SLEEP, "name": "d"}, volumes=[image])
    pod = await node.until("refused", lambda p: container(p, "d").get("ready"))
    waiting = container(pod)["state"]["waiting"]
    why = 'volume "files": rpc error: code = Unknown desc = no such snapshotter'
    assert waiting == {"reason": "CreateContainerConfigError", "message": why}
