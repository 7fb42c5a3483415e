"""Values of CEL that Python has no like for, equality across number types, and errors of evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from switchboard.objects.durations import nanoseconds

NANO = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)\Z")


class CelError(Exception):
    """Evaluation failed; `&&` and `||` may not care."""

    cost = 0  # of the evaluation until then


class CostExceeded(Exception):
    """The expression costs more than it may."""


class UInt(int):
    """An unsigned integer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """Nanoseconds since 1970."""

    ns: int

    def when(self) -> datetime:
        """Date and time in UTC."""
        return _EPOCH + timedelta(microseconds=self.ns // 1000)

    def __str__(self) -> str:
        text = self.when().strftime("%Y-%m-%dT%H:%M:%S").rjust(20 - 1, "0")
        fraction = f"{self.ns % NANO:09d}".rstrip("0")
        return f"{text}.{fraction}Z" if fraction else f"{text}Z"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """Nanoseconds."""

    ns: int

    def __str__(self) -> str:
        sign, ns = ("-", -self.ns) if self.ns < 0 else ("", self.ns)
        whole, fraction = divmod(ns, NANO)
        rest = f"{fraction:09d}".rstrip("0")
        return f"{sign}{whole}.{rest}s" if rest else f"{sign}{whole}s"


@dataclass(frozen=True, slots=True)
class Optional:
    """A value, or none."""

    present: bool
    value: Any = None


NONE = Optional(False)


@dataclass(frozen=True, slots=True)
class TypeValue:
    """What `type(x)` gives."""

    name: str


class Constructed(dict[str, Any]):
    """What a constructor made: fields, and the name of its type."""

    def __init__(self, cel_type: str, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.cel_type = cel_type


class SetList(list[Any]):
    """A list with set semantics: equality and `+` do not look at order."""


class MapList(list[Any]):
    """A list of objects known by their keys."""

    keys: tuple[str, ...] = ()


def duration(text: str) -> Duration:
    """`1h30m` in Go's notation. Raises CelError."""
    try:
        return Duration(nanoseconds(text))
    except ValueError as error:
        raise CelError(str(error)) from None


def timestamp(text: str) -> Timestamp:
    """An RFC 3339 time, or a date alone. Raises CelError."""
    found = _TIME.match(text)
    try:
        if found is None:
            raise ValueError(text)
        year, month, day, hour, minute, second = (int(g) for g in found.groups()[:6])
        made = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        zone = found[8]
        if zone not in "Zz":
            ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
            made = made - ahead if zone[0] == "+" else made + ahead
    except (ValueError, OverflowError):
        raise CelError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse it') from None
    elapsed = made - _EPOCH
    fraction = int((found[7] or "0").ljust(9, "0"))
    return Timestamp((elapsed.days * 86400 + elapsed.seconds) * NANO + fraction)


_NAMES: dict[type, str] = {
    bool: "bool", int: "int", UInt: "uint", float: "double", str: "string", bytes: "bytes", list: "list",
    SetList: "list", MapList: "list", dict: "map", type(None): "null_type", Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration", Optional: "optional_type", TypeValue: "type",
}  # fmt: skip


def name_of(value: Any) -> str:
    """The name of a value's type."""
    found = _NAMES.get(type(value))
    return found if found is not None else str(value.cel_type)


_NUMBERS = ("int", "uint", "double")


def equal(a: Any, b: Any) -> bool:
    """CEL's `==`: numbers by value, containers by content, different types never."""
    kind, other = type(a), type(b)
    if kind is other and kind in (str, int, bool, bytes):
        return bool(a == b)
    left, right = name_of(a), name_of(b)
    if left != right:
        return left in _NUMBERS and right in _NUMBERS and bool(a == b)
    if left == "list":
        return _lists(a, b)
    if left == "map":
        return len(a) == len(b) and all(k in b and equal(v, b[k]) for k, v in a.items())
    if left == "optional_type":
        return bool(a.present == b.present) and (not a.present or equal(a.value, b.value))
    return bool(a == b)


def _lists(a: list[Any], b: list[Any]) -> bool:
    if len(a) != len(b):
        return False
    if isinstance(a, (SetList, MapList)):
        return all(any(equal(x, y) for y in b) for x in a)
    return all(equal(x, y) for x, y in zip(a, b, strict=True))


def added(a: list[Any], b: list[Any]) -> list[Any]:
    """`+` of two lists; those with set or map semantics merge."""
    if isinstance(a, SetList):
        return SetList([*a, *(x for x in b if not any(equal(x, y) for y in a))])
    if isinstance(a, MapList):
        made = MapList(a)
        made.keys = a.keys
        places = {tuple(repr(x.get(k)) for k in a.keys): i for i, x in enumerate(a)}
        for x in b:
            place = places.get(tuple(repr(x.get(k)) for k in a.keys))
            if place is None:
                made.append(x)
            else:
                made[place] = x
        return made
    return [*a, *b]
