"""What the server says of itself over HTTP: /health (alive), /ready (knows the whole cluster), /metrics (Prometheus).

Metric names are CoreDNS's where they fit, so that its dashboards work here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from switchboard.dns import message as m
from switchboard.transport.messages import Request, Response

_TYPES = {
    m.A: "A",
    m.NS: "NS",
    m.CNAME: "CNAME",
    m.SOA: "SOA",
    m.PTR: "PTR",
    15: "MX",
    m.TXT: "TXT",
    m.AAAA: "AAAA",
    m.SRV: "SRV",
    43: "DS",
    48: "DNSKEY",
    65: "HTTPS",
    m.ANY: "ANY",
}
_CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


@dataclass(slots=True)
class Figures:
    """What is counted; answers by (type, code), the rest plain numbers."""

    answers: Mapping[tuple[int, int], int]
    kept: int
    cached: int
    services: int
    forwarded: int
    cache_hits: int
    domain: str = "cluster.local"
    extra: Mapping[str, int] = field(default_factory=dict)


def exposition(figures: Figures) -> str:
    """The figures in Prometheus's text format."""
    by_type: dict[str, int] = {}
    by_code: dict[str, int] = {}
    for (qtype, code), count in figures.answers.items():
        kind, name = _TYPES.get(qtype, "other"), _CODES.get(code, str(code))
        by_type[kind] = by_type.get(kind, 0) + count
        by_code[name] = by_code.get(name, 0) + count
    server = 'server="dns://:53"'
    lines = ["# TYPE coredns_dns_requests_total counter"]
    lines += [f'coredns_dns_requests_total{{{server},type="{k}"}} {n}' for k, n in sorted(by_type.items())]
    lines.append("# TYPE coredns_dns_responses_total counter")
    lines += [f'coredns_dns_responses_total{{{server},rcode="{k}"}} {n}' for k, n in sorted(by_code.items())]
    plain = [
        ("coredns_forward_requests_total", "counter", figures.forwarded),
        ("coredns_cache_hits_total", "counter", figures.cache_hits),
        ("coredns_cache_entries", "gauge", figures.cached),
        ("switchboard_dns_kept_answers", "gauge", figures.kept),
        ("switchboard_dns_services", "gauge", figures.services),
    ]
    for name, kind, value in plain:
        lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
    return "\n".join(lines) + "\n"


def handler(ready: Callable[[], bool], figures: Callable[[], Figures]) -> Callable[[Request], Response]:
    """The HTTP handler of the three pages."""

    def handle(request: Request) -> Response:
        plain = [("content-type", "text/plain; charset=utf-8")]
        if request.path in ("/health", "/healthz", "/livez"):
            return Response(200, plain, b"OK")
        if request.path in ("/ready", "/readyz"):
            return Response(200, plain, b"OK") if ready() else Response(503, plain, b"kubernetes")
        if request.path == "/metrics":
            kind = [("content-type", "text/plain; version=0.0.4; charset=utf-8")]
            return Response(200, kind, exposition(figures()).encode())
        return Response(404, plain, b"not found\n")

    return handle
