"""Whether the API is there: the watches of the informers, seen from below, as a transport that counts them.

The server goes on answering what it knew when the API is gone; this is how it knows, tells (log, metric) and notices
that it has caught up. A watch that says nothing for long is cut: a bookmark comes about once a minute.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from switchboard.client import Disconnected
from switchboard.client.transport import Reply, Transport

log = logging.getLogger(__name__)

_GRACE = 1.0  # seconds a watch may be away before the API counts as gone: watches end and begin anew all the time
_SILENCE = 180.0  # seconds without a byte, after which the connection is believed dead


class ApiLink:
    """A `Transport` around another; `connected` says whether all watches that were ever opened are open."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._open: dict[str, int] = {}  # path -> watches open on it
        self._check: asyncio.TimerHandle | None = None
        self.connected = False
        self.since = time.time()  # when `connected` became what it is
        self.losses = 0

    async def request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """One exchange. Until the first watch is open, an answer means that the API is there."""
        if self._check is None and not self._open:
            self._later()
        reply = await self._inner.request(method, target, headers, body)
        if self._check is not None and not self._open and not self.losses:
            self._check.cancel()
            self._later()
        return reply

    @asynccontextmanager
    async def stream(self, method: str, target: str, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch, counted while it is open."""
        path = target.partition("?")[0]
        self._open.setdefault(path, 0)
        try:
            async with self._inner.stream(method, target, headers) as pieces:
                self._open[path] += 1
                self._changed()
                try:
                    yield _impatient(pieces)
                finally:
                    self._open[path] -= 1
        finally:
            self._changed()

    async def close(self) -> None:
        """Give back what is kept open."""
        if self._check is not None:
            self._check.cancel()
        await self._inner.close()

    def _changed(self) -> None:
        if self._open and all(self._open.values()):
            if self._check is not None:
                self._check.cancel()
                self._check = None
            if not self.connected:
                self.connected, away, self.since = True, time.time() - self.since, time.time()
                log.info("the API is there" + (f" again after {away:.1f} s" if self.losses else ""))
        elif self._check is None:
            self._later()

    def _later(self) -> None:
        self._check = asyncio.get_running_loop().call_later(_GRACE, self._lost)

    def _lost(self) -> None:
        """The grace is over and a watch is still away. The handle stays set until all are back: told once."""
        if self.connected or not self.losses:
            self.connected, self.since = False, time.time()
            self.losses += 1
            log.warning("the API cannot be reached: answering with what was known until now")


async def _impatient(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(_SILENCE):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Disconnected(f"a watch said nothing for {_SILENCE:.0f} s") from None
        yield piece
