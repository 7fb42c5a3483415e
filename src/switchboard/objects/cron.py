"""Cron schedules of five fields, and the @descriptors: parse, with the error texts of upstream's parser
(robfig/cron v3)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from switchboard.objects.durations import SECOND, nanoseconds

_MONTHS = dict(zip("jan feb mar apr may jun jul aug sep oct nov dec".split(), range(1, 13), strict=True))
_DAYS = dict(zip("sun mon tue wed thu fri sat".split(), range(7), strict=True))
_BOUNDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 6, _DAYS),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class CronError(ValueError):
    """The text is no schedule; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The values each field allows. `every`: seconds between runs for `@every 5m`, the fields are empty then.

    `any_day`: day of month or of week is `*`; then both must fit, otherwise one of them is enough.
    """

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    every: float = 0.0


def parse(text: str) -> Schedule:
    """`*/5 * * * *` or `@hourly` -> Schedule; CronError otherwise. A `TZ=` prefix is not for here."""
    if not text:
        raise CronError("empty spec string")
    if text.startswith("@"):
        if text.startswith("@every "):
            return _every(text)
        if text not in _DESCRIPTORS:
            raise CronError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != 5:
        raise CronError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, hours, days, months, weekdays = (_field(f, *bounds[1:]) for f, bounds in zip(fields, _BOUNDS, strict=True))
    stars = any(fields[i].split("/")[0] in ("*", "?") for i in (2, 4))
    return Schedule(minutes, hours, days, months, weekdays, stars)


def _every(text: str) -> Schedule:
    try:
        return Schedule(every=max(1.0, nanoseconds(text[len("@every ") :]) / SECOND))
    except ValueError as error:
        raise CronError(f"failed to parse duration {text}: {error}") from None


def _field(text: str, low: int, high: int, words: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        if part:
            found |= _range(part, low, high, words)
    return frozenset(found)


def _range(part: str, low: int, high: int, words: dict[str, int]) -> set[int]:
    pieces = part.split("/")
    ends = pieces[0].split("-")
    if ends[0] in ("*", "?"):
        start, end = low, high
    else:
        start = _number(ends[0], words)
        if len(ends) > 2:
            raise CronError(f"too many hyphens: {part}")
        end = _number(ends[1], words) if len(ends) == 2 else start
    step = 1
    if len(pieces) == 2:
        step = _number(pieces[1], {})
        if len(ends) == 1 and ends[0] not in ("*", "?"):
            end = high  # "N/step" means "N-max/step"
    elif len(pieces) > 2:
        raise CronError(f"too many slashes: {part}")
    if start < low:
        raise CronError(f"beginning of range ({start}) below minimum ({low}): {part}")
    if end > high:
        raise CronError(f"end of range ({end}) above maximum ({high}): {part}")
    if start > end:
        raise CronError(f"beginning of range ({start}) beyond end of range ({end}): {part}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {part}")
    return set(range(start, end + 1, step))


def _number(text: str, words: dict[str, int]) -> int:
    found = words.get(text.lower())
    if found is not None:
        return found
    if not re.match(r"[+-]?[0-9]+\Z", text):
        raise CronError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise CronError(f"negative number ({number}) not allowed: {text}")
    return number
