"""Status conditions: find, set, drop; a condition's transition time moves only when its status does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from switchboard.controllers.times import stamp

Object = dict[str, Any]


def find(conditions: Iterable[Object] | None, type_: str) -> Object | None:
    """The condition of that type, or None."""
    return next((c for c in conditions or () if c.get("type") == type_), None)


def is_true(conditions: Iterable[Object] | None, type_: str) -> bool:
    """Whether the condition is there with status True."""
    found = find(conditions, type_)
    return found is not None and found.get("status") == "True"


def put(
    conditions: Iterable[Object] | None,
    type_: str,
    status: str,
    reason: str,
    message: str,
    now: float,
    *,
    also: str = "",
    last: bool = False,
) -> list[Object]:
    """The conditions with this one set (in its place, else at the end). `also` names a second time that every kind
    calls differently (lastUpdateTime, lastProbeTime); it moves with each set. `last` puts the condition at the end."""
    moment = stamp(now)
    before = find(conditions, type_)
    same = before is not None and before.get("status") == status
    new = {
        "type": type_,
        "status": status,
        **({also: moment} if also else {}),
        "lastTransitionTime": before.get("lastTransitionTime", moment) if before and same else moment,
        "reason": reason,
        "message": message,
    }
    new = {key: value for key, value in new.items() if value != ""}
    if last:
        return [*(c for c in conditions or () if c is not before), new]
    if before is None:
        return [*(conditions or ()), new]
    return [new if c is before else c for c in conditions or ()]


def drop(conditions: Iterable[Object] | None, type_: str) -> list[Object]:
    """The conditions without that type."""
    return [c for c in conditions or () if c.get("type") != type_]
