"""A watch over a WebSocket: one text message per event, for browsers and old clients."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from switchboard.objects.errors import BadRequest
from switchboard.transport.messages import Connection, Request, Response
from switchboard.transport.websocket import BadHandshake, WebSocket, answer_handshake

if TYPE_CHECKING:
    from switchboard.api.watching import Watcher

_PROTOCOLS = ("", "binary.k8s.io")


class SocketWriter:
    """A push writer in front of a WebSocket: keeps lines until its pump has sent them."""

    local = False

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._over = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def buffered(self) -> int:
        """Bytes not sent yet."""
        return self._size

    @property
    def closed(self) -> bool:
        """Whether writing has no more effect."""
        return self._over

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` once at the end."""
        self._callbacks.append(callback)

    def write(self, data: bytes) -> None:
        """Queue one or more whole lines."""
        if not self._over:
            self._lines.append(data)
            self._size += len(data)
            self._wake.set()

    def close(self) -> None:
        """End after what is queued."""
        self._over = True
        self._wake.set()

    def abort(self) -> None:
        """End now."""
        self._lines.clear()
        self._size = 0
        self.close()

    async def pump(self, socket: WebSocket) -> None:
        """Send until closed."""
        while True:
            while self._lines:
                data = self._lines.popleft()
                self._size -= len(data)
                for line in data.splitlines():
                    await socket.send(line.decode())
            if self._over:
                return
            self._wake.clear()
            await self._wake.wait()

    def finish(self) -> None:
        """The connection is over."""
        self._over = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


def upgrade(request: Request, watcher: Watcher) -> Response:
    """Switch to a WebSocket and watch on it."""
    try:
        headers, _ = answer_handshake(request.headers, _PROTOCOLS)
    except BadHandshake as e:
        raise BadRequest(str(e)) from None

    async def run(connection: Connection) -> None:
        socket, writer = WebSocket(connection, server=True), SocketWriter()
        writer.on_close(watcher.stop)

        async def drain() -> None:
            while await socket.receive() is not None:
                pass
            writer.close()

        reader = asyncio.get_running_loop().create_task(drain())
        try:
            watcher.start(writer)
            await writer.pump(socket)
            await socket.close()
        finally:
            reader.cancel()
            writer.finish()

    return Response(101, headers, upgrade=run)
