"""Rules for apps/v1 kinds and ReplicationControllers (pkg/apis/apps/validation, pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names
from switchboard.objects.validate import addresses, labels, pods
from switchboard.objects.validate import metadata as meta_rules
from switchboard.objects.validate.fields import IMMUTABLE, NOT_NEGATIVE, Errors, go_struct

Object = dict[str, Any]
_MISMATCH = "`selector` does not match template `labels`"
_NO_STS_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STS_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def _empty(selector: Object) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def _template(body: Object, kind: str, errs: Errors, path: str = "spec.template") -> None:
    """A template whose pods are restarted for ever."""
    pods.template(body, path, errs)
    spec = body.get("spec") or {}
    if spec.get("restartPolicy") and spec["restartPolicy"] != "Always":
        _only_always(spec["restartPolicy"], path, errs)
    if spec.get("activeDeadlineSeconds") is not None:
        errs.forbidden(f"{path}.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported")


def _stateful_template(body: Object, errs: Errors) -> None:
    """Of a StatefulSet's template no more is asked: its pods have volumes that do not stand in it, and say themselves
    what is wrong with them (ValidatePodTemplateSpecForStatefulSet).
    """
    path, meta, spec = "spec.template", body.get("metadata") or {}, body.get("spec") or {}
    if meta.get("labels"):
        meta_rules.check_labels(meta["labels"], f"{path}.labels", errs)
    if meta.get("annotations"):
        meta_rules.check_annotations(meta["annotations"], f"{path}.annotations", errs)
        pods.known_annotations(meta["annotations"], spec, errs, f"{path}.annotations")
    if spec.get("restartPolicy") != "Always":
        _only_always(spec.get("restartPolicy") or "", path, errs)
    if spec.get("activeDeadlineSeconds") is not None:
        errs.forbidden(f"{path}.spec.activeDeadlineSeconds", "activeDeadlineSeconds in StatefulSet is not Supported")


def _only_always(policy: str, path: str, errs: Errors) -> None:
    """Upstream tells a known policy and an unknown one; an unknown one was told already by the pod spec."""
    errs.unsupported(f"{path}.spec.restartPolicy", policy, ("Always",))


def _selector(spec: Object, kind: str, errs: Errors) -> None:
    """Selector and template of Deployments and ReplicaSets."""
    selector = spec.get("selector")
    body = spec.get("template") or {}
    if selector is None:
        errs.required("spec.selector")
    else:
        labels.selector(selector, "spec.selector", errs)
        if _empty(selector):
            errs.invalid("spec.selector", selector, f"empty selector is invalid for {kind}")
    found = False if selector is None else labels.matches(selector, (body.get("metadata") or {}).get("labels"))
    if found is None:
        errs.invalid("spec.selector", selector, "invalid label selector")
        return
    if not found and not (selector is not None and _empty(selector)):
        errs.invalid("spec.template.metadata.labels", (body.get("metadata") or {}).get("labels"), _MISMATCH)
    _template(body, "ReplicaSet", errs)


def deployment(obj: Object, errs: Errors) -> None:
    """apps/v1 Deployment."""
    spec = obj.get("spec") or {}
    errs.not_negative("spec.replicas", spec.get("replicas"))
    _selector(spec, "deployment", errs)
    strategy = spec.get("strategy") or {}
    rolling, kind = strategy.get("rollingUpdate"), strategy.get("type") or ""
    path = "spec.strategy"
    if kind == "Recreate":
        if rolling is not None:
            errs.forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif kind != "RollingUpdate":
        errs.unsupported(f"{path}.type", kind, ("Recreate", "RollingUpdate"))
    elif rolling is None:
        errs.required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")
    else:
        _rolling(rolling, f"{path}.rollingUpdate", errs)
    _limits(spec, errs)
    deadline = spec.get("progressDeadlineSeconds")
    errs.not_negative("spec.progressDeadlineSeconds", deadline)
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        errs.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _zero(value: Any) -> bool:
    return value in (0, "0%") or addresses.percent(value) == 0


def _rolling(rolling: Object, path: str, errs: Errors) -> None:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    addresses.int_or_percent(f"{path}.maxUnavailable", unavailable, errs)
    addresses.int_or_percent(f"{path}.maxSurge", surge, errs)
    if _zero(unavailable) and _zero(surge):
        errs.invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    addresses.at_most_100_percent(f"{path}.maxUnavailable", unavailable, errs)


def _limits(spec: Object, errs: Errors) -> None:
    for name in ("minReadySeconds", "revisionHistoryLimit"):
        errs.not_negative(f"spec.{name}", spec.get(name))


def selector_kept(obj: Object, old: Object, errs: Errors) -> None:
    """The selector of Deployments, ReplicaSets and DaemonSets does not change."""
    now, then = (obj.get("spec") or {}).get("selector"), (old.get("spec") or {}).get("selector")
    if now != then:
        errs.invalid("spec.selector", now, IMMUTABLE)


def replica_set(obj: Object, errs: Errors) -> None:
    """apps/v1 ReplicaSet."""
    spec = obj.get("spec") or {}
    errs.not_negative("spec.replicas", spec.get("replicas"))
    errs.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    _selector(spec, "replicaset", errs)


def replication_controller(obj: Object, errs: Errors) -> None:
    """v1 ReplicationController: a plain map selects."""
    spec = obj.get("spec") or {}
    errs.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector = spec.get("selector") or {}
    if not selector:
        errs.required("spec.selector")
    errs.not_negative("spec.replicas", spec.get("replicas"))
    body = spec.get("template")
    if body is None:
        errs.required("spec.template")
        return
    own = (body.get("metadata") or {}).get("labels") or {}
    if selector and any(own.get(key) != value for key, value in selector.items()):
        errs.invalid("spec.template.metadata.labels", own or None, _MISMATCH)
    _template(body, "ReplicationController", errs)


def daemon_set(obj: Object, errs: Errors) -> None:
    """apps/v1 DaemonSet."""
    spec = obj.get("spec") or {}
    selector, body = spec.get("selector"), spec.get("template") or {}
    labels.selector(selector, "spec.selector", errs)
    own = (body.get("metadata") or {}).get("labels")
    if selector is None or labels.matches(selector, own) is False:
        errs.invalid("spec.template.metadata.labels", own, _MISMATCH)
    if selector is not None and _empty(selector):
        errs.invalid("spec.selector", selector, "empty selector is invalid for daemonset")
    _template(body, "DaemonSet", errs)
    errs.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    _daemon_strategy(spec.get("updateStrategy") or {}, errs)
    errs.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))


def _daemon_strategy(strategy: Object, errs: Errors) -> None:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type") or "", strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        errs.unsupported(
            path, go_struct({"Type": kind, "RollingUpdate": _internal_rolling(rolling)}), ("RollingUpdate", "OnDelete")
        )
        return
    path = f"{path}.rollingUpdate"
    if rolling is None:
        errs.required(path)
        return
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    addresses.int_or_percent(f"{path}.maxUnavailable", unavailable, errs)
    addresses.int_or_percent(f"{path}.maxSurge", surge, errs)
    addresses.at_most_100_percent(f"{path}.maxUnavailable", unavailable, errs)
    addresses.at_most_100_percent(f"{path}.maxSurge", surge, errs)
    if not _zero(unavailable) and not _zero(surge):
        errs.invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
    if _zero(unavailable) and _zero(surge):
        errs.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def _internal_rolling(rolling: Object | None) -> Object | None:
    if rolling is None:
        return None
    return {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}


def stateful_set(obj: Object, errs: Errors) -> None:
    """apps/v1 StatefulSet."""
    spec = obj.get("spec") or {}
    policy = spec.get("podManagementPolicy")
    if not policy:
        errs.required("spec.podManagementPolicy")
    elif policy not in ("OrderedReady", "Parallel"):
        errs.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    _stateful_strategy(spec.get("updateStrategy") or {}, errs)
    retention: Object = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled") if retention else ():
        if retention.get(name) not in ("Retain", "Delete"):
            errs.unsupported(
                f"spec.persistentVolumeClaimRetentionPolicy.{name}", retention.get(name) or "", ("Delete", "Retain")
            )
    errs.not_negative("spec.replicas", spec.get("replicas"))
    errs.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    if spec.get("ordinals"):
        errs.not_negative("spec.ordinals.start", spec["ordinals"].get("start"))
    selector, body = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        errs.required("spec.selector")
    else:
        labels.selector(selector, "spec.selector", errs)
        if _empty(selector):
            errs.invalid("spec.selector", selector, "empty selector is invalid for statefulset")
        own = (body.get("metadata") or {}).get("labels")
        if not _empty(selector) and labels.matches(selector, own) is False:
            errs.invalid("spec.template.metadata.labels", own, _MISMATCH)
    _stateful_template(body, errs)
    if spec.get("serviceName"):
        errs.check("spec.serviceName", spec["serviceName"], names.dns_label)
    errs.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))


def _stateful_strategy(strategy: Object, errs: Errors) -> None:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type") or "", strategy.get("rollingUpdate")
    internal = None
    if rolling is not None:
        internal = {"Partition": rolling.get("partition", 0), "MaxUnavailable": rolling.get("maxUnavailable")}
    if not kind:
        errs.required(path)
    elif kind == "OnDelete":
        if internal is not None:
            errs.invalid(
                f"{path}.rollingUpdate", go_struct(internal), "only allowed for updateStrategy 'RollingUpdate'"
            )
    elif kind != "RollingUpdate":
        errs.invalid(
            path, go_struct({"Type": kind, "RollingUpdate": internal}), "must be 'RollingUpdate' or 'OnDelete'"
        )
    elif rolling is not None:
        errs.not_negative(f"{path}.rollingUpdate.partition", rolling.get("partition"))
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            addresses.int_or_percent(f"{path}.rollingUpdate.maxUnavailable", unavailable, errs)
            if _zero(unavailable):
                errs.invalid(f"{path}.rollingUpdate.maxUnavailable", unavailable, "cannot be 0")
            addresses.at_most_100_percent(f"{path}.rollingUpdate.maxUnavailable", unavailable, errs)


def stateful_set_update(obj: Object, old: Object, errs: Errors) -> None:
    """Only some fields of a StatefulSet may change."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if {k: v for k, v in spec.items() if k not in _STS_MUTABLE} != {
        k: v for k, v in before.items() if k not in _STS_MUTABLE
    }:
        errs.forbidden("spec", _NO_STS_CHANGE)


