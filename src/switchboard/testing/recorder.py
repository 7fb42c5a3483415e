"""The client's end of a pushed stream, for tests of watches without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Recorder:
    """A push writer that keeps what it is given."""

    local = False

    def __init__(self) -> None:
        self.data = b""
        self.changed = asyncio.Event()
        self.ended = self.aborted = False
        self.backlog = 0

    @property
    def buffered(self) -> int:
        """What a test says is not taken yet."""
        return self.backlog

    @property
    def closed(self) -> bool:
        """Whether the stream has ended."""
        return self.ended

    def on_close(self, callback: Any) -> None:
        """Nobody leaves."""

    def write(self, data: bytes) -> None:
        """Keep the bytes."""
        self.data += data
        self.changed.set()

    def close(self) -> None:
        """The server ends the stream."""
        self.ended = True
        self.changed.set()

    def abort(self) -> None:
        """The server cuts the stream off."""
        self.aborted = self.ended = True
        self.changed.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a watch in JSON."""
        return [json.loads(line) for line in self.data.splitlines()]

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many events, or the end."""
        async with asyncio.timeout(5):
            while len(self.events) < count and not self.ended:
                self.changed.clear()
                await self.changed.wait()
        return self.events
