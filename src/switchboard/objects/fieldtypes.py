"""What a value's fields are to their owners: leaf, struct, map, keyed list or set; compiled from schemas when met.

Types come from the type table, from a custom kind's OpenAPI schema, or are deduced from the value where there is no
schema (maps field by field, lists whole). Source: kube-openapi/pkg/schemaconv and structured-merge-diff/schema.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from switchboard.objects.presence import NULLS, short
from switchboard.objects.types import definitions

Schema = dict[str, Any]
_encode = msgspec.json.encode

LEAF, STRUCT, MAP, KEYED, SET, DEDUCED = "leaf", "struct", "map", "keyed", "set", "deduced"


class Type:
    """How one value is divided among owners. Fields and items are compiled when asked for: types contain themselves."""

    __slots__ = (
        "_declared",
        "_item",
        "_item_schema",
        "_resolve",
        "defaults",
        "inside",
        "keys",
        "kind",
        "known",
        "open",
        "scalar",
    )

    def __init__(self, kind: str, *, resolve: Callable[[Schema], Type] | None = None, scalar: str = "") -> None:
        self.kind = kind
        self.scalar = scalar  # of leaves: string, integer, number, boolean, array, object, or scalar (any of those)
        self.inside: Type | None = None  # what an atomic list or map is made of, which it is checked against
        self.open = False  # a struct that also takes fields it does not declare
        self.keys: tuple[str, ...] = ()
        self.defaults: dict[str, Any] = {}
        self._resolve = resolve
        self._declared: dict[str, Schema] = {}
        self.known: dict[str, Field] = {}  # declared fields met so far
        self._item: Type | None = None
        self._item_schema: Schema | None = None

    @property
    def item(self) -> Type:
        """The type of a list's or map's values."""
        if self._item is None:
            schema = self._item_schema
            self._item = self._resolve(schema) if schema is not None and self._resolve is not None else UNTYPED
        return self._item

    def declares(self, name: str) -> bool:
        """Whether a struct names this field."""
        return name in self._declared

    def field(self, name: str) -> Field:
        """The field of a struct or map; undeclared ones are deduced."""
        found = self.known.get(name)
        if found is None:
            schema = self._declared.get(name)
            if schema is not None and self._resolve is not None:
                found = Field(f"f:{name}", self._resolve(schema), schema)
                self.known[name] = found
            else:  # keys of maps are not kept: there is no end of them
                found = Field(f"f:{name}", self.item, None)
        return found

    def element(self, item: Any) -> str:
        """The path element of a list item: `k:{"port":80,"protocol":"TCP"}`, `v:"x"`. Absent keys take defaults."""
        if self.kind == SET:
            return f"v:{_encode(item).decode()}"
        if not isinstance(item, dict):
            return f"v:{_encode(item).decode()}"
        pairs = {}
        for key in self.keys:
            if key in item:
                pairs[key] = item[key]
            elif (default := self.defaults.get(key)) is not None:
                pairs[key] = default
        return f"k:{_encode(pairs).decode()}"


class Field:
    """A field as seen from its struct: its path element, its type, and what an empty object has in its place."""

    __slots__ = ("element", "nested", "nullable", "type", "zero")

    def __init__(self, element: str, type_: Type, schema: Schema | None) -> None:
        self.element, self.type = element, type_
        # Go's empty object has an empty struct here (a struct field that is not a pointer), or a zero scalar.
        default = schema.get("default") if schema is not None else None
        self.nested = default == {} and type_.kind == STRUCT
        self.zero: Any = default if default in ("", 0, False, {}) else None
        self.nullable = False


UNTYPED = Type(DEDUCED)
_SCALARS = {"string", "integer", "number", "boolean"}


def _compile(schema: Schema, resolve: Callable[[Schema], Type]) -> Type:
    """One schema, already freed of its `$ref`."""
    type_ = schema.get("type", "")
    if resolve is _resolve and (
        schema.get("x-kubernetes-int-or-string") or "oneOf" in schema or schema.get("format") == "int-or-string"
    ):
        return Type(LEAF, scalar="scalar")
    if type_ in _SCALARS:
        plain = resolve is not _resolve or schema.get("format", "byte") == "byte" or type_ != "string"
        return Type(LEAF, scalar=type_ if plain else "scalar")
    if type_ == "array":
        return _compile_list(schema, resolve)
    if type_ != "object" and "properties" not in schema:
        return UNTYPED
    if schema.get("x-kubernetes-map-type") == "atomic":
        leaf = Type(LEAF, scalar="object")
        leaf.inside = _compile_map(schema, resolve)
        return leaf
    return _compile_map(schema, resolve)


def _compile_map(schema: Schema, resolve: Callable[[Schema], Type]) -> Type:
    properties, more = schema.get("properties"), schema.get("additionalProperties")
    embedded = schema.get("x-kubernetes-embedded-resource")
    out = Type(STRUCT if properties or embedded else MAP, resolve=resolve)
    out.open = resolve is _resolve_open or bool(more)
    if isinstance(more, dict):
        out._item_schema = more
    out._declared = dict(properties or {})
    if embedded:
        for name, text in (("apiVersion", "string"), ("kind", "string")):
            out._declared.setdefault(name, {"type": text})
        out._declared["metadata"] = {"$ref": _OBJECT_META}
    return out


def _compile_list(schema: Schema, resolve: Callable[[Schema], Type]) -> Type:
    relation = schema.get("x-kubernetes-list-type", "atomic")
    if relation not in ("map", "set"):
        leaf = Type(LEAF, scalar="array")
        leaf.inside = Type("", resolve=resolve)
        leaf.inside._item_schema = schema.get("items", {})
        return leaf
    out = Type(KEYED if relation == "map" else SET, resolve=resolve)
    out._item_schema = schema.get("items", {})
    out.keys = tuple(sorted(schema.get("x-kubernetes-list-map-keys", ())))
    if out.keys:
        item = out._item_schema or {}
        if "$ref" in item:
            item = definitions().get(item["$ref"], {})
        properties = item.get("properties", {})
        out.defaults = {key: properties[key]["default"] for key in out.keys if "default" in properties.get(key, {})}
    return out


_RAW_EXTENSION = "io.k8s.apimachinery.pkg.runtime.RawExtension"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


@cache
def definition_type(name: str) -> Type:
    """The type of a definition of the type table; deduced when the table does not have it."""
    schema = definitions().get(name)
    if schema is None:
        return UNTYPED
    if name == _RAW_EXTENSION:
        return Type(LEAF)
    out = _compile(schema, _resolve)
    if out.kind == STRUCT:
        out.known = {}
        for field_name in (*schema.get("required", ()), *NULLS.get(short(name), ())):
            declared = out._declared.get(field_name)
            if declared is not None and "default" not in declared:
                out.field(field_name).nullable = True  # no `omitempty`: an empty object has null here
    return out


def _resolve(schema: Schema) -> Type:
    ref = schema.get("$ref")
    if ref is None:
        return _compile(schema, _resolve)
    # `x-kubernetes-map-type` beside a reference overrides that of the definition.
    relation = schema.get("x-kubernetes-map-type")
    if relation is not None:
        target = {key: value for key, value in definitions().get(ref, {}).items() if key != "x-kubernetes-map-type"}
        return _compile(target | {"x-kubernetes-map-type": relation}, _resolve)
    return definition_type(ref)


def _resolve_custom(schema: Schema) -> Type:
    """A part of a custom kind's schema; what keeps unknown fields keeps them all the way down."""
    if "$ref" in schema:
        return _resolve(schema)
    if schema.get("x-kubernetes-preserve-unknown-fields") is True:
        return _resolve_open(schema)
    return _compile(schema, _resolve_custom)


def _resolve_open(schema: Schema) -> Type:
    return _resolve(schema) if "$ref" in schema else _compile(schema, _resolve_open)


def schema_type(schema: Schema | None) -> Type:
    """The type of a custom kind from its OpenAPI v3 schema; metadata is ObjectMeta whatever the schema says."""
    if schema:
        out = _resolve_custom(schema | {"type": "object", "properties": schema.get("properties", {}) | _IDENTITY})
    else:
        out = Type(STRUCT, resolve=_resolve)
        out.open = True
        out._declared = dict(_IDENTITY)
    return out


_IDENTITY: Schema = {
    "metadata": {"$ref": _OBJECT_META},
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
}
