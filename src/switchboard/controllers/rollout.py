"""How a Deployment's ReplicaSets grow and shrink: the arithmetic of rolling updates and scaling (pure).

Source: pkg/controller/deployment/{rolling,recreate,sync}.go, util/deployment_util.go. A *step* is at most one round of
changes; the next round comes when the ReplicaSets' status tells what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]

DESIRED: Final = "deployment.kubernetes.io/desired-replicas"
MAX: Final = "deployment.kubernetes.io/max-replicas"


@dataclass(slots=True)
class Bounds:
    """spec.replicas, and the pods that may be there beyond it or be missing."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def rolling(self) -> int:
        """The most pods during a rolling update."""
        return self.replicas + self.surge


def resolve(value: Any, total: int, *, up: bool) -> int:
    """`3` or `25%` of `total`; percentages rounded up or down."""
    if isinstance(value, str) and value.endswith("%"):
        part = total * int(value[:-1])
        return -(-part // 100) if up else part // 100
    return int(value or 0)


def bounds(deployment: Object) -> Bounds:
    """The bounds of a Deployment; Recreate has no surge and no minimum."""
    spec = deployment["spec"]
    replicas = 1 if spec.get("replicas") is None else spec["replicas"]
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Bounds(replicas, 0, 0)
    rolling = strategy.get("rollingUpdate") or {}
    surge = resolve(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = resolve(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1  # two percentages that round to nothing must not stop the update for ever
    return Bounds(replicas, surge, min(unavailable, replicas))


def size(rs: Object) -> int:
    """spec.replicas of a ReplicaSet."""
    number = rs["spec"].get("replicas")
    return 1 if number is None else int(number)


def available(rs: Object) -> int:
    """status.availableReplicas of a ReplicaSet."""
    return int((rs.get("status") or {}).get("availableReplicas") or 0)


def by_age(sets: Sequence[Object]) -> list[Object]:
    """ReplicaSets, oldest first."""
    return sorted(sets, key=lambda rs: (rs["metadata"].get("creationTimestamp") or "", rs["metadata"]["name"]))


def new_size(limits: Bounds, sets: Sequence[Object], current: int, *, recreate: bool) -> int:
    """How many pods the new ReplicaSet, that has `current`, may have beside all the others in `sets`."""
    if recreate:
        return limits.replicas
    total = sum(map(size, sets))
    if total >= limits.rolling:
        return current
    return current + min(limits.rolling - total, limits.replicas - current)


def grow_new(limits: Bounds, new: Object, old: Sequence[Object]) -> int:
    """The new ReplicaSet's next size."""
    current = size(new)
    if current >= limits.replicas:
        return limits.replicas
    return new_size(limits, [*old, new], current, recreate=False)


def shrink_old(limits: Bounds, new: Object, old: Sequence[Object]) -> dict[str, int]:
    """Next sizes (by name) of old ReplicaSets, so that enough pods stay available: unhealthy ones go first."""
    sizes = {rs["metadata"]["name"]: size(rs) for rs in old}
    if not sum(sizes.values()):
        return {}
    least = limits.replicas - limits.unavailable
    new_unavailable = size(new) - available(new)
    may_go = sum(sizes.values()) + size(new) - least - new_unavailable
    if may_go <= 0:
        return {}
    changed: dict[str, int] = {}
    for rs in by_age(old):
        name = rs["metadata"]["name"]
        unhealthy = min(may_go, sizes[name] - available(rs))
        if unhealthy > 0:
            may_go -= unhealthy
            sizes[name] -= unhealthy
            changed[name] = sizes[name]
    # A status may be older than a scale-down: pods beyond a ReplicaSet's size are about to go and count for nothing.
    spare = sum(min(available(rs), size(rs)) for rs in [*old, new]) - least
    for rs in by_age(old):
        name = rs["metadata"]["name"]
        healthy = min(spare, sizes[name])
        if spare > 0 and healthy > 0:
            spare -= healthy
            sizes[name] -= healthy
            changed[name] = sizes[name]
    return changed


def is_scaling(limits: Bounds, sets: Sequence[Object]) -> bool:
    """Whether spec.replicas changed since an active ReplicaSet was last sized."""
    for rs in sets:
        text = (rs["metadata"].get("annotations") or {}).get(DESIRED, "")
        if size(rs) and text.isdigit() and int(text) != limits.replicas:
            return True
    return False


def scale(
    limits: Bounds,
    new: Object | None,
    old: Sequence[Object],
    before: int,
    *,
    recreate: bool,
    saturated: Callable[[Object], bool],
) -> dict[str, int]:
    """Sizes (by name) after spec.replicas changed: one ReplicaSet takes all; several share the change by their size.

    `before`: the pods the Deployment had (status.replicas), for ReplicaSets that do not say.
    """
    everyone = [*old, *([new] if new is not None else [])]
    active = [rs for rs in everyone if size(rs)]
    if len(active) <= 1:
        target = active[0] if active else (new if new is not None else next(iter(reversed(by_age(old))), None))
        return {} if target is None else {target["metadata"]["name"]: limits.replicas}
    if new is not None and saturated(new):
        return {rs["metadata"]["name"]: 0 for rs in old if size(rs)}
    if recreate:
        return {}
    return _shares(limits, active, before)


def _shares(limits: Bounds, active: Sequence[Object], before: int) -> dict[str, int]:
    total = sum(map(size, active))
    allowed = limits.rolling if limits.replicas > 0 else 0
    to_add = allowed - total
    # Larger first; of equal ones the newest when growing, the oldest when shrinking.
    aged = by_age(active)
    ordered = sorted(reversed(aged) if to_add > 0 else aged, key=lambda rs: -size(rs))
    sizes: dict[str, int] = {}
    added = 0
    for rs in ordered:
        share = 0
        if to_add and added != to_add:
            share = _fraction(limits, rs, before)
            share = min(share, to_add - added) if to_add > 0 else max(share, to_add - added)
        sizes[rs["metadata"]["name"]] = size(rs) + share
        added += share
    if to_add:
        first = ordered[0]["metadata"]["name"]
        sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def _fraction(limits: Bounds, rs: Object, before: int) -> int:
    """How much a ReplicaSet grows (or shrinks) if it keeps its part of the whole."""
    if limits.replicas == 0:
        return -size(rs)
    text = (rs["metadata"].get("annotations") or {}).get(MAX, "")
    base = int(text) if text.isdigit() else before
    if base <= 0:
        return 0
    return int(size(rs) * limits.rolling / base + 0.5) - size(rs)
