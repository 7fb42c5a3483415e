"""The HTTP/1.1 server: listeners, limits, time-outs and an orderly end. One connection is `server_connection.py`.

A handler gets a whole `Request` and gives a `Response` at once or later. Connections that say nothing cost a little
memory and are swept away when their time is over; nothing a client sends makes the server raise.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from switchboard.transport.head import Ids
from switchboard.transport.messages import Handler, Response
from switchboard.transport.reader import Limits
from switchboard.transport.server_connection import ServerConnection

if TYPE_CHECKING:
    import ssl as tls

_SWEEP = 2.0  # seconds between two looks at the deadlines of all connections
_SAME: Final[Any] = object()
OnError = Callable[[int, str], Response]


def plain_error(status: int, message: str) -> Response:
    """The answer to a request that never reached the handler, as plain text."""
    return Response(status, [("Content-Type", "text/plain; charset=utf-8")], message.encode() + b"\n")


class Server:
    """Serves `handler` on any number of addresses.

    `ssl` is used by every TCP listener unless it says otherwise (a context that asks for client certificates gives
    `Request.peer_certificate`). `on_error(status, message)` makes the answers to malformed, oversized or late requests
    and to handlers that raise (500), in the format of the application. With `id_header` (in lower case) every answer to
    a request has that header: what the client sent under that name, else an id.
    """

    def __init__(
        self,
        handler: Handler,
        ssl: tls.SSLContext | None = None,
        *,
        on_error: OnError = plain_error,
        limits: Limits | None = None,
        id_header: str = "",
    ) -> None:
        self.handler = handler
        self.ids = Ids(id_header) if id_header else None
        self.ssl = ssl
        self.on_error = on_error
        self.limits = limits or Limits()
        self.connections: set[ServerConnection] = set()
        self.closing = False
        self._servers: list[asyncio.AbstractServer] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._unsent: list[ServerConnection] = []  # with answers kept for the end of the loop's turn
        self.awaited = 0  # answers that handlers take their time for

    async def listen(
        self, host: str, port: int = 0, *, ssl: tls.SSLContext | None = _SAME, sock: socket.socket | None = None
    ) -> int:
        """Serve on a TCP address, or a listening socket, and return its port (0 asks for a free one). OSError if it
        cannot be had."""
        loop = asyncio.get_running_loop()
        context = self.ssl if ssl is _SAME else ssl
        if context is not None:
            from switchboard.transport.tlscontext import prepare

            prepare(context)
        where: dict[str, Any] = {"host": host, "port": port} if sock is None else {"sock": sock}
        server = await loop.create_server(
            lambda: ServerConnection(self, loop, context is not None),
            **where,
            ssl=context,
            backlog=1024,
            ssl_handshake_timeout=15.0 if context is not None else None,
        )
        self._added(server, loop)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def listen_unix(self, path: str | Path, *, mode: int = 0o600) -> None:
        """Serve on a unix socket (without TLS; replaces a leftover file of that name). OSError if it cannot be had."""
        loop = asyncio.get_running_loop()
        Path(path).unlink(missing_ok=True)
        server = await loop.create_unix_server(
            lambda: ServerConnection(self, loop, False), str(path), backlog=1024, start_serving=False
        )
        os.chmod(path, mode)
        await server.start_serving()
        self._added(server, loop)

    def later(self, connection: ServerConnection) -> None:
        """Have `connection.flush` called at the end of this turn of the loop, with all others that asked."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(connection)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.flush()

    def _added(self, server: asyncio.AbstractServer, loop: asyncio.AbstractEventLoop) -> None:
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = loop.call_later(_SWEEP, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self.connections):
            connection.check_deadline(now)
        self._sweeper = loop.call_later(_SWEEP, self._sweep, loop)

    async def close(self, grace: float = 5.0) -> None:
        """Stop listening, end streams and upgraded connections, let handlers finish for `grace` seconds, then cut."""
        self.closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.wind_down()
        try:
            async with asyncio.timeout(grace):
                while self.connections:
                    await asyncio.wait([connection.gone for connection in self.connections])
        except TimeoutError:
            for connection in list(self.connections):
                connection.cut()
            if self.connections:
                await asyncio.wait([connection.gone for connection in self.connections], timeout=1.0)
        self._servers.clear()
