"""Pods that wait to be placed: the important first, then those that came first; what failed waits for a change.

States of a pod: ready (in the heap), parked (nothing has changed since it fitted nowhere), or backing off (a write
failed). Source: pkg/scheduler/backend/queue.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import Final

from switchboard.scheduler.podinfo import PodInfo

_FIRST, _LAST = 0.1, 10.0
_EAGER: Final = 10  # retries for changes that are not held back


class Queue:
    """At most one entry for each pod key."""

    def __init__(self) -> None:
        self._pods: dict[str, PodInfo] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._ready: set[str] = set()
        self._parked: set[str] = set()
        self._tries: dict[str, int] = {}
        self._count = count()
        self._wake = asyncio.Event()

    def put(self, pod: PodInfo) -> None:
        """A pod appeared or changed so that it should be looked at."""
        self._pods[pod.key] = pod
        self._push(pod.key)

    def drop(self, key: str) -> None:
        """A pod needs no place any more."""
        self._pods.pop(key, None)
        self._ready.discard(key)
        self._parked.discard(key)
        self._tries.pop(key, None)

    def park(self, pod: PodInfo) -> None:
        """It fits nowhere as things stand."""
        if self._pods.setdefault(pod.key, pod) is pod and pod.key not in self._ready:
            self._parked.add(pod.key)
            self._tries[pod.key] = self._tries.get(pod.key, 0) + 1

    def retry(self, pod: PodInfo) -> None:
        """A write for it failed: again after a while."""
        self._pods.setdefault(pod.key, pod)
        tries = self._tries[pod.key] = self._tries.get(pod.key, 0) + 1
        asyncio.get_running_loop().call_later(min(_LAST, _FIRST * 2.0**tries), self._again, pod.key)

    def changed(self) -> None:
        """Something changed that may make room: all parked pods are looked at again, at once while they have not
        failed often."""
        parked, self._parked = self._parked, set()
        loop = asyncio.get_running_loop()
        for key in parked:
            over = self._tries.get(key, 0) - _EAGER
            if over <= 0:
                self._push(key)
            else:
                loop.call_later(min(_LAST, _FIRST * 2.0 ** min(over, 10)), self._again, key)

    def _again(self, key: str) -> None:
        if key in self._pods:
            self._push(key)

    def _push(self, key: str) -> None:
        self._parked.discard(key)
        if key not in self._ready:
            self._ready.add(key)
            heapq.heappush(self._heap, (-self._pods[key].priority, next(self._count), key))
            self._wake.set()

    async def get(self) -> PodInfo:
        """The next pod; waits for one."""
        while True:
            while self._heap:
                _, _, key = heapq.heappop(self._heap)
                if key in self._ready:
                    self._ready.discard(key)
                    return self._pods.pop(key)
            self._wake.clear()
            await self._wake.wait()
