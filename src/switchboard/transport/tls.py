"""TLS over any Connection (a tunnel, a dialled stream), with the ssl module's memory buffers; certificates of peers."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import Any

from switchboard.transport.messages import Connection

_READ = 64 * 1024


class TlsConnection:
    """A `Connection` inside another one, encrypted. Made by `wrap`."""

    def __init__(self, inner: Connection, context: ssl.SSLContext, server_side: bool, name: str | None) -> None:
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=name)
        self._lock = asyncio.Lock()  # records must leave in the order in which they were made

    async def handshake(self) -> None:
        """Agree on keys; ssl.SSLError or ConnectionError if that fails."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                await self._flush()  # the alert that tells the peer why
                raise
            else:
                await self._flush()
                return

    async def _flush(self) -> None:
        async with self._lock:
            if data := self._outgoing.read():
                await self._inner.write(data)

    async def _fill(self) -> None:
        data = await self._inner.read()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def read(self) -> bytes:
        """The next decrypted bytes, b"" at the end of the stream (also when it breaks off)."""
        while True:
            try:
                return self._tls.read(_READ)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError, ssl.SSLSyscallError):
                return b""

    async def write(self, data: bytes) -> None:
        """Encrypt and send; ConnectionError if the stream is lost."""
        if data:
            try:
                self._tls.write(data)
            except ssl.SSLError as error:
                raise ConnectionResetError(f"TLS: {error}") from error
            await self._flush()

    async def write_eof(self) -> None:
        """Nothing: TLS has no half-close that peers in the wild understand."""

    def close(self) -> None:
        """Close the stream underneath; safe to call twice."""
        self._inner.close()


async def wrap(
    inner: Connection, context: ssl.SSLContext, *, server_side: bool = False, name: str | None = None
) -> TlsConnection:
    """TLS over `inner`, handshake done; on failure `inner` is closed and ssl.SSLError or OSError raised."""
    connection = TlsConnection(inner, context, server_side, name)
    try:
        await connection.handshake()
    except BaseException:
        inner.close()
        raise
    return connection


def peer_certificate(transport: asyncio.BaseTransport) -> dict[str, Any] | None:
    """The peer's verified certificate, as `getpeercert()` shows it, with "sha256" of the whole of it."""
    found: dict[str, Any] | None = transport.get_extra_info("peercert") or None
    if found is None:
        return None
    whole = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return found | {"sha256": hashlib.sha256(whole).hexdigest()}