_COUNTS: dict[str, tuple[str, ...]] = {
    "Deployment": ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"),
    "ReplicaSet": ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"),
    "ReplicationController": ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"),
    "StatefulSet": ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"),
    "DaemonSet": (
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    ),
}
_NOT_ABOVE = {
    "Deployment": ("updatedReplicas", "readyReplicas", "availableReplicas"),
    "ReplicaSet": ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"),
    "ReplicationController": ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"),
    "StatefulSet": ("readyReplicas", "currentReplicas", "updatedReplicas"),
    "DaemonSet": (),
}


def counts(kind: str, obj: Object, errs: Errors) -> None:
    """The numbers of a status: not negative, and parts not above the whole."""
    status = obj.get("status") or {}
    for name in _COUNTS[kind]:
        value = status.get(name) or 0
        if value < 0:
            errs.invalid(f"status.{name}", value, NOT_NEGATIVE)
    generation = status.get("observedGeneration") or 0
    if generation < 0:
        errs.invalid("status.observedGeneration", generation, NOT_NEGATIVE)
    total = status.get("replicas") or 0
    for name in _NOT_ABOVE[kind]:
        value = status.get(name) or 0
        if value > total:
            errs.invalid(f"status.{name}", value, "cannot be greater than status.replicas")
    ready, available = status.get("readyReplicas") or 0, status.get("availableReplicas") or 0
    if kind != "DaemonSet" and available > ready:
        errs.invalid("status.availableReplicas", available, "cannot be greater than readyReplicas")
