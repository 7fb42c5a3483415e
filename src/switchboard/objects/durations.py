"""Durations as Go reads them: `1h30m`, `-1.5s`, `0`."""

from __future__ import annotations

import re

SECOND = 10**9
_UNITS = {"h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 10**6, "us": 1000, "µs": 1000, "μs": 1000, "ns": 1}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(h|ms|m|s|us|µs|μs|ns)")
_DIGITS = 19  # more of them before the point are out of range, behind it less than any unit


def nanoseconds(text: str) -> int:
    """What a text stands for (time.ParseDuration). Raises ValueError, with Go's words."""
    body = text[1:] if text.startswith(("+", "-")) else text
    if body == "0":
        return 0
    wrong = ValueError(f'time: invalid duration "{text}"')
    total, at = 0, 0
    while at < len(body):
        found = _PART.match(body, at)
        if found is None:
            raise wrong
        whole, fraction, unit = found.groups("")
        if (not whole and not fraction) or len(whole.lstrip("0")) > _DIGITS:
            raise wrong
        total += int(whole[-_DIGITS:] or 0) * _UNITS[unit]
        fraction = fraction[:_DIGITS]
        total += int(fraction or 0) * _UNITS[unit] // 10 ** len(fraction)
        at = found.end()
    negative = text.startswith("-")
    if not body or total >= (1 << 63) + negative:
        raise wrong
    return -total if negative else total


def shown(duration: int) -> str:
    """Nanoseconds as Go's `time.Duration.String()` prints them: `1h0m5s`, `1.5s`, `100ms`, `0s`."""
    sign, left = ("-", -duration) if duration < 0 else ("", duration)
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if left < size * 1000 and left < 1_000_000_000:
            return f"{sign}{_decimal(left, size)}{unit}" if left else "0s"
    hours, left = divmod(left, 3_600_000_000_000)
    minutes, left = divmod(left, 60_000_000_000)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{head}{_decimal(left, 1_000_000_000)}s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else str(whole)
