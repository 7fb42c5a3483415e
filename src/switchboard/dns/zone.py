"""The cluster's zone: which records a name has, right now. Pure: no sockets, no clock.

Names (Kubernetes DNS specification 1.1.0, and CoreDNS where the specification is silent):

    <service>.<ns>.svc.<zone>                  A/AAAA, or the endpoints' when headless, or CNAME (ExternalName); SRV
    _<port>._<proto>.<service>.<ns>.svc.<zone> SRV
    <hostname>.<service>.<ns>.svc.<zone>       A/AAAA of one endpoint
    1-2-3-4.<ns>.pod.<zone>                    A/AAAA of that very address
    dns-version.<zone>                         TXT
    <reversed address>.in-addr.arpa, ip6.arpa  PTR of Services and of headless endpoints

Every lookup tells what it depended on, so that whoever keeps its answer knows when to forget it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from switchboard.dns import message as m
from switchboard.dns.message import Record
from switchboard.dns.records import EndpointSlice, Entry, Port, Service

TTL = 5  # seconds, as CoreDNS; a changed Service must not be remembered long by clients
NEGATIVE_TTL = 5  # SOA minimum: how long clients may remember that a name is absent

Key = tuple[str, str]  # namespace, service


@dataclass(slots=True)
class Answer:
    """What a name has: the code, the records, and the keys that it depends on.

    `chase` is the wire name of an alias that lies outside the zone and is still to be resolved; `foreign` says that the
    name is none of ours (to be forwarded); `shuffle`, that the order of answers should change from client to client.
    """

    rcode: int = m.NOERROR
    answers: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    depends: tuple[Hashable, ...] = ()
    chase: bytes = b""
    foreign: bool = False
    shuffle: bool = False


class Zone:
    """Services and endpoints of the whole cluster, asked by name."""

    def __init__(self, domain: str = "cluster.local", networks: Iterable[str] = ()) -> None:
        """`networks`: CIDRs whose reverse names are ours also where nothing stands (cluster and pod ranges)."""
        self.domain = domain.rstrip(".").lower()
        self.apex = m.encode_name(self.domain)
        self._depth = len(m.labels(self.apex))
        self._networks = [ipaddress.ip_network(n) for n in networks]
        self.entries: dict[Key, Entry] = {}
        self._spaces: dict[str, int] = {}  # namespace -> Services in it
        self._by_ip: dict[str, dict[Key, str]] = {}  # address -> Service -> hostname label ("" is the Service itself)
        self.serial = 1

    # -- changes: each gives the keys whose answers are no longer true ------------------------------------------------

    def put_service(self, key: Key, service: Service | None) -> set[Hashable]:
        """A Service came, changed or (None) went."""
        entry = self.entries.setdefault(key, Entry())
        return self._replace(key, entry, lambda: setattr(entry, "service", service))

    def put_slice(self, key: Key, name: str, piece: EndpointSlice | None) -> set[Hashable]:
        """A slice of the Service `key` came, changed or (None) went."""
        entry = self.entries.setdefault(key, Entry())

        def change() -> None:
            if piece is None:
                entry.slices.pop(name, None)
            else:
                entry.slices[name] = piece

        return self._replace(key, entry, change)

    def _replace(self, key: Key, entry: Entry, change: Callable[[], None]) -> set[Hashable]:
        before, was = self._addresses(entry), entry.service is not None
        change()
        after, now = self._addresses(entry), entry.service is not None
        stale: set[Hashable] = {key}
        if was != now:
            count = self._spaces.get(key[0], 0) + (1 if now else -1)
            self._spaces[key[0]] = count
            if count in (0, 1):
                stale.add(key[0])
            if not count:
                del self._spaces[key[0]]
        for address in before.keys() | after.keys():
            if before.get(address) != after.get(address):
                stale.add(address)
                owners = self._by_ip.setdefault(address, {})
                owners.pop(key, None)
                if address in after:
                    owners[key] = after[address]
                if not owners:
                    del self._by_ip[address]
        if entry.service is None and not entry.slices:
            del self.entries[key]
        self.serial += 1
        return stale

    @staticmethod
    def _addresses(entry: Entry) -> dict[str, str]:
        """The addresses that have a reverse name because of this Service, with the label in front of its name."""
        service = entry.service
        if service is None:
            return {}
        if service.headless:
            return {address: hostname for address, hostname, _ in entry.endpoints()}
        return dict.fromkeys(service.addresses, "")

    # -- questions ----------------------------------------------------------------------------------------------------

    def lookup(self, name: bytes, qtype: int) -> Answer:
        """The answer to a question (lower-case wire name); `foreign` when the name is not in the zone."""
        parts = m.labels(name)
        if name.endswith(self.apex) and m.labels(self.apex) == parts[-self._depth :]:
            try:
                rest = [part.decode("ascii") for part in parts[: -self._depth]]
            except UnicodeDecodeError:
                return Answer(m.NXDOMAIN)
            return self._inside(name, rest, qtype)
        if parts[-1:] == [b"arpa"]:
            return self._reverse(name, parts, qtype)
        return Answer(foreign=True)

    def soa(self) -> Record:
        """The zone's SOA, which goes with every answer of absence (RFC 2308)."""
        mname, rname = m.encode_name(f"ns.dns.{self.domain}"), m.encode_name(f"hostmaster.{self.domain}")
        return Record(self.apex, m.SOA, NEGATIVE_TTL, m.soa_rdata(mname, rname, self.serial, NEGATIVE_TTL))

    def _inside(self, name: bytes, rest: list[str], qtype: int) -> Answer:
        if not rest:
            return self._apex(name, qtype)
        if rest[-1] == "svc":
            return self._svc(name, rest[:-1], qtype)
        if rest[-1] == "pod":
            return self._pod(name, rest[:-1], qtype)
        if rest == ["dns-version"]:
            return _of_type([Record(name, m.TXT, TTL, m.txt_rdata("1.1.0"))], qtype)
        if rest in (["ns", "dns"], ["dns"]):
            own = self.entries.get(("kube-system", "kube-dns"))
            ips = own.service.addresses if own and own.service and rest[0] == "ns" else []
            answer = _of_type([Record(name, t, TTL, d) for t, d in map(m.ip_rdata, ips)], qtype)
            answer.depends = (("kube-system", "kube-dns"),)
            return answer
        return Answer(m.NXDOMAIN)

    def _apex(self, name: bytes, qtype: int) -> Answer:
        if qtype == m.NS:
            return Answer(answers=[Record(name, m.NS, TTL, m.encode_name(f"ns.dns.{self.domain}"))])
        return _of_type([self.soa()], qtype)

    def _svc(self, name: bytes, rest: list[str], qtype: int) -> Answer:
        if not rest:
            return Answer()
        space = rest[-1]
        if len(rest) == 1:
            return Answer(m.NOERROR if space in self._spaces else m.NXDOMAIN, depends=(space,))
        key = (space, rest[-2])
        entry = self.entries.get(key)
        if entry is None or entry.service is None:
            return Answer(m.NXDOMAIN, depends=(key,))
        answer = self._of_service(name, rest[:-2], key, entry, entry.service, qtype)
        answer.depends = (key,)
        return answer

    def _of_service(
        self, name: bytes, front: list[str], key: Key, entry: Entry, service: Service, qtype: int
    ) -> Answer:
        if service.spec.type == "ExternalName":
            return self._external(name, service, qtype) if not front else Answer(m.NXDOMAIN)
        if not front:
            if qtype == m.SRV:
                return self._srv(name, key, entry, service, "", "")
            return _of_type(self._address_records(name, entry, service), qtype, shuffle=service.headless)
        if len(front) == 2 and front[0][:1] == front[1][:1] == "_":
            return self._service_port(name, key, entry, service, (front[0][1:], front[1][1:]), qtype)
        if len(front) > 1:
            return Answer(m.NXDOMAIN)
        if front[0][:1] == "_":
            known = {p.protocol or "TCP" for p, _ in self._ports(entry, service) if p.name}
            return Answer(m.NOERROR if front[0][1:].upper() in known else m.NXDOMAIN)
        own = {address: None for address, hostname, _ in entry.endpoints() if hostname == front[0]}
        if not own:
            return Answer(m.NXDOMAIN)
        return _of_type([Record(name, t, TTL, d) for t, d in map(m.ip_rdata, own)], qtype, shuffle=True)

    def _external(self, name: bytes, service: Service, qtype: int) -> Answer:
        try:
            target = m.encode_name(service.spec.externalName)
        except (ValueError, UnicodeEncodeError):
            return Answer(m.SERVFAIL)
        alias = Answer(answers=[Record(name, m.CNAME, TTL, target)])
        if qtype in (m.CNAME, m.ANY):
            return alias
        if target == name:
            return Answer(m.SERVFAIL)
        beyond = self.lookup(target, qtype)
        if beyond.foreign:
            alias.chase = target
        elif len(beyond.answers) < 8:  # a chain of aliases ends somewhere
            alias.answers += beyond.answers
            alias.additional, alias.chase = beyond.additional, beyond.chase
        return alias

    @staticmethod
    def _address_records(name: bytes, entry: Entry, service: Service) -> list[Record]:
        ips: Iterable[str] = service.addresses
        if service.headless:
            ips = dict.fromkeys(address for address, _, _ in entry.endpoints())
        return [Record(name, t, TTL, d) for t, d in map(m.ip_rdata, ips)]

    @staticmethod
    def _ports(entry: Entry, service: Service) -> Iterable[tuple[Port, EndpointSlice | None]]:
        if not service.headless:
            return [(p, None) for p in service.spec.ports or ()]
        return [(p, piece) for piece in entry.slices.values() for p in piece.ports or ()]

    def _service_port(
        self, name: bytes, key: Key, entry: Entry, service: Service, port: tuple[str, str], qtype: int
    ) -> Answer:
        found = self._srv(name, key, entry, service, *port)
        if not found.answers:
            return Answer(m.NXDOMAIN)
        return found if qtype in (m.SRV, m.ANY) else Answer()

    def _srv(self, name: bytes, key: Key, entry: Entry, service: Service, port: str, proto: str) -> Answer:
        """SRV of one named port, or of all ports when `port` is empty; the targets' addresses ride along."""
        base = m.encode_name(f"{key[1]}.{key[0]}.svc.{self.domain}")
        wanted = [
            (p, piece)
            for p, piece in self._ports(entry, service)
            if p.port and (not port or ((p.name or "").lower() == port and (p.protocol or "TCP").lower() == proto))
        ]
        answers: dict[bytes, Record] = {}
        additional: dict[tuple[bytes, bytes], Record] = {}
        by_slice: dict[int, list[tuple[str, str]]] = {}
        for address, hostname, piece in entry.endpoints() if service.headless else ():
            by_slice.setdefault(id(piece), []).append((address, hostname))
        weight = max(1, 100 // max(1, len(wanted) * max(1, sum(map(len, by_slice.values())))))
        for p, owner in wanted:
            targets = (
                [("", ip) for ip in service.addresses]
                if owner is None
                else [(hostname, address) for address, hostname in by_slice.get(id(owner), ())]
            )
            for label, ip in targets:
                target = bytes([len(label)]) + label.encode() + base if label else base
                rdata = m.srv_rdata(0, weight, p.port or 0, target)
                answers[rdata] = Record(name, m.SRV, TTL, rdata)
                rtype, packed = m.ip_rdata(ip)
                additional[target, packed] = Record(target, rtype, TTL, packed)
        shuffle = service.headless
        return Answer(answers=list(answers.values()), additional=list(additional.values()), shuffle=shuffle)

    def _pod(self, name: bytes, rest: list[str], qtype: int) -> Answer:
        if not rest:
            return Answer()
        space = rest[-1]
        if space not in self._spaces or len(rest) > 2:
            return Answer(m.NXDOMAIN, depends=(space,))
        if len(rest) == 1:
            return Answer(depends=(space,))
        address = _undashed(rest[0])
        if address is None:
            return Answer(m.NXDOMAIN, depends=(space,))
        rtype, rdata = m.ip_rdata(address)
        answer = _of_type([Record(name, rtype, TTL, rdata)], qtype)
        answer.depends = (space,)
        return answer

    def _reverse(self, name: bytes, parts: list[bytes], qtype: int) -> Answer:
        address = _reversed_address(parts)
        if address is None:
            return Answer(foreign=True)
        owners = self._by_ip.get(address)
        if owners is None:
            ip = ipaddress.ip_address(address)
            ours = any(ip in network for network in self._networks if network.version == ip.version)
            return Answer(m.NXDOMAIN, depends=(address,)) if ours else Answer(foreign=True)
        targets = [
            m.encode_name(f"{label}.{svc}.{space}.svc.{self.domain}" if label else f"{svc}.{space}.svc.{self.domain}")
            for (space, svc), label in owners.items()
        ]
        answer = _of_type([Record(name, m.PTR, TTL, target) for target in targets], qtype)
        answer.depends = (address,)
        return answer


def _of_type(records: list[Record], qtype: int, *, shuffle: bool = False) -> Answer:
    """The records of the type that was asked for; none of them is an answer too (NODATA)."""
    return Answer(answers=[r for r in records if qtype in (r.type, m.ANY)], shuffle=shuffle)


def _undashed(label: str) -> str | None:
    """`10-244-0-7` -> `10.244.0.7`, `fd00--7` -> `fd00::7`; None when it is no address."""
    for separator in (".", ":"):
        try:
            return str(ipaddress.ip_address(label.replace("-", separator)))
        except ValueError:
            continue
    return None


def _reversed_address(parts: list[bytes]) -> str | None:
    """The address of a full reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5), None for anything else."""
    try:
        if parts[-2:] == [b"in-addr", b"arpa"] and len(parts) == 6:
            return str(ipaddress.IPv4Address(".".join(p.decode() for p in reversed(parts[:4]))))
        if parts[-2:] == [b"ip6", b"arpa"] and len(parts) == 34:
            digits = "".join(p.decode() for p in reversed(parts[:32]))
            return str(ipaddress.IPv6Address(":".join(digits[i : i + 4] for i in range(0, 32, 4))))
    except (ValueError, UnicodeDecodeError):
        pass
    return None
