"""Functions on strings: cel-go `ext/strings.go` and `ext/formatting.go`, `apiserver/pkg/cel/library/regex.go`."""

from __future__ import annotations

import re
from typing import Any

from switchboard.objects.cel.standard import Table, compiled, function, method, to_text
from switchboard.objects.cel.types import (
    DYN,
    INT,
    STRING,
    T,
    list_of,
)
from switchboard.objects.cel.values import CelError

LT = list_of(T)


def _find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return found.group(0) if found is not None else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [m.group(0) for m in compiled(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


def _in_range(text: str, at: int, what: str = "index") -> None:
    if not 0 <= at <= len(text):
        raise CelError(f"{what} out of range: {at}")


def _char_at(text: str, at: int) -> str:
    _in_range(text, at)
    return text[at : at + 1]


def _index_of(text: str, wanted: str, start: int = 0) -> int:
    _in_range(text, start)
    return text.find(wanted, start)


def _last_index_of(text: str, wanted: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(wanted)
    _in_range(text, start)
    return text.rfind(wanted, 0, start + len(wanted))


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    _in_range(text, start)
    _in_range(text, end)
    if start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _ascii(text: str, low: str, high: str, move: int) -> str:
    return "".join(chr(ord(c) + move) if low <= c <= high else c for c in text)


def _split(text: str, by: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if by == "":
        parts = list(text)
        return parts if limit < 0 or len(parts) <= limit else [*parts[: limit - 1], text[limit - 1 :]]
    return text.split(by, limit - 1 if limit > 0 else -1)


_LONGEST = 16 * 1024 * 1024  # characters; costs count what goes into a function, so what comes out is bounded too


def _bounded(size: int) -> None:
    if size > _LONGEST:
        raise CelError("string too long")


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    found = text.count(old)
    _bounded(len(text) + (found if limit < 0 else min(found, limit)) * len(new))
    return text.replace(old, new, limit)


def _join(items: list[Any], by: str = "") -> str:
    if not all(isinstance(item, str) for item in items):
        raise CelError("no such overload")
    _bounded(sum(map(len, items)) + len(by) * len(items))
    return by.join(items)


_FINEST = 100  # digits after the point
_VERB = re.compile(r"%(%|(?:\.(\d+))?([a-zA-Z]))")


def _format(text: str, values: list[Any]) -> str:
    left = iter(values)

    def one(found: re.Match[str]) -> str:
        if found[1] == "%":
            return "%"
        try:
            value = next(left)
        except StopIteration:
            raise CelError(f"index {len(values)} out of range") from None
        precision = int(found[2][:9]) if found[2] else 6
        if precision > _FINEST:
            raise CelError(f"error during formatting: precision {precision} exceeds maximum of {_FINEST}")
        return _formatted(found[3], precision, value)

    return _VERB.sub(one, text)


def _formatted(verb: str, precision: int, value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if verb == "s":
        return _text(value)
    whole = number and not isinstance(value, float)
    if verb == "d" and whole:
        return str(int(value))
    if verb == "f" and number:
        return f"{value:.{precision}f}"
    if verb == "e" and number:
        return f"{value:.{precision}e}"
    if verb == "b" and isinstance(value, int):
        return f"{value:b}"
    if verb == "o" and whole:
        return f"{int(value):o}"
    if verb in "xX" and (whole or isinstance(value, (str, bytes))):
        raw = f"{value:x}" if whole else (value.encode() if isinstance(value, str) else value).hex()
        return raw.upper() if verb == "X" else raw
    raise CelError(f'error during formatting: unrecognized formatting clause "{verb}"')


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in sorted(value.items(), key=lambda e: str(e[0]))) + "}"
        )
    return "null" if value is None else to_text(value)


def add_strings(table: Table) -> None:
    """Add them to a table of functions."""
    method(table, "find", (STRING, STRING), STRING, _find, cost="matches", size="same")
    method(table, "findAll", (STRING, STRING), list_of(STRING), _find_all, cost="matches", size="same")
    method(table, "findAll", (STRING, STRING, INT), list_of(STRING), _find_all, cost="matches", size="same")
    method(table, "charAt", (STRING, INT), STRING, _char_at)
    for more in ((), (INT,)):
        method(table, "indexOf", (STRING, STRING, *more), INT, _index_of, cost="traverse")
        method(table, "lastIndexOf", (STRING, STRING, *more), INT, _last_index_of, cost="traverse")
        method(table, "substring", (STRING, INT, *more), STRING, _substring, cost="traverse", size="same")
        method(table, "split", (STRING, STRING, *more), list_of(STRING), _split, cost="twice", size="same")
        method(table, "replace", (STRING, STRING, STRING, *more), STRING, _replace, cost="twice", size="product")
    method(table, "lowerAscii", (STRING,), STRING, lambda a: _ascii(a, "A", "Z", 32), cost="traverse", size="same")
    method(table, "upperAscii", (STRING,), STRING, lambda a: _ascii(a, "a", "z", -32), cost="traverse", size="same")
    method(table, "trim", (STRING,), STRING, str.strip, cost="traverse", size="same")
    method(table, "join", (list_of(STRING),), STRING, _join, cost="twice")
    method(table, "join", (list_of(STRING), STRING), STRING, _join, cost="twice")
    method(table, "format", (STRING, list_of(DYN)), STRING, _format, cost="traverse", size="sum")
    function(
        table,
        "strings.quote",
        (STRING,),
        STRING,
        lambda a: '"' + a.replace("\\", "\\\\").replace('"', '\\"') + '"',
        cost="traverse",
    )
