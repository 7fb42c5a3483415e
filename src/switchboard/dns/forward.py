"""Questions for the world outside: the cache, then the upstreams that answer, in the order they were given.

A server that fails twice in a row is left out until a probe finds it again; when all are down, each is tried once more,
and an answer whose time is over is better than none. With no upstream at all the answer is SERVFAIL, at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from collections.abc import Iterable, Mapping

from switchboard.dns import message as m
from switchboard.dns.cache import Cache, Freshness, Outcome, Question
from switchboard.dns.message import FormError, Query
from switchboard.dns.upstream import Address, Upstream

log = logging.getLogger(__name__)

TIMEOUT = 2.0  # seconds until the next upstream is tried
_MAX_FAILURES = 2  # as CoreDNS's forward plugin
_PROBE_EVERY = 0.5  # seconds
_FAILED = Outcome(m.SERVFAIL, [], [])
_BROKEN = (OSError, TimeoutError, FormError, EOFError)


class Forwarder:
    """Asks the upstreams of the longest matching stub domain, or the general ones."""

    def __init__(self, upstreams: Iterable[Address], stubs: Mapping[str, Iterable[Address]] | None = None) -> None:
        self.cache = Cache()
        self.asked = self.hits = 0  # questions sent outside, questions the cache answered
        self._routes: list[tuple[bytes, list[Upstream]]] = []
        self._flights: dict[Question, asyncio.Task[Outcome]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.configure(upstreams, stubs or {})

    def configure(self, upstreams: Iterable[Address], stubs: Mapping[str, Iterable[Address]]) -> None:
        """Take other upstreams from the next question on; questions under way end where they are."""
        known = {u.address: u for _, servers in self._routes for u in servers}
        named = [*((m.encode_name(domain), servers) for domain, servers in stubs.items()), (b"\0", upstreams)]
        self._routes = sorted(
            ((suffix, [known.pop(a) if a in known else Upstream(a) for a in servers]) for suffix, servers in named),
            key=lambda route: -len(route[0]),
        )
        for gone in known.values():
            gone.close()

    async def ask(self, name: bytes, query: Query) -> Outcome:
        """What outside says of `name` for the query's type. Never raises; equal questions under way share one trip."""
        question = (name, query.qtype, query.qclass, query.do, bool(query.flags & m.CD))
        kept = self.cache.get(question, asyncio.get_running_loop().time())
        if kept is not None and kept[1] is not Freshness.STALE:
            self.hits += 1
            if kept[1] is Freshness.ENDING:
                self._fly(question)
            return kept[0]
        outcome = await asyncio.shield(self._fly(question))
        if outcome.rcode == m.SERVFAIL and kept is not None:
            return kept[0]
        return outcome

    def _fly(self, question: Question) -> asyncio.Task[Outcome]:
        flight = self._flights.get(question)
        if flight is None:
            flight = self._flights[question] = asyncio.ensure_future(self._trip(question))
            flight.add_done_callback(lambda _: self._flights.pop(question, None))
        return flight

    async def _trip(self, question: Question) -> Outcome:
        self.asked += 1
        servers = self._servers(question[0])
        asked = encode(question)
        healthy = [u for u in servers if u.failures < _MAX_FAILURES]
        for upstream in healthy or servers:
            try:
                outcome = Outcome(*m.parse_answer(await upstream.ask(asked, TIMEOUT)))
            except _BROKEN as why:
                log.debug("upstream %s: %s", upstream.address, why)
                self._failed(upstream)
                continue
            upstream.failures = 0
            if outcome.rcode in (m.SERVFAIL, m.REFUSED) and upstream is not servers[-1]:
                continue
            self.cache.put(question, outcome, asyncio.get_running_loop().time())
            return outcome
        return _FAILED

    def _servers(self, name: bytes) -> list[Upstream]:
        for suffix, servers in self._routes:
            if name.endswith(suffix) and (name == suffix or _at_label(name, len(name) - len(suffix))):
                return servers
        return []

    def _failed(self, upstream: Upstream) -> None:
        upstream.failures += 1
        if upstream.failures == _MAX_FAILURES:
            log.warning("upstream %s does not answer; going on without it", upstream.address.host)
            task = asyncio.ensure_future(self._probe(upstream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _probe(self, upstream: Upstream) -> None:
        while upstream.failures:
            await asyncio.sleep(_PROBE_EVERY)
            try:
                await upstream.ask(encode((b"\0", m.NS, 1, False, False)), TIMEOUT)
                upstream.failures = 0
                log.info("upstream %s answers again", upstream.address.host)
            except _BROKEN:
                continue


def encode(question: Question) -> bytes:
    """A recursive query for a question, with EDNS and a random id."""
    name, qtype, qclass, do, cd = question
    header = m.HEADER.pack(random.randrange(65536), m.RD | (m.CD if cd else 0), 1, 0, 0, 1)
    opt = b"\0" + struct.pack("!HHIH", m.OPT, 1232, 0x8000 if do else 0, 0)
    return header + name + struct.pack("!HH", qtype, qclass) + opt


def _at_label(name: bytes, offset: int) -> bool:
    """Whether a label of the wire name begins at `offset`."""
    at = 0
    while at < offset and name[at]:
        at += 1 + name[at]
    return at == offset
