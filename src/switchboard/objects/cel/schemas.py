"""Structural schemas in CEL: the type that expressions see of a schema, and values made from JSON by it.

Sources: `apiserver/pkg/cel/common/{schemas,values}.go`, `apiserver/pkg/cel/escaping.go`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from switchboard.objects.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Type,
    list_of,
    map_of,
    object_of,
)
from switchboard.objects.cel.values import CelError, MapList, SetList, duration, timestamp
from switchboard.objects.names import CEL_RESERVED

Schema = dict[str, Any]
MAX_REQUEST = 3 * 1024 * 1024
_ESCAPED = re.compile(r"__|[-./]|[^a-zA-Z0-9_]")
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_TEXT: Schema = {"type": "string"}
_META: Schema = {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}}
_ROOT = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _META}
# format -> type, least and most characters in JSON
_FORMATS: dict[str, tuple[Type, int, int]] = {
    "byte": (BYTES, 2, MAX_REQUEST - 2),
    "duration": (DURATION, 1, 32),
    "date": (TIMESTAMP, 10, 10),
    "date-time": (TIMESTAMP, 21, 29),
}


def escape(name: str) -> str | None:
    """A property's name as an identifier of CEL; None when it has none."""
    if not name or name[0].isdigit():
        return None
    if name in CEL_RESERVED:
        return f"__{name}__"
    if any(found not in _ESCAPES for found in _ESCAPED.findall(name)):
        return None
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], name)


def as_root(schema: Schema) -> Schema:
    """The schema of a whole object: its identity is always there to be read."""
    return {**schema, "properties": {**(schema.get("properties") or {}), **_ROOT}}


def is_embedded(schema: Schema) -> bool:
    """Whether the schema is of a whole object inside of another."""
    return bool(schema.get("x-kubernetes-embedded-resource"))


def declared(schema: Schema, name: str, root: bool = False) -> tuple[Type, int] | None:
    """(type, least size in JSON) of what has this schema; None when expressions cannot see it.

    `name` tells objects of different places apart.
    """
    if schema.get("x-kubernetes-int-or-string"):
        return DYN.sized(_length(schema)), 1
    kind = schema.get("type")
    if kind == "array":
        return _array(schema, name)
    if kind == "object":
        return _object(as_root(schema) if root else schema, name)
    if kind == "string":
        return _string(schema)
    simple = {"boolean": (BOOL, 4), "number": (DOUBLE, 1), "integer": (INT, 1)}
    return simple.get(kind or "")


def _array(schema: Schema, name: str) -> tuple[Type, int] | None:
    items = schema.get("items")
    inner = declared(items, f"{name}.@idx", is_embedded(items)) if isinstance(items, dict) else None
    if inner is None:
        return None
    most = schema.get("maxItems")
    return list_of(inner[0], max(0, most) if most is not None else (MAX_REQUEST - 2) // (inner[1] + 1)), 2


def _object(schema: Schema, name: str) -> tuple[Type, int] | None:
    rest = schema.get("additionalProperties")
    if isinstance(rest, dict):
        inner = declared(rest, f"{name}.@elem", is_embedded(rest))
        if inner is None:
            return None
        most = schema.get("maxProperties")
        return map_of(STRING, inner[0], max(0, most) if most is not None else (MAX_REQUEST - 2) // (inner[1] + 6)), 2
    fields, least = {}, 2
    required = schema.get("required") or ()
    for key, below in (schema.get("properties") or {}).items():
        found = declared(below, f"{name}.{key}", is_embedded(below))
        if found is None:
            continue
        escaped = escape(key)
        if escaped is not None:
            fields[escaped] = found[0]
        if key in required and below.get("default") is None:
            least += len(key) + found[1] + 4
    return object_of(name, fields), least


def _length(schema: Schema) -> int:
    """The most bytes of a text: characters have up to four."""
    most = schema.get("maxLength")
    return MAX_REQUEST - 2 if most is None else int(max(0, most)) * 4


def _string(schema: Schema) -> tuple[Type, int]:
    form = schema.get("format")
    if form in _FORMATS:
        type_, least, most = _FORMATS[form]
        if form == "byte" and schema.get("maxLength") is not None:
            most = max(0, schema["maxLength"])
        return type_.sized(most), least
    choices = schema.get("enum")
    if schema.get("maxLength") is None and choices:
        return STRING.sized(max(len(str(each).encode()) for each in choices)), 2
    return STRING.sized(_length(schema)), 2


Convert = Callable[[Any], Any]


def converter(schema: Schema, root: bool = False) -> Convert | None:
    """What makes CEL's value of a JSON value; None when they are the same. The result raises CelError."""
    if schema.get("x-kubernetes-int-or-string"):
        return None
    kind = schema.get("type")
    if kind == "array":
        return _array_converter(schema)
    if kind == "object":
        return _object_converter(as_root(schema) if root else schema)
    if kind == "string":
        return _TEXTS.get(schema.get("format") or "")
    if kind == "number":
        return lambda value: float(value) if type(value) is int else value
    if kind == "integer":
        return lambda value: int(value) if type(value) is float else value
    return None


def _array_converter(schema: Schema) -> Convert | None:
    items = schema.get("items") or {}
    inner = converter(items, is_embedded(items))
    semantics = schema.get("x-kubernetes-list-type")
    made: type[list[Any]] = SetList if semantics == "set" else MapList if semantics == "map" else list
    if inner is None and made is list:
        return None
    keys = tuple(escape(key) or key for key in schema.get("x-kubernetes-list-map-keys") or ())

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        found = made(value if inner is None else [inner(each) for each in value])
        if isinstance(found, MapList):
            found.keys = keys
        return found

    return convert


def _object_converter(schema: Schema) -> Convert | None:
    rest = schema.get("additionalProperties")
    if isinstance(rest, dict):
        inner = converter(rest, is_embedded(rest))
        if inner is None:
            return None
        return lambda value: {k: inner(v) for k, v in value.items()} if isinstance(value, dict) else value
    changed = {}
    for key, below in (schema.get("properties") or {}).items():
        escaped, made = escape(key), converter(below, is_embedded(below))
        if escaped != key or made is not None:
            changed[key] = (escaped, made)
    if not changed:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = {}
        for key, each in value.items():
            name, made = changed.get(key, (key, None))
            if name is not None:
                found[name] = each if made is None else made(each)
        return found

    return convert


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise CelError(f'invalid base64 format "{value}"') from None


_TEXTS: dict[str, Convert] = {
    "byte": _bytes,
    "duration": lambda value: duration(value) if isinstance(value, str) else value,
    "date": lambda value: timestamp(f"{value}T00:00:00Z") if isinstance(value, str) else value,
    "date-time": lambda value: timestamp(value) if isinstance(value, str) else value,
}
