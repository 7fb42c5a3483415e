"""What controllers read from pods: alive, ready, available, which to delete first; and pods made from templates.

Source: kubernetes/pkg/controller/controller_utils.go, kubernetes/pkg/api/v1/pod/util.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from switchboard.controllers import conditions
from switchboard.controllers.owners import reference_to
from switchboard.controllers.times import seconds

Object = dict[str, Any]

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def phase(pod: Object) -> str:
    """`status.phase`; Pending when it was never written."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def is_finished(pod: Object) -> bool:
    """Succeeded or Failed: no container will run any more."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Neither finished nor on its way out."""
    return not is_finished(pod) and not pod["metadata"].get("deletionTimestamp")


def ready_condition(pod: Object) -> Object | None:
    """The Ready condition, or None."""
    return conditions.find((pod.get("status") or {}).get("conditions"), "Ready")


def is_ready(pod: Object) -> bool:
    """Whether its Ready condition is True."""
    found = ready_condition(pod)
    return found is not None and found.get("status") == "True"


def available_in(pod: Object, min_ready: int, now: float) -> float | None:
    """Seconds until a pod counts as available: 0 is now, None is not as things stand (it is not ready)."""
    found = ready_condition(pod)
    if found is None or found.get("status") != "True":
        return None
    if min_ready == 0:
        return 0.0
    since = found.get("lastTransitionTime")
    return max(0.0, seconds(since) + min_ready - now) if since else None


def is_available(pod: Object, min_ready: int, now: float) -> bool:
    """Ready for at least `min_ready` seconds."""
    return available_in(pod, min_ready, now) == 0.0


def soonest_available(pods: Iterable[Object], min_ready: int, now: float) -> float | None:
    """Seconds until the next ready pod becomes available; None when no such change is ahead."""
    ahead = [left for pod in pods if (left := available_in(pod, min_ready, now))]
    return min(ahead, default=None)


def _age_bucket(since: str | None, now: float) -> float:
    """Ages count by powers of two, so that among pods of about the same age the choice does not favour one node."""
    if not since:
        return -2.0
    age = now - seconds(since)
    return float(math.floor(math.log2(age))) if age >= 1 else -1.0


def deletion_order(pods: Iterable[Object], related: Iterable[Object], now: float) -> list[Object]:
    """The pods, those to delete first in front (controller_utils.go ActivePodsWithRanks).

    Unassigned, then pending, then not ready, cheaper (annotation), on a node with more of `related`, ready for a
    shorter time, restarted more often, younger.
    """
    crowd: dict[str, int] = {}
    for pod in related:
        if is_active(pod):
            node = pod["spec"].get("nodeName", "")
            crowd[node] = crowd.get(node, 0) + 1
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}

    def rank(pod: Object) -> tuple[Any, ...]:
        spec, meta = pod["spec"], pod["metadata"]
        ready = ready_condition(pod)
        up = ready is not None and ready.get("status") == "True"
        restarts = max(
            (c.get("restartCount", 0) for c in (pod.get("status") or {}).get("containerStatuses") or ()), default=0
        )
        return (
            bool(spec.get("nodeName")),
            phases.get(phase(pod), 3),
            up,
            _cost(meta),
            -crowd.get(spec.get("nodeName", ""), 0),
            _age_bucket(ready.get("lastTransitionTime"), now) if up and ready else 0.0,
            -restarts,
            _age_bucket(meta.get("creationTimestamp"), now),
            meta.get("uid", ""),
        )

    return sorted(pods, key=rank)


def _cost(meta: Mapping[str, Any]) -> int:
    text = (meta.get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def from_template(template: Object, owner: Object, *, prefix: str = "", name: str = "") -> Object:
    """A pod to create for `owner`: the template's labels, annotations, finalizers and spec; named, or by prefix."""
    meta = template.get("metadata") or {}
    new: Object = {"name": name} if name else {"generateName": prefix or f"{owner['metadata']['name']}-"}
    new["namespace"] = owner["metadata"].get("namespace")
    for part in ("labels", "annotations"):
        if meta.get(part):
            new[part] = dict(meta[part])
    if meta.get("finalizers"):
        new["finalizers"] = list(meta["finalizers"])
    new["ownerReferences"] = [reference_to(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": new, "spec": template.get("spec") or {}}
