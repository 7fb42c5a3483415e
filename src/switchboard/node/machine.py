"""What the node is and has, as it stands in `Node.status`: pure builders, and one look at the machine.

Sources: pkg/kubelet/nodestatus/setters.go, pkg/kubelet/kubelet_node_status.go.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchboard.node.observed import rfc3339
from switchboard.node.settings import KUBELET_VERSION, NodeSettings

Object = dict[str, Any]

_IMAGES = 50  # how many images a Node lists (node-status-max-images)
_NAMES = 5  # and how many names of each (MaxNamesPerImageInNodeStatus)
# Controllers attach volumes, not this node: kubelet says so by default (enableControllerAttachDetach).
ANNOTATIONS = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at the machine."""

    cpus: int
    memory: int
    disk: int
    huge_pages: tuple[str, ...]
    info: Mapping[str, Any]


def look(root: Path, runtime_version: str) -> Machine:
    """The machine now; `root` is where pods keep their files. Raises OSError."""
    memory = swap = 0
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemTotal:"):
                memory = int(line.split()[1]) * 1024
            elif line.startswith("SwapTotal:"):
                swap = int(line.split()[1]) * 1024
    parent = next((p for p in (root, *root.parents) if p.exists()), Path("/"))
    disk = os.statvfs(parent)
    pages = sorted(name for name in _names("/sys/kernel/mm/hugepages") if name.startswith("hugepages-"))
    info: dict[str, Any] = {
        "machineID": _first_line("/etc/machine-id"),
        "systemUUID": _first_line("/sys/class/dmi/id/product_uuid") or _first_line("/etc/machine-id"),
        "bootID": _first_line("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": platform.release(),
        "osImage": _os_image(),
        "containerRuntimeVersion": runtime_version,
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
    }
    if swap:
        info["swap"] = {"capacity": swap}
    huge = tuple(f"hugepages-{_size(int(name[10:-2]))}" for name in pages)
    return Machine(len(os.sched_getaffinity(0)), memory, disk.f_blocks * disk.f_frsize, huge, info)


def _size(kibibytes: int) -> str:
    for unit, factor in (("Gi", 1 << 20), ("Mi", 1 << 10)):
        if kibibytes % factor == 0:
            return f"{kibibytes // factor}{unit}"
    return f"{kibibytes}Ki"


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _first_line(path: str) -> str:
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return ""


def _os_image() -> str:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path) as file:
                for line in file:
                    if line.startswith("PRETTY_NAME="):
                        return line.partition("=")[2].strip().strip('"')
        except OSError:
            continue
    return "Linux"


def capacity(machine: Machine, settings: NodeSettings) -> tuple[dict[str, str], dict[str, str]]:
    """(capacity, allocatable): allocatable is less by what eviction keeps free (100Mi, a tenth of the disk)."""
    whole = {
        "cpu": str(machine.cpus),
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        **dict.fromkeys(machine.huge_pages, "0"),
        "memory": f"{machine.memory // 1024}Ki",
        "pods": str(settings.max_pods),
    }
    free = {
        **whole,
        "ephemeral-storage": str(machine.disk * 9 // 10),
        "memory": f"{(machine.memory - (100 << 20)) // 1024}Ki",
    }
    return whole, free


def images(found: Sequence[Object]) -> list[Object]:
    """`status.images`, the largest first."""
    listed = sorted(found, key=lambda image: -int(image.get("size", 0)))[:_IMAGES]
    return [
        {
            "names": [*image.get("repo_digests", ()), *image.get("repo_tags", ())][:_NAMES],
            "sizeBytes": image.get("size", 0),
        }
        for image in listed
        if image.get("repo_digests") or image.get("repo_tags")
    ]


def conditions(runtime: Mapping[str, Object] | None, old: Sequence[Object], now: float) -> list[Object]:
    """Our conditions in kubelet's order, then whatever others have set. `runtime` None: it does not answer."""
    before = {c["type"]: c for c in old}
    problems = []
    if runtime is None:
        problems.append("container runtime is down")
    else:
        for kind, words in (
            ("RuntimeReady", "container runtime not ready"),
            ("NetworkReady", "container runtime network not ready"),
        ):
            condition = runtime.get(kind, {})
            if not condition.get("status"):
                why = f"reason:{condition.get('reason', '')} message:{condition.get('message', '')}"
                problems.append(f"{words}: {kind}=false {why}")
    wanted = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "False", "KubeletNotReady", "[" + ", ".join(problems) + "]" if len(problems) > 1 else problems[0])
        if problems
        else ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    found = []
    for kind, status, reason, message in wanted:
        known = before.pop(kind, {})
        since = known.get("lastTransitionTime") if known.get("status") == status else None
        found.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": rfc3339(now),
                "lastTransitionTime": since or rfc3339(now),
                "reason": reason,
                "message": message,
            }
        )
    return found + list(before.values())


def labels(settings: NodeSettings, machine: Machine) -> dict[str, str]:
    """Labels every node has, and those of the settings."""
    arch = machine.info["architecture"]
    return {
        "beta.kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "kubernetes.io/hostname": settings.hostname or settings.name,
        "kubernetes.io/os": "linux",
        **settings.labels,
    }


def status(
    settings: NodeSettings,
    machine: Machine,
    runtime: Mapping[str, Object] | None,
    found: Sequence[Object],
    old: Object,
    port: int,
    now: float,
) -> Object:
    """`Node.status`; what others wrote into `old` stays (attached volumes and such)."""
    whole, free = capacity(machine, settings)
    kept = {key: value for key, value in old.items() if key not in ("phase",)}
    return {
        **kept,
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in settings.ips),
            {"type": "Hostname", "address": settings.hostname or settings.name},
        ],
        "capacity": {**(old.get("capacity") or {}), **whole},  # extended resources are somebody else's
        "allocatable": {**(old.get("capacity") or {}), **free},
        "conditions": conditions(runtime, old.get("conditions") or (), now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "images": images(found),
        "nodeInfo": dict(machine.info),
        "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": False, "userNamespaces": False}}],
    }


def comparable(node_status: Object) -> Object:
    """A status without its heartbeats: what decides whether it has to be written before its time."""
    rest = {key: value for key, value in node_status.items() if key != "conditions"}
    beats = [{k: v for k, v in c.items() if k != "lastHeartbeatTime"} for c in node_status.get("conditions") or ()]
    return {**rest, "conditions": beats}
