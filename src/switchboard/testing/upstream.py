"""A DNS server of the world outside, for tests: answers from a table, over UDP and TCP on a loopback port."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Mapping
from types import TracebackType

from switchboard.dns import message as m
from switchboard.dns.message import Record

SOA = Record(m.encode_name("test"), m.SOA, 60, m.soa_rdata(m.encode_name("ns.test"), m.encode_name("root.test"), 1, 30))


class FakeUpstream(asyncio.DatagramProtocol):
    """`names` maps a name to its A addresses; what it does not have is NXDOMAIN. `tls` is for its streams.

    `asked` has every question, `seen` the id and source port of those over UDP. `silent` stops all answers, `losses` is
    how many packets more are dropped. `edns` is the code it answers to queries with EDNS (0: it understands them),
    `bare` whether it leaves the question out of that; `refuses` its code for everything; `validates` sets AD.
    """

    def __init__(self, names: Mapping[str, list[str]], *, ttl: int = 60, tls: ssl.SSLContext | None = None) -> None:
        self.names = {m.encode_name(name): addresses for name, addresses in names.items()}
        self.ttl = ttl
        self.asked: list[str] = []
        self.seen: list[tuple[int, int]] = []
        self.silent = False
        self.losses = 0
        self.edns = self.refuses = 0
        self.bare = self.validates = False
        self._tls = tls
        self.port = 0

    def answer(self, data: bytes, *, udp: bool) -> bytes | None:
        """What goes back for a query, None while silent."""
        if self.silent:
            return None
        query = m.parse_query(data)
        self.asked.append(f"{'udp' if udp else 'tcp'} {m.text(query.name)} {query.qtype}")
        if self.edns and query.edns:
            query.edns = False
            return m.error(data, self.edns) if self.bare else m.build(query, self.edns, [], authoritative=False)
        if self.refuses:
            return m.build(query, self.refuses, [], authoritative=False)
        limit = query.udp_size if udp else 65535
        known = self.names.get(query.name)
        if known is None:
            return m.build(query, m.NXDOMAIN, [], [SOA], authoritative=False)
        records = [Record(query.name, t, self.ttl, d) for t, d in map(m.ip_rdata, known) if t == query.qtype]
        missing = [] if records else [SOA]
        return m.build(
            query, m.NOERROR, records, missing, authoritative=False, authentic=self.validates, max_size=limit
        )

    async def __aenter__(self) -> FakeUpstream:
        loop = asyncio.get_running_loop()
        while True:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
            self.port = self._transport.get_extra_info("sockname")[1]
            try:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
            except OSError:  # free for UDP only: somebody's connection has it
                self._transport.close()
                continue
            return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()
        self._server.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer over UDP."""
        self.seen.append((int.from_bytes(data[:2], "big"), addr[1]))
        if self.losses:
            self.losses -= 1
            return
        out = self.answer(data, udp=True)
        if out is not None:
            self._transport.sendto(out, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                out = self.answer(await reader.readexactly(size), udp=False)
                if out is not None:
                    writer.write(struct.pack("!H", len(out)) + out)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
