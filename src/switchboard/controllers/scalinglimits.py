"""How far and how fast a HorizontalPodAutoscaler may go: its bounds, stabilization windows and policies (pure).

Source: pkg/controller/podautoscaler/horizontal.go. What was recommended and done lately is kept in a `History`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

Object = dict[str, Any]
Said = tuple[str, str, str, str]  # type, status, reason and message of a condition

DOWNSCALE_STABILIZATION: Final = 300  # --horizontal-pod-autoscaler-downscale-stabilization, seconds
_UNBOUNDED: Final = 2**31 - 1


@dataclass(slots=True)
class History:
    """Of one autoscaler: recommendations before any limit, and replicas added (or, negative, taken), with times."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    scalings: list[tuple[float, int]] = field(default_factory=list)

    def begin(self, replicas: int, now: float) -> None:
        """What was there when first seen counts as recommended, so that a restart scales nothing down at once."""
        if not self.recommendations:
            self.recommendations.append((now, replicas))

    def scaled(self, before: int, after: int, now: float, behavior: Object | None) -> None:
        """Note a scaling, for the policies."""
        rules = [(behavior or {}).get(way) or {} for way in ("scaleUp", "scaleDown")]
        longest = max((p["periodSeconds"] for r in rules for p in r.get("policies") or ()), default=0)
        self.scalings = [(at, change) for at, change in self.scalings if now - at <= longest]
        if longest:
            self.scalings.append((now, after - before))

    def recommend(self, replicas: int, now: float, keep: float) -> None:
        """Note a recommendation; those older than `keep` seconds are forgotten."""
        self.recommendations = [(at, count) for at, count in self.recommendations if now - at <= keep]
        self.recommendations.append((now, replicas))

    def since(self, now: float, window: float) -> list[int]:
        """Recommendations of the last `window` seconds."""
        return [count for at, count in self.recommendations if now - at < window]

    def net(self, now: float, period: float) -> int:
        """Replicas added in the last `period` seconds, less those taken."""
        return sum(change for at, change in self.scalings if now - at < period)


@dataclass(frozen=True, slots=True)
class Bounds:
    """From `spec`."""

    least: int
    most: int


_READY: Final[Said] = ("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
_LOWER: Final = "recent recommendations were lower than current one, applying the lowest recent recommendation"
_HIGHER: Final = "recent recommendations were higher than current one, applying the highest recent recommendation"
_WITHIN: Final = ("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_MANY: Final = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FEW: Final = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_TOO_FAST: Final = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_DOWN_FAST: Final = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")


def limit(
    current: int, desired: int, bounds: Bounds, behavior: Object | None, history: History, now: float
) -> tuple[int, list[Said]]:
    """(replicas to have now, conditions that say why); notes the recommendation."""
    if behavior is None:
        steady, said = _steady(desired, history, now)
        allowed, why = _without_rules(current, steady, bounds)
    else:
        up, down = behavior.get("scaleUp") or {}, behavior.get("scaleDown") or {}
        steady, said = _steady_both_ways(current, desired, up, down, history, now)
        allowed, why = _with_rules(current, steady, bounds, up, down, history, now)
    return allowed, [said, ("ScalingLimited", "True" if allowed != steady else "False", *why)]


def _steady(desired: int, history: History, now: float) -> tuple[int, Said]:
    best = max([desired, *history.since(now, DOWNSCALE_STABILIZATION)])
    history.recommend(desired, now, DOWNSCALE_STABILIZATION)
    return best, _READY if best == desired else ("AbleToScale", "True", "ScaleDownStabilized", _HIGHER)


def _window(rules: Object, otherwise: int) -> int:
    given = rules.get("stabilizationWindowSeconds")
    return otherwise if given is None else int(given)


def _steady_both_ways(
    current: int, desired: int, up: Object, down: Object, history: History, now: float
) -> tuple[int, Said]:
    rising, falling = _window(up, 0), _window(down, DOWNSCALE_STABILIZATION)
    lowest = min([desired, *history.since(now, rising)])
    highest = max([desired, *history.since(now, falling)])
    history.recommend(desired, now, max(rising, falling))
    best = min(max(current, lowest), highest)
    if best == desired:
        return best, _READY
    if desired >= current:
        return best, ("AbleToScale", "True", "ScaleUpStabilized", _LOWER)
    return best, ("AbleToScale", "True", "ScaleDownStabilized", _HIGHER)


def _without_rules(current: int, desired: int, bounds: Bounds) -> tuple[int, tuple[str, str]]:
    """At most the double, or four, at once."""
    fastest = max(2 * current, 4)
    most, why = (fastest, _TOO_FAST) if bounds.most > fastest else (bounds.most, _TOO_MANY)
    if desired < bounds.least:
        return bounds.least, _TOO_FEW
    return (most, why) if desired > most else (desired, _WITHIN)


def _with_rules(
    current: int, desired: int, bounds: Bounds, up: Object, down: Object, history: History, now: float
) -> tuple[int, tuple[str, str]]:
    if desired > current:
        fastest = max(current, _fastest(current, up, history, now, up=True))
        most, why = (fastest, _TOO_FAST) if bounds.most > fastest else (bounds.most, _TOO_MANY)
        if desired > most:
            return most, why
    elif desired < current:
        slowest = min(current, _fastest(current, down, history, now, up=False))
        least, why = (slowest, _DOWN_FAST) if bounds.least < slowest else (bounds.least, _TOO_FEW)
        if desired < least:
            return least, why
    return desired, _WITHIN


def _fastest(current: int, rules: Object, history: History, now: float, *, up: bool) -> int:
    """The most (or, down, the fewest) replicas that the policies allow now."""
    chosen = rules.get("selectPolicy") or "Max"
    if chosen == "Disabled":
        return current
    policies = rules.get("policies") or ()
    allowed = [_reached(current - history.net(now, p["periodSeconds"]), p, up=up) for p in policies]
    if up == (chosen == "Max"):
        return max(allowed, default=_UNBOUNDED if up else 0)
    return min(allowed, default=_UNBOUNDED if up else 0)


def _reached(start: int, policy: Object, *, up: bool) -> int:
    """Where a policy's period leads to from its start."""
    by = policy["value"] if up else -policy["value"]
    if policy["type"] == "Pods":
        return int(start + by)
    # Up: a share that is less than one pod would never scale.
    return int(-(-start * (100 + by) // 100)) if up else math.trunc(start * (100 + by) / 100)
