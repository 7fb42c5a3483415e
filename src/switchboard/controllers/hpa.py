"""The HorizontalPodAutoscaler controller: as many replicas as a workload's metrics ask for, through its scale.

Source: pkg/controller/podautoscaler/horizontal.go. `replicacalc.py` tells how many a metric asks for,
`scalinglimits.py` how far one may go now, `podmetrics.py` reads metrics.k8s.io. Metrics of the custom
and external APIs are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from switchboard.client import Resource
from switchboard.client.indexes import PLACES, labelled, places
from switchboard.client.resources import HORIZONTALPODAUTOSCALERS, PODS
from switchboard.controllers import conditions, discovery, podmetrics, replicacalc
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.replicacalc import MetricError, Proposal, Tolerances
from switchboard.controllers.scalinglimits import Bounds, History, Said, limit
from switchboard.controllers.times import stamp
from switchboard.objects import quantity, selectors
from switchboard.objects.errors import Conflict, NotFound, StatusError

Object = dict[str, Any]

_PERIOD: Final = 15.0  # --horizontal-pod-autoscaler-sync-period
_GOT: Final[Said] = (
    "AbleToScale",
    "True",
    "SucceededGetScale",
    "the HPA controller was able to get the target's current scale",
)
_ZERO: Final = "scaling is disabled since the replica count of the target is zero"


class _GivenUpError(Exception):
    """This look ends here; the conditions say why."""


@dataclass(slots=True)
class _Look:
    """One look at one autoscaler: what is known so far and what its status will say."""

    hpa: Object
    now: float
    status: Object
    say: Callable[[str, str, str], None]  # type, reason, message of an Event
    statuses: list[Object] = field(default_factory=list)

    def condition(self, type_: str, status: str, reason: str, message: str) -> None:
        """Set one condition."""
        self.status["conditions"] = conditions.put(
            self.status.get("conditions"), type_, status, reason, message, self.now
        )

    def fail(self, type_: str, reason: str, message: str, event: str = "", about: str = "") -> _GivenUpError:
        """A condition that is False, and the Event that says the same."""
        self.say("Warning", event or reason, about or message)
        self.condition(type_, "False", reason, message)
        return _GivenUpError(message)


@dataclass(frozen=True, slots=True)
class _Scale:
    """The target's scale."""

    resource: Resource
    body: Object

    @property
    def replicas(self) -> int:
        """What is wanted of it now."""
        return int((self.body.get("spec") or {}).get("replicas") or 0)


