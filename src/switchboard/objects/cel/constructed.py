"""Objects that expressions of mutations make: `Object.spec{...}` and `JSONPatch{...}`, and their form in JSON.

Sources: `apiserver/pkg/cel/mutation`, `apiserver/pkg/cel/library/jsonpatch.go`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

from switchboard.objects.cel.standard import Table, function
from switchboard.objects.cel.types import DYN, STRING, Type, list_of, object_of
from switchboard.objects.cel.values import CelError, Constructed, Duration, Timestamp

PATCH = object_of("JSONPatch", {"op": STRING, "path": STRING, "from": STRING, "value": DYN})
PATCHES = list_of(PATCH)
OBJECT = Type("Object")


def made_by(name: str) -> Type | None:
    """The type of a constructor; None when there is none of this name."""
    if name == PATCH.kind:
        return PATCH
    return Type(name) if name == OBJECT.kind or name.startswith(f"{OBJECT.kind}.") else None


def misnamed(value: Any, path: str) -> Iterator[str]:
    """Objects below a value whose type's name is not the path to them."""
    if isinstance(value, Constructed):
        if value.cel_type != path:
            yield (
                f'unexpected type name "{value.cel_type}", expected "{path}", which matches field name path from root '
                "Object type"
            )
        for name, inner in value.items():
            yield from misnamed(inner, f"{path}.{name}")
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from misnamed(inner, path)


def to_json(value: Any) -> Any:
    """A value as JSON has it. Raises CelError for those that it has not."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise CelError(f'map key "{key}" is not a string')
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [to_json(inner) for inner in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp | Duration):
        return str(value)
    raise CelError("the value has no form in JSON")


def add_constructed(table: Table) -> None:
    """Add what helps to make patches."""
    function(
        table,
        "jsonpatch.escapeKey",
        (STRING,),
        STRING,
        lambda key: key.replace("~", "~0").replace("/", "~1"),
        cost="traverse",
        size="same",
    )
