"""Volumes of type `image`: another image's files in a container, and what is said when they are not to be had."""

from __future__ import annotations

from pathlib import Path

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
