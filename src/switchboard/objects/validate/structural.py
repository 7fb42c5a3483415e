"""What makes a schema structural besides its types, defaults that fit their schema, fields that can be selected
(apiextensions-apiserver/pkg/apiserver/schema/{validation.go,defaulting}, pkg/apis/apiextensions/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects.errors import FieldError
from switchboard.objects.regexps import PatternError, compiled
from switchboard.objects.validate.fields import Errors
from switchboard.objects.validate.jsonschema import any_rules, check

Schema = dict[str, Any]
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_IDENTITY = ("apiVersion", "kind", "metadata")
_MOST_SELECTABLE = 8
# below allOf, anyOf, oneOf or not: field -> what it must be
_FORBIDDEN_INSIDE = {
    field: word
    for word, fields in {
        "empty": "type title description x-kubernetes-list-map-keys x-kubernetes-validations",
        "undefined": "additionalProperties default x-kubernetes-list-type x-kubernetes-map-type",
        "false": "nullable x-kubernetes-preserve-unknown-fields x-kubernetes-embedded-resource "
        "x-kubernetes-int-or-string",
    }.items()
    for field in fields.split()
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


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
    if schema.get("x-kubernetes-int-or-string"):
        for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(name):
                errs.invalid(f"{path}.{name}", True, "must be false if x-kubernetes-int-or-string is true")
    if schema.get("x-kubernetes-embedded-resource"):
        _embedded(schema, path, errs)
    if schema.get("pattern"):
        _pattern(schema["pattern"], f"{path}.pattern", errs)
    _items(schema, path, errs)
    _junctors(schema, schema, path, path, errs)


def _junctors(schema: Schema, outer: Schema | None, path: str, around: str, errs: Errors) -> None:
    for name in ("allOf", "anyOf", "oneOf"):
        for i, inner in enumerate(schema.get(name) or ()):
            if name == "anyOf" and schema["anyOf"] == _INT_OR_STRING:
                continue
            _inside(inner, outer, f"{path}.{name}[{i}]", around, errs)
    if isinstance(schema.get("not"), dict):
        _inside(schema["not"], outer, f"{path}.not", around, errs)


def _embedded(schema: Schema, path: str, errs: Errors) -> None:
    """A whole object inside of another: its identity has the usual types."""
    if schema.get("additionalProperties") is not None:
        only = "must not be used if x-kubernetes-embedded-resource is set"
        errs.forbidden(f"{path}.additionalProperties", only)
    properties = schema.get("properties") or {}
    for name, kind in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        if name in properties and properties[name].get("type") != kind:
            errs.invalid(f"{path}.properties[{name}].type", properties[name].get("type") or "", f"must be {kind}")
    if not properties and not schema.get("x-kubernetes-preserve-unknown-fields"):
        missing = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        errs.required(f"{path}.properties", missing)


def _pattern(text: str, path: str, errs: Errors) -> None:
    try:
        compiled(text)
    except PatternError as e:
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
    for name, word in _FORBIDDEN_INSIDE.items():
        if schema.get(name) or (word == "undefined" and name in schema):
            errs.forbidden(f"{path}.{name}", f"must be {word} to be structural")
    if "metadata" in (schema.get("properties") or {}):
        errs.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")
    described = (outer or {}).get("properties") or {}
    for name, inner in (schema.get("properties") or {}).items():
        here, there = f"{path}.properties[{name}]", f"{around}.properties[{name}]"
        below = described.get(name)
        if outer is not None and below is None:
            errs.required(there, f"because it is defined in {here}")
        _inside(inner, below, here, there, errs)
    if isinstance(schema.get("items"), dict):
        below = (outer or {}).get("items")
        if outer is not None and below is None:
            errs.required(f"{around}.items", f"because it is defined in {path}.items")
        _inside(schema["items"], below, f"{path}.items", f"{around}.items", errs)
    _junctors(schema, outer, path, around, errs)


def check_defaults(schema: Schema, path: str, errs: Errors, *, root: bool = True, forbidden: str = "") -> None:
    """Defaults are of their own schema, and have nothing that would be pruned. Those below additionalProperties are
    not looked at: upstream does not, either."""
    if "default" in schema:
        _default(schema, path, errs, forbidden)
    for name, inner in (schema.get("properties") or {}).items():
        top = f"in top-level {name}" if root and name in _IDENTITY else forbidden
        check_defaults(inner, f"{path}.properties[{name}]", errs, root=False, forbidden=top)
    if isinstance(schema.get("items"), dict):
        check_defaults(schema["items"], f"{path}.items", errs, root=False, forbidden=forbidden)


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
    found = Errors()
    check(value, schema, "", found)  # upstream's texts name what is inside of the default, its paths where it is
    for error in found:
        below = "" if error.field in ("", "<nil>") else f".{error.field}"
        errs.append(FieldError(error.reason, f"{where}{below}", error.message))
    if len(errs) == before:
        errs += list_doubles(value, schema, where)


def check_default_rules(schema: Schema, path: str, errs: Errors) -> None:
    """Defaults keep the expression rules of their own schema."""
    if schema.get("default") is not None and any_rules(schema):
        from switchboard.objects.cel.rules import Validator  # only who has rules pays for the language

        for error in Validator(schema)(schema["default"], None):
            below = "" if error.field == "<nil>" else f".{error.field}"
            errs.append(FieldError(error.reason, f"{path}.default{below}", error.message))
    for name, inner in (schema.get("properties") or {}).items():
        check_default_rules(inner, f"{path}.properties[{name}]", errs)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            check_default_rules(schema[name], f"{path}.{name}", errs)


def selectable_fields(fields: list[dict[str, Any]], schema: Schema, path: str, errs: Errors) -> None:
    """`selectableFields` of a version: scalar fields that its schema has."""
    from switchboard.objects.cel.fieldpaths import FieldPathError, followed  # few definitions have some

    seen: set[str] = set()
    for i, each in enumerate(fields):
        where, text = f"{path}[{i}].jsonPath", each.get("jsonPath") or ""
        if not text:
            errs.required(where)
            continue
        try:
            if "[" in text:
                raise FieldPathError("array notation is not allowed")
            found, field = followed(text, schema)
        except FieldPathError as e:
            errs.invalid(where, text, f"is an invalid path: {e}")
            continue
        if found.split(".")[1] == "metadata":
            errs.invalid(where, text, "must not point to fields in metadata")
        if field.get("type") not in ("string", "boolean", "integer"):
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
