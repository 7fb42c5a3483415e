"""A small cluster for DNS tests, and `ask`, which reads like dig: name and type in, sorted lines out."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import msgspec

from switchboard.dns import message as m
from switchboard.dns import reply
from switchboard.dns.records import EndpointSlice, Service
from switchboard.dns.responder import Responder
from switchboard.dns.zone import Zone

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33, "ANY": 255}
NAMES = {v: k for k, v in TYPES.items()}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def service(name: str, ns: str = "default", ip: str | list[str] = "10.96.0.7", **spec: Any) -> Service:
    """A Service as the zone sees it; `ip` may be "None" (headless), or a list for dual stack."""
    ips = [ip] if isinstance(ip, str) else ip
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": ns},
            "spec": {"clusterIP": ips[0] if ips else "", "clusterIPs": ips, **spec},
        },
        Service,
    )


def piece(
    of: str, ns: str, endpoints: list[dict[str, Any]], ports: list[dict[str, Any]], name: str = ""
) -> EndpointSlice:
    """A slice of the Service `of`."""
    meta = {"name": name or f"{of}-1", "namespace": ns, "labels": {"kubernetes.io/service-name": of}}
    kind = "IPv6" if any(":" in a for e in endpoints for a in e["addresses"]) else "IPv4"
    return msgspec.convert(
        {"metadata": meta, "addressType": kind, "endpoints": endpoints, "ports": ports}, EndpointSlice
    )


def cluster() -> Zone:
    """A zone with Services of every type, and one headless Service with three endpoints."""
    zone = Zone("cluster.local", ["10.96.0.0/16", "10.244.0.0/16"])
    http = {"name": "http", "port": 80, "protocol": "TCP"}
    dns = {"name": "dns", "port": 53, "protocol": "UDP"}
    for svc in (
        service("web", ports=[http, dns]),
        service("two", ip=["10.96.0.9", "fd00::9"], ports=[{"port": 80}]),
        service("db", ip="None", ports=[http]),
        service("out", ip=[], type="ExternalName", externalName="foo.example.com"),
        service("alias", ip=[], type="ExternalName", externalName="web.default.svc.cluster.local"),
        service("web", "prod", "10.96.0.8"),
        service("kube-dns", "kube-system", "10.96.0.10"),
    ):
        zone.put_service((svc.metadata.namespace, svc.metadata.name), svc)
    endpoints = [
        {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["10.244.0.6"], "conditions": {}},
        {"addresses": ["10.244.0.7"], "hostname": "db-2", "conditions": {"ready": False}},
    ]
    zone.put_slice(("default", "db"), "db-1", piece("db", "default", endpoints, [http]))
    return zone


def query(name: str, qtype: str = "A", *, ident: int = 7, edns: int = 0, flags: int = m.RD) -> bytes:
    """A query as a client sends it; `edns` is the size it offers, 0 for none."""
    data = m.HEADER.pack(ident, flags, 1, 0, 0, 1 if edns else 0)
    for label in name.rstrip(".").split(".") if name.rstrip(".") else ():
        data += bytes([len(label)]) + label.encode()
    data += b"\0" + struct.pack("!HH", TYPES[qtype], 1)
    return data + (b"\0" + struct.pack("!HHIH", 41, edns, 0, 0) if edns else b"")


def show(record: m.Record) -> str:
    """One record as dig prints its right side: type and data."""
    kind = NAMES.get(record.type, str(record.type))
    if record.type in (1, 28):
        return f"{kind} {ipaddress.ip_address(record.rdata)}"
    if record.type in (5, 12, 2):
        return f"{kind} {m.text(record.rdata)}"
    if record.type == 33:
        return f"{kind} {struct.unpack_from('!HHH', record.rdata)[2]} {m.text(record.rdata[6:])}"
    if record.type == 16:
        return f"{kind} {record.rdata[1:].decode()}"
    return kind


def ask(responder: Responder, name: str, qtype: str = "A", client: str = "10.244.0.99") -> str:
    """`NXDOMAIN`, `NODATA`, or the answer records joined by ` | `, sorted."""
    out = responder.answer(query(name, qtype), client)
    assert isinstance(out, bytes)
    code, answers, authority = reply.parse_answer(out)
    if code:
        return CODES[code]
    if not answers:
        assert [r.type for r in authority] == [m.SOA]
        return "NODATA"
    return " | ".join(sorted(show(r) for r in answers))
