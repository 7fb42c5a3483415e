"""Volumes of type `image` (KEP-4639): an image's files, read-only, mounted when a container that uses them starts.

The image is pulled as a container's would be, with its policy, back-off, events and words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from switchboard.node.mounts import mount_layers
from switchboard.node.payload import VolumeFailure
from switchboard.node.pulls import Images, Say
from switchboard.node.runtime import CriRuntime, RuntimeFailure, RuntimeGone
from switchboard.node.settings import NodeSettings

Object = dict[str, Any]


def image_volumes(pod: Object, container: Object) -> Iterator[Object]:
    """The volumes of type `image` that a container mounts."""
    mounted = {mount["name"] for mount in container.get("volumeMounts") or ()}
    yield from (v for v in pod["spec"].get("volumes") or () if "image" in v and v["name"] in mounted)


async def mount_images(
    pod: Object, container: Object, images: Images, runtime: CriRuntime, settings: NodeSettings,
    secrets: list[Object], say: Say,
) -> dict[str, Path]:  # fmt: skip
    """Host paths of a container's image volumes by name. Raises PullFailure, VolumeFailure, RuntimeGone."""
    made: dict[str, Path] = {}
    uid = pod["metadata"]["uid"]
    for volume in image_volumes(pod, container):
        name, source = volume["name"], volume["image"] or {}
        asked = {"image": source.get("reference", ""), "imagePullPolicy": source.get("pullPolicy")}
        image = await images.ensure(pod, asked, secrets, say)
        folder = settings.pod_dir(uid) / "volumes" / "kubernetes.io~image" / name
        made[name] = folder
        if os.path.ismount(folder):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        try:
            mounts = await runtime.image_layers(image, f"{uid}/{name}")
            if len(mounts) != 1:
                raise OSError(f"image {source.get('reference')} has no files that can be mounted")
            await mount_layers(folder, mounts[0]["type"], mounts[0]["source"], mounts[0].get("options", ()))
        except RuntimeGone:
            raise
        except (OSError, RuntimeFailure) as why:
            raise VolumeFailure(f'volume "{name}": {why}') from why
    return made
