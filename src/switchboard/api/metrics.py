"""Prometheus metrics with the names that dashboards for kube-apiserver know. Counting costs about a microsecond."""

from __future__ import annotations

import bisect
import resource
import time
from typing import TYPE_CHECKING

from switchboard.api import flowcontrol

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.api.call import Call
    from switchboard.objects.kinds import Kind
    from switchboard.transport.messages import Request

_BUCKETS = (
    0.005,
    0.025,
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    1.0,
    1.25,
    1.5,
    2.0,
    3.0,
    4.0,
    5.0,
    6.0,
    8.0,
    10.0,
    15.0,
    30.0,
    45.0,
    60.0,
)
_VERBS = {"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH"}
_VERBS |= {"delete": "DELETE", "deletecollection": "DELETECOLLECTION"}

_KEYS = 4096
_Key = tuple[str, str, str, str, str, str]  # verb, group, version, resource, subresource, scope


class Metrics:
    """Counters and histograms of requests."""

    def __init__(self) -> None:
        self._requests: dict[tuple[_Key, int], int] = {}
        self._durations: dict[_Key, list[float]] = {}  # bucket counts, then sum, then count
        self._keys: dict[tuple[Kind, str, str, str], _Key] = {}
        self._started = time.time()

    def observe(self, request: Request, call: Call | None, code: int, started: float) -> None:
        """Count one answered request."""
        if call is None:
            key: _Key = (request.method, "", "", "", "", "")
        else:
            scope = "resource" if call.name else "namespace" if call.namespace else "cluster"
            made = (call.kind, call.verb, call.sub, scope)
            key = self._keys.get(made) or self._key(*made)
        counted = (key, code)
        self._requests[counted] = self._requests.get(counted, 0) + 1
        if key[0] in ("WATCH", "CONNECT"):
            return
        histogram = self._durations.get(key)
        if histogram is None:
            histogram = self._durations[key] = [0] * (len(_BUCKETS) + 3)
        seconds = time.perf_counter() - started
        histogram[bisect.bisect_left(_BUCKETS, seconds)] += 1
        histogram[-2] += seconds
        histogram[-1] += 1

    def _key(self, kind: Kind, verb: str, sub: str, scope: str) -> _Key:
        if len(self._keys) >= _KEYS:  # kinds that are gone
            self._keys.clear()
        key = (_VERBS.get(verb, "OTHER"), kind.group, kind.version, kind.plural, sub, scope)
        self._keys[kind, verb, sub, scope] = key
        return key

    def render(self, app: App) -> str:
        """The text exposition format, version 0.0.4."""
        out = [
            "# HELP apiserver_request_total Requests by verb, resource and HTTP status code.",
            "# TYPE apiserver_request_total counter",
        ]
        for (key, code), count in sorted(self._requests.items()):
            out.append(f'apiserver_request_total{{code="{code}",dry_run="",{_labels(key)}}} {count}')
        out += [
            "# HELP apiserver_request_duration_seconds Time from request to answer.",
            "# TYPE apiserver_request_duration_seconds histogram",
        ]
        for key, histogram in sorted(self._durations.items()):
            out += _histogram("apiserver_request_duration_seconds", _labels(key), histogram)
        out += self._gauges(app)
        return "\n".join(out) + "\n"

    def _gauges(self, app: App) -> list[str]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        watchers: dict[tuple[str, str, str], int] = {}
        for watcher in app.watchers:
            kind = watcher.kind
            key = (kind.group, kind.version, kind.kind)
            watchers[key] = watchers.get(key, 0) + 1
        return [
            "# HELP apiserver_longrunning_requests Open watches.",
            "# TYPE apiserver_longrunning_requests gauge",
            *(
                f'apiserver_longrunning_requests{{group="{g}",resource="{k}",verb="WATCH",version="{v}"}} {n}'
                for (g, v, k), n in sorted(watchers.items())
            ),
            "# HELP apiserver_storage_objects Stored objects by resource.",
            "# TYPE apiserver_storage_objects gauge",
            *(
                f'apiserver_storage_objects{{resource="{kind.resource}"}} {app.store.count(kind.storage_prefix)}'
                for kind in app.registry.kinds()
                if "list" in kind.verbs and kind.storage[1] == kind.version and kind.storage[0] == kind.group
            ),
            "# HELP apiserver_flowcontrol_nominal_limit_seats Nominal number of seats of each priority level.",
            "# TYPE apiserver_flowcontrol_nominal_limit_seats gauge",
            *(
                f'apiserver_flowcontrol_nominal_limit_seats{{priority_level="{name}"}} {n}'
                for name, n in sorted(flowcontrol.seats(app).items())
            ),
            "# HELP process_resident_memory_bytes Resident memory size.",
            "# TYPE process_resident_memory_bytes gauge",
            f"process_resident_memory_bytes {_resident()}",
            "# HELP process_cpu_seconds_total User and system CPU time.",
            "# TYPE process_cpu_seconds_total counter",
            f"process_cpu_seconds_total {usage.ru_utime + usage.ru_stime:.2f}",
            "# HELP process_start_time_seconds Start time since the epoch.",
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {self._started:.2f}",
        ]


def _labels(key: _Key) -> str:
    verb, group, version, plural, sub, scope = key
    return (
        f'group="{group}",resource="{plural}",scope="{scope}",subresource="{sub}",verb="{verb}",version="{version}"'
        ',component="apiserver"'
    )


def _histogram(name: str, labels: str, histogram: list[float]) -> list[str]:
    out, total = [], 0.0
    for limit, count in zip(_BUCKETS, histogram, strict=False):
        total += count
        out.append(f'{name}_bucket{{{labels},le="{limit:g}"}} {total:.0f}')
    out.append(f'{name}_bucket{{{labels},le="+Inf"}} {histogram[-1]:.0f}')
    out.append(f"{name}_sum{{{labels}}} {histogram[-2]:.6f}")
    out.append(f"{name}_count{{{labels}}} {histogram[-1]:.0f}")
    return out


def _resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()
