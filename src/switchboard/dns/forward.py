"""Questions for the world outside: the cache, then the upstreams that answer, in the order they were given.

A server that fails twice in a row is left out until a probe finds it again; when all are down they are asked at once,
and an answer whose time is over is better than none. With no upstream at all the answer is SERVFAIL, at once. An
upstream that leads back to ourselves is not asked (loops.py).
"""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from switchboard.dns import loops, reply
from switchboard.dns import message as m
from switchboard.dns.cache import Cache, Freshness, Outcome, Question
from switchboard.dns.durations import Durations
from switchboard.dns.message import FormError, Query
from switchboard.dns.upstream import Address, Upstream

log = logging.getLogger(__name__)

TIMEOUT = 2.0  # seconds until the next upstream is tried
STALE_AFTER = 0.5  # seconds a client waits before it gets an answer whose time is over (RFC 8767 section 5: <= 1.8)
_MAX_FAILURES = 2  # as CoreDNS's forward plugin
_PROBE_EVERY = 0.5  # seconds
_LOOPS_EVERY = 30.0  # seconds between looks whether a loop is gone
_FAILED = Outcome(m.SERVFAIL, [], [])
_ELSEWHERE = (m.SERVFAIL, m.REFUSED, m.NOTIMP, m.FORMERR)  # another upstream may do better
_BROKEN = (OSError, TimeoutError, FormError, EOFError)


