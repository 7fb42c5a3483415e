"""A raw two-way byte stream over an asyncio transport: a connection after its upgrade, or one that was dialled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from switchboard.transport.messages import Connection

if TYPE_CHECKING:
    import ssl as tls

_HIGH = 256 * 1024  # bytes read ahead before reading pauses


class RawConnection(asyncio.Protocol):
    """A `Connection` over a transport: reads give whatever has arrived, writes wait while the peer is slow.

    A lost connection reads as b"" (the end of the stream) and raises ConnectionError on write.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer: list[bytes] = []
        self._size = 0
        self._ended = False  # nothing more to read
        self._lost = False
        self._reading_paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None  # set while the transport says "enough"
        self.on_lost: Callable[[], None] | None = None

    def take_over(self, transport: asyncio.Transport, early: bytes = b"") -> None:
        """Continue on a transport that spoke another protocol until now; `early` was read from it already."""
        self.connection_made(transport)
        if early:
            self.data_received(early)
        transport.set_protocol(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start (called by the event loop)."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Keep what arrived for the next read."""
        self._buffer.append(data)
        self._size += len(data)
        if self._size > _HIGH and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The peer has sent all; our side stays open (where the transport can: not under TLS)."""
        self._ended = True
        self._wake()
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Both directions are over."""
        self._ended = self._lost = True
        self._wake()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Room again."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # Connection

    @property
    def lost(self) -> bool:
        """Whether both directions are over."""
        return self._lost

    @property
    def stale(self) -> bool:
        """Whether an idle connection is of no more use: ended, or out of step (bytes that nobody asked for)."""
        return self._ended or self._size > 0

    async def read(self) -> bytes:
        """The next bytes, b"" at the end of the stream. One reader at a time."""
        while not self._buffer:
            if self._ended:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        self._size = 0
        if self._reading_paused and self._transport is not None and not self._lost:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send; returns once the transport has taken it and asks for more. ConnectionError if the stream is lost."""
        if self._lost or self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("connection lost")
        if data:
            self._transport.write(data)
        if self._writable is not None:
            await asyncio.shield(self._writable)
            if self._lost:
                raise ConnectionResetError("connection lost")

    async def write_eof(self) -> None:
        """Say that no more will be written, where the transport can (TLS cannot)."""
        transport = self._transport
        if transport is not None and not self._lost and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    def close(self) -> None:
        """Close after what was written has been sent; safe to call twice."""
        if self._transport is not None:
            self._transport.close()
        self._ended = True
        self._wake()

    def abort(self) -> None:
        """Close at once, dropping what has not been sent."""
        if self._transport is not None:
            self._transport.abort()


async def connect(host: str, port: int, *, ssl: tls.SSLContext | None = None, name: str | None = None) -> RawConnection:
    """Dial TCP, with TLS if a context is given (`name` is the server name to verify). OSError if it fails."""
    loop = asyncio.get_running_loop()
    if ssl is not None:
        from switchboard.transport.tlscontext import prepare

        prepare(ssl)
    server_name = (name or host) if ssl is not None else None
    transport, protocol = await loop.create_connection(RawConnection, host, port, ssl=ssl, server_hostname=server_name)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        # A long watch on a peer that vanished without a word ends after about a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return protocol


async def connect_unix(path: str) -> RawConnection:
    """Dial a unix socket. OSError if it fails."""
    _, protocol = await asyncio.get_running_loop().create_unix_connection(RawConnection, path)
    return protocol


async def pipe(left: Connection, right: Connection) -> None:
    """Copy both ways until both directions have ended, passing half-closes on; then close both.

    An error on one side ends both; it is not raised, as the peers see it as the end of their stream.
    """
    copies = [asyncio.ensure_future(_copy(left, right)), asyncio.ensure_future(_copy(right, left))]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for copy in copies:
            copy.cancel()
        left.close()
        right.close()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: Connection, target: Connection) -> None:
    while data := await source.read():
        await target.write(data)
    await target.write_eof()
