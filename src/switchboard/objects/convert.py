"""Kinds that share stored objects: core/v1 Event and events.k8s.io/v1 Event; HorizontalPodAutoscaler v1 and v2.

Facts from pkg/apis/events/v1/conversion.go and pkg/apis/autoscaling/v1/conversion.go. Objects change in place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"

# core/v1 field -> events.k8s.io/v1 field
_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def _rename(obj: Object, names: dict[str, str]) -> None:
    for old, new in names.items():
        if old in obj:
            obj[new] = obj.pop(old)


def event_to_core(obj: Object) -> Object:
    """events.k8s.io/v1 -> v1 (the stored form)."""
    _rename(obj, {new: old for old, new in _EVENT_FIELDS.items()})
    obj["apiVersion"] = "v1"
    for name, empty in (("reportingComponent", ""), ("reportingInstance", "")):
        obj.setdefault(name, empty)
    for name in ("source", "involvedObject"):
        obj.setdefault(name, {})
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(name, None)
    return obj


def event_from_core(obj: Object) -> Object:
    """v1 -> events.k8s.io/v1."""
    _rename(obj, _EVENT_FIELDS)
    obj["apiVersion"] = "events.k8s.io/v1"
    for name in ("reportingController", "reportingInstance"):
        if not obj.get(name):
            obj.pop(name, None)
    return obj


def _annotation(obj: Object, key: str) -> Any:
    notes = obj.get("metadata", {}).get("annotations") or {}
    text = notes.pop(key, None)
    if not notes:
        obj.get("metadata", {}).pop("annotations", None)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _cpu_target(metric: Any) -> int | None:
    resource = metric.get("resource", {}) if isinstance(metric, dict) and metric.get("type") == "Resource" else {}
    target = resource.get("target", {})
    if resource.get("name") == "cpu" and target.get("type") == "Utilization":
        value = target.get("averageUtilization")
        return value if isinstance(value, int) else None
    return None


def hpa_to_v2(obj: Object) -> Object:
    """autoscaling/v1 -> v2 (the stored form); what v1 keeps in annotations becomes fields again."""
    obj["apiVersion"] = "autoscaling/v2"
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    metrics = _annotation(obj, _METRICS) or []
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        cpu = {"type": "Utilization", "averageUtilization": target}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": cpu}})
    if metrics:
        spec["metrics"] = metrics
    behavior = _annotation(obj, _BEHAVIOR)
    if behavior:
        spec["behavior"] = behavior
    current = _annotation(obj, _CURRENT) or []
    used = status.pop("currentCPUUtilizationPercentage", None)
    if used is not None:
        value = {"averageUtilization": used, "averageValue": "0"}
        current.insert(0, {"type": "Resource", "resource": {"name": "cpu", "current": value}})
    if status or current:
        status["currentMetrics"] = current or None
        status["conditions"] = _annotation(obj, _CONDITIONS)
        obj["status"] = status
    return obj


def hpa_from_v2(obj: Object) -> Object:
    """autoscaling/v2 -> v1: the cpu target is a field, every other metric, behaviour and condition an annotation."""
    obj["apiVersion"] = "autoscaling/v1"
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    notes: dict[str, str] = {}

    def keep(key: str, value: Any) -> None:
        if value:
            notes[key] = json.dumps(value, separators=(",", ":"))

    rest = []
    for metric in spec.pop("metrics", None) or []:
        target = _cpu_target(metric)
        if target is not None and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = target
        else:
            rest.append(metric)
    keep(_METRICS, rest)
    keep(_BEHAVIOR, spec.pop("behavior", None))
    keep(_CONDITIONS, status.pop("conditions", None))
    left = []
    for metric in status.pop("currentMetrics", None) or []:
        resource = metric.get("resource") or {}
        used = (resource.get("current") or {}).get("averageUtilization")
        if resource.get("name") == "cpu" and used is not None:
            status["currentCPUUtilizationPercentage"] = used
        else:
            left.append(metric)
    keep(_CURRENT, left)
    if notes:
        meta = obj.setdefault("metadata", {})
        meta["annotations"] = {**(meta.get("annotations") or {}), **notes}
    for name in ("currentReplicas", "desiredReplicas"):
        status.setdefault(name, 0)
    obj["status"] = status
    return obj


# (kind, api version asked or sent, storage api version) -> (to storage, from storage)
_PAIRS: dict[tuple[str, str], tuple[Callable[[Object], Object], Callable[[Object], Object]]] = {
    ("Event", "events.k8s.io/v1"): (event_to_core, event_from_core),
    ("HorizontalPodAutoscaler", "autoscaling/v1"): (hpa_to_v2, hpa_from_v2),
}


def to_storage(kind: str, api_version: str, obj: Object) -> Object:
    """An object as sent in `api_version` -> as it is stored; the same object where nothing is to be done."""
    pair = _PAIRS.get((kind, api_version))
    return pair[0](obj) if pair else obj


def from_storage(kind: str, api_version: str, obj: Object) -> Object:
    """A stored object -> as `api_version` shows it; the same object where nothing is to be done."""
    pair = _PAIRS.get((kind, api_version))
    return pair[1](obj) if pair and obj.get("apiVersion") != api_version else obj