class Forwarder:
    """Asks the upstreams of the longest matching stub domain, or the general ones.

    `counted` has what happened: hits, denials (hits of absence), failures (hits of those), misses, prefetched, stale,
    broken (questions at a time when no upstream was known to be up), loops.
    """

    def __init__(self, upstreams: Iterable[Address], stubs: Mapping[str, Iterable[Address]] | None = None) -> None:
        self.cache = Cache()
        self.counted: Counter[str] = Counter()
        self._routes: list[tuple[bytes, list[Upstream]]] = []
        self._flights: dict[Question, asyncio.Task[Outcome]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._configured = asyncio.Event()
        self.configure(upstreams, stubs or {})

    def configure(self, upstreams: Iterable[Address], stubs: Mapping[str, Iterable[Address]]) -> None:
        """Take other upstreams from the next question on; questions under way end where they are."""
        known = {u.address: u for u in self.upstreams}
        named = [*((m.encode_name(domain), servers) for domain, servers in stubs.items()), (b"\0", upstreams)]
        made: dict[Address, Upstream] = {}
        for _, servers in named:
            for address in servers:
                made[address] = made.get(address) or known.get(address) or Upstream(address)
        self._routes = sorted(
            ((suffix, [made[a] for a in servers]) for suffix, servers in named), key=lambda route: -len(route[0])
        )
        for address in known.keys() - made.keys():
            gone = known[address]
            asyncio.get_running_loop().call_later(2 * TIMEOUT, gone.close)
        self.cache.forget_failures()
        self._configured.set()

    def known(self, name: bytes, query: Query) -> Outcome | None:
        """The cache's answer when it has a good one: no task, no wait. Asks again early for what is asked for often."""
        question, now = _question(name, query), asyncio.get_running_loop().time()
        kept = self.cache.get(question, now)
        if kept is None or kept[1] is Freshness.STALE:
            return self._known_to_fail(question, kept, now)
        self.counted["denials" if not kept[0].answers else "hits"] += 1
        if kept[1] is Freshness.ENDING and question not in self._flights and not self.cache.failure(question, now):
            self.counted["prefetched"] += 1
            self._fly(question)
        return kept[0]

    def _known_to_fail(self, question: Question, kept: tuple[Outcome, Freshness] | None, now: float) -> Outcome | None:
        """What to say without asking, when asking failed a moment ago: an old answer rather than the failure."""
        failure = self.cache.failure(question, now)
        if failure is None:
            return None
        self.counted["failures"] += 1
        self.counted["stale"] += kept is not None
        return kept[0] if kept is not None else failure

    async def ask(self, name: bytes, query: Query) -> Outcome:
        """What outside says of `name` for the query's type. Never raises; equal questions under way share one trip."""
        outcome = self.known(name, query)
        if outcome is not None:
            return outcome
        self.counted["misses"] += 1
        question = _question(name, query)
        stale = self.cache.get(question, asyncio.get_running_loop().time())
        flight = self._fly(question)
        await asyncio.wait([flight], timeout=None if stale is None else STALE_AFTER)
        if stale is not None and (not flight.done() or flight.result().failed):
            self.counted["stale"] += 1
            return stale[0]
        return await asyncio.shield(flight)

    def _fly(self, question: Question) -> asyncio.Task[Outcome]:
        flight = self._flights.get(question)
        if flight is None:
            flight = self._flights[question] = asyncio.ensure_future(self._trip(question))
            flight.add_done_callback(lambda _: self._flights.pop(question, None))
        return flight

    async def _trip(self, question: Question) -> Outcome:
        servers = [u for u in self._servers(question[0]) if not u.looping]
        healthy = [u for u in servers if u.failures < _MAX_FAILURES]
        if not servers:
            return _FAILED
        self.counted["broken"] += not healthy
        try:
            outcome = await (self._in_turn(healthy, question) if healthy else self._at_once(servers, question))
        except Exception:  # a bug must not leave clients waiting
            log.exception("asking for %s", m.text(question[0]))
            return _FAILED
        self.cache.put(question, outcome, asyncio.get_running_loop().time())
        return outcome

    async def _in_turn(self, servers: list[Upstream], question: Question) -> Outcome:
        """The first proper answer; an upstream's own failure is passed on when nobody does better."""
        outcome = _FAILED
        for upstream in servers:
            found = await self._ask_one(upstream, question)
            if found is not None and found.rcode not in _ELSEWHERE:
                return found
            outcome = found or outcome
        return outcome

    async def _at_once(self, servers: list[Upstream], question: Question) -> Outcome:
        """All of them: none is known to be up, so waiting for one after the other would be waiting long."""
        tasks = [asyncio.ensure_future(self._ask_one(u, question)) for u in servers]
        try:
            for first in asyncio.as_completed(tasks):
                found = await first
                if found is not None:
                    return found
        finally:
            for task in tasks:
                task.cancel()
        return _FAILED

    async def _ask_one(self, upstream: Upstream, question: Question) -> Outcome | None:
        upstream.sent += 1
        started = asyncio.get_running_loop().time()
        try:
            raw = await upstream.ask_with_edns(encode(question), TIMEOUT)
            outcome = Outcome(*reply.parse_answer(raw), authentic=bool(raw[3] & m.AD))
        except _BROKEN as why:
            log.debug("upstream %s: %r", upstream.address, why)
            self._failed(upstream)
            return None
        self._answered(upstream)
        upstream.took.setdefault(outcome.rcode, Durations()).note(asyncio.get_running_loop().time() - started)
        return outcome

    @property
    def upstreams(self) -> list[Upstream]:
        """Every upstream in use, once."""
        return list({id(u): u for _, servers in self._routes for u in servers}.values())

    def _servers(self, name: bytes) -> list[Upstream]:
        for suffix, servers in self._routes:
            if name.endswith(suffix) and (name == suffix or m.at_label(name, len(name) - len(suffix))):
                return servers
        return []

    # -- health, loops ------------------------------------------------------------------------------------------------

    def _failed(self, upstream: Upstream) -> None:
        upstream.failures += 1
        if upstream.failures == _MAX_FAILURES:
            log.warning("upstream %s does not answer; going on without it", upstream.address)
            self._spawn(self._probe(upstream))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _answered(self, upstream: Upstream) -> None:
        if upstream.failures >= _MAX_FAILURES:
            self.cache.forget_failures()
            log.info("upstream %s answers again", upstream.address)
        upstream.failures = 0

    async def _probe(self, upstream: Upstream) -> None:
        while upstream.failures and not upstream.closed:
            await asyncio.sleep(_PROBE_EVERY)
            try:
                await upstream.ask(encode((b"\0", m.NS, m.CLASS_IN, False, False)), TIMEOUT)
                self._answered(upstream)
            except _BROKEN:
                upstream.probes_failed += 1

    async def watch_for_loops(self) -> None:
        """Probe every new upstream, and look again after those that were found to lead back to us. For ever."""
        while True:
            self._configured.clear()
            await asyncio.gather(*(self._look_for_loop(u) for u in self.upstreams if u.looping or not u.checked))
            try:
                async with asyncio.timeout(_LOOPS_EVERY):
                    await self._configured.wait()
            except TimeoutError:
                continue

    async def _look_for_loop(self, upstream: Upstream) -> None:
        try:
            _, answers, _ = reply.parse_answer(await upstream.ask(encode(loops.probe()), TIMEOUT))
        except _BROKEN:
            return  # looked at again later
        was, upstream.looping, upstream.checked = upstream.looping, loops.came_back(answers), True
        if upstream.looping and not was:
            self.counted["loops"] += 1
            log.error("upstream %s sends our questions back to us: it is not asked while it does", upstream.address)
        elif was and not upstream.looping:
            log.info("upstream %s leads outside again", upstream.address)


def _question(name: bytes, query: Query) -> Question:
    return name, query.qtype, query.qclass, query.do, bool(query.flags & m.CD)


def encode(question: Question) -> bytes:
    """A recursive query for a question, with EDNS (at its end). Its id is only a place: each sending chooses its own.

    AD asks whether the answer was validated (RFC 6840 section 5.7); who asked us hears it if he wants to."""
    name, qtype, qclass, do, cd = question
    header = m.HEADER.pack(random.getrandbits(16), m.RD | m.AD | (m.CD if cd else 0), 1, 0, 0, 1)
    opt = b"\0" + struct.pack("!HHIH", m.OPT, 1232, 0x8000 if do else 0, 0)
    return header + name + struct.pack("!HH", qtype, qclass) + opt
