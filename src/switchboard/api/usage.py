"""What nodes and containers use, measured by asking the node agents when somebody asks us.

CPU use is the difference of two counts. Nothing is sampled while nobody asks: the first who asks waits for a second
count, and those after that are told by the counts that are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from switchboard.api.keyspace import decode
from switchboard.objects.errors import StatusError
from switchboard.transport.http import HttpFailure

if TYPE_CHECKING:
    from switchboard.api.kubelets import KubeletDialer

Object = dict[str, Any]
Key = tuple[str, str]  # uid of a pod and name of a container; two empty texts are the node

_LEAST: Final = 1.0  # seconds between two counts that are compared
_MOST: Final = 60.0  # an older count says nothing of now
_KEPT: Final = 4
_PATIENCE: Final = 10.0
NODE: Final[Key] = ("", "")


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one node at one moment: CPU nanoseconds so far and bytes in use."""

    at: float  # monotonic
    wall: float
    cpu: dict[Key, int]
    memory: dict[Key, int]


@dataclass(frozen=True, slots=True)
class Use:
    """Over `window` seconds up to `wall`: by key, billionths of a CPU and bytes."""

    wall: float
    window: float
    values: dict[Key, tuple[int, int]]


@dataclass(slots=True)
class _Node:
    counts: deque[Counts] = field(default_factory=lambda: deque(maxlen=_KEPT))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Usage:
    """The counts of all nodes that were asked lately."""

    def __init__(self, kubelet: KubeletDialer) -> None:
        self._kubelet = kubelet
        self._nodes: dict[str, _Node] = {}

    async def of(self, names: list[str]) -> dict[str, Use]:
        """By node; those whose agent does not answer are left out."""
        found = await asyncio.gather(*(self._one(name) for name in names))
        return {name: use for name, use in zip(names, found, strict=True) if use is not None}

    def forget(self, names: set[str]) -> None:
        """Drop nodes that are not among `names`."""
        for gone in self._nodes.keys() - names:
            del self._nodes[gone]

    async def _one(self, name: str) -> Use | None:
        node = self._nodes.setdefault(name, _Node())
        async with node.lock:  # many who ask at once are answered by one look
            counts = node.counts
            try:
                if not counts or time.monotonic() - counts[-1].at >= _LEAST:
                    counts.append(await self._count(name))
                if (before := _before(counts)) is None:
                    await asyncio.sleep(_LEAST)
                    counts.append(await self._count(name))
                    before = _before(counts)
            except (HttpFailure, StatusError, TimeoutError, OSError, ValueError):
                return None
        return _difference(before, counts[-1]) if before is not None else None

    async def _count(self, name: str) -> Counts:
        async with (
            asyncio.timeout(_PATIENCE),
            self._kubelet.stream(name, "GET", "/stats/summary", [], b"") as answer,
        ):
            body = b"".join([part async for part in answer.body])
            if answer.status != 200:
                raise ValueError(f"node {name}: {answer.status}")
        return counts_of(decode(body), time.monotonic(), time.time())


def counts_of(summary: Object, at: float, wall: float) -> Counts:
    """The counts in a `/stats/summary`."""
    cpu: dict[Key, int] = {}
    memory: dict[Key, int] = {}
    things: list[tuple[Key, Object]] = [(NODE, summary.get("node") or {})]
    for pod in summary.get("pods") or ():
        things += [((pod["podRef"]["uid"], c["name"]), c) for c in pod.get("containers") or ()]
    for key, thing in things:
        used, held = thing.get("cpu") or {}, thing.get("memory") or {}
        if "usageCoreNanoSeconds" in used and "workingSetBytes" in held:
            cpu[key], memory[key] = int(used["usageCoreNanoSeconds"]), int(held["workingSetBytes"])
    return Counts(at, wall, cpu, memory)


def _before(counts: deque[Counts]) -> Counts | None:
    """The youngest that can be compared with the last."""
    last = counts[-1].at
    return next((c for c in reversed(counts) if _LEAST <= last - c.at <= _MOST), None)


def _difference(before: Counts, after: Counts) -> Use:
    """What has a count at both ends; one that went back is that of a container that began anew."""
    window = after.at - before.at
    values = {
        key: (int((count - before.cpu[key]) / window), after.memory[key])
        for key, count in after.cpu.items()
        if key in before.cpu and count >= before.cpu[key]
    }
    return Use(after.wall, window, values)
