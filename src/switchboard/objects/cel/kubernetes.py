"""All functions that Kubernetes adds to the standard ones (`apiserver/pkg/cel/library`, cel-go `ext`): lists and sets
here, `strings` and `opaques` beside."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from switchboard.objects.cel.opaques import add_opaques
from switchboard.objects.cel.standard import Table, function, method
from switchboard.objects.cel.strings import add_strings
from switchboard.objects.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    T,
    list_of,
)
from switchboard.objects.cel.values import CelError, Duration, equal

LT = list_of(T)


def _lists(table: Table) -> None:
    for kind in (INT, UINT, DOUBLE, DURATION):
        zero: Any = Duration(0) if kind is DURATION else kind_zero(kind.kind)
        method(table, "sum", (list_of(kind),), kind, functools.partial(_sum, zero), cost="each")
    for kind in (INT, UINT, DOUBLE, DURATION, TIMESTAMP, STRING, BYTES, BOOL):
        items = list_of(kind)
        method(table, "isSorted", (items,), BOOL, _sorted, cost="each")
        method(table, "min", (items,), kind, functools.partial(_extreme, min), cost="each")
        method(table, "max", (items,), kind, functools.partial(_extreme, max), cost="each")
    method(
        table, "indexOf", (LT, T), INT, lambda a, x: next((i for i, y in enumerate(a) if equal(x, y)), -1), cost="each"
    )
    method(table, "lastIndexOf", (LT, T), INT, _last, cost="each")


def kind_zero(kind: str) -> Any:
    """The sum of nothing."""
    return 0.0 if kind == "double" else 0


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


def _last(items: list[Any], wanted: Any) -> int:
    return next((i for i in range(len(items) - 1, -1, -1) if equal(items[i], wanted)), -1)


def _within(item: Any, items: list[Any]) -> bool:
    return any(equal(item, other) for other in items)


def _sets(table: Table) -> None:
    pair = (LT, LT)
    function(table, "sets.contains", pair, BOOL, lambda a, b: all(_within(x, a) for x in b), cost="sets")
    function(table, "sets.intersects", pair, BOOL, lambda a, b: any(_within(x, a) for x in b), cost="sets")
    function(
        table,
        "sets.equivalent",
        pair,
        BOOL,
        lambda a, b: all(_within(x, a) for x in b) and all(_within(x, b) for x in a),
        cost="sets",
    )


def add_to(table: Table) -> None:
    """Add everything that Kubernetes adds to a table of functions."""
    for part in (_lists, add_strings, _sets, add_opaques):
        part(table)
