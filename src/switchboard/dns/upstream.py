"""One upstream server: how a question gets there and back (UDP, TCP for what was cut, or DNS over TLS, RFC 7858)."""

from __future__ import annotations

import asyncio
import functools
import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from switchboard.dns import message as m
from switchboard.dns import reply
from switchboard.dns.durations import Durations
from switchboard.dns.message import FormError

if TYPE_CHECKING:
    import ssl

_NOT_UNDERSTOOD = (m.FORMERR, m.NOTIMP)
_OPT_SIZE = 11
SOCKETS = 8  # source ports in use per upstream: enough to make a forged answer a guess, few enough to keep
_KEEP = 20.0  # seconds until a source port is given up for another
_AGAIN = 0.7  # seconds until a question is sent once more: one lost packet is not a lost server
_PLAIN_FOR = 300.0  # seconds without EDNS before it is tried again (RFC 6891 section 6.2.2 wants an end to it)
_chance = random.SystemRandom()  # ids and ports that nobody can foresee (RFC 5452)


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

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls://' if self.tls_name else ''}{host}:{self.port}"


class Upstream:
    """Asks one server; OSError, TimeoutError, EOFError or FormError when it does not answer properly.

    `failures` counts those in a row; `checked` says that it was probed for a loop, `looping` that it leads back to us.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.failures = 0
        self.checked = self.looping = self.closed = False
        self.took: dict[int, Durations] = {}  # of questions by the code they got
        self.sent = self.probes_failed = 0  # questions (not probes), and probes of its health without an answer
        self.plain_until = 0.0  # loop time until which it is known not to understand EDNS
        self._udp: list[tuple[float, asyncio.DatagramTransport, _Pending]] = []
        self._stream: _Stream | None = None
        self._opening = asyncio.Lock()

    async def ask(self, asked: bytes, seconds: float) -> bytes:
        """The answer to a query (its id is replaced on the way), as bytes with the query's own id."""
        async with asyncio.timeout(seconds):
            if self.address.tls_name:
                return await self._over_stream(asked)
            raw = await self._over_udp(asked)
            return await self._over_stream(asked) if raw[2] & (m.TC >> 8) else raw

    async def ask_with_edns(self, asked: bytes, seconds: float) -> bytes:
        """As `ask`, for a query that ends with an OPT record without options: sent again without it to a server that
        does not know EDNS (RFC 6891 section 7), which is remembered for a while."""
        now = asyncio.get_running_loop().time()
        if now >= self.plain_until:
            raw = await self.ask(asked, seconds)
            if raw[3] & 15 not in _NOT_UNDERSTOOD:
                return raw
        raw = await self.ask(asked[:10] + bytes(2) + asked[12:-_OPT_SIZE], seconds)
        if raw[3] & 15 not in _NOT_UNDERSTOOD and now >= self.plain_until:
            self.plain_until = now + _PLAIN_FOR
        return raw

    def close(self) -> None:
        """Give up every socket. Questions under way fail."""
        self.closed = True
        for _, transport, _ in self._udp:
            transport.close()
        self._udp.clear()
        if self._stream is not None:
            self._stream.close()

    async def _over_udp(self, asked: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._udp and self._udp[0][0] + _KEEP < now:
            _, old, _ = self._udp.pop(0)
            loop.call_later(_KEEP, old.close)  # answers may still be on their way to it
        if len(self._udp) < SOCKETS:
            made, waiting = await loop.create_datagram_endpoint(
                _Pending, remote_addr=(self.address.host, self.address.port)
            )
            self._udp.append((now, made, waiting))
        _, transport, pending = _chance.choice(self._udp)
        with _Expectation(pending.waiting, asked) as (sent, answer):
            transport.sendto(sent)
            again = loop.call_later(_AGAIN, transport.sendto, sent)
            try:
                return asked[:2] + (await answer)[2:]
            finally:
                again.cancel()

    async def _over_stream(self, asked: bytes) -> bytes:
        """Over the connection there is; when that turns out to be closed by the other side, once over a new one."""
        async with self._opening:
            old = self._stream is not None and not self._stream.closed
            if self._stream is None or not old:
                self._stream = await _Stream.open(self.address)
            stream = self._stream
        try:
            return await stream.ask(asked)
        except (OSError, EOFError):
            if not old:
                raise
        return await self._over_stream(asked)


class _Expectation:
    """A place for one answer, under an id nobody else uses just now."""

    def __init__(self, waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]], asked: bytes) -> None:
        self._waiting, self._asked = waiting, asked

    def __enter__(self) -> tuple[bytes, asyncio.Future[bytes]]:
        self._ident = _chance.getrandbits(16)
        while self._ident in self._waiting:
            self._ident = (self._ident + 1) % 65536
        sent = struct.pack("!H", self._ident) + self._asked[2:]
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[self._ident] = (sent, answer)
        return sent, answer

    def __exit__(self, *_: object) -> None:
        self._waiting.pop(self._ident, None)


class _Pending(asyncio.DatagramProtocol):
    """A UDP socket and the questions under way on it."""

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}

    def datagram_received(self, data: bytes, addr: object) -> None:
        _deliver(self.waiting, data)

    def error_received(self, exc: Exception) -> None:
        _fail(self.waiting, exc)

    def connection_lost(self, exc: Exception | None) -> None:
        _fail(self.waiting, exc or EOFError("the socket was closed"))


def _deliver(waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]], data: bytes) -> None:
    """Hand an answer to whoever asked; what answers no question of ours is dropped."""
    sent, answer = waiting.get(int.from_bytes(data[:2], "big"), (b"", None))
    try:
        if answer is not None and not answer.done() and reply.answers(data, sent):
            answer.set_result(data)
    except FormError:
        return


def _fail(waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]], why: Exception) -> None:
    for _, answer in waiting.values():
        if not answer.done():
            answer.set_exception(why)


class _Stream:
    """A TCP or TLS connection that carries many questions at once (RFC 7766)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}
        self.closed = False
        self._task = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def open(cls, address: Address) -> _Stream:
        context = _tls() if address.tls_name else None
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=context, server_hostname=address.tls_name or None
        )
        return cls(reader, writer)

    async def ask(self, asked: bytes) -> bytes:
        if self.closed:
            raise EOFError("the connection is closed")
        with _Expectation(self._waiting, asked) as (sent, answer):
            self._writer.write(struct.pack("!H", len(sent)) + sent)
            return asked[:2] + (await answer)[2:]

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
            _fail(self._waiting, EOFError("the upstream closed the connection"))


@functools.cache
def _tls() -> ssl.SSLContext:
    """The system's authorities; read once, because that takes longer than a question."""
    import ssl

    return ssl.create_default_context()
