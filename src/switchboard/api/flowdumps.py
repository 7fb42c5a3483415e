"""What priority and fairness shows of itself: metrics, and the tables below /debug/api_priority_and_fairness/.

Source: `apiserver/pkg/util/flowcontrol/apf_controller_debug.go`, `metrics/metrics.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from switchboard.api.paths import parse
from switchboard.api.seats import WAITS, Place

if TYPE_CHECKING:
    from switchboard.api.flowcontrol import Flow, Flows
    from switchboard.api.seats import Level

_PREFIX = "apiserver_flowcontrol_"
DEBUG = "/debug/api_priority_and_fairness/"
_LEVELS = (
    "PriorityLevelName ActiveQueues IsIdle IsQuiescing WaitingRequests ExecutingRequests DispatchedRequests "
    "RejectedRequests TimedoutRequests CancelledRequests"
)
_QUEUES = (
    "PriorityLevelName Index PendingRequests ExecutingRequests SeatsInUse NextDispatchR InitialSeatsSum MaxSeatsSum "
    "TotalWorkSum"
)
_REQUESTS = (
    "PriorityLevelName FlowSchemaName QueueIndex RequestIndexInQueue FlowDistingsher ArriveTime InitialSeats "
    "FinalSeats AdditionalLatency StartTime"
)
_DETAILS = "UserName Verb APIPath Namespace Name APIVersion Resource SubResource"


def _table(header: str, rows: Iterable[list[str]]) -> str:
    """Cells with commas behind them, in columns of at least eight, as Go's tabwriter sets them."""
    lines = [[*(f"{cell}," for cell in row[:-1]), row[-1]] for row in (header.split(), *rows)]
    widths = [max(8, *(len(line[i]) + 1 for line in lines)) for i in range(len(lines[0]) - 1)]
    return "".join("".join(map(str.ljust, line, widths)) + line[-1] + "\n" for line in lines)


def _levels(flows: Flows, _: bool) -> str:
    all_flows = flows.all
    rows = []
    for name, level in sorted(flows.room.levels.items()):
        mine = [flow for flow in all_flows if flow.level is level]
        idle = not level.executing and not level.waiting
        refused = sum(n for flow in mine for why, n in flow.refused.items() if why != "time-out")
        counts = (level.waiting, len(level.executing), sum(flow.dispatched for flow in mine), refused)
        shown = [*counts, level.timed_out, level.cancelled]
        rows.append([name, str(len(level.queues)), str(idle).lower(), "false", *map(str, shown)])
    return _table(_LEVELS, rows)


def _queues(flows: Flows, _: bool) -> str:
    rows = []
    for name, level in flows.room.levels.items():
        for i, queue in enumerate(level.queues.values()):
            n = str(len(queue))
            rows.append([name, str(i), n, "0", "0", "0.00000000ss", n, n, "0.00000000ss"])
    return _table(_QUEUES, rows)


def _requests(flows: Flows, details: bool) -> str:
    rows = []
    for name, level in flows.room.levels.items():
        for i, queue in enumerate(level.queues.values()):
            rows += [_request(name, i, j, place, details) for j, place in enumerate(queue)]
        rows += [_request(name, -1, -1, place, details) for place in level.executing]
    return _table(f"{_REQUESTS} {_DETAILS}" if details else _REQUESTS, rows)


def _request(level: str, queue: int, index: int, place: Place, details: bool) -> list[str]:
    row = [level, place.flow.name, str(queue), str(index), place.who, _time(place.arrived), "1", "0", "0s"]
    row.append(_time(place.started) if place.started else "0001-01-01T00:00:00Z")
    if details:
        target = parse(place.request.path)
        version = f"{target.group}/{target.version}" if target.group else target.version
        row += [place.user, place.verb, place.request.path, target.namespace, target.name, version]
        row += [target.plural, target.subresource]
    return row


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


DUMPS: dict[str, Callable[[Flows, bool], str]] = {
    f"{DEBUG}dump_priority_levels": _levels,
    f"{DEBUG}dump_queues": _queues,
    f"{DEBUG}dump_requests": _requests,
}


def metrics(flows: Flows) -> Iterator[str]:
    """Lines of the text exposition format."""
    known = flows.all
    levels = sorted(flows.room.levels.items())
    per_level: dict[str, tuple[str, Callable[[Level], int]]] = {
        "nominal_limit_seats": ("Nominal number of execution seats of each priority level.", lambda v: v.nominal),
        "lower_limit_seats": ("Seats that a priority level never lends.", lambda v: v.lower),
        "upper_limit_seats": ("Seats that a priority level has at most.", lambda v: v.upper),
        "current_limit_seats": ("Seats that a priority level could have now.", lambda v: v.limit),
    }
    for name, (text, value) in per_level.items():
        yield from _head(name, text, "gauge")
        for level, it in levels:
            yield f'{_PREFIX}{name}{{priority_level="{level}"}} {value(it)}'
    per_flow: dict[str, tuple[str, str, Callable[[Flow], int]]] = {
        "dispatched_requests_total": ("Requests that were let in.", "counter", lambda f: f.dispatched),
        "current_inqueue_requests": ("Requests in queues.", "gauge", lambda f: f.waiting),
        "current_executing_requests": ("Requests that are worked on.", "gauge", _executing),
        "current_executing_seats": ("Seats that are taken.", "gauge", _executing),
    }
    for name, (text, type_, count) in per_flow.items():
        yield from _head(name, text, type_)
        for flow in known:
            yield f"{_PREFIX}{name}{{{_labels(flow)}}} {count(flow)}"
    yield from _head("rejected_requests_total", "Requests that were refused.", "counter")
    for flow in known:
        for reason, n in sorted(flow.refused.items()):
            yield f'{_PREFIX}rejected_requests_total{{{_labels(flow)},reason="{reason}"}} {n}'
    yield from _head("request_wait_duration_seconds", "Time that requests were in queues.", "histogram")
    for flow in known:
        yield from _waits(flow)


def _executing(flow: Flow) -> int:
    return sum(place.flow is flow for place in flow.level.executing)


def _head(name: str, text: str, type_: str) -> tuple[str, str]:
    return f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {type_}"


def _labels(flow: Flow) -> str:
    return f'flow_schema="{flow.name}",priority_level="{flow.level.name}"'


def _waits(flow: Flow) -> Iterator[str]:
    for executed in (True, False):
        waits = flow.waits.get(executed)
        counts = list(waits.counts) if waits is not None else [0] * (len(WAITS) + 1)
        if executed:
            counts[0] += flow.dispatched - sum(counts)  # those that found a seat at once
        if not any(counts):
            continue
        labels = f'{_labels(flow)},execute="{str(executed).lower()}"'
        name, total = f"{_PREFIX}request_wait_duration_seconds", 0
        for limit, n in zip((*WAITS, "+Inf"), counts, strict=True):
            total += n
            yield f'{name}_bucket{{{labels},le="{limit}"}} {total}'
        yield f"{name}_sum{{{labels}}} {waits.seconds if waits is not None else 0:.6f}"
        yield f"{name}_count{{{labels}}} {total}"
