"""Prometheus metrics with the names that dashboards for kube-apiserver know. Counting costs about a microsecond."""

from __future__ import annotations

import bisect
import resource
import time
from typing import TYPE_CHECKING

from switchboard.api import flowdumps
from switchboard.objects.healthchecks import Healthchecks

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


class _Counted:
    """Requests of one kind: how many with each code, and how long they took."""

    __slots__ = ("codes", "histogram", "key", "timed")

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.codes: dict[int, int] = {}
        self.histogram: list[float] = [0] * (len(_BUCKETS) + 3)  # bucket counts, then sum, then count
        self.timed = key[0] not in ("WATCH", "CONNECT")


class Metrics:
    """Counters and histograms of requests."""

    def __init__(self) -> None:
        self._counted: dict[_Key, _Counted] = {}
        self._found: dict[tuple[Kind, str, str, bool, bool], _Counted] = {}
        self._started = time.time()
        self.checks = Healthchecks()

    def observe(self, request: Request, call: Call | None, code: int, started: float) -> None:
        """Count one answered request."""
        if call is None:
            counted = self._of((request.method, "", "", "", "", ""))
        else:
            target = call.target
            found = (call.kind, call.verb, target.subresource, not target.name, not target.namespace)
            counted = self._found.get(found) or self._find(*found)
        codes = counted.codes
        codes[code] = codes.get(code, 0) + 1
        if counted.timed:
            seconds = time.perf_counter() - started
            histogram = counted.histogram
            histogram[bisect.bisect_left(_BUCKETS, seconds)] += 1
            histogram[-2] += seconds
            histogram[-1] += 1

    def _of(self, key: _Key) -> _Counted:
        counted = self._counted.get(key)
        if counted is None:
            counted = self._counted[key] = _Counted(key)
        return counted

    def _find(self, kind: Kind, verb: str, sub: str, unnamed: bool, everywhere: bool) -> _Counted:
        if len(self._found) >= _KEYS:  # kinds that are gone
            self._found.clear()
        scope = "resource" if not unnamed else "cluster" if everywhere else "namespace"
        counted = self._of((_VERBS.get(verb, "OTHER"), kind.group, kind.version, kind.plural, sub, scope))
        self._found[kind, verb, sub, unnamed, everywhere] = counted
        return counted

    def render(self, app: App) -> str:
        """The text exposition format, version 0.0.4."""
        out = [
            "# HELP apiserver_request_total Requests by verb, resource and HTTP status code.",
            "# TYPE apiserver_request_total counter",
        ]
        counted = [it for _, it in sorted(self._counted.items())]
        for it in counted:
            for code, count in sorted(it.codes.items()):
                out.append(f'apiserver_request_total{{code="{code}",dry_run="",{_labels(it.key)}}} {count}')
        out += [
            "# HELP apiserver_request_duration_seconds Time from request to answer.",
            "# TYPE apiserver_request_duration_seconds histogram",
        ]
        for it in counted:
            if it.timed:
                out += _histogram("apiserver_request_duration_seconds", _labels(it.key), it.histogram)
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
            *flowdumps.metrics(app.flows),
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