class HorizontalController(Controller):
    """Keys are HorizontalPodAutoscalers."""

    name = "horizontalpodautoscaling"
    component = "horizontal-pod-autoscaler"
    main = HORIZONTALPODAUTOSCALERS
    needs = (PODS,)

    workers: ClassVar[int] = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.of(PODS).index(PLACES, places)
        self._histories: dict[str, History] = {}
        self._selectors: dict[str, selectors.LabelSelector] = {}  # of the scales, to find pods that two would scale
        self._kinds: dict[tuple[str, str], Resource] = {}

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or old.get("spec") != new.get("spec"):  # not for our own status
            super()._main_changed(old, new)

    async def reconcile(self, key: str) -> float | None:
        """One autoscaler."""
        hpa = self.of(HORIZONTALPODAUTOSCALERS).get_key(key)
        if hpa is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            return None
        look = _Look(hpa, self.clock(), dict(hpa.get("status") or {}), lambda *words: self.say(hpa, *words))
        try:
            await self._look(key, look)
        except _GivenUpError as error:
            self.log.debug("%s: %s", key, error)
        if _filled(look.status) != _filled(hpa.get("status") or {}):
            try:
                await self.cache.update_status(HORIZONTALPODAUTOSCALERS, {**hpa, "status": look.status})
            except NotFound:
                return None
        return _PERIOD

    async def _look(self, key: str, look: _Look) -> None:
        scale = await self._scale(look)
        look.condition(*_GOT)
        current = scale.replicas
        history = self._histories.setdefault(key, History())
        history.begin(current, look.now)
        look.status.setdefault("desiredReplicas", 0)
        look.status["currentReplicas"] = current
        spec = look.hpa["spec"]
        bounds = Bounds(1 if spec.get("minReplicas") is None else spec["minReplicas"], spec["maxReplicas"])
        why = ""
        if current == 0 and bounds.least != 0:
            desired = 0
            look.condition("ScalingActive", "False", "ScalingDisabled", _ZERO)
        elif current > bounds.most:
            desired, why = bounds.most, "Current number of replicas above Spec.MaxReplicas"
        elif current < bounds.least:
            desired, why = bounds.least, "Current number of replicas below Spec.MinReplicas"
        else:
            wanted, metric = await self._wanted(key, look, scale)
            why = f"{metric} above target" if wanted > current else "All metrics below target"
            desired, said = limit(current, wanted, bounds, spec.get("behavior"), history, look.now)
            for one in said:
                look.condition(*one)
        if desired != current:
            await self._rescale(look, scale, desired, why)
            history.scaled(current, desired, look.now, spec.get("behavior"))
            look.status["lastScaleTime"] = stamp(look.now)
        look.status["desiredReplicas"] = desired
        look.status["currentMetrics"] = look.statuses

    # The target

    async def _scale(self, look: _Look) -> _Scale:
        ref = look.hpa["spec"]["scaleTargetRef"]
        try:
            res = await self._resource(ref)
            body = await self.cache.client.get(res, ref["name"], look.hpa["metadata"]["namespace"], subresource="scale")
        except StatusError as error:
            message = f"the HPA controller was unable to get the target's current scale: {error.message}"
            raise look.fail("AbleToScale", "FailedGetScale", message, about=error.message) from error
        return _Scale(res, body)

    async def _resource(self, ref: Object) -> Resource:
        kind, group = ref["kind"], (ref.get("apiVersion") or "").rpartition("/")[0]
        if (group, kind) not in self._kinds:
            found = await discovery.resources(self.cache.client)
            self._kinds = {(f.resource.group, f.resource.kind): f.resource for f in found}
        if (group, kind) not in self._kinds:
            raise StatusError(f'no matches for kind "{kind}" in group "{group}"')
        return self._kinds[group, kind]

    async def _rescale(self, look: _Look, scale: _Scale, desired: int, why: str) -> None:
        body = {**scale.body, "spec": {**(scale.body.get("spec") or {}), "replicas": desired}}
        try:
            await self.cache.client.update(scale.resource, body, subresource="scale")
        except Conflict:
            raise  # somebody wrote in between (the target's own status, say): look again at once
        except StatusError as error:
            about = f"New size: {desired}; reason: {why}; error: {error.message}"
            message = f"the HPA controller was unable to update the target scale: {error.message}"
            raise look.fail("AbleToScale", "FailedUpdateScale", message, "FailedRescale", about) from error
        look.condition(
            "AbleToScale",
            "True",
            "SucceededRescale",
            f"the HPA controller was able to update the target scale to {desired}",
        )
        look.say("Normal", "SuccessfulRescale", f"New size: {desired}; reason: {why}")

    # The metrics

    def _pods(self, key: str, look: _Look, scale: _Scale) -> list[Object]:
        text = (scale.body.get("status") or {}).get("selector") or ""
        if not text:
            self.say(look.hpa, "Warning", "SelectorRequired", "selector is required")
            message = "the HPA target's scale is missing a selector"
            look.condition("ScalingActive", "False", "InvalidSelector", message)
            raise _GivenUpError(message)
        try:
            selector = selectors.parse(text)
        except selectors.SelectorError as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error}"
            raise look.fail("ScalingActive", "InvalidSelector", message) from error
        self._selectors[key] = selector
        space = look.hpa["metadata"]["namespace"]
        pods = [
            pod
            for pod in labelled(self.of(PODS), space, selector.pairs)
            if selector.matches(pod["metadata"].get("labels"))
        ]
        self._not_shared(look, pods, text)
        return pods

    def _not_shared(self, look: _Look, pods: list[Object], text: str) -> None:
        """Two autoscalers of the same pods would work against each other: neither scales."""
        prefix = look.hpa["metadata"]["namespace"] + "/"
        sharing = sorted(
            key
            for key, selector in self._selectors.items()
            if key.startswith(prefix) and any(selector.matches(pod["metadata"].get("labels")) for pod in pods)
        )
        if len(sharing) > 1:
            message = f"pods by selector {text} are controlled by multiple HPAs: [{' '.join(sharing)}]"
            raise look.fail("ScalingActive", "AmbiguousSelector", message)

    async def _wanted(self, key: str, look: _Look, scale: _Scale) -> tuple[int, str]:
        """(the most replicas that a metric asks for, the words for that metric)."""
        try:
            pods = self._pods(key, look, scale)
        except _GivenUpError as error:
            look.say("Warning", "FailedComputeMetricsReplicas", str(error))
            raise
        selector, wanted, name = scale.body["status"]["selector"], 0, ""
        metrics = look.hpa["spec"].get("metrics") or []
        failures: list[tuple[str, str, str]] = []
        fetched: list[Object] | MetricError | None = None
        for metric in metrics:
            if fetched is None and metric["type"] in _RESOURCES:
                fetched = await self._fetch(look.hpa["metadata"]["namespace"], selector)
            try:
                proposal, words = _compute(look, metric, scale.replicas, pods, fetched)
            except MetricError as error:
                failures.append(_failed(look, metric, error))
                look.statuses.append({"type": ""})
                continue
            look.statuses.append(_status(metric, proposal))
            if not name or proposal.replicas > wanted:
                wanted, name = proposal.replicas, words
        self._judge(look, failures, len(metrics), name, wanted < scale.replicas)
        return wanted, name

    async def _fetch(self, space: str, selector: str) -> list[Object] | MetricError:
        try:
            return await podmetrics.fetch(self.cache.client, space, selector)
        except MetricError as error:
            return error

    @staticmethod
    def _judge(look: _Look, failures: list[tuple[str, str, str]], count: int, name: str, down: bool) -> None:
        """Nothing is scaled down while a metric is unknown, nor anything while all are."""
        if not failures:
            text = f"the HPA was able to successfully calculate a replica count from {name}"
            look.condition("ScalingActive", "True", "ValidMetricFound", text)
            return
        reason, message, first = failures[0]
        error = f"invalid metrics ({len(failures)} invalid out of {count}), first error is: {first}"
        if len(failures) == count or down:
            look.condition("ScalingActive", "False", reason, message)
            look.status["currentMetrics"] = look.statuses
            look.say("Warning", "FailedComputeMetricsReplicas", error)
            raise _GivenUpError(error)
        text = f"the HPA was able to successfully calculate a replica count from {name}"
        look.condition("ScalingActive", "True", "ValidMetricFound", text)


