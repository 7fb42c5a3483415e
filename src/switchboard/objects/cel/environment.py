"""The one environment: all functions, and expressions compiled against variables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from switchboard.objects.cel import authorizer, constructed, kubernetes, standard
from switchboard.objects.cel.check import Checked, check
from switchboard.objects.cel.evaluate import Program
from switchboard.objects.cel.standard import Table
from switchboard.objects.cel.syntax import parse
from switchboard.objects.cel.types import Type


@cache
def functions() -> Table:
    """Every function by its name."""
    table: Table = {}
    standard.add_to(table)
    kubernetes.add_to(table)
    authorizer.add_to(table)
    constructed.add_constructed(table)
    return table


def checked(text: str, variables: Mapping[str, Type], *, constructs: bool = False) -> Checked:
    """An expression with its types; whether it may construct objects and patches. Raises CompileError."""
    if constructs:
        return check(parse(text), variables, functions(), constructed.made_by)
    return check(parse(text), variables, functions())


def program(text: str, variables: Mapping[str, Type]) -> Program:
    """An expression, ready to run. Raises CompileError."""
    return Program(checked(text, variables))
