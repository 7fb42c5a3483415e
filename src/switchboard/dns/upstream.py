"""One upstream server: how a question gets there and back (UDP, TCP for what was cut, or DNS over TLS, RFC 7858)."""

from __future__ import annotations

import asyncio
import random
import ssl
import struct
from dataclasses import dataclass

from switchboard.dns import message as m
from switchboard.dns.message import FormError

SOCKETS = 8  # source ports in use per upstream: enough to make a forged answer a guess, few enough to keep
_KEEP = 60.0  # seconds until a source port is given up for another


@dataclass(frozen=True, slots=True)
class Address:
    """`host`, `port`, and the name its certificate must carry when it is asked over TLS ("" for plain DNS)."""

    host: str
    port: int = 53
    tls_name: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """`1.2.3.4`, `1.2.3.4:5353`, `[fd00::1]:53`, `tls://1.2.3.4#dns.example` (port 853); ValueError otherwise."""
        tls = text.startswith("tls://")
        rest, _, name = text.removeprefix("tls://").partition("#")
        port = 853 if tls else 53
        if rest.startswith("["):
            host, _, tail = rest[1:].partition("]")
            port = int(tail[1:]) if tail else port
        elif rest.count(":") == 1:
            host, _, tail = rest.partition(":")
            port = int(tail)
        else:
            host = rest
        if not host or not 0 < port < 65536:
            raise ValueError(f"{text!r} is not an upstream's address")
        return cls(host, port, (name or host) if tls else "")


class Upstream:
    """Asks one server; OSError, TimeoutError, EOFError or FormError when it does not answer properly."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.failures = 0  # in a row
        self._udp: list[tuple[float, asyncio.DatagramTransport, _Pending]] = []
        self._stream: _Stream | None = None

    async def ask(self, asked: bytes, seconds: float) -> bytes:
        """The answer to a query (its id is replaced on the way), as bytes with the query's own id."""
        async with asyncio.timeout(seconds):
            if self.address.tls_name:
                return await self._over_stream(asked)
            raw = await self._over_udp(asked)
            return await self._over_stream(asked) if raw[2] & (m.TC >> 8) else raw

    def close(self) -> None:
        """Give up every socket."""
        for _, transport, _ in self._udp:
            transport.close()
        self._udp.clear()
        if self._stream is not None:
            self._stream.close()

    async def _over_udp(self, asked: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._udp and self._udp[0][0] + _KEEP < now:
            self._udp.pop(0)[1].close()
        if len(self._udp) < SOCKETS:
            transport, pending = await loop.create_datagram_endpoint(
                _Pending, remote_addr=(self.address.host, self.address.port)
            )
            self._udp.append((now, transport, pending))
        _, transport, pending = random.choice(self._udp)
        with pending.expect(asked) as (sent, reply):
            transport.sendto(sent)
            return asked[:2] + (await reply)[2:]

    async def _over_stream(self, asked: bytes) -> bytes:
        if self._stream is None or self._stream.closed:
            self._stream = await _Stream.open(self.address)
        return await self._stream.ask(asked)


class _Expectation:
    """A place for one answer, under an id nobody else uses just now."""

    def __init__(self, waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]], asked: bytes) -> None:
        self._waiting, self._asked = waiting, asked

    def __enter__(self) -> tuple[bytes, asyncio.Future[bytes]]:
        self._ident = random.randrange(65536)
        while self._ident in self._waiting:
            self._ident = (self._ident + 1) % 65536
        sent = struct.pack("!H", self._ident) + self._asked[2:]
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[self._ident] = (sent, reply)
        return sent, reply

    def __exit__(self, *_: object) -> None:
        self._waiting.pop(self._ident, None)


class _Pending(asyncio.DatagramProtocol):
    """A UDP socket and the questions under way on it."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}

    def expect(self, asked: bytes) -> _Expectation:
        return _Expectation(self._waiting, asked)

    def datagram_received(self, data: bytes, addr: object) -> None:
        _deliver(self._waiting, data)

    def error_received(self, exc: Exception) -> None:
        for _, reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(exc)


def _deliver(waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]], data: bytes) -> None:
    """Hand an answer to whoever asked; what answers no question of ours is dropped."""
    sent, reply = waiting.get(int.from_bytes(data[:2], "big"), (b"", None))
    try:
        if reply is not None and not reply.done() and m.answers(data, sent):
            reply.set_result(data)
    except FormError:
        return


class _Stream:
    """A TCP or TLS connection that carries many questions at once (RFC 7766)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}
        self.closed = False
        self._task = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def open(cls, address: Address) -> _Stream:
        context = ssl.create_default_context() if address.tls_name else None
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=context, server_hostname=address.tls_name or None
        )
        return cls(reader, writer)

    async def ask(self, asked: bytes) -> bytes:
        with _Expectation(self._waiting, asked) as (sent, reply):
            self._writer.write(struct.pack("!H", len(sent)) + sent)
            return asked[:2] + (await reply)[2:]

    def close(self) -> None:
        self._task.cancel()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                _deliver(self._waiting, await reader.readexactly(size))
        except (OSError, EOFError):
            pass
        finally:
            self.closed = True
            self._writer.close()
            for _, reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(EOFError("the upstream closed the connection"))
