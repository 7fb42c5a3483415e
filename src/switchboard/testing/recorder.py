"""The client's end of a pushed stream, for tests of watches without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from switchboard.testing.apiserver import ApiServer


class Recorder:
    """A push writer that keeps what it is given."""

    local = False

    def __init__(self) -> None:
        self.data = b""
        self.changed = asyncio.Event()
        self.closed = self.aborted = False
        self.buffered = 0  # what a test says is not taken yet

    def on_close(self, callback: Any) -> None:
        """Nobody leaves."""

    def write(self, data: bytes) -> None:
        """Keep the bytes."""
        self.data += data
        self.changed.set()

    def close(self) -> None:
        """The server ends the stream."""
        self.closed = True
        self.changed.set()

    def abort(self) -> None:
        """The server cuts the stream off."""
        self.aborted = self.closed = True
        self.changed.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a watch in JSON."""
        return [json.loads(line) for line in self.data.splitlines()]

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many events, or the end."""
        async with asyncio.timeout(5):
            while len(self.events) < count and not self.closed:
                self.changed.clear()
                await self.changed.wait()
        return self.events


async def watch(api: ApiServer, target: str, headers: dict[str, str] | None = None) -> Recorder:
    """Begin a watch; an answer that is no stream is kept whole, as one that has ended."""
    response = await api.request("GET", target, headers=headers)
    recorder = Recorder()
    if response.push is None:
        recorder.write(response.body if isinstance(response.body, bytes) else b"".join(response.body))
        recorder.close()
    else:
        response.push(recorder)
    return recorder
