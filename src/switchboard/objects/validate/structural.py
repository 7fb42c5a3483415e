"""What makes a schema structural besides its types, defaults that fit their schema, fields that can be selected
(apiextensions-apiserver/pkg/apiserver/schema/{validation.go,defaulting}, pkg/apis/apiextensions/validation)."""

from __future__ import annotations

import re
from typing import Any

from switchboard.objects.validate.fields import Errors
from switchboard.objects.validate.jsonschema import check

Schema = dict[str, Any]
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_IDENTITY = ("apiVersion", "kind", "metadata")
_MOST_SELECTABLE = 8
_FORBIDDEN_INSIDE = ("additionalProperties", "type", "default", "title", "description")


def check_node(schema: Schema, path: str, errs: Errors) -> None:
    """What one place of a schema may not have; those below are asked by themselves."""
    for name in _UNSUPPORTED:
        if schema.get(name) is not None:
            errs.forbidden(f"{path}.{name}", f"{name} is not supported")
    if schema.get("type") == "null":
        errs.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    for flag, word in (("x-kubernetes-embedded-resource", "is true"), ("x-kubernetes-map-type", "is specified")):
        if schema.get(flag) and schema.get("type") != "object":
            only = f"must be object if {flag} {word}"
            if schema.get("type"):
                errs.invalid(f"{path}.type", schema["type"], only)
            else:
                errs.required(f"{path}.type", only)
    form = schema.get("x-kubernetes-map-type")
    if form is not None and form not in ("atomic", "granular"):
        errs.unsupported(f"{path}.x-kubernetes-map-type", form, ("atomic", "granular"))
    if schema.get("x-kubernetes-int-or-string") and schema.get("type"):
        errs.invalid(f"{path}.type", schema["type"], "must be empty if x-kubernetes-int-or-string is true")
    if schema.get("pattern"):
        _pattern(schema["pattern"], f"{path}.pattern", errs)
    _items(schema, path, errs)
    for name in ("allOf", "anyOf", "oneOf"):
        for i, inner in enumerate(schema.get(name) or ()):
            _inside(inner, schema, f"{path}.{name}[{i}]", path, errs)
    if isinstance(schema.get("not"), dict):
        _inside(schema["not"], schema, f"{path}.not", path, errs)


def _pattern(text: str, path: str, errs: Errors) -> None:
    try:
        re.compile(text.replace(r"\z", r"\Z"))
    except re.error as e:
        errs.invalid(path, text, f"must be a valid regular expression, but isn't: {e}")


def _items(schema: Schema, path: str, errs: Errors) -> None:
    """Sets and maps: items that can be told apart."""
    kind, items = schema.get("x-kubernetes-list-type"), schema.get("items")
    if kind not in ("set", "map") or not isinstance(items, dict):
        return
    if items.get("nullable"):
        errs.forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {kind}")
    if kind != "set":
        return
    only = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
        errs.invalid(f"{path}.items.x-kubernetes-list-type", items["x-kubernetes-list-type"], only)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        errs.invalid(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type"), only)


def _inside(schema: Schema, outer: Schema | None, path: str, around: str, errs: Errors) -> None:
    """A schema below allOf, anyOf, oneOf or not: it may restrict what is described outside, and describe nothing."""
    allowed = bool(outer and outer.get("x-kubernetes-int-or-string"))
    for name in _FORBIDDEN_INSIDE:
        if schema.get(name) and not (name == "type" and allowed):
            errs.forbidden(f"{path}.{name}", "must be empty to be structural")
    for name in ("nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if schema.get(name):
            errs.forbidden(f"{path}.{name}", "must be false to be structural")
    described = (outer or {}).get("properties") or {}
    for name, inner in (schema.get("properties") or {}).items():
        here, there = f"{path}.properties[{name}]", f"{around}.properties[{name}]"
        below = described.get(name)
        if outer is not None and below is None and not isinstance((outer or {}).get("additionalProperties"), dict):
            errs.required(there, f"because it is defined in {here}")
        _inside(inner, below, here, there, errs)
    if isinstance(schema.get("items"), dict):
        below = (outer or {}).get("items")
        if outer is not None and below is None:
            errs.required(f"{around}.items", f"because it is defined in {path}.items")
        _inside(schema["items"], below, f"{path}.items", f"{around}.items", errs)
    for name in ("allOf", "anyOf", "oneOf"):
        for i, each in enumerate(schema.get(name) or ()):
            _inside(each, outer, f"{path}.{name}[{i}]", around, errs)
    if isinstance(schema.get("not"), dict):
        _inside(schema["not"], outer, f"{path}.not", around, errs)


def check_defaults(schema: Schema, path: str, errs: Errors, *, root: bool = True, forbidden: str = "") -> None:
    """Defaults are of their own schema, and have nothing that would be pruned."""
    if "default" in schema:
        _default(schema, path, errs, forbidden)
    for name, inner in (schema.get("properties") or {}).items():
        top = f"in top-level {name}" if root and name in _IDENTITY else forbidden
        check_defaults(inner, f"{path}.properties[{name}]", errs, root=False, forbidden=top)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            check_defaults(schema[name], f"{path}.{name}", errs, root=False, forbidden=forbidden)


def _default(schema: Schema, path: str, errs: Errors, forbidden: str) -> None:
    from switchboard.objects.structural import list_doubles, pruned  # which is made of what is here

    where, value = f"{path}.default", schema["default"]
    if forbidden:
        errs.forbidden(where, f"must not be set {forbidden}")
        return
    if value is None and not schema.get("nullable"):
        return  # as if there were none
    before = len(errs)
    if pruned(value, schema) != value:
        errs.invalid(where, value, "must not have unknown fields")
    check(value, schema, where, errs)
    if len(errs) == before:
        errs += list_doubles(value, schema, where)


def selectable_fields(fields: list[dict[str, Any]], schema: Schema, path: str, errs: Errors) -> None:
    """`selectableFields` of a version: scalar fields that its schema has."""
    from switchboard.objects.cel.fieldpaths import FieldPathError, field_path, schema_at  # few definitions have some

    seen: set[str] = set()
    for i, each in enumerate(fields):
        where, text = f"{path}[{i}].jsonPath", each.get("jsonPath") or ""
        if not text:
            errs.required(where)
            continue
        try:
            if "[" in text:
                raise FieldPathError("array notation is not allowed")
            found = field_path(text, schema)
        except FieldPathError as e:
            errs.invalid(where, text, f"is an invalid path: {e}")
            continue
        if found.split(".")[1] == "metadata":
            errs.invalid(where, text, "must not point to fields in metadata")
        if schema_at(text, schema).get("type") not in ("string", "boolean", "integer"):
            errs.invalid(
                where,
                text,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
                "are allowed.",
            )
        if found in seen:
            errs.duplicate(where, text)
        seen.add(found)
    if len(seen) > _MOST_SELECTABLE:
        errs.too_many(path, len(seen), _MOST_SELECTABLE)
