"""The one shape of reconciling: a queue of keys, each worked on by one worker at a time, failures tried again later.

Rules: a key that is added while it is worked on is worked on again afterwards; adding it twice before is once; a
failure comes back after 5 ms, 10 ms, ... up to 100 s (the growth of client-go's
default_rate_limiters.go). Keys with which nothing has to be waited for leave others their turn of the event loop, too:
there may be thousands.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

from switchboard.client.transport import Disconnected, namespace_ends
from switchboard.client.turns import TURN, turn
from switchboard.objects.errors import Conflict, StatusError

log = logging.getLogger(__name__)

_FIRST, _LAST = 0.005, 100.0
_LOUD: Final = 3  # failures of a key in a row before it is a warning: races with others end before that


class Loop:
    """Calls `reconcile(key)` for every key added; what it returns is the number of seconds after which to look again.

    `retries` counts failed calls, `done` those that succeeded.
    """

    def __init__(self, name: str, reconcile: Callable[[str], Awaitable[float | None]], *, workers: int = 1) -> None:
        self.name = name
        self.retries = 0
        self.done = 0
        self._reconcile = reconcile
        self._workers = workers
        self._queue: deque[str] = deque()
        self._dirty: set[str] = set()  # to be worked on: in the queue, or again after the current work
        self._active: set[str] = set()
        self._failures: dict[str, int] = {}
        self._idle: deque[asyncio.Future[None]] = deque()
        self._later: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}  # the earliest time that stands in `_later`
        self._count = count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: str) -> None:
        """Work on `key` soon."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._active:
            self._queue.append(key)
            self._wake()

    def add_after(self, key: str, seconds: float) -> None:
        """Work on `key` after a while; only the earliest of several such wishes counts."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._due.get(key, float("inf")) <= at:
            return
        self._due[key] = at
        heapq.heappush(self._later, (at, next(self._count), key))
        if self._later[0][0] == at:
            self._set_timer(loop)

    @property
    def quiet(self) -> bool:
        """Nothing to do now and nobody at work (keys that wait for their time do not count)."""
        return not self._queue and not self._active

    async def run(self) -> None:
        """Work for ever."""
        self._active.clear()
        if self._later:
            self._set_timer(asyncio.get_running_loop())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    async def _work(self) -> None:
        until = 0.0
        while True:
            while not self._queue:
                waiter = asyncio.get_running_loop().create_future()
                self._idle.append(waiter)
                await waiter
            key = self._queue.popleft()
            self._dirty.discard(key)
            self._active.add(key)
            try:
                await self._once(key)
            finally:
                self._active.discard(key)
                if key in self._dirty:
                    self._queue.append(key)
                    self._wake()
            until = await turn(until, TURN / self._workers)

    async def _once(self, key: str) -> None:
        try:
            again = await self._reconcile(key)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if isinstance(error, StatusError) and namespace_ends(error):
                self._failures.pop(key, None)
                return  # what was to be made is not wanted any more
            self.retries += 1
            failed = self._failures.get(key, 0) + 1
            self._failures[key] = failed
            self._say(key, error, failed)
            self.add_after(key, min(_LAST, _FIRST * 2.0 ** (failed - 1)))
            return
        self.done += 1
        if self._failures:
            self._failures.pop(key, None)
        if again is not None:
            self.add_after(key, again)

    def _say(self, key: str, error: Exception, failed: int) -> None:
        if isinstance(error, (StatusError, Disconnected)):
            # Losing a race is ordinary; an API that refuses the same thing again and again is not.
            ordinary = isinstance(error, (Conflict, Disconnected)) or failed < _LOUD
            log.log(logging.DEBUG if ordinary else logging.WARNING, "%s %s: %s", self.name, key, error)
        else:
            log.error("%s %s failed (%d times)", self.name, key, failed, exc_info=error)

    def _wake(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._later[0][0], self._ripe) if self._later else None

    def _ripe(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time() + 0.0005
        while self._later and self._later[0][0] <= now:
            at, _, key = heapq.heappop(self._later)
            if self._due.get(key) == at:
                del self._due[key]
                self.add(key)
        if self._later:
            self._set_timer(loop)
