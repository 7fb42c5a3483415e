"""How many replicas a resource metric asks for (pure).

Source: pkg/controller/podautoscaler/replica_calculator.go and metrics/utilization.go. Amounts are thousandths. Pods
that are not ready count as idle and pods without metrics as busy or idle, whichever holds the scaling back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from switchboard.controllers import conditions
from switchboard.controllers.pods import phase
from switchboard.controllers.times import seconds
from switchboard.objects import quantity

Object = dict[str, Any]

CPU_INITIALIZATION: Final = 300.0  # --horizontal-pod-autoscaler-cpu-initialization-period
INITIAL_READINESS: Final = 30.0  # --horizontal-pod-autoscaler-initial-readiness-delay
TOLERANCE: Final = 0.1  # --horizontal-pod-autoscaler-tolerance


class MetricError(Exception):
    """Why no number of replicas can be told; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one pod uses: thousandths of the resource, over `window` seconds up to `at`."""

    value: int
    at: float
    window: float


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far usage may be off the target, as a share of it, before anything is done."""

    up: float = TOLERANCE
    down: float = TOLERANCE

    def within(self, ratio: float) -> bool:
        """Whether usage is as near to the target as wanted."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a metric asks for and what was measured: `utilization` in percent of requests (None for a target by
    value), `average` in thousandths for each pod."""

    replicas: int
    average: int
    utilization: int | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Pods by what their metrics are worth."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


def group(pods: Iterable[Object], samples: Mapping[str, Sample], resource: str, now: float) -> Groups:
    """Ready ones (counted), unready ones, those without metrics, and those that are on their way out."""
    ready, unready, missing, ignored = 0, set[str](), set[str](), set[str]()
    for pod in pods:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp") or phase(pod) == "Failed":
            ignored.add(name)
        elif phase(pod) == "Pending":
            unready.add(name)
        elif name not in samples:
            missing.add(name)
        elif resource == "cpu" and _cpu_is_startup(pod, samples[name], now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _cpu_is_startup(pod: Object, sample: Sample, now: float) -> bool:
    """Whether the CPU that a pod uses may be that of its start."""
    status = pod.get("status") or {}
    ready, started = conditions.find(status.get("conditions"), "Ready"), status.get("startTime")
    if ready is None or not started:
        return True
    start, changed = seconds(started), seconds(ready.get("lastTransitionTime") or started)
    if start + CPU_INITIALIZATION > now:
        return ready.get("status") == "False" or sample.at < changed + sample.window
    return ready.get("status") == "False" and start + INITIAL_READINESS > changed


def requests(pods: Iterable[Object], resource: str, container: str = "") -> dict[str, int]:
    """What each pod (or one container of it) asks for; MetricError when one does not say."""
    return {pod["metadata"]["name"]: _request(pod, resource, container) for pod in pods}


def _request(pod: Object, resource: str, container: str) -> int:
    spec, total = pod["spec"], 0
    whole = ((spec.get("resources") or {}).get("requests") or {}).get(resource)
    if not container and whole is not None:
        return quantity.of(whole).milli
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for one in [*(spec.get("containers") or ()), *sidecars]:
        if container and one["name"] != container:
            continue
        amount = ((one.get("resources") or {}).get("requests") or {}).get(resource)
        if amount is None:
            name = pod["metadata"]["name"]
            raise MetricError(f"missing request for {resource} in container {one['name']} of Pod {name}")
        total += quantity.of(amount).milli
    return total


@dataclass(frozen=True, slots=True)
class _Target:
    """What usage is compared with: a percentage of requests, or an amount for each pod."""

    amount: int
    asked: Mapping[str, int] | None = None

    def measure(self, values: Mapping[str, int]) -> tuple[float, Proposal]:
        """(usage as a share of the target, the measured numbers)."""
        if self.asked is None:
            average = int(sum(values.values()) / len(values))
            return average / self.amount, Proposal(0, average)
        known = [name for name in values if name in self.asked]
        wanted = sum(self.asked[name] for name in known)
        if wanted == 0:
            raise MetricError("no metrics returned matched known pods")
        used = sum(values[name] for name in known)
        percent = used * 100 // wanted
        return percent / self.amount, Proposal(0, used // len(known), percent)

    def full(self, name: str) -> int:
        """What a pod without metrics is taken to use when scaling down."""
        if self.asked is None:
            return self.amount
        return self.asked.get(name, 0) * max(100, self.amount) // 100


def by_utilization(
    current: int,
    percent: int,
    resource: str,
    pods: Sequence[Object],
    samples: Mapping[str, Sample],
    now: float,
    *,
    container: str = "",
    tolerances: Tolerances = Tolerances(),
) -> Proposal:
    """Replicas so that pods use `percent` of what they request."""
    _need_pods(pods)
    groups = group(pods, samples, resource, now)
    asked = requests(pods, resource, container)
    return _propose(current, _Target(percent, asked), groups, samples, tolerances)


def by_value(
    current: int,
    amount: int,
    resource: str,
    pods: Sequence[Object],
    samples: Mapping[str, Sample],
    now: float,
    *,
    tolerances: Tolerances = Tolerances(),
) -> Proposal:
    """Replicas so that pods use `amount` (thousandths) each."""
    _need_pods(pods)
    return _propose(current, _Target(amount), group(pods, samples, resource, now), samples, tolerances)


def _need_pods(pods: Sequence[Object]) -> None:
    if not pods:
        raise MetricError("no pods returned by selector while calculating replica count")


def _propose(
    current: int, target: _Target, groups: Groups, samples: Mapping[str, Sample], tolerances: Tolerances
) -> Proposal:
    values = {name: s.value for name, s in samples.items() if name not in groups.ignored | groups.unready}
    if not values:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    ratio, seen = target.measure(values)
    keep = Proposal(current, seen.average, seen.utilization)
    rebalance = bool(groups.unready) and ratio > 1.0
    if not rebalance and not groups.missing:
        if tolerances.within(ratio):
            return keep
        return Proposal(math.ceil(ratio * groups.ready), seen.average, seen.utilization)
    if ratio < 1.0:
        values |= {name: target.full(name) for name in groups.missing}
    elif ratio > 1.0 or target.asked is None:
        values |= dict.fromkeys(groups.missing, 0)
    if rebalance:
        values |= dict.fromkeys(groups.unready, 0)
    again, _ = target.measure(values)
    if tolerances.within(again) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return keep
    replicas = math.ceil(again * len(values))
    if (again < 1.0 and replicas > current) or (again > 1.0 and replicas < current):
        return keep  # more pods in the sum would turn the direction round
    return Proposal(replicas, seen.average, seen.utilization)