_NO_TARGET: Final = (
    "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set"
)
_RESOURCES: Final = {"Resource": "resource", "ContainerResource": "containerResource"}


def _compute(
    look: _Look, metric: Object, current: int, pods: list[Object], fetched: list[Object] | MetricError | None
) -> tuple[Proposal, str]:
    """(what one metric asks for, the words for it)."""
    type_ = metric["type"]
    if type_ not in _RESOURCES:
        source = metric.get(type_[:1].lower() + type_[1:]) or {}
        name = (source.get("metric") or {}).get("name", "")
        api = "external" if type_ == "External" else "custom"
        raise MetricError(f"unable to get metric {name}: the {api} metrics API is not read by this controller")
    source = metric[_RESOURCES[type_]]
    resource, container, target = source["name"], source.get("container") or "", source["target"]
    raw = target.get("averageValue")
    kind = f"{resource} container resource" if container else f"{resource} resource"
    words = f"{resource} resource" if raw is not None else f"{kind} utilization (percentage of request)"
    tolerances = _tolerances(look.hpa["spec"].get("behavior") or {})
    try:
        if isinstance(fetched, MetricError):
            raise MetricError(f"unable to get metrics for resource {resource}: {fetched}") from fetched
        try:
            samples = podmetrics.samples(fetched or (), resource, container)
        except MetricError as error:
            raise MetricError(f"unable to get metrics for resource {resource}: {error}") from error
        if raw is not None:
            amount = max(1, quantity.of(raw).milli)
            found = replicacalc.by_value(current, amount, resource, pods, samples, look.now, tolerances=tolerances)
            return found, words
        percent = target.get("averageUtilization")
        if not percent:
            raise MetricError(_NO_TARGET)
        found = replicacalc.by_utilization(
            current, percent, resource, pods, samples, look.now, container=container, tolerances=tolerances
        )
        return found, words
    except MetricError as error:
        what = "usage" if raw is not None else "utilization"
        raise MetricError(f"failed to get {resource} {what}: {error}") from error


def _tolerances(behavior: Object) -> Tolerances:
    def one(way: str) -> float:
        given = (behavior.get(way) or {}).get("tolerance")
        return replicacalc.TOLERANCE if given is None else quantity.of(given).nano / quantity.NANO

    return Tolerances(one("scaleUp"), one("scaleDown"))


def _failed(look: _Look, metric: Object, error: MetricError) -> tuple[str, str, str]:
    """(reason, message of the condition, words for the summary) of a metric that gave no number; says its Event."""
    type_, text = metric["type"], str(error)
    reason = f"FailedGet{type_}Metric"
    look.say("Warning", reason, text)
    named = {"Resource": "resource metric", "ContainerResource": "container metric"}.get(type_)
    if named:
        summary = f"failed to get {metric[_RESOURCES[type_]]['name']} {named} value: {text}"
    else:
        summary = f"failed to get {type_.lower()} metric value: {text}"
    return reason, f"the HPA was unable to compute the replica count: {text}", summary


def _status(metric: Object, proposal: Proposal) -> Object:
    """MetricStatus of what was measured."""
    part = _RESOURCES[metric["type"]]
    source = metric[part]
    current: Object = {"averageValue": str(quantity.Quantity(proposal.average * 10**6))}
    if proposal.utilization is not None:
        current["averageUtilization"] = proposal.utilization
    named = {key: source[key] for key in ("container", "name") if source.get(key)}
    return {"type": metric["type"], part: {**named, "current": current}}


def _filled(status: Object) -> Object:
    """Without what is the same as not there."""
    return {key: value for key, value in status.items() if value}
