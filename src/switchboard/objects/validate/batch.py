"""Rules for CronJobs, disruption budgets and autoscalers (pkg/apis/{batch,policy,autoscaling}/validation)."""

from __future__ import annotations

from functools import cache
from typing import Any

from switchboard.objects import cron, names, quantity
from switchboard.objects.validate import addresses, jobs, labels
from switchboard.objects.validate.fields import Errors, go_struct

Object = dict[str, Any]
_ZONE_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_+-"


@cache
def _zone_known(name: str) -> bool:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # 10 ms of start-up that nearly nobody needs

    try:
        ZoneInfo(name)
        return True
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def cron_job(obj: Object, errs: Errors) -> None:
    """batch/v1 CronJob."""
    name = (obj.get("metadata") or {}).get("name") or ""
    spec = obj.get("spec") or {}
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        errs.required("spec.schedule")
    else:
        _schedule(schedule, errs)
    errs.not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    _zone(zone, errs)
    errs.one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"))
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errs.not_negative(f"spec.{field}", spec.get(field))
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    jobs.template_spec(inner, "spec.jobTemplate.spec", errs)
    if len(name) > 52:
        errs.invalid("metadata.name", name, names.too_long(52))


def _schedule(schedule: str, errs: Errors) -> None:
    if "TZ" in schedule:
        errs.invalid("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
        return
    try:
        cron.parse(schedule)
    except cron.CronError as wrong:
        errs.invalid("spec.schedule", schedule, str(wrong))


def _zone(zone: str | None, errs: Errors) -> None:
    if zone is None:
        return
    if not zone:
        errs.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        errs.invalid(
            "spec.timeZone",
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        )
    elif any(c not in _ZONE_CHARS for c in zone) or not _zone_known(zone):
        errs.invalid("spec.timeZone", zone, f"unknown time zone {zone}")


def budget(obj: Object, errs: Errors) -> None:
    """policy/v1 PodDisruptionBudget."""
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        shape = {
            "MinAvailable": least,
            "Selector": spec.get("selector"),
            "MaxUnavailable": most,
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        errs.invalid("spec", go_struct(shape), "minAvailable and maxUnavailable cannot be both set")
    for name, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            addresses.int_or_percent(f"spec.{name}", value, errs)
            addresses.at_most_100_percent(f"spec.{name}", value, errs)
    labels.selector(spec.get("selector"), "spec.selector", errs)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        errs.unsupported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))


def autoscaler(obj: Object, errs: Errors) -> None:
    """autoscaling/v2 HorizontalPodAutoscaler."""
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        errs.invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        errs.invalid("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        errs.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    _reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", errs)
    cpu = spec.get("targetCPUUtilizationPercentage")
    if cpu is not None and cpu < 1:
        errs.invalid("spec.targetCPUUtilizationPercentage", cpu, "must be greater than 0")
    for i, metric in enumerate(spec.get("metrics") or ()):
        _metric(metric, f"spec.metrics[{i}]", errs)
    for name in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(name)
        if rules is not None:
            _scaling(rules, f"spec.behavior.{name}", errs)


_LONGEST_WINDOW, _LONGEST_PERIOD = 3600, 1800


def _scaling(rules: Object, path: str, errs: Errors) -> None:
    """How fast an autoscaler scales in one direction."""
    window, where = rules.get("stabilizationWindowSeconds"), f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        errs.invalid(where, window, "must be greater than or equal to zero")
    if window is not None and window > _LONGEST_WINDOW:
        errs.invalid(where, window, f"must be less than or equal to {_LONGEST_WINDOW}")
    select = rules.get("selectPolicy")
    if select is not None and select not in ("Disabled", "Max", "Min"):
        errs.unsupported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min"))
    if not rules.get("policies"):
        errs.required(f"{path}.policies", "must specify at least one Policy")
    for i, policy in enumerate(rules.get("policies") or ()):
        here, period = f"{path}.policies[{i}]", policy.get("periodSeconds") or 0
        if policy.get("type") not in ("Percent", "Pods"):
            errs.unsupported(f"{here}.type", policy.get("type") or "", ("Percent", "Pods"))
        errs.positive(f"{here}.value", policy.get("value") or 0)
        errs.positive(f"{here}.periodSeconds", period)
        if period > _LONGEST_PERIOD:
            errs.invalid(f"{here}.periodSeconds", period, f"must be less than or equal to {_LONGEST_PERIOD}")
    tolerance = rules.get("tolerance")
    if tolerance is not None and quantity.of(tolerance).nano < 0:
        errs.invalid(f"{path}.tolerance", tolerance, "must be greater than or equal to zero")


