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
