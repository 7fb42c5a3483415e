"""What the server says of itself over HTTP: /health (alive), /ready (knows the whole cluster), /metrics (Prometheus).

Metric names are CoreDNS's where they fit, so that its dashboards work here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from switchboard.dns.durations import Durations
from switchboard.dns.forward import Forwarder
from switchboard.dns.querylog import CODES, TYPES
from switchboard.dns.upstream import Upstream
from switchboard.transport.messages import Request, Response

_FORWARDING = {  # what the forwarder counts, as CoreDNS's plugins cache, forward, loop call it
    "misses": "coredns_cache_misses_total",
    "prefetched": "coredns_cache_prefetch_total",
    "stale": "coredns_cache_served_stale_total",
    "broken": "coredns_forward_healthcheck_broken_total",
    "loops": "switchboard_dns_upstream_loops_total",
}


@dataclass(slots=True)
class Figures:
    """What is counted: answers by (type, code, over TCP), the times they took, the forwarder, and plain numbers by
    metric name."""

    answers: Mapping[tuple[int, int, bool], int]
    took: Durations
    forwarder: Forwarder
    zone: str
    server: str
    plain: Mapping[str, int]


def exposition(figures: Figures) -> str:
    """The figures in Prometheus's text format."""
    lines = [*_answers(figures), *_cache(figures), *_upstreams(figures.forwarder.upstreams)]
    counted, where = figures.forwarder.counted, f'server="{figures.server}",zones=".",view=""'
    for key, name in _FORWARDING.items():
        lines += _metric(name, {where if name.startswith("coredns_cache") else "": counted[key]})
    for name, count in sorted(figures.plain.items()):
        lines += _metric(name, {"": count})
    return "\n".join(lines) + "\n"


def _metric(name: str, samples: Mapping[str, int]) -> list[str]:
    """A counter or gauge, by its labels."""
    lines = [f"{name}{{{labels}}} {count}" if labels else f"{name} {count}" for labels, count in samples.items()]
    return [f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}", *lines]


def _answers(figures: Figures) -> list[str]:
    """CoreDNS's plugin prometheus."""
    where = f'server="{figures.server}",zone="{figures.zone}",view=""'
    requests: Counter[str] = Counter()
    responses: Counter[str] = Counter()
    for (qtype, code, tcp), count in sorted(figures.answers.items()):
        requests[f'{where},proto="{"tcp" if tcp else "udp"}",type="{TYPES.get(qtype, "other")}"'] += count
        responses[f'{where},rcode="{CODES.get(code, str(code))}",plugin=""'] += count
    name = "coredns_dns_request_duration_seconds"
    return [
        *_metric("coredns_dns_requests_total", requests),
        *_metric("coredns_dns_responses_total", responses),
        f"# TYPE {name} histogram",
        *figures.took.lines(name, where),
    ]


def _cache(figures: Figures) -> list[str]:
    """CoreDNS's plugin cache: what came from outside."""
    where, forwarder = f'server="{figures.server}",zones=".",view=""', figures.forwarder
    counted, denials = forwarder.counted, forwarder.cache.denials()
    success, denial = (f'server="{figures.server}",type="{kind}",zones=".",view=""' for kind in ("success", "denial"))
    entries = {success: len(forwarder.cache) - denials, denial: denials}
    hits = {success: counted["hits"], denial: counted["denials"] + counted["failures"]}
    return [
        *_metric("coredns_cache_entries", entries),
        *_metric("coredns_cache_hits_total", hits),
        *_metric("coredns_cache_requests_total", {where: sum(hits.values()) + counted["misses"]}),
    ]


def _upstreams(upstreams: Sequence[Upstream]) -> list[str]:
    """CoreDNS's plugin forward, also by the names that it calls deprecated and dashboards still use."""
    requests: dict[str, int] = {}
    responses: dict[str, int] = {}
    failures: dict[str, int] = {}
    name = "coredns_proxy_request_duration_seconds"
    lines = [f"# TYPE {name} histogram"]
    for upstream in upstreams:
        to = f'to="{upstream.address}"'
        requests[to] = upstream.sent
        failures[f'proxy_name="forward",{to}'] = upstream.probes_failed
        for code, took in sorted(upstream.took.items()):
            labels = f'{to},rcode="{CODES.get(code, str(code))}"'
            responses[labels] = took.count
            lines += took.lines(name, f'proxy_name="forward",{labels}')
    return [
        *lines,
        *_metric("coredns_forward_requests_total", requests),
        *_metric("coredns_forward_responses_total", responses),
        *_metric("coredns_proxy_healthcheck_failures_total", failures),
    ]


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
