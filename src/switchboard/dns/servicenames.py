"""The names of one Service: its own, its ports', its endpoints'. Pure; `zone.py` finds the Service and asks here."""

from __future__ import annotations

from typing import NamedTuple

from switchboard.dns import message as m
from switchboard.dns.answer import TTL, Answer, of_type
from switchboard.dns.message import Record
from switchboard.dns.records import Endpoint, Entry, Port, Service


class Asked(NamedTuple):
    """A question about a Service: the whole name, the labels in front of the Service's (lower case), the type."""

    name: bytes
    front: list[str]
    qtype: int
    domain: str


def lookup(asked: Asked, entry: Entry, service: Service) -> Answer:
    """What a name at or below `<service>.<ns>.svc.<zone>` has; not for ExternalName."""
    front, qtype = asked.front, asked.qtype
    if not front:
        return _own(asked, entry, service)
    if len(front) == 2 and front[0][:1] == front[1][:1] == "_" and len(front[0]) > 1:  # no name is no port's name
        found = _srv(asked, entry, service, front[0][1:], front[1][1:])
        if not found.answers:
            return Answer(m.NXDOMAIN)
        return found if qtype in (m.SRV, m.ANY) else Answer()
    if len(front) > 1:
        return Answer(m.NXDOMAIN)
    if front[0][:1] == "_":
        known = {(p.protocol or "TCP").lower() for p, _ in _ports(entry, service) if p.name and p.port}
        return Answer(m.NOERROR if front[0][1:] in known else m.NXDOMAIN)
    own = {(e.type, e.packed): None for e in entry.endpoints() if e.label == front[0]}
    if not own:
        return Answer(m.NXDOMAIN)
    return of_type([Record(asked.name, t, TTL, d) for t, d in own], qtype, shuffle=True)


def _own(asked: Asked, entry: Entry, service: Service) -> Answer:
    """The Service's own name. A headless one without endpoints is absent (specification 2.4.1)."""
    if not service.headless:
        if asked.qtype == m.SRV:
            return _srv(asked, entry, service, "", "")
        wanted = asked.qtype
        return Answer(answers=[Record(asked.name, t, TTL, d) for t, d in entry.addresses() if wanted in (t, m.ANY)])
    endpoints = entry.endpoints()
    if not endpoints:
        return Answer(m.NXDOMAIN)
    if asked.qtype == m.SRV:
        return _srv(asked, entry, service, "", "")
    unique = dict.fromkeys((e.type, e.packed) for e in endpoints if asked.qtype in (e.type, m.ANY))
    return Answer(answers=[Record(asked.name, t, TTL, d) for t, d in unique], shuffle=True)


def _ports(entry: Entry, service: Service) -> list[tuple[Port, int]]:
    """The ports with the id of the slice that each belongs to; 0 for the Service's own."""
    if not service.headless:
        return [(p, 0) for p in service.spec.ports or ()]
    used = {id(e.piece) for e in entry.endpoints()}
    return [(p, id(piece)) for piece in entry.slices.values() if id(piece) in used for p in piece.ports or ()]


def _srv(asked: Asked, entry: Entry, service: Service, port: str, proto: str) -> Answer:
    """SRV of one named port, or of all ports when `port` is empty; the targets' addresses ride along."""
    base = m.encode_name(f"{entry.key[1]}.{entry.key[0]}.svc.{asked.domain}")
    wanted = [
        (p, owner)
        for p, owner in _ports(entry, service)
        if p.port and (not port or ((p.name or "").lower() == port and (p.protocol or "TCP").lower() == proto))
    ]
    by_slice: dict[int, list[Endpoint]] = {}
    for endpoint in entry.endpoints() if service.headless else ():
        by_slice.setdefault(id(endpoint.piece), []).append(endpoint)
    own = 0 if service.headless else len(entry.addresses())
    found = sum(len(by_slice.get(owner, ())) if owner else own for _, owner in wanted)
    weight = max(1, 100 // max(1, found))  # as CoreDNS: all equal, about a hundred together
    answers: dict[bytes, Record] = {}
    additional: dict[tuple[bytes, bytes], Record] = {}
    for p, owner in wanted:
        if owner:
            targets = [(_below(e.label, base), e.type, e.packed) for e in by_slice.get(owner, ())]
        else:
            targets = [(base, rtype, packed) for rtype, packed in entry.addresses()]
        for target, rtype, packed in targets:
            if len(target) <= 255:
                rdata = m.srv_rdata(0, weight, p.port or 0, target)
                answers[rdata] = Record(asked.name, m.SRV, TTL, rdata)
                additional[target, packed] = Record(target, rtype, TTL, packed)
    return Answer(answers=list(answers.values()), additional=list(additional.values()), shuffle=service.headless)


def _below(label: str, base: bytes) -> bytes:
    raw = label.encode("ascii", "replace")[:63]
    return bytes([len(raw)]) + raw + base
