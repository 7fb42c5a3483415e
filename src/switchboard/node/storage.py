"""How much of the node's disk a pod uses, and whether that is more than it may: what ends in an eviction.

Source: pkg/kubelet/eviction/eviction_manager.go localStorageEviction.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from switchboard.node.observed import Observed
from switchboard.node.runtime import CriRuntime
from switchboard.node.settings import NodeSettings
from switchboard.objects.podresources import amounts, of_container, of_pod

Object = dict[str, Any]

_STORAGE = "ephemeral-storage"


@dataclass(slots=True)
class Usage:
    """Bytes on disk, by name."""

    volumes: Mapping[str, int] = field(default_factory=dict)  # emptyDir volumes
    containers: Mapping[str, int] = field(default_factory=dict)  # their own layers and logs


def limited(pod: Object) -> bool:
    """Whether a pod has bounds that somebody has to look after."""
    every = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    return any(_limit(v) for v in _scratch(pod)) or any(_STORAGE in of_container(c, "limits") for c in every)


def _scratch(pod: Object) -> list[Object]:
    """The emptyDir volumes that lie on disk; the kernel bounds those in memory."""
    volumes = pod["spec"].get("volumes") or ()
    return [v for v in volumes if "emptyDir" in v and (v["emptyDir"] or {}).get("medium", "") in ("", "Default")]


def _limit(volume: Object) -> int:
    return amounts({"limit": (volume["emptyDir"] or {}).get("sizeLimit") or "0"}).get("limit", 0)


def excess(pod: Object, usage: Usage) -> str | None:
    """What a pod uses too much of, in kubelet's words. Pure."""
    for volume in _scratch(pod):
        name = volume["name"]
        if 0 < _limit(volume) < usage.volumes.get(name, 0):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{volume["emptyDir"]["sizeLimit"]}". '
    most = of_pod(pod["spec"], "limits").get(_STORAGE)
    if most and most < sum(usage.volumes.values()) + sum(usage.containers.values()):
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {most}. "
    for container in pod["spec"]["containers"]:
        allowed = of_container(container, "limits").get(_STORAGE)
        if allowed and allowed < usage.containers.get(container["name"], 0):
            text = container["resources"]["limits"][_STORAGE]
            return f'Container {container["name"]} exceeded its local ephemeral storage limit "{text}". '
    return None


async def measure(pod: Object, seen: Observed, runtime: CriRuntime, settings: NodeSettings) -> Usage:
    """What a pod uses now. Raises RuntimeFailure."""
    meta = pod["metadata"]
    base = settings.pod_dir(meta["uid"]) / "volumes" / "kubernetes.io~empty-dir"
    logs = settings.pod_log_dir(meta["namespace"], meta["name"], meta["uid"])
    layers: dict[str, int] = {}
    for item in await runtime.container_stats():
        used = item.get("writable_layer", {}).get("used_bytes", {}).get("value", 0)
        layers[item.get("attributes", {}).get("id", "")] = int(used)
    latest = {name: tries[0].id for name, tries in seen.containers.items() if tries}

    def walk() -> Usage:
        containers = {name: layers.get(ident, 0) + size_of(logs / name) for name, ident in latest.items()}
        return Usage({v["name"]: size_of(base / v["name"]) for v in _scratch(pod)}, containers)

    return await asyncio.to_thread(walk)  # there may be very many files


def size_of(folder: Path) -> int:
    """Bytes that everything in a folder takes on disk, as du counts them."""
    total, files = 0, set()
    for where, _, names in os.walk(folder):
        for name in ("", *names):
            try:
                found = os.lstat(os.path.join(where, name))
            except OSError:
                continue  # gone meanwhile
            if found.st_nlink == 1 or (found.st_dev, found.st_ino) not in files:
                files.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total
