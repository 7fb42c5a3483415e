"""The control group of a pod as a whole: its share of the processors, and its bounds when all of it is bounded; and
those that Burstable and BestEffort pods have together, so that their number does not count against Guaranteed ones.

Containers without limits of their own are held by the pod's (KEP-2837). Both versions of control groups. Sources:
pkg/kubelet/cm: helpers_linux.go ResourceConfigForPod, pod_container_manager_linux.go, qos_container_manager_linux.go.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from switchboard.node import configs
from switchboard.node.room import Room
from switchboard.node.settings import NodeSettings
from switchboard.objects.podresources import amounts, of_container, of_pod

Object = dict[str, Any]

log = logging.getLogger(__name__)

_PERIOD: Final = 100_000
_TOP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a pod; None where it has none."""

    shares: int = 2
    quota: int | None = None  # microseconds of each period
    memory: int | None = None  # bytes

    def widest(self, other: Bounds) -> Bounds:
        """What both fit into."""
        return Bounds(
            max(self.shares, other.shares), _larger(self.quota, other.quota), _larger(self.memory, other.memory)
        )


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def bounds(pod: Object) -> Bounds:
    """What a pod's control group is to have. Pure."""
    spec = pod["spec"]
    most, own = of_pod(spec, "limits"), amounts((spec.get("resources") or {}).get("limits"))
    every = [of_container(c, "limits") for c in [*spec["containers"], *(spec.get("initContainers") or ())]]

    def bounded(name: str) -> bool:
        return bool(own.get(name) or all(limits.get(name) for limits in every))

    return Bounds(
        shares=max(2, of_pod(spec).get("cpu", 0) * 1024 // 1000),
        quota=max(1000, most["cpu"] * _PERIOD // 1000) if bounded("cpu") else None,
        memory=most["memory"] if bounded("memory") else None,
    )


class PodGroup:
    """Keeps the group of one pod as its resources say: widened before its containers are, narrowed after."""

    def __init__(self, settings: NodeSettings, classes: Classes) -> None:
        self._settings, self._classes = settings, classes
        self._written: Bounds | None = None
        self._sandbox = ""

    def widen(self, pod: Object, sandbox: str) -> None:
        """Before containers get more. Without a sandbox there is no group yet."""
        self._know(sandbox)
        if sandbox and self._written is not None:
            self._write(pod, self._written.widest(bounds(pod)))

    def settle(self, pod: Object, sandbox: str) -> None:
        """After containers have what they are to have."""
        self._know(sandbox)
        if sandbox:
            self._write(pod, bounds(pod))
            self._classes.settle()

    def _know(self, sandbox: str) -> None:
        if sandbox != self._sandbox:
            self._written, self._sandbox = None, sandbox

    def _write(self, pod: Object, wanted: Bounds) -> None:
        if wanted == self._written:
            return
        done = _write(configs.cgroup_of(pod, self._settings), files(wanted))
        self._written = wanted if done else None


class Classes:
    """Keeps the groups of Burstable and of BestEffort pods: the first are worth what they ask for, the others least."""

    def __init__(self, settings: NodeSettings, room: Room) -> None:
        self._parent, self._room = settings.cgroup_parent, room
        self._written: dict[str, int] = {}

    def settle(self) -> None:
        """After pods came or went; a group that is not there yet is written when it is."""
        asked = max(2, self._room.burstable() * 1024 // 1000)
        for name, shares in (("burstable", asked), ("besteffort", 2)):
            if self._written.get(name) != shares and _write(f"{self._parent}/{name}", shared(shares), any_of=True):
                self._written[name] = shares


def _write(group: str, texts: dict[str, str], *, any_of: bool = False) -> bool:
    """Write those of the files that a control group has, in every hierarchy; False when one was refused, or, with
    `any_of`, when there was none.
    """
    roots = [root / group.strip("/") for root in (_TOP, *_TOP.iterdir())]
    folders = [folder for folder in roots if (folder / "cgroup.procs").exists()]
    there = [(folder / name, text) for folder in folders for name, text in texts.items() if (folder / name).exists()]
    written = [_put(file, text) for file, text in there]
    return all(written) and (bool(written) or not any_of)


def _put(file: Path, text: str) -> bool:
    try:
        if file.name == "memory.max" and text != "max" and int(text) < _used(file.parent):
            raise OSError(f"{text} bytes are less than what is in use")
        file.write_text(text)
    except OSError as why:  # more is in use, or below it, than it may have: another time
        log.warning("%s: %s", file, why)
        return False
    return True


def _used(folder: Path) -> int:
    """Memory that cannot be given back at once: a bound below it would end what uses it."""
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return int(stat.get("anon", 0))


def shared(shares: int) -> dict[str, str]:
    """What stands where for a share of the processors, in either version. Pure."""
    return {"cpu.shares": str(shares), "cpu.weight": str(1 + (shares - 2) * 9999 // 262142)}


def files(wanted: Bounds) -> dict[str, str]:
    """What stands in which file, in either version. Pure."""
    quota, memory = wanted.quota, wanted.memory
    return {
        **shared(wanted.shares),
        "cpu.cfs_period_us": str(_PERIOD),
        "cpu.cfs_quota_us": str(-1 if quota is None else quota),
        "memory.limit_in_bytes": str(-1 if memory is None else memory),
        "cpu.max": f"{'max' if quota is None else quota} {_PERIOD}",
        "memory.max": "max" if memory is None else str(memory),
    }
