"""A streamed answer that its maker pushes piece by piece (`Response.push`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from switchboard.transport.head import LAST_CHUNK, chunk


class ChunkWriter:
    """A stream that its maker pushes into from the event loop, without a task per client (`Response.push`)."""

    __slots__ = ("_chunked", "_on_close", "_transport", "finished")
    local = False

    def __init__(self, transport: asyncio.Transport, chunked: bool, finished: asyncio.Future[None]) -> None:
        self._transport = transport
        self._chunked = chunked
        self.finished = finished
        self._on_close: tuple[Callable[[], None], ...] = ()

    @property
    def buffered(self) -> int:
        """Bytes that the client has not taken yet: the pusher cuts off those who are too slow."""
        return self._transport.get_write_buffer_size()

    @property
    def closed(self) -> bool:
        """Whether writing has no more effect."""
        return self.finished.done() or self._transport.is_closing()

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, when the stream has ended for whatever reason; others are called as well."""
        self._on_close = (*self._on_close, callback)

    def write(self, data: bytes) -> None:
        """Send one chunk now; never waits."""
        if data and not self.closed:
            self._transport.write(chunk(data) if self._chunked else data)

    def close(self) -> None:
        """End the stream in good order; safe to call twice."""
        if not self.finished.done():
            if self._chunked and not self._transport.is_closing():
                self._transport.write(LAST_CHUNK)
            self.finished.set_result(None)

    def abort(self) -> None:
        """Cut the client off, dropping what it has not read."""
        self._transport.abort()

    def lost(self) -> None:
        """The connection is over (called by the server)."""
        if not self.finished.done():
            self.finished.set_result(None)
        callbacks, self._on_close = self._on_close, ()
        for callback in callbacks:
            callback()
