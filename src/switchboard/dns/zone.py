"""The cluster's zone: which records a name has, right now. Pure: no sockets, no clock.

Names (Kubernetes DNS specification 1.1.0, and CoreDNS where the specification is silent):

    <service>.<ns>.svc.<zone>                  A/AAAA, or the endpoints' when headless, or CNAME (ExternalName); SRV
    _<port>._<proto>.<service>.<ns>.svc.<zone> SRV
    <hostname>.<service>.<ns>.svc.<zone>       A/AAAA of one endpoint
    1-2-3-4.<ns>.pod.<zone>                    A/AAAA of that very address, by the mode of pods
    dns-version.<zone>                         TXT
    <reversed address>.in-addr.arpa, ip6.arpa  PTR of Services and of endpoints

Every lookup tells what it depended on, so that whoever keeps its answer knows when to forget it.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Hashable, Iterable
from enum import StrEnum

from switchboard.dns import message as m
from switchboard.dns import servicenames
from switchboard.dns.answer import NEGATIVE_TTL, TTL, VERSION_TTL, Answer, of_type
from switchboard.dns.message import Record
from switchboard.dns.records import EndpointSlice, Entry, Service
from switchboard.dns.reverse import Place, place, reverse_name, undashed

Key = tuple[str, str]  # namespace, service
_ALIASES = 8  # a chain of aliases within the zone ends here
_DNS_SERVICE: Key = ("kube-system", "kube-dns")
_SERIAL: Key = ("", "serial")  # what an answer that shows the serial depends on: every change; no namespace is ""


class Pods(StrEnum):
    """Which names below `pod.<zone>` there are, as CoreDNS's `pods` has it."""

    DISABLED = "disabled"  # none
    INSECURE = "insecure"  # those of every address, whoever has it
    VERIFIED = "verified"  # those of pods' addresses, in the pod's namespace


