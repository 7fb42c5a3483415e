"""Functions of lists: those of Kubernetes (`apiserver/pkg/cel/library/lists.go`) and of cel-go (`ext/lists.go`)."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from switchboard.objects.cel.standard import LT, Table, function, method
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
    list_of,
    optional,
)
from switchboard.objects.cel.values import NONE, CelError, Duration, Optional, equal, name_of

_ORDERED = (INT, UINT, DOUBLE, DURATION, TIMESTAMP, STRING, BYTES, BOOL)
_LONGEST_RANGE = 1_000_000  # as much as one expression may cost


def _sum(zero: Any, items: list[Any]) -> Any:
    if isinstance(zero, Duration):
        return Duration(sum(i.ns for i in items))
    return sum(items, zero)


def _sorted(items: list[Any]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(items))


def _extreme(which: Any, items: list[Any]) -> Any:
    if not items:
        raise CelError(f"{which.__name__} called on empty list")
    return which(items)


def _last_place(items: list[Any], wanted: Any) -> int:
    return next((i for i in range(len(items) - 1, -1, -1) if equal(items[i], wanted)), -1)


def _range(size: int) -> list[int]:
    if size > _LONGEST_RANGE:
        raise CelError(f"lists.range({size}) is too long")
    return list(range(size))


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    what = f"cannot slice({start}, {end})"
    if start < 0 or end < 0:
        raise CelError(f"{what}, negative indexes not supported")
    if start > end:
        raise CelError(f"{what}, start index must be less than or equal to end index")
    if end > len(items):
        raise CelError(f"{what}, list is length {len(items)}")
    return items[start:end]


def _flat(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CelError("level must be non-negative")
    found: list[Any] = []
    for item in items:
        if isinstance(item, list) and depth > 0:
            found += _flat(item, depth - 1)
        else:
            found.append(item)
    return found


def _order(items: list[Any], keys: list[Any]) -> list[Any]:
    """The items in the order of their keys, which are of one kind."""
    if len(keys) != len(items):
        raise CelError(f"@sortByAssociatedKeys() expected a list of the same size as the associated keys list, "
                       f"but got {len(items)} and {len(keys)} elements respectively.")  # fmt: skip
    if len({name_of(key) for key in keys}) > 1:
        raise CelError("list elements must have the same type")
    try:
        places = sorted(range(len(items)), key=lambda i: keys[i])
    except TypeError:
        raise CelError("list elements must be comparable") from None
    return [items[i] for i in places]


def _identity(value: Any) -> Any:
    """The same for equal values, and only for these; to be put into a set."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("list", tuple(_identity(item) for item in value))
    if isinstance(value, dict):
        return ("map", frozenset((_identity(key), _identity(inner)) for key, inner in value.items()))
    if isinstance(value, Optional):
        return ("optional", value.present, _identity(value.value))
    return ("number", value) if isinstance(value, (int, float)) else (name_of(value), value)


def _first_of_each(items: list[Any]) -> list[Any]:
    seen: dict[Any, Any] = {}
    for item in items:
        seen.setdefault(_identity(item), item)
    return list(seen.values())


def _end(items: list[Any], at: int) -> Optional:
    return Optional(True, items[at]) if items else NONE


def _unwrapped(items: list[Any]) -> list[Any]:
    return [item.value for item in items if item.present]


def _ordered(table: Table) -> None:
    for kind in (INT, UINT, DOUBLE, DURATION):
        zero: Any = Duration(0) if kind is DURATION else 0.0 if kind is DOUBLE else 0
        method(table, "sum", (list_of(kind),), kind, functools.partial(_sum, zero), cost="each")
    for kind in _ORDERED:
        items = list_of(kind)
        method(table, "isSorted", (items,), BOOL, _sorted, cost="each")
        method(table, "min", (items,), kind, functools.partial(_extreme, min), cost="each")
        method(table, "max", (items,), kind, functools.partial(_extreme, max), cost="each")
        method(table, "sort", (items,), items, lambda a: _order(a, a), cost="each", size="same")
        method(table, "@sortByAssociatedKeys", (LT, items), LT, _order, cost="each", size="same")
    method(
        table, "indexOf", (LT, T), INT, lambda a, x: next((i for i, y in enumerate(a) if equal(x, y)), -1), cost="each"
    )
    method(table, "lastIndexOf", (LT, T), INT, _last_place, cost="each")


def add_lists(table: Table) -> None:
    """Add everything here to a table of functions."""
    _ordered(table)
    function(table, "lists.range", (INT,), list_of(INT), _range, cost="range")
    method(table, "slice", (LT, INT, INT), LT, _slice, cost="each", size="same")
    method(table, "flatten", (list_of(list_of(T)),), LT, _flat, cost="each")
    method(table, "flatten", (list_of(DYN), INT), list_of(DYN), _flat, cost="each")
    method(table, "distinct", (LT,), LT, _first_of_each, cost="each", size="same")
    method(table, "reverse", (LT,), LT, lambda a: a[::-1], cost="each", size="same")
    method(table, "first", (LT,), optional(T), lambda a: _end(a, 0))
    method(table, "last", (LT,), optional(T), lambda a: _end(a, -1))
    several = list_of(optional(K))
    function(table, "optional.unwrap", (several,), list_of(K), _unwrapped, cost="each")
    method(table, "unwrapOpt", (several,), list_of(K), _unwrapped, cost="each")
