"""Questions for the world outside, asked of the upstream servers: UDP first, TCP when the answer was cut."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Sequence

from switchboard.dns import message as m
from switchboard.dns.message import FormError, Query, Record

TIMEOUT = 2.0  # seconds until the next upstream is tried


class Forwarder:
    """Asks the upstreams in turn; with none, every question outside is answered SERVFAIL at once."""

    def __init__(self, upstreams: Sequence[tuple[str, int]]) -> None:
        self._upstreams = list(upstreams)

    async def ask(self, name: bytes, query: Query) -> tuple[int, list[Record], list[Record]]:
        """(code, answers, authority) of `name` for the query's type."""
        ident = random.randrange(65536)
        opt = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0" if query.do else b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
        asked = m.HEADER.pack(ident, m.RD | (query.flags & m.CD), 1, 0, 0, 1) + name
        asked += struct.pack("!HH", query.qtype, query.qclass) + opt
        for host, port in self._upstreams:
            try:
                async with asyncio.timeout(TIMEOUT):
                    raw = await _over_udp(asked, host, port)
                    if raw[2] & (m.TC >> 8):
                        raw = await _over_tcp(asked, host, port)
                return m.parse_answer(raw)
            except (OSError, TimeoutError, FormError, EOFError):
                continue
        return m.SERVFAIL, [], []


class _Exchange(asyncio.DatagramProtocol):
    """One question and the one answer that carries its id and question."""

    def __init__(self, asked: bytes) -> None:
        self._asked = asked
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        transport.sendto(self._asked)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.reply.done() and m.answers(data, self._asked):
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def _over_udp(asked: bytes, host: str, port: int) -> bytes:
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(lambda: _Exchange(asked), remote_addr=(host, port))
    try:
        return await exchange.reply
    finally:
        transport.close()


async def _over_tcp(asked: bytes, host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(struct.pack("!H", len(asked)) + asked)
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(size)
    finally:
        writer.close()
