"""CEL's standard functions and operators."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from switchboard.objects import regexps
from switchboard.objects.cel.check import Overload
from switchboard.objects.cel.evaluate import indexed, no_overload, whole
from switchboard.objects.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    K,
    T,
    Type,
    V,
    list_of,
    map_of,
    optional,
    type_of,
)
from switchboard.objects.cel.values import (
    NONE,
    CelError,
    Duration,
    Optional,
    Timestamp,
    TypeValue,
    UInt,
    added,
    duration,
    equal,
    name_of,
    timestamp,
)

Table = dict[str, list[Overload]]
LT, MT, OT = list_of(T), map_of(K, V), optional(T)


def function(
    table: Table, name: str, signature: tuple[Type, ...], result: Type, run: Callable[..., Any], **more: Any
) -> None:
    """Add an overload of a function."""
    table.setdefault(name, []).append(Overload(signature, result, run, **more))


def method(
    table: Table, name: str, signature: tuple[Type, ...], result: Type, run: Callable[..., Any], **more: Any
) -> None:
    """Add an overload of a method; its target comes first in the signature."""
    function(table, name, signature, result, run, member=True, **more)


def _uint(value: int) -> UInt:
    if not 0 <= value < 1 << 64:
        raise CelError("unsigned integer overflow")
    return UInt(value)


def _span(ns: int) -> Duration:
    if not -(1 << 63) <= ns < 1 << 63:
        raise CelError("integer overflow")
    return Duration(ns)


def _instant(ns: int) -> Timestamp:
    if not -62135596800 * 10**9 <= ns <= 253402300799999999999:
        raise CelError("timestamp overflow")
    return Timestamp(ns)


def _divided(a: int, b: int) -> int:
    if b == 0:
        raise CelError("division by zero")
    return whole(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


def _rest(a: int, b: int) -> int:
    if b == 0:
        raise CelError("modulus by zero")
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def _fraction(a: float, b: float) -> float:
    if b == 0:
        return float("nan") if a == 0 or a != a else float("inf") * (1 if a > 0 else -1)
    return a / b


def _udiv(a: int, b: int) -> UInt:
    return UInt(_divided(int(a), int(b)))


def _umod(a: int, b: int) -> UInt:
    if b == 0:
        raise CelError("modulus by zero")
    return UInt(int(a) % int(b))


def _arithmetic(table: Table) -> None:
    for name, op in (("_+_", operator.add), ("_-_", operator.sub), ("_*_", operator.mul)):
        function(table, name, (INT, INT), INT, lambda a, b, op=op: whole(op(a, b)))
        function(table, name, (UINT, UINT), UINT, lambda a, b, op=op: _uint(op(int(a), int(b))))
        function(table, name, (DOUBLE, DOUBLE), DOUBLE, op)
    function(table, "_/_", (INT, INT), INT, _divided)
    function(table, "_/_", (UINT, UINT), UINT, _udiv)
    function(table, "_/_", (DOUBLE, DOUBLE), DOUBLE, _fraction)
    function(table, "_%_", (INT, INT), INT, _rest)
    function(table, "_%_", (UINT, UINT), UINT, _umod)
    for kind in (STRING, BYTES):
        function(table, "_+_", (kind, kind), kind, operator.add, cost="concat", size="sum")
    function(table, "_+_", (LT, LT), LT, added, size="sum")
    function(table, "_+_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: _instant(a.ns + b.ns))
    function(table, "_+_", (DURATION, TIMESTAMP), TIMESTAMP, lambda a, b: _instant(a.ns + b.ns))
    function(table, "_+_", (DURATION, DURATION), DURATION, lambda a, b: _span(a.ns + b.ns))
    function(table, "_-_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: _instant(a.ns - b.ns))
    function(table, "_-_", (TIMESTAMP, TIMESTAMP), DURATION, lambda a, b: _span(a.ns - b.ns))
    function(table, "_-_", (DURATION, DURATION), DURATION, lambda a, b: _span(a.ns - b.ns))
    function(table, "-_", (INT,), INT, lambda a: whole(-a))
    function(table, "-_", (DOUBLE,), DOUBLE, operator.neg)
    function(table, "!_", (BOOL,), BOOL, operator.not_)


def _comparing(table: Table) -> None:
    numbers = (INT, UINT, DOUBLE)
    for name, op in (("_<_", operator.lt), ("_<=_", operator.le), ("_>_", operator.gt), ("_>=_", operator.ge)):
        for a in numbers:
            for b in numbers:
                function(table, name, (a, b), BOOL, op)
        for kind in (STRING, BYTES):
            function(table, name, (kind, kind), BOOL, op, cost="compare")
        for kind in (BOOL, TIMESTAMP, DURATION):
            function(table, name, (kind, kind), BOOL, op)
    function(table, "_==_", (T, T), BOOL, equal, cost="compare")
    function(table, "_!=_", (T, T), BOOL, lambda a, b: not equal(a, b), cost="compare")
    function(table, "@in", (T, LT), BOOL, lambda a, b: any(equal(a, x) for x in b), cost="in")
    function(table, "@in", (K, MT), BOOL, lambda a, b: a in b)
    function(table, "_[_]", (LT, INT), T, indexed)
    function(table, "_[_]", (MT, K), V, indexed)
    function(table, "_[_]", (optional(LT), INT), OT, indexed)
    function(table, "_[_]", (optional(MT), K), optional(V), indexed)
    for kind in (STRING, BYTES, LT, MT):
        function(table, "size", (kind,), INT, len)
        method(table, "size", (kind,), INT, len)
    function(table, "@map_insert", (MT, MT), MT, _inserted, size="sum")


def _inserted(old: dict[Any, Any], new: dict[Any, Any]) -> dict[Any, Any]:
    for key in new:
        if key in old:
            raise CelError(f"insert failed: key {key} already exists")
    return {**old, **new}


def to_text(value: Any) -> str:
    """`string(value)`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        return repr(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
    return str(value)


def _integer(value: Any) -> int:
    try:
        if isinstance(value, float):
            if value != value or abs(value) >= 1 << 63:
                raise CelError("integer overflow")
            return int(value)
        if isinstance(value, Timestamp):
            return value.ns // 10**9
        if isinstance(value, str) and ("_" in value or value != value.strip()):
            raise ValueError(value)
        return whole(int(value) if not isinstance(value, UInt) else value + 0)
    except ValueError:
        raise CelError(
            f"type conversion error from 'string' to 'int': strconv.ParseInt: parsing \"{value}\": invalid syntax"
        ) from None


def _double(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise CelError(f"type conversion error from 'string' to 'double': \"{value}\"") from None


def _unsigned(value: Any) -> UInt:
    try:
        return _uint(int(value))
    except (ValueError, OverflowError):
        raise CelError(f"type conversion error from 'string' to 'uint': \"{value}\"") from None


def _truth(value: str) -> bool:
    if value in ("true", "True", "TRUE", "t", "1"):
        return True
    if value in ("false", "False", "FALSE", "f", "0"):
        return False
    raise CelError(f'strconv.ParseBool: parsing "{value}": invalid syntax')


def _converting(table: Table) -> None:
    function(table, "dyn", (T,), DYN, lambda a: a)
    function(table, "type", (T,), type_of(T), lambda a: TypeValue(name_of(a)))
    for kind in (INT, UINT, DOUBLE, STRING, TIMESTAMP):
        function(table, "int", (kind,), INT, _integer)
    for kind in (INT, UINT, DOUBLE, STRING):
        function(table, "double", (kind,), DOUBLE, _double)
        function(table, "uint", (kind,), UINT, _unsigned)
    for kind in (INT, UINT, DOUBLE, STRING, BOOL, TIMESTAMP, DURATION):
        function(table, "string", (kind,), STRING, to_text)
    function(table, "string", (BYTES,), STRING, to_text, cost="traverse", size="same")
    function(table, "bytes", (STRING,), BYTES, str.encode, cost="traverse")
    function(table, "bytes", (BYTES,), BYTES, lambda a: a)
    function(table, "bool", (BOOL,), BOOL, lambda a: a)
    function(table, "bool", (STRING,), BOOL, _truth)
    function(table, "timestamp", (STRING,), TIMESTAMP, timestamp)
    function(table, "timestamp", (INT,), TIMESTAMP, lambda a: _instant(a * 10**9))
    function(table, "timestamp", (TIMESTAMP,), TIMESTAMP, lambda a: a)
    function(table, "duration", (STRING,), DURATION, duration)
    function(table, "duration", (INT,), DURATION, lambda a: _span(a * 10**9))
    function(table, "duration", (DURATION,), DURATION, lambda a: a)


_PARTS: dict[str, Callable[[Any], int]] = {
    "getFullYear": lambda d: d.year,
    "getMonth": lambda d: d.month - 1,
    "getDate": lambda d: d.day,
    "getDayOfMonth": lambda d: d.day - 1,
    "getDayOfWeek": lambda d: d.isoweekday() % 7,
    "getDayOfYear": lambda d: d.timetuple().tm_yday - 1,
    "getHours": lambda d: d.hour,
    "getMinutes": lambda d: d.minute,
    "getSeconds": lambda d: d.second,
    "getMilliseconds": lambda d: d.microsecond // 1000,
}
_SPANS = {"getHours": 3600 * 10**9, "getMinutes": 60 * 10**9, "getSeconds": 10**9, "getMilliseconds": 10**6}


def _zoned(value: Timestamp, zone: str) -> Any:
    if ":" in zone:
        sign, text = (-1, zone[1:]) if zone[0] == "-" else (1, zone.lstrip("+"))
        hours, _, minutes = text.partition(":")
        try:
            return value.when() + sign * timedelta(hours=int(hours), minutes=int(minutes))
        except ValueError:
            raise CelError(f"unknown time zone {zone}") from None
    try:
        return value.when().astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        raise CelError(f"unknown time zone {zone}") from None


def _times(table: Table) -> None:
    for name, part in _PARTS.items():
        method(table, name, (TIMESTAMP,), INT, lambda a, part=part: part(a.when()))
        method(table, name, (TIMESTAMP, STRING), INT, lambda a, z, part=part: part(_zoned(a, z)))
    for name, unit in _SPANS.items():
        method(table, name, (DURATION,), INT, lambda a, unit=unit: int(a.ns / unit) if unit > 1 else a.ns)


def _value(found: Optional) -> Any:
    if not found.present:
        raise CelError("optional.none() dereference")
    return found.value


def _zero(value: Any) -> bool:
    return value is None or (not isinstance(value, (Timestamp, Duration)) and not value)


def _optionals(table: Table) -> None:
    function(table, "optional.of", (T,), OT, lambda a: Optional(True, a))
    function(table, "optional.ofNonZeroValue", (T,), OT, lambda a: NONE if _zero(a) else Optional(True, a))
    function(table, "optional.none", (), optional(DYN), lambda: NONE)
    method(table, "hasValue", (OT,), BOOL, lambda a: a.present)
    method(table, "value", (OT,), T, _value)
    method(table, "orValue", (OT, T), T, lambda a, b: a.value if a.present else b)
    method(table, "or", (OT, OT), OT, lambda a, b: a if a.present else b)


def compiled(pattern: str) -> Any:
    """A pattern in RE2's syntax, in linear time. Raises CelError."""
    try:
        return regexps.compiled(pattern)
    except regexps.PatternError as e:
        raise CelError(str(e)) from None


def _strings(table: Table) -> None:
    method(table, "startsWith", (STRING, STRING), BOOL, str.startswith, cost="second")
    method(table, "endsWith", (STRING, STRING), BOOL, str.endswith, cost="second")
    method(table, "contains", (STRING, STRING), BOOL, operator.contains, cost="product")

    def matches(text: str, pattern: str) -> bool:
        return compiled(pattern).search(text) is not None

    method(table, "matches", (STRING, STRING), BOOL, matches, cost="matches")
    function(table, "matches", (STRING, STRING), BOOL, matches, cost="matches")


def _never(*_: Any) -> Any:
    raise no_overload()


def add_to(table: Table) -> None:
    """Add everything here to a table of functions."""
    for part in (_arithmetic, _comparing, _converting, _times, _optionals, _strings):
        part(table)
    for name in ("_&&_", "_||_"):
        function(table, name, (BOOL, BOOL), BOOL, _never)
    function(table, "_?_:_", (BOOL, T, T), T, _never)
    function(table, "@not_strictly_false", (BOOL,), BOOL, _never)