def _segment(text: str) -> list[str]:
    return [f"may not contain '{part}'" for part in ("/", "%") if part in text]


_METRICS = ("ContainerResource", "External", "Object", "Pods", "Resource")
_SOURCES = ("object", "external", "pods", "resource", "containerResource")


def _metric(metric: Object, path: str, errs: Errors) -> None:
    kind = metric.get("type") or ""
    if not kind:
        errs.required(f"{path}.type", "must specify a metric source type")
    if kind not in _METRICS:
        errs.unsupported(f"{path}.type", kind, _METRICS)
    present = [field for field in _SOURCES if metric.get(field) is not None]
    if present:
        _source(present[0], metric[present[0]], f"{path}.{present[0]}", errs)
    field = kind[:1].lower() + kind[1:]
    if kind in _METRICS and field not in present:
        errs.required(f"{path}.{field}", "must populate information for the given metric source")
    for other in present if len(present) > 1 else ():
        if other != field:
            errs.forbidden(f"{path}.{other}", "must populate the given metric source only")


def _source(field: str, source: Object, path: str, errs: Errors) -> None:
    of_resource = field in ("resource", "containerResource")
    if of_resource:
        if not source.get("name"):
            errs.required(f"{path}.name", "must specify a resource name")
        if field == "containerResource":
            _container(source.get("container") or "", f"{path}.container", errs)
    else:
        if field == "object":
            _reference(source.get("describedObject") or {}, f"{path}.describedObject", errs)
        _identifier(source.get("metric") or {}, f"{path}.metric", errs)
    target, here = source.get("target") or {}, f"{path}.target"
    _target(target, here, errs)
    value, average, used = (target.get(name) is not None for name in ("value", "averageValue", "averageUtilization"))
    if of_resource and not used and not average:
        missing = "must set either a target raw value or a target utilization"
        errs.required(f"{here}.averageUtilization", missing)
    elif of_resource and used and average:
        errs.forbidden(f"{here}.averageValue", "may not set both a target raw value and a target utilization")
    elif field == "pods" and not average:
        errs.required(f"{here}.averageValue", "must specify a positive target averageValue")
    elif field in ("object", "external") and not value and not average:
        what = "or averageValue" if field == "object" else "for metric or a per-pod target"
        errs.required(f"{here}.averageValue", f"must set either a target value {what}")
    elif field == "external" and value and average:
        errs.forbidden(f"{here}.value", "may not set both a target value for metric and a per-pod target")


def _container(name: str, path: str, errs: Errors) -> None:
    if not name:
        errs.required(path, "must specify a container")
    else:
        errs.check(path, name, names.dns_label)


def _identifier(metric: Object, path: str, errs: Errors) -> None:
    name = metric.get("name") or ""
    if not name:
        errs.required(f"{path}.name", "must specify a metric name")
    for message in _segment(name):
        errs.invalid(f"{path}.name", name, message)


def _target(target: Object, path: str, errs: Errors) -> None:
    type_ = target.get("type") or ""
    if not type_:
        errs.required(f"{path}.type", "must specify a metric target type")
    if type_ not in ("Utilization", "Value", "AverageValue"):
        errs.invalid(f"{path}.type", type_, "must be either Utilization, Value, or AverageValue")
    for name in ("value", "averageValue"):
        amount = target.get(name)
        if amount is not None and quantity.of(amount).nano <= 0:
            errs.invalid(f"{path}.{name}", amount, "must be positive")
    used = target.get("averageUtilization")
    if used is not None and used < 1:
        errs.invalid(f"{path}.averageUtilization", used, "must be greater than 0")


def _reference(reference: Object, path: str, errs: Errors) -> None:
    for name in ("kind", "name"):
        if not reference.get(name):
            errs.required(f"{path}.{name}")
        else:
            for message in _segment(reference[name]):
                errs.invalid(f"{path}.{name}", reference[name], message)
