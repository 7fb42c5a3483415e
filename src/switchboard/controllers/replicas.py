"""How many pods a ReplicaSet or ReplicationController should have, and what its status says (pure).

Source: kubernetes/pkg/controller/replicaset/replica_set.go, replica_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard.controllers import conditions
from switchboard.controllers.pods import (
    deletion_order,
    is_active,
    is_available,
    is_finished,
    is_ready,
    soonest_available,
)

Object = dict[str, Any]

BURST: Final = 500  # pods written for one owner in one go


@dataclass(slots=True)
class Plan:
    """Pods to create (a number) or to delete (these); never both."""

    create: int = 0
    delete: list[Object] = field(default_factory=list)


def wanted(owner: Object) -> int:
    """spec.replicas, 1 when absent."""
    number = (owner.get("spec") or {}).get("replicas")
    return 1 if number is None else int(number)


def plan(owner: Object, pods: Sequence[Object], related: Sequence[Object], now: float) -> Plan:
    """What to do about the number of active pods. `related`: pods of sibling owners, which crowd nodes."""
    if owner["metadata"].get("deletionTimestamp"):
        return Plan()
    active = [pod for pod in pods if is_active(pod)]
    missing = wanted(owner) - len(active)
    if missing >= 0:
        return Plan(create=min(missing, BURST))
    return Plan(delete=deletion_order(active, related, now)[: min(-missing, BURST)])


def status(owner: Object, pods: Sequence[Object], failure: tuple[str, str] | None, now: float) -> Object:
    """The status that follows from the pods; `failure` is (reason, message) of a write that was refused."""
    spec, old = owner["spec"], owner.get("status") or {}
    active = [pod for pod in pods if is_active(pod)]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    least = spec.get("minReadySeconds") or 0
    full = sum(labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in active)
    new: Object = {"replicas": len(active), "observedGeneration": owner["metadata"].get("generation", 0)}
    counts = {
        "fullyLabeledReplicas": full,
        "readyReplicas": sum(map(is_ready, active)),
        "availableReplicas": sum(is_available(pod, least, now) for pod in active),
    }
    new |= {key: value for key, value in counts.items() if value}
    if "terminatingReplicas" in old or owner.get("kind") == "ReplicaSet":
        new["terminatingReplicas"] = sum(
            bool(pod["metadata"].get("deletionTimestamp")) and not is_finished(pod) for pod in pods
        )
    known = old.get("conditions") or []
    if failure:
        before = conditions.find(known, "ReplicaFailure")
        if before is None:
            known = conditions.put(known, "ReplicaFailure", "True", *failure, now)
    else:
        known = conditions.drop(known, "ReplicaFailure")
    return new | ({"conditions": known} if known else {})


def again(owner: Object, pods: Sequence[Object], now: float) -> float | None:
    """Seconds until a ready pod becomes available by time alone."""
    least = owner["spec"].get("minReadySeconds") or 0
    return soonest_available([pod for pod in pods if is_active(pod)], least, now) if least else None
