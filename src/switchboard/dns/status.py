"""What the server says of itself over HTTP: /health (alive), /ready (knows the whole cluster), /metrics (Prometheus).

Metric names are CoreDNS's where they fit, so that its dashboards work here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from switchboard.dns.querylog import CODES, TYPES
from switchboard.transport.messages import Request, Response

_FORWARDING = {  # what the forwarder counts, as CoreDNS's plugins forward, cache, loop call it
    "asked": "coredns_forward_requests_total",
    "misses": "coredns_cache_misses_total",
    "prefetched": "coredns_cache_prefetch_total",
    "stale": "coredns_cache_served_stale_total",
    "broken": "coredns_forward_healthcheck_broken_total",
    "loops": "switchboard_dns_upstream_loops_total",
}


@dataclass(slots=True)
class Figures:
    """What is counted: answers by (type, code, over TCP), the forwarder's counts, and plain numbers by metric name."""

    answers: Mapping[tuple[int, int, bool], int]
    forwarding: Mapping[str, int]
    zone: str
    server: str
    plain: Mapping[str, int]


def exposition(figures: Figures) -> str:
    """The figures in Prometheus's text format."""
    requests: Counter[tuple[str, str]] = Counter()
    responses: Counter[str] = Counter()
    for (qtype, code, tcp), count in figures.answers.items():
        requests["tcp" if tcp else "udp", TYPES.get(qtype, "other")] += count
        responses[CODES.get(code, str(code))] += count
    where = f'server="{figures.server}",zone="{figures.zone}",view=""'
    lines = ["# TYPE coredns_dns_requests_total counter"]
    lines += [
        f'coredns_dns_requests_total{{{where},proto="{proto}",type="{kind}"}} {count}'
        for (proto, kind), count in sorted(requests.items())
    ]
    lines.append("# TYPE coredns_dns_responses_total counter")
    lines += [
        f'coredns_dns_responses_total{{{where},rcode="{code}",plugin=""}} {count}'
        for code, count in sorted(responses.items())
    ]
    lines.append("# TYPE coredns_cache_hits_total counter")
    for kind, key in (("success", "hits"), ("denial", "denials")):
        lines.append(f'coredns_cache_hits_total{{{where},type="{kind}"}} {figures.forwarding.get(key, 0)}')
    plain = {name: figures.forwarding.get(key, 0) for key, name in _FORWARDING.items()} | dict(figures.plain)
    for name, count in sorted(plain.items()):
        lines += [f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}", f"{name} {count}"]
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
