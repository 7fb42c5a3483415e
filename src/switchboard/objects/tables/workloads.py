"""Rows of what makes pods: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, autoscalers."""

from __future__ import annotations

from typing import Any

from switchboard.objects.tables import human
from switchboard.objects.tables.human import NONE, UNSET, age, name


def _parts(obj: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return obj.get("spec") or {}, obj.get("status") or {}


def _wanted(spec: dict[str, Any]) -> int:
    return int(spec.get("replicas", 1))


def _deployment(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _parts(obj)
    return [
        name(obj),
        f"{status.get('readyReplicas', 0)}/{_wanted(spec)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj, now),
        *human.containers(spec.get("template") or {}),
        human.selector(spec.get("selector")),
    ]


def _replicas(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _parts(obj)
    chosen = spec.get("selector")
    plain = obj.get("kind") == "ReplicationController" or not {"matchLabels", "matchExpressions"} & set(chosen or ())
    return [
        name(obj),
        _wanted(spec),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj, now),
        *human.containers(spec.get("template") or {}),
        human.labels(chosen) if plain else human.selector_or_none(chosen),
    ]


def _stateful_set(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _parts(obj)
    ready = f"{status.get('readyReplicas', 0)}/{_wanted(spec)}"
    return [name(obj), ready, age(obj, now), *human.containers(spec.get("template") or {})]


def _daemon_set(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _parts(obj)
    template = spec.get("template") or {}
    return [
        name(obj),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        human.labels((template.get("spec") or {}).get("nodeSelector")),
        age(obj, now),
        *human.containers(template),
        human.selector_or_none(spec.get("selector")),
    ]


def _job_status(obj: dict[str, Any]) -> str:
    true = {c.get("type") for c in (obj.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    for word in ("Complete", "Failed"):
        if word in true:
            return word
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((word for word in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if word in true), "Running")


def _job_duration(status: dict[str, Any], now: float) -> str:
    start, end = (human.seconds_of(status.get(key) or "") for key in ("startTime", "completionTime"))
    return "" if start is None else human.duration((now if end is None else end) - start)


def _job(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _parts(obj)
    done, parallelism = status.get("succeeded", 0), spec.get("parallelism", 0)
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    else:
        completions = f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"
    return [
        name(obj),
        _job_status(obj),
        completions,
        _job_duration(status, now),
        age(obj, now),
        *human.containers(spec.get("template") or {}),
        human.selector_or_none(spec.get("selector")),
    ]


def _cron_job(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _parts(obj)
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        UNSET if spec.get("suspend") is None else human.yes(spec["suspend"]),
        len(status.get("active") or ()),
        human.since(last, now) if last else NONE,
        age(obj, now),
        *human.containers(job.get("template") or {}),
        human.selector_or_none(job.get("selector")),
    ]


def _controller_revision(obj: dict[str, Any], now: float) -> list[Any]:
    owner = next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    text = NONE
    if owner:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        text = f"{owner.get('kind', '').lower()}{'.' + group if group else ''}/{owner.get('name', '')}"
    return [name(obj), text, obj.get("revision", 0), age(obj, now)]


_METRIC_FIELD = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def _metric(spec: dict[str, Any], status: dict[str, Any]) -> str:
    """`cpu: 12%/80%`, `3/10 (avg)`, `<unknown>/5`: current over target of one metric."""
    field = _METRIC_FIELD.get(spec.get("type", ""), "")
    mine = spec.get(field) or {}
    target, current = mine.get("target") or {}, (status.get(field) or {}).get("current") or {}
    average = target.get("averageValue")
    named = f"{mine.get('name', '')}: " if field in ("resource", "containerResource") else ""
    if named and average is None:
        wanted = target.get("averageUtilization")
        have = current.get("averageUtilization")
        shown = human.UNKNOWN if have is None else f"{have}%"
        return f"{named}{shown}/{'<auto>' if wanted is None else f'{wanted}%'}"
    if average is not None:
        suffix = " (avg)" if field in ("object", "external") else ""
        return f"{named}{current.get('averageValue') or human.UNKNOWN}/{average}{suffix}"
    return f"{current.get('value') or human.UNKNOWN}/{target.get('value', '')}"


def _metrics(spec: dict[str, Any], status: dict[str, Any]) -> str:
    if "targetCPUUtilizationPercentage" in spec:  # autoscaling/v1
        have = status.get("currentCPUUtilizationPercentage")
        return f"cpu: {human.UNKNOWN if have is None else f'{have}%'}/{spec['targetCPUUtilizationPercentage']}%"
    wanted, have = spec.get("metrics") or [], status.get("currentMetrics") or []
    if not wanted:
        return NONE
    texts = [_metric(metric, have[i] if i < len(have) else {}) for i, metric in enumerate(wanted)]
    shown = ", ".join(texts[:2])
    return f"{shown} + {len(texts) - 2} more..." if len(texts) > 2 else shown


def _autoscaler(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _parts(obj)
    target = spec.get("scaleTargetRef") or {}
    return [
        name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _metrics(spec, status),
        str(spec["minReplicas"]) if spec.get("minReplicas") is not None else UNSET,
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(obj, now),
    ]


def _scale(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _parts(obj)
    return [name(obj), spec.get("replicas", 0), status.get("replicas", 0), age(obj, now)]


ROWS = {
    "autoscaling/v1/scales": _scale,
    "apps/v1/deployments": _deployment,
    "apps/v1/replicasets": _replicas,
    "replicationcontrollers": _replicas,
    "apps/v1/statefulsets": _stateful_set,
    "apps/v1/daemonsets": _daemon_set,
    "apps/v1/controllerrevisions": _controller_revision,
    "batch/v1/jobs": _job,
    "batch/v1/cronjobs": _cron_job,
    "autoscaling/v1/horizontalpodautoscalers": _autoscaler,
    "autoscaling/v2/horizontalpodautoscalers": _autoscaler,
}