class Zone:
    """Services and endpoints of the whole cluster, asked by name."""

    def __init__(
        self, domain: str = "cluster.local", networks: Iterable[str] = (), servers: Iterable[str] = ()
    ) -> None:
        """`networks`: CIDRs whose reverse names are ours also where nothing stands (cluster and pod ranges);
        `servers`: the name server's addresses as long as the cluster has no Service kube-dns."""
        self.pods = Pods.INSECURE
        self.domain = domain.rstrip(".").lower()
        self.apex = m.encode_name(self.domain)
        self._top = m.labels(self.apex)
        self._names = m.encode_name(f"ns.dns.{self.domain}"), m.encode_name(f"hostmaster.{self.domain}")  # for the SOA
        self._networks = [ipaddress.ip_network(n) for n in networks]
        self._servers = [m.ip_rdata(address) for address in servers]
        self.entries: dict[Key, Entry] = {}
        self._spaces: dict[str, int] = {}  # namespace -> Services in it, and one for its own object
        # packed address -> Services that have it, once for the Service itself and once for each slice
        self._by_ip: dict[bytes, tuple[Key, ...]] = {}
        self._pods: Counter[tuple[str, bytes]] = Counter()  # pods of a namespace at an address
        self.serial = 1

    # -- changes: each gives the keys whose answers are no longer true ------------------------------------------------

    def put_service(self, key: Key, service: Service | None) -> set[Hashable]:
        """A Service came, changed or (None) went."""
        entry = self._entry(key)
        was = entry.service
        stale: set[Hashable] = {entry.key, _SERIAL}
        before = self._claims(entry)
        entry.service = service
        entry.changed()
        self._reindex(entry.key, before, self._claims(entry), stale)
        if (was is None) != (service is None):
            stale |= self._count(key[0], 1 if service is not None else -1)
        self._drop_if_empty(entry)
        return stale

    def put_slice(self, key: Key, name: str, piece: EndpointSlice | None) -> set[Hashable]:
        """A slice of the Service `key` came, changed or (None) went."""
        entry = self._entry(key)
        stale: set[Hashable] = {entry.key, _SERIAL}
        old = entry.slices.get(name)
        if piece is None:
            entry.slices.pop(name, None)
        else:
            entry.slices[name] = piece
        entry.changed(name)
        if entry.service is not None:  # only then do its endpoints have reverse names
            self._reindex(entry.key, [_labels(entry, old)], [_labels(entry, piece)], stale)
        self._drop_if_empty(entry)
        return stale

    def put_namespace(self, name: str, there: bool) -> set[Hashable]:
        """A namespace came or went; one that is there has names also before its first Service."""
        return self._count(name, 1 if there else -1)

    def put_pod(self, space: str, before: Iterable[bytes], after: Iterable[bytes]) -> set[Hashable]:
        """A pod of the namespace had the (packed) addresses `before` and has those of `after`; needed only where names
        of pods are verified."""
        was, now = ({(space, packed) for packed in addresses} for addresses in (before, after))
        for key in was - now:
            self._pods[key] -= 1
            if not self._pods[key]:
                del self._pods[key]
        self._pods.update(now - was)
        return set(was ^ now)

    def _entry(self, key: Key) -> Entry:
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = Entry(key)
        return entry

    def _count(self, space: str, change: int) -> set[Hashable]:
        count = self._spaces.get(space, 0) + change
        self._spaces[space] = count
        if not count:
            del self._spaces[space]
        self.serial += 1
        return {space, _SERIAL} if count in (0, 1) else {_SERIAL}

    def _claims(self, entry: Entry) -> list[dict[bytes, str]]:
        """The addresses that have a reverse name because of this Service: its own, and each slice's, with labels."""
        if entry.service is None:
            return []
        return [{packed: "" for _, packed in entry.addresses()}] + [_labels(entry, p) for p in entry.slices.values()]

    def _reindex(
        self, key: Key, before: list[dict[bytes, str]], after: list[dict[bytes, str]], stale: set[Hashable]
    ) -> None:
        self.serial += 1
        if before == after:
            return
        for claims in before:
            for packed in claims:
                owners = list(self._by_ip[packed])
                owners.remove(key)
                if owners:
                    self._by_ip[packed] = tuple(owners)
                else:
                    del self._by_ip[packed]
            stale |= claims.keys()
        for claims in after:
            for packed in claims:
                self._by_ip[packed] = (*self._by_ip.get(packed, ()), key)
            stale |= claims.keys()

    def _drop_if_empty(self, entry: Entry) -> None:
        if entry.service is None and not entry.slices:
            del self.entries[entry.key]

    # -- questions ----------------------------------------------------------------------------------------------------

    def lookup(self, name: bytes, qtype: int, depth: int = 0) -> Answer:
        """The answer to a question (lower-case wire name); `foreign` when the name is not in the zone."""
        parts = m.labels(name)
        if parts[-len(self._top) :] == self._top:
            try:
                rest = [part.decode("ascii") for part in parts[: -len(self._top)]]
            except UnicodeDecodeError:
                return Answer(m.NXDOMAIN)
            return self._inside(name, rest, qtype, depth)
        where = place(parts)
        if where is not None:
            return self._reverse(name, where, qtype)
        return Answer(foreign=True)

    def soa(self, apex: bytes = b"") -> Record:
        """The SOA of our zone, or of the reverse zone at `apex`: goes with every answer of absence (RFC 2308)."""
        return Record(apex or self.apex, m.SOA, NEGATIVE_TTL, m.soa_rdata(*self._names, self.serial, NEGATIVE_TTL))

    def _inside(self, name: bytes, rest: list[str], qtype: int, depth: int) -> Answer:
        if not rest:
            return self._apex(name, qtype)
        if rest[-1] == "svc":
            return self._svc(name, rest[:-1], qtype, depth)
        if rest[-1] == "pod" and self.pods is not Pods.DISABLED:
            return self._pod(name, rest[:-1], qtype)
        if rest == ["dns-version"]:
            return of_type([Record(name, m.TXT, VERSION_TTL, m.txt_rdata("1.1.0"))], qtype)
        if rest == ["dns"]:
            return Answer()
        if rest == ["ns", "dns"]:
            return Answer(answers=self._server(name, qtype), depends=(_DNS_SERVICE,))
        return Answer(m.NXDOMAIN)

    def _apex(self, name: bytes, qtype: int) -> Answer:
        """The top of our zone, or of a reverse zone: SOA and NS, with the server's addresses."""
        server = self._names[0]
        found = of_type([self.soa(name), Record(name, m.NS, TTL, server)], qtype)
        if qtype in (m.NS, m.ANY):
            found.additional = self._server(server, m.ANY)
        found.depends = (_DNS_SERVICE, _SERIAL) if found.answers else ()
        return found

    def _server(self, name: bytes, qtype: int) -> list[Record]:
        """Our own addresses: the DNS Service's."""
        own = self.entries.get(_DNS_SERVICE)
        addresses = own.addresses() if own else self._servers
        return [Record(name, t, TTL, d) for t, d in addresses if qtype in (t, m.ANY)]

    def _svc(self, name: bytes, rest: list[str], qtype: int, depth: int) -> Answer:
        if not rest:
            return Answer()
        space = rest[-1]
        if len(rest) == 1:
            return Answer(m.NOERROR if space in self._spaces else m.NXDOMAIN, depends=(space,))
        key = (space, rest[-2])
        entry = self.entries.get(key)
        if entry is None or entry.service is None:
            return Answer(m.NXDOMAIN, depends=(key,))
        if entry.service.spec.type == "ExternalName":
            found = self._external(name, entry.service, qtype, depth) if len(rest) == 2 else Answer(m.NXDOMAIN)
        else:
            found = servicenames.lookup(servicenames.Asked(name, rest[:-2], qtype, self.domain), entry, entry.service)
        found.depends = (key, *found.depends)
        return found

    def _external(self, name: bytes, service: Service, qtype: int, depth: int) -> Answer:
        """An alias; followed as far as it stays in the zone. One that names an address is absent, as in CoreDNS."""
        target_name = service.spec.externalName.rstrip(".")
        try:
            target = m.encode_name(target_name)
        except (ValueError, UnicodeEncodeError):
            return Answer(m.SERVFAIL)
        if not target_name or _is_address(target_name):
            return Answer(m.NXDOMAIN)
        alias = Answer(answers=[Record(name, m.CNAME, TTL, target)])
        if qtype in (m.CNAME, m.ANY):
            return alias
        if depth >= _ALIASES:
            return Answer(m.SERVFAIL)
        beyond = self.lookup(target, qtype, depth + 1)
        if beyond.foreign:
            alias.chase = target
            return alias
        if beyond.rcode == m.SERVFAIL:
            return beyond
        beyond.answers = alias.answers + beyond.answers
        return beyond  # the code is the last name's (RFC 6604)

    def _pod(self, name: bytes, rest: list[str], qtype: int) -> Answer:
        if not rest:
            return Answer()
        space = rest[-1]
        address = undashed(rest[0])
        if space not in self._spaces or len(rest) > 2 or (len(rest) == 2 and address is None):
            return Answer(m.NXDOMAIN, depends=(space,))
        records = [Record(name, t, TTL, d) for t, d in ([m.ip_rdata(address)] if address and len(rest) == 2 else [])]
        answer = of_type(records, qtype)
        answer.depends = (space,)
        if records and self.pods is Pods.VERIFIED:
            key = (space, records[0].rdata)
            answer = answer if key in self._pods else Answer(m.NXDOMAIN)
            answer.depends = (space, key)
        return answer

    def _reverse(self, name: bytes, where: Place, qtype: int) -> Answer:
        """An address of ours, or a name in one of our networks; above single addresses are only zones and NODATA."""
        owners = self._by_ip.get(where.packed) if where.full else None
        apex = self._reverse_apex(where)
        if owners is not None:
            records = [Record(name, m.PTR, TTL, target) for target in self._names_at(where.packed, owners)]
            answer = of_type(records, qtype)
        elif apex is None:
            return Answer(foreign=True)
        elif where.full or where.beyond:
            answer = Answer(m.NXDOMAIN)
        elif name == apex:
            answer = self._apex(name, qtype)
        else:
            answer = Answer()
        if where.full:
            answer.depends = (where.packed,)
        answer.apex = apex or name
        return answer

    def _reverse_apex(self, where: Place) -> bytes | None:
        """The top of the reverse zone: the widest whole-label part of the network that the place is in."""
        ip = ipaddress.ip_address(where.packed)
        for network in self._networks:
            if network.version == ip.version and network.prefixlen <= where.bits and ip in network:
                return m.encode_name(reverse_name(where.packed, network.prefixlen))
        return None

    def _names_at(self, packed: bytes, owners: tuple[Key, ...]) -> list[bytes]:
        """The names of an address: the Service's that has it as its own, else those of endpoints (as CoreDNS)."""
        entries = [self.entries[key] for key in dict.fromkeys(owners)]
        texts = [
            f"{entry.key[1]}.{entry.key[0]}.svc.{self.domain}"
            for entry in entries
            if any(packed == own for _, own in entry.addresses())
        ] or [
            f"{endpoint.label}.{entry.key[1]}.{entry.key[0]}.svc.{self.domain}"
            for entry in entries
            for endpoint in entry.endpoints()
            if endpoint.packed == packed
        ]
        names: dict[bytes, None] = {}
        for text in texts:
            try:
                names[m.encode_name(text)] = None
            except ValueError:
                continue  # with a long domain, a name may not exist at all
        return list(names)


def _labels(entry: Entry, piece: EndpointSlice | None) -> dict[bytes, str]:
    return {e.packed: e.label for e in entry.endpoints_of(piece)} if piece is not None else {}


def _is_address(text: str) -> bool:
    try:
        m.ip_rdata(text)
    except ValueError:
        return False
    return True
