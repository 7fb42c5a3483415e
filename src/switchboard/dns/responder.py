"""From a query's bytes to an answer's bytes. No sockets; the server asks here and sends what comes back.

An answer about our own zone is kept under the query's bytes (all but its id) until something it depends on changes, so
a repeated question costs one dict access and a copied id. Nothing expires by time: a new name answers at once. Until
the whole cluster is known (`ready`), cluster names are SERVFAIL: a client asks again, while NXDOMAIN would be believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from switchboard.dns import loops
from switchboard.dns import message as m
from switchboard.dns.answer import TTL, Answer
from switchboard.dns.hosts import Hosts
from switchboard.dns.message import FormError, Query, Record
from switchboard.dns.zone import Zone

UDP_LIMIT = 1232  # the largest UDP answer that no path fragments (DNS flag day 2020)
KEPT = 40_000  # answers kept; about 20 MB at the most
_OPT_SIZE = 11  # an OPT record without options: what has options (cookies) is another message every time
ROTATIONS = 8  # orders kept of an answer whose records are to be shuffled
# Types whose search path we walk for the client; others are asked for by programs that give full names.
_SEARCHED = frozenset({m.A, m.AAAA})
_ARPA = m.encode_name("arpa")


@dataclass(slots=True)
class Forward:
    """A question for the world outside: ask `name`, and put `prefix` (aliases found so far) before what comes back.

    `fallback` is the answer to give when outside does not know the name either (autopath only).
    """

    query: Query
    name: bytes
    prefix: list[Record] = field(default_factory=list)
    fallback: bytes | None = None
    max_size: int = 65535


class Kept:
    """An answer to UDP, ready to be sent behind a query's id; `orders` are all its orders, when it is shuffled."""

    __slots__ = ("hits", "orders", "qtype", "rcode", "ready")

    def __init__(self, ready: bytes, qtype: int, rcode: int) -> None:
        self.ready, self.qtype, self.rcode = ready, qtype, rcode
        self.hits = 0
        self.orders: list[bytes] | None = None


