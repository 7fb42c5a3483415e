"""What a Deployment's status says: counts, Available, Progressing and its deadline, ReplicaFailure (pure).

Source: kubernetes/pkg/controller/deployment/{progress,sync}.go, util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from switchboard.controllers import conditions
from switchboard.controllers.rollout import Bounds, available, size
from switchboard.controllers.times import seconds, stamp

Object = dict[str, Any]

NO_DEADLINE: Final = 2**31 - 1
_UPDATED: Final = "lastUpdateTime"


def counts(deployment: Object, new: Object | None, sets: Sequence[Object], limits: Bounds, now: float) -> Object:
    """The status without Progressing."""
    old = deployment.get("status") or {}

    def total(part: str, of: Sequence[Object]) -> int:
        return sum(int((rs.get("status") or {}).get(part) or 0) for rs in of)

    usable = sum(map(available, sets))
    numbers = {
        "replicas": total("replicas", sets),
        "updatedReplicas": total("replicas", [new] if new is not None else []),
        "readyReplicas": total("readyReplicas", sets),
        "availableReplicas": usable,
        "unavailableReplicas": max(0, sum(map(size, sets)) - usable),
    }
    status: Object = {"observedGeneration": deployment["metadata"].get("generation", 0)}
    status |= {key: value for key, value in numbers.items() if value}
    if any("terminatingReplicas" in (rs.get("status") or {}) for rs in sets):
        status["terminatingReplicas"] = total("terminatingReplicas", sets)
    if old.get("collisionCount") is not None:
        status["collisionCount"] = old["collisionCount"]
    known = old.get("conditions") or []
    if usable >= limits.replicas - limits.unavailable:
        text = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        text = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    status["conditions"] = _set(known, "Available", *text, now)
    return status


def _set(known: Sequence[Object], type_: str, status: str, reason: str, message: str, now: float) -> list[Object]:
    """As upstream's SetDeploymentCondition: the same status and reason again change nothing."""
    before = conditions.find(known, type_)
    if before is not None and before.get("status") == status and before.get("reason") == reason:
        return list(known)
    return conditions.put(known, type_, status, reason, message, now, also=_UPDATED, last=True)


def has_deadline(deployment: Object) -> bool:
    """Whether a rollout may fail by taking too long."""
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    return deadline is not None and deadline != NO_DEADLINE


def complete(deployment: Object, status: Object) -> bool:
    """All replicas are new, available, and alone."""
    wanted = deployment["spec"].get("replicas", 1)
    generation = deployment["metadata"].get("generation", 0)
    same = all(status.get(part, 0) == wanted for part in ("updatedReplicas", "replicas", "availableReplicas"))
    return same and status.get("observedGeneration", 0) >= generation


def _progressing(old: Object, new: Object) -> bool:
    def stale(status: Object) -> int:
        return int(status.get("replicas", 0) - status.get("updatedReplicas", 0))

    more = any(new.get(k, 0) > old.get(k, 0) for k in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return more or stale(new) < stale(old)


def _late_in(deployment: Object, known: Sequence[Object], now: float) -> float | None:
    """Seconds until the deadline (0 or less: passed); None when nothing is awaited."""
    condition = conditions.find(known, "Progressing")
    if condition is None or condition.get("reason") == "NewReplicaSetAvailable":
        return None
    if condition.get("reason") == "ProgressDeadlineExceeded":
        return 0.0
    since = condition.get(_UPDATED) or condition.get("lastTransitionTime") or stamp(now)
    return float(seconds(since) + deployment["spec"]["progressDeadlineSeconds"] - now)


def rollout(
    deployment: Object, new: Object | None, sets: Sequence[Object], limits: Bounds, now: float
) -> tuple[Object, float | None]:
    """The whole status, and seconds until the deadline should be looked at again."""
    old = deployment.get("status") or {}
    status = counts(deployment, new, sets, limits, now)
    known = status["conditions"]
    again: float | None = None
    if not has_deadline(deployment):
        known = conditions.drop(known, "Progressing")
    else:
        current = conditions.find(known, "Progressing")
        settled = (
            status.get("replicas", 0) == status.get("updatedReplicas", 0)
            and current is not None
            and current.get("reason") == "NewReplicaSetAvailable"
        )
        if not settled:
            known = _progress(deployment, new, old, status, known, now)
            left = _late_in(deployment, known, now)
            again = left + 1.0 if left and left > 0 else None
    failure = next(
        (c for rs in sets if (c := conditions.find((rs.get("status") or {}).get("conditions"), "ReplicaFailure"))), None
    )
    if failure:
        text = (failure.get("status", "True"), failure.get("reason", ""), failure.get("message", ""))
        known = _set(known, "ReplicaFailure", *text, now)
    else:
        known = conditions.drop(known, "ReplicaFailure")
    status["conditions"] = known
    return status, again


def _progress(
    deployment: Object, new: Object | None, old: Object, status: Object, known: Sequence[Object], now: float
) -> list[Object]:
    subject = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    if complete(deployment, status):
        message = f"{subject} has successfully progressed."
        return _set(known, "Progressing", "True", "NewReplicaSetAvailable", message, now)
    if _progressing(old, status):
        message = f"{subject} is progressing."
        return conditions.put(known, "Progressing", "True", "ReplicaSetUpdated", message, now, also=_UPDATED, last=True)
    left = _late_in(deployment, known, now)
    if left is not None and left <= 0:
        message = f"{subject} has timed out progressing."
        return _set(known, "Progressing", "False", "ProgressDeadlineExceeded", message, now)
    return list(known)


def noted(deployment: Object, status: str, reason: str, message: str, now: float) -> list[Object]:
    """The conditions with Progressing set on an occasion: a ReplicaSet made or found, a pause, a failure."""
    known = (deployment.get("status") or {}).get("conditions") or []
    if not has_deadline(deployment):
        return list(known)
    return _set(known, "Progressing", status, reason, message, now)
