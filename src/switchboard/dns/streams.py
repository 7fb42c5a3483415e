"""DNS over TCP by the rules of RFC 7766: many questions on a connection, answered as they are ready, bounded."""

from __future__ import annotations

import asyncio
import inspect
import struct
from collections.abc import Awaitable, Callable

_IDLE = 10.0  # seconds a connection may say nothing
_CLIENTS = 1000  # connections at once
_UNDER_WAY = 100  # questions of one connection at once; the next is read when one is answered

Peer = tuple[str, int]
Answer = Callable[[bytes, Peer], bytes | Awaitable[bytes] | None]  # None: hang up


class Streams:
    """The TCP side of a listener."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._servers: list[asyncio.Server] = []
        self._clients: set[asyncio.Task[None]] = set()

    async def bind(self, host: str, port: int) -> None:
        """Take an address; connections wait until `start`. OSError when it cannot be had."""
        self._servers.append(
            await asyncio.start_server(self._accept, host, port, reuse_port=True, start_serving=False, backlog=512)
        )

    async def start(self) -> None:
        """Accept connections."""
        for server in self._servers:
            await server.start_serving()

    def close(self) -> None:
        """Give up the addresses and every connection."""
        for server in self._servers:
            server.close()
        for task in self._clients:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= _CLIENTS:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: Peer = writer.get_extra_info("peername")
        room = asyncio.Semaphore(_UNDER_WAY)
        try:
            async with asyncio.TaskGroup() as later:
                while True:
                    try:
                        async with asyncio.timeout(_IDLE):
                            (size,) = struct.unpack("!H", await reader.readexactly(2))
                            data = await reader.readexactly(size)
                    except (OSError, EOFError, TimeoutError):
                        return  # the group still waits for what is under way
                    found = self._answer(data, peer)
                    if inspect.isawaitable(found):
                        await room.acquire()
                        later.create_task(_answer_later(found, writer, room))
                    elif found is None:
                        return
                    else:
                        await _write(writer, found)
        except* (OSError, TimeoutError):
            pass  # the client does not take its answers


async def _answer_later(found: Awaitable[bytes], writer: asyncio.StreamWriter, room: asyncio.Semaphore) -> None:
    try:
        await _write(writer, await found)
    finally:
        room.release()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(struct.pack("!H", len(data)) + data)
    async with asyncio.timeout(_IDLE):
        await writer.drain()