class Responder:
    """The zone's answers, kept ready as bytes."""

    def __init__(
        self, zone: Zone, namespace_of: Callable[[str], str | None] | None = None, hosts: Hosts | None = None
    ) -> None:
        """`namespace_of` gives the namespace of the pod at an address; with it, search paths are walked (autopath)."""
        self.zone = zone
        self.kept: dict[bytes, Kept] = {}
        self.ready = True
        self.walked = 0  # search paths walked to an end
        # (type, code, over TCP) of answers that are not, or no more, kept
        self.counted: Counter[tuple[int, int, bool]] = Counter()
        self._by_key: dict[Hashable, list[bytes]] = {}
        self.hosts = hosts or Hosts("")
        self._namespace_of = namespace_of
        self._svc = m.encode_name(f"svc.{zone.domain}")

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Drop every kept answer that depends on one of these."""
        for key in keys:
            for raw in self._by_key.pop(key, ()):
                entry = self.kept.pop(raw, None)
                if entry is not None:
                    self._count(entry)

    def counts(self) -> Counter[tuple[int, int, bool]]:
        """Answers given so far by (type, code, over TCP), the kept ones' included."""
        total = Counter(self.counted)
        for entry in self.kept.values():
            total[entry.qtype, entry.rcode, False] += entry.hits
        return total

    def _count(self, entry: Kept) -> None:
        self.counted[entry.qtype, entry.rcode, False] += entry.hits

    def answer(self, data: bytes, client: str, *, udp: bool = True) -> bytes | Forward | None:
        """The finished answer; what to forward; or None for what is not to be answered at all."""
        try:
            query = m.parse_query(data)
        except FormError as why:
            self.counted[0, m.FORMERR, not udp] += why.answerable
            return m.error(data, m.FORMERR) if why.answerable else None
        out = self._resolve(query, data, client, udp)
        if isinstance(out, bytes):
            self.counted[query.qtype, out[3] & 15, not udp] += 1
        return out

    def _resolve(self, query: Query, data: bytes, client: str, udp: bool) -> bytes | Forward:
        refusal = _refusal(query)
        if refusal is not None:
            return m.build(query, refusal, [], authoritative=False)
        limit = min(query.udp_size, UDP_LIMIT) if udp else 65535
        found = self.zone.lookup(query.name, query.qtype)
        if not self.ready and (not found.foreign or query.name.endswith(_ARPA)):
            return m.build(query, m.SERVFAIL, [], authoritative=False, max_size=limit)
        if found.foreign:
            probe = loops.recognised(query)
            if probe is not None:
                return probe
            return self._outside(Forward(query, query.name, max_size=limit))
        if found.chase:
            return self._outside(Forward(query, found.chase, found.answers, max_size=limit))
        searched = found.rcode == m.NXDOMAIN and query.qtype in _SEARCHED and self._namespace_of is not None
        space = self._namespace_of(client) if searched and self._namespace_of else None
        if space is not None:
            return self._walk(query, space, found, limit)
        out = self._render(query, found, limit, udp=udp)
        if udp and not searched:  # what depends on who asks is not kept
            self._keep(data, out, query, found, limit)
        return out

    def _outside(self, wanted: Forward) -> bytes | Forward:
        """The hosts file knows it, or it is to be forwarded."""
        known = self.hosts.lookup(wanted.name, wanted.query.qtype)
        if known is None:
            return wanted
        return m.build(wanted.query, m.NOERROR, wanted.prefix + known, max_size=wanted.max_size)

    def _render(self, query: Query, found: Answer, limit: int, *, udp: bool = True) -> bytes:
        answers = found.shuffled(udp=udp) if found.shuffle and len(found.answers) > 1 else found.answers
        authority = [] if found.has(query.qtype) else [self.zone.soa()]
        return m.build(query, found.rcode, answers, authority, found.additional, max_size=limit)

    def _keep(self, data: bytes, out: bytes, query: Query, found: Answer, limit: int) -> None:
        if len(data) != 12 + len(query.question) + (_OPT_SIZE if query.edns else 0):
            return
        if len(self.kept) >= KEPT:
            for entry in self.kept.values():
                self._count(entry)
            self.kept.clear()
            self._by_key.clear()
        raw = data[2:]
        entry = self.kept[raw] = Kept(out[2:], query.qtype, found.rcode)
        if found.shuffle and len(found.answers) > 1:
            entry.orders = [out[2:], *(self._render(query, found, limit)[2:] for _ in range(ROTATIONS - 1))]
        for key in found.depends:
            self._by_key.setdefault(key, []).append(raw)

    def _walk(self, query: Query, space: str, found: Answer, limit: int) -> bytes | Forward:
        """Answer the first question of a search path with what its later questions would have found (as CoreDNS's
        autopath): `x.<ns>.svc.<zone>` is absent, so try `x.svc.<zone>`, `x.<zone>` and at last `x` itself."""
        own = bytes([len(space)]) + space.encode() + self._svc
        absent = self._render(query, found, limit)
        front = query.name[: -len(own)]
        if not query.name.endswith(own) or not front:
            return absent
        for suffix in (self._svc, self.zone.apex):
            name = front + suffix
            further = self.zone.lookup(name, query.qtype) if len(name) <= 255 else Answer(m.NXDOMAIN)
            if further.rcode == m.NOERROR:
                if further.answers:
                    return self._alias(query, name, further, limit)
                return absent  # there is such a name, only not of this type: the client sees that itself
        bare = front + b"\0"
        if len(m.labels(bare)) < 2:
            return absent  # a single label is never a name of the world outside
        inside = self.zone.lookup(bare, query.qtype)
        if inside.foreign:
            alias = Record(query.name, m.CNAME, TTL, bare)
            return self._outside(Forward(query, bare, [alias], fallback=absent, max_size=limit))
        return self._alias(query, bare, inside, limit) if inside.answers else absent

    def _alias(self, query: Query, name: bytes, found: Answer, limit: int) -> bytes | Forward:
        """What was found further along the search path, as an alias of the name that was asked for."""
        self.walked += 1
        found.answers = [Record(query.name, m.CNAME, TTL, name), *found.answers]
        if found.chase:
            return self._outside(Forward(query, found.chase, found.answers, max_size=limit))
        return self._render(query, found, limit)


def _refusal(query: Query) -> int | None:
    """The code for what we do not do: other opcodes, classes, EDNS versions, zone transfers."""
    if query.opcode:
        return m.NOTIMP
    if query.edns and query.version:
        return m.BADVERS
    if query.qclass not in (m.CLASS_IN, 255):
        return m.REFUSED
    if query.qtype in (m.AXFR, 251, m.OPT):
        return m.REFUSED
    return None
