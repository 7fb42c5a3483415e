"""All functions that Kubernetes adds to the standard ones (`apiserver/pkg/cel/library`, cel-go `ext`): sets here,
`lists`, `strings` and `opaques` beside."""

from __future__ import annotations

from typing import Any

from switchboard.objects.cel.lists import add_lists
from switchboard.objects.cel.opaques import add_opaques
from switchboard.objects.cel.standard import LT, Table, function
from switchboard.objects.cel.strings import add_strings
from switchboard.objects.cel.types import BOOL
from switchboard.objects.cel.values import equal


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
    for part in (add_lists, add_strings, _sets, add_opaques):
        part(table)
