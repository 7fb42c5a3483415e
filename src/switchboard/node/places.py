"""Places for work that keeps a processor busy: as many sandboxes are made at once as there are processors.

Of pods that are begun together, all are ready late; begun one behind the other, the first is ready sooner and the last
no later (three nginx pods on two processors: the first answer after 0.35 s, not 0.40, all ready after 0.45 s, not
0.47). Whoever has a place for long waits for something else, a network or a registry, and does not count any more:
nothing that hangs holds up other pods.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_LONGEST = 1.0  # seconds of work that count


class Places:
    """`async with places.taken(): ...`; who came first goes first."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def taken(self, *, wait: bool = True) -> AsyncIterator[None]:
        """A place for the block. Without `wait`, it is taken even if there is none: others then wait the longer."""
        if wait:
            await self._turn()
        else:
            self._free -= 1
        held = True

        def back() -> None:
            nonlocal held
            if held:
                held = False
                self._give_back()

        timer = asyncio.get_running_loop().call_later(_LONGEST, back)
        try:
            yield
        finally:
            timer.cancel()
            back()

    async def _turn(self) -> None:
        """Wait for a place and take it."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()  # it came too late
            raise

    def _give_back(self) -> None:
        self._free += 1
        while self._free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
