"""From a query's bytes to an answer's bytes. No sockets; the server asks here and sends what comes back.

An answer about our own zone is kept under the query's bytes (all but its id) until something it depends on changes, so
a repeated question costs one dict access and a copied id. Nothing expires by time: a new name answers at once. Until
the whole cluster is known (`ready`), cluster names are SERVFAIL: a client asks again, while NXDOMAIN would be believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from switchboard.dns import loops
from switchboard.dns import message as m
from switchboard.dns.answer import TTL, Answer
from switchboard.dns.hosts import Hosts
from switchboard.dns.message import FormError, Query, Record
from switchboard.dns.searchpath import SearchPath, SearchPathOf
from switchboard.dns.zone import Zone

UDP_LIMIT = 1232  # the largest UDP answer that no path fragments (DNS flag day 2020)
KEPT = 40_000  # answers kept
KEPT_BYTES = 16 << 20  # and their size, all orders counted
_OPT_SIZE = 11  # an OPT record without options: what has options (cookies) is another message every time
ROTATIONS = 8  # orders kept of an answer whose records are to be shuffled
# Types whose search path we walk for the client; others are asked for by programs that give full names.
_SEARCHED = frozenset({m.A, m.AAAA})
_ARPA = m.encode_name("arpa")


@dataclass(slots=True)
class Forward:
    """A question for the world outside: ask `name`, and put `prefix` (aliases found so far) before what comes back.

    `otherwise` says what to do when outside has no such name, given the code (of a walked search path only).
    """

    query: Query
    name: bytes
    prefix: list[Record] = field(default_factory=list)
    otherwise: Callable[[int], bytes | Forward] | None = None
    max_size: int = 65535


class Kept:
    """An answer to UDP, ready to be sent behind a query's id; `orders` are all its orders, when it is shuffled."""

    __slots__ = ("depends", "hits", "orders", "qtype", "rcode", "ready", "size")

    def __init__(
        self, ready: bytes, qtype: int, rcode: int, depends: tuple[Hashable, ...], orders: list[bytes] | None
    ) -> None:
        self.ready, self.qtype, self.rcode, self.depends, self.orders = ready, qtype, rcode, depends, orders
        self.hits = 0
        self.size = sum(map(len, orders)) if orders else len(ready)


class Responder:
    """The zone's answers, kept ready as bytes."""

    def __init__(self, zone: Zone, search_path_of: SearchPathOf | None = None, hosts: Hosts | None = None) -> None:
        """`search_path_of` gives the search path of the pod at an address; with it, such paths are walked."""
        self.zone = zone
        self.kept: dict[bytes, Kept] = {}
        self.ready = True
        self.walked = 0  # search paths walked to an end
        # (type, code, over TCP) of answers that are not, or no more, kept
        self.counted: Counter[tuple[int, int, bool]] = Counter()
        self._by_key: dict[Hashable, list[bytes]] = {}
        self._bytes = 0  # of what is kept
        self.hosts = hosts or Hosts("")
        self._search_path_of = search_path_of

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Drop every kept answer that depends on one of these. What was asked for again since it was made is made anew
        at once: whoever asks next need not wait for it, and many changes do not become many slow questions."""
        again = []
        for key in keys:
            for raw in self._by_key.pop(key, ()):
                entry = self.kept.pop(raw, None)
                if entry is None:
                    continue
                self._count(entry)
                self._bytes -= len(raw) + entry.size
                if entry.hits:
                    again.append(raw)
                for other in entry.depends:
                    if other != key and other in self._by_key:
                        self._by_key[other].remove(raw)
        for raw in again:
            data = b"\0\0" + raw
            self._resolve(m.parse_query(data), data, "", udp=True)

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
        searched = found.rcode == m.NXDOMAIN and query.qtype in _SEARCHED and self._search_path_of is not None
        path = self._search_path_of(client) if searched and self._search_path_of else None
        if path is not None:
            return self._walk(query, path, found, limit)
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
        authority = [] if found.has(query.qtype) else [self.zone.soa(found.apex)]
        return m.build(query, found.rcode, answers, authority, found.additional, max_size=limit)

    def _keep(self, data: bytes, out: bytes, query: Query, found: Answer, limit: int) -> None:
        if len(data) != 12 + len(query.question) + (_OPT_SIZE if query.edns else 0):
            return
        if len(self.kept) >= KEPT or self._bytes >= KEPT_BYTES:
            self._forget_all()
        raw, orders = data[2:], None
        if found.shuffle and len(found.answers) > 1:
            orders = [out[2:], *(self._render(query, found, limit)[2:] for _ in range(ROTATIONS - 1))]
        depends = tuple(dict.fromkeys(found.depends))
        entry = self.kept[raw] = Kept(out[2:], query.qtype, found.rcode, depends, orders)
        self._bytes += len(raw) + entry.size
        for key in depends:
            self._by_key.setdefault(key, []).append(raw)

    def _forget_all(self) -> None:
        for entry in self.kept.values():
            self._count(entry)
        self.kept.clear()
        self._by_key.clear()
        self._bytes = 0

    def _walk(self, query: Query, path: SearchPath, found: Answer, limit: int) -> bytes | Forward:
        """Answer the first question of a search path with what its later questions would have found (as CoreDNS's
        autopath): `x.<ns>.svc.<zone>` is absent, so try `x.svc.<zone>`, `x.<zone>`, further domains, at last `x`."""
        absent = self._render(query, found, limit)
        front = query.name[: -len(path[0])]
        if not query.name.endswith(path[0]) or not front or not m.at_label(query.name, len(front)):
            return absent
        names = [front + suffix for suffix in path[1:]]
        if m.labels(front + b"\0")[1:]:  # a single label is never a name of the world outside
            names.append(front + b"\0")
        return self._walk_on(query, iter(names), absent, limit)

    def _walk_on(self, query: Query, names: Iterator[bytes], absent: bytes, limit: int) -> bytes | Forward:
        """The first of the names that is there, as an alias of the one that was asked for; else `absent`."""

        def otherwise(code: int) -> bytes | Forward:
            return self._walk_on(query, names, absent, limit) if code == m.NXDOMAIN else absent

        for name in names:
            if len(name) > 255:
                continue
            further = self.zone.lookup(name, query.qtype)
            if further.foreign:
                alias = Record(query.name, m.CNAME, TTL, name)
                return self._outside(Forward(query, name, [alias], otherwise=otherwise, max_size=limit))
            if further.rcode == m.NOERROR:
                other = m.AAAA if query.qtype == m.A else m.A
                # A name with addresses of the other family only is there: both questions must hear the same of it.
                if further.answers or self.zone.lookup(name, other).answers:
                    return self._alias(query, name, further, limit)
                return absent  # it only has names below it: the client sees that itself
        return absent

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
