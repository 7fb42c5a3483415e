"""The small formats that cells share: ages, label sets, selectors, access modes, lists that end in "+ 2 more..."."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"


def seconds_of(timestamp: str) -> float | None:
    """An RFC 3339 time in seconds since the epoch; None when it is not one."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except (ValueError, TypeError):
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def duration(seconds: float) -> str:
    """A length of time as people say it: `5s`, `2m5s`, `90m`, `3h20m`, `47h`, `3d4h`, `200d`, `2y30d`.

    Source: apimachinery/pkg/util/duration HumanDuration.
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 120:
        return f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def since(timestamp: str | None, now: float) -> str:
    """How long ago, or `<unknown>` for a time that is not set."""
    moment = seconds_of(timestamp) if timestamp else None
    return UNKNOWN if moment is None else duration(now - moment)


def age(obj: Mapping[str, Any], now: float) -> str:
    """The Age cell."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def name(obj: Mapping[str, Any]) -> str:
    """The Name cell."""
    return str(obj["metadata"].get("name", ""))


def labels(pairs: Mapping[str, str] | None) -> str:
    """`a=b,c=d` in key order, or `<none>`."""
    return ",".join(f"{key}={pairs[key]}" for key in sorted(pairs)) if pairs else NONE


_OPERATORS = {"In": " in ", "NotIn": " notin "}


def selector(value: Mapping[str, Any] | None) -> str:
    """A LabelSelector as its string form: `a=b,c in (d,e),!f`; empty when it has no requirement."""
    if not value:
        return ""
    parts = [(key, f"{key}={wanted}") for key, wanted in (value.get("matchLabels") or {}).items()]
    for rule in value.get("matchExpressions") or ():
        key, operator = rule.get("key", ""), rule.get("operator", "")
        if operator in _OPERATORS:
            parts.append((key, f"{key}{_OPERATORS[operator]}({','.join(sorted(rule.get('values') or ()))})"))
        else:
            parts.append((key, f"!{key}" if operator == "DoesNotExist" else key))
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0]))


def selector_or_none(value: Mapping[str, Any] | None) -> str:
    """A LabelSelector as text, `<none>` when empty."""
    return selector(value) or NONE


def some(items: Iterable[str], limit: int) -> tuple[str, bool]:
    """The first `limit` joined by commas with ` + N more...` after them, and whether there were any."""
    every = list(items)
    text = ",".join(every[:limit])
    return (f"{text} + {len(every) - limit} more..." if len(every) > limit else text), bool(every)


def containers(template: Mapping[str, Any]) -> tuple[str, str]:
    """Names and images of a pod template's containers."""
    every = (template.get("spec") or {}).get("containers") or ()
    return ",".join(c.get("name", "") for c in every), ",".join(c.get("image", "") for c in every)


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def access_modes(modes: Iterable[str] | None) -> str:
    """`RWO,ROX` in a fixed order, each once."""
    found = set(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in found)


def address_and_port(address: str, port: int) -> str:
    """`10.0.0.1:80`, `[fd00::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def yes(value: Any) -> str:
    """`True` or `False`, as words in a text column."""
    return "True" if value else "False"
