"""The OpenAPI schemas of custom kinds: what their definition says, with the fields that every object has.

Version 2 is read by kubectl before 1.27 to validate objects, which takes every schema with properties to be complete.
So, as upstream, v2 shows less wherever unknown fields or null are allowed. Source: `apiextensions-apiserver`,
`pkg/controller/openapi/{builder/builder.go,v2/conversion.go}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from switchboard.api.openapi_paths import META, schema_name
from switchboard.api.openapi_texts import TEXTS
from switchboard.api.selection import selectable_fields
from switchboard.objects.kinds import Kind

Schema = dict[str, Any]

_PRESERVE, _EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
_JUNCTORS = ("allOf", "oneOf", "anyOf", "not")


def custom_schemas(kind: Kind, *, v2: bool = False) -> dict[str, Schema]:
    """The components of a custom kind: itself and its list."""
    gvk = {"group": kind.group, "version": kind.version}
    items = {"type": "array", "items": {"$ref": schema_name(kind)}}
    many: Schema = {
        "description": f"{kind.list_kind} is a list of {kind.kind} objects.",
        "type": "object",
        "required": ["items"],
        "properties": _type_meta() | {"items": items, "metadata": _metadata("ListMeta")},
        "x-kubernetes-group-version-kind": [gvk | {"kind": kind.list_kind}],
    }
    one = _object(kind.schema or {}, v2=v2) | {"x-kubernetes-group-version-kind": [gvk | {"kind": kind.kind}]}
    selectable = selectable_fields(kind)
    if selectable:
        one["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in selectable]
    return {schema_name(kind): one, schema_name(kind, kind.list_kind): many}


def _type_meta() -> Schema:
    return {name: {"type": "string", "description": TEXTS[name]} for name in ("apiVersion", "kind")}


def _metadata(name: str) -> Schema:
    return {"$ref": f"{META}.{name}", "description": TEXTS["metadata"]}


def _object(schema: Schema, *, v2: bool) -> Schema:
    if not schema or (v2 and schema.get(_PRESERVE)):
        return {"type": "object"}  # any property here would make kubectl refuse all others
    out = _embedding(_reduced(schema) if v2 else schema, v2=v2)
    return {**out, "type": "object", "properties": {**out.get("properties", {}), **_common()}}


def _common() -> Schema:
    return _type_meta() | {"metadata": _metadata("ObjectMeta")}


def _inside(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """The schema with its parts (properties, items, additionalProperties) changed."""
    out = dict(schema)
    if isinstance(schema.get("properties"), dict):
        out["properties"] = {name: change(inner) for name, inner in schema["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            out[name] = change(schema[name])
    return out


def _embedding(schema: Schema, *, v2: bool) -> Schema:
    """Embedded resources with the fields that they have as objects."""
    out = _inside(schema, lambda inner: _embedding(inner, v2=v2))
    if not out.get(_EMBEDDED) or (v2 and out.get(_PRESERVE)):
        return out
    required = list(out.get("required") or ())
    required += [name for name in ("kind", "apiVersion") if name not in required]
    return {**out, "properties": {**out.get("properties", {}), **_common()}, "required": required}


def _reduced(schema: Schema) -> Schema:
    """A schema without what v2 cannot say and old clients misread."""
    out = {name: value for name, value in schema.items() if name not in _JUNCTORS}
    nullable, preserve = out.pop("nullable", False), out.get(_PRESERVE, False)
    if nullable:
        out.pop("type", None)
    if nullable or preserve:
        out.pop("items", None)
        out.pop("properties", None)
    if (out.get("type") == "array" and "items" not in out) or (preserve and out.get("type") == "object"):
        out.pop("type")
    nulls = [name for name, inner in (out.get("properties") or {}).items() if inner.get("nullable")]
    more = out.get("additionalProperties")
    required = [name for name in out.pop("required", None) or () if name not in nulls]
    if required and not (isinstance(more, dict) and more.get("nullable")):
        out["required"] = required
    return _inside(out, _reduced)
