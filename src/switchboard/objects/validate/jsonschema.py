"""A value against an OpenAPI v3 schema, with the words of kube-openapi (pkg/validation/validate,
pkg/validation/errors)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from switchboard.objects.patch import equal
from switchboard.objects.regexps import matches
from switchboard.objects.scalars import parse_time
from switchboard.objects.validate.fields import Errors, shown

Schema = dict[str, Any]
_IDENTITY = ("apiVersion", "kind", "metadata")


def word(value: Any) -> str:
    """The type of a JSON value as messages name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) else "number"
    return "array" if isinstance(value, list) else "object"


def _fits(value: Any, kind: str) -> bool:
    if kind == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    if kind == "number":
        return not isinstance(value, bool) and isinstance(value, (int, float))
    return word(value) == kind


def any_rules(schema: Any) -> bool:
    """Whether there are expression rules anywhere in a schema."""
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(any_rules(inner) for inner in schema.values())
    return isinstance(schema, list) and any(any_rules(inner) for inner in schema)


ABSENT: Any = object()


def check(value: Any, schema: Schema, path: str, errs: Errors, *, root: bool = False, old: Any = ABSENT) -> None:
    """Add every violation; fields are visited in the order of their names.

    `old` is the value that this one replaces: what an update leaves as it was is not held against it (KEP-4008).
    """
    if old is not ABSENT and value == old and equal(value, old):  # the first of them is quicker to say no
        return
    if value is None and schema.get("nullable"):
        return
    if not _type(value, schema, path, errs):
        return
    if schema.get("enum") and value not in schema["enum"]:
        errs.unsupported(path, value, schema["enum"])
    if isinstance(value, dict):
        _object(value, schema, path, errs, root, old)
    elif isinstance(value, list):
        _array(value, schema, path, errs, old)
    elif isinstance(value, str):
        _string(value, schema, path, errs)
    elif not isinstance(value, bool) and value is not None:
        _number(value, schema, path, errs)
    _combined(value, schema, path, errs)


def _type(value: Any, schema: Schema, path: str, errs: Errors) -> bool:
    kind = schema.get("type")
    kinds = ("integer", "string") if schema.get("x-kubernetes-int-or-string") else (kind,) if kind else ()
    if not kinds or any(_fits(value, each) for each in kinds):
        return True
    actual = word(value)
    detail = f'{path or "<root>"} in body must be of type {",".join(kinds)}: "{actual}"'
    errs.wrong_type(path, actual, detail)
    if kind == "integer" and actual == "number" and {"minimum", "maximum", "multipleOf"} & schema.keys():
        errs.invalid("<nil>", "", f"Checked value must be of type integer (default format) in {path}")
    return False


def _object(value: dict[str, Any], schema: Schema, path: str, errs: Errors, root: bool, old: Any) -> None:
    before = old if isinstance(old, dict) and schema.get("x-kubernetes-map-type") != "atomic" else {}
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in schema.get("required") or ():
        if name not in value:
            errs.required(f"{path}.{name}" if path else name)
    for name in sorted(value):
        if root and name in _IDENTITY:
            continue
        below = properties.get(name, rest)
        if isinstance(below, dict):
            check(value[name], below, f"{path}.{name}" if path else name, errs, old=before.get(name, ABSENT))
    size = len(value)
    if size < schema.get("minProperties", 0):
        errs.invalid(path, size, f"{path} in body should have at least {schema['minProperties']} properties")
    if size > schema.get("maxProperties", size):
        errs.too_many(path, size, schema["maxProperties"])


def by_key(schema: Schema, items: Any) -> dict[str, Any]:
    """The items of a list whose items are known by keys, by these; nothing for other lists."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(items, list):
        return {}
    return {key_of(schema, item): item for item in items}


def key_of(schema: Schema, item: Any) -> str:
    """The keys of an item, as text; "" for what has none."""
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    return repr([item.get(key) for key in keys]) if isinstance(item, dict) else ""


def _array(value: list[Any], schema: Schema, path: str, errs: Errors, old: Any) -> None:
    size = len(value)
    if size < schema.get("minItems", 0):
        errs.invalid(path, size, f"{path} in body should have at least {schema['minItems']} items")
    if size > schema.get("maxItems", size):
        errs.too_many(path, size, schema["maxItems"])
    if isinstance(schema.get("items"), dict):
        before = by_key(schema, old)
        for i, entry in enumerate(value):
            earlier = before.get(key_of(schema, entry), ABSENT) if before else ABSENT
            check(entry, schema["items"], f"{path}[{i}]", errs, old=earlier)
    if schema.get("uniqueItems") and len({shown(entry) for entry in value}) != size:
        errs.invalid(path, value, f"{path} in body shouldn't contain duplicates")


def _string(value: str, schema: Schema, path: str, errs: Errors) -> None:
    if len(value) > schema.get("maxLength", len(value)):
        errs.too_long(path, schema["maxLength"])
    if len(value) < schema.get("minLength", 0):
        errs.invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long")
    pattern = schema.get("pattern")
    if pattern and not matches(pattern, value):
        errs.invalid(path, value, f"{path} in body should match '{pattern}'")
    known = _FORMATS.get((schema.get("format") or "").replace("-", ""))
    if known is not None and not _has_form(known, value):
        errs.invalid(path, value, f"{path} in body must be of type {schema['format']}: {shown(value)}")


def _number(value: float, schema: Schema, path: str, errs: Errors) -> None:
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if least is not None and (value < least or (schema.get("exclusiveMinimum") and value == least)):
        more = "" if schema.get("exclusiveMinimum") else " or equal to"
        errs.invalid(path, value, f"{path} in body should be greater than{more} {least}")
    if most is not None and (value > most or (schema.get("exclusiveMaximum") and value == most)):
        more = "" if schema.get("exclusiveMaximum") else " or equal to"
        errs.invalid(path, value, f"{path} in body should be less than{more} {most}")
    if step and abs(value / step - round(value / step)) > 1e-9:
        errs.invalid(path, value, f"{path} in body should be a multiple of {step}")


def _valid(value: Any, schema: Schema, path: str) -> bool:
    errs = Errors()
    check(value, schema, path, errs)
    return not errs


def _combined(value: Any, schema: Schema, path: str, errs: Errors) -> None:
    for below in schema.get("allOf") or ():
        check(value, below, path, errs)
    if schema.get("anyOf") and not any(_valid(value, below, path) for below in schema["anyOf"]):
        errs.invalid(
            path, shown(value) if path == "" else value, f"{path} in body must validate at least one schema (anyOf)"
        )
    if schema.get("oneOf") and sum(_valid(value, below, path) for below in schema["oneOf"]) != 1:
        errs.invalid(path, value, f"{path} in body must validate one and only one schema (oneOf)")
    if schema.get("not") and _valid(value, schema["not"], path):
        errs.invalid(path, value, f"{path} in body must not validate the schema (not)")


def _has_form(known: Callable[[str], object], value: str) -> bool:
    try:
        return known(value) is not False
    except (ValueError, binascii.Error):
        return False


# format name without dashes -> raises or gives False when the text has not that form
_FORMATS: dict[str, Callable[[str], object]] = {
    "datetime": parse_time,
    "date": lambda text: re.match(r"\d{4}-\d\d-\d\d\Z", text) is not None,
    "byte": lambda text: base64.b64decode(text, validate=True),
    "uuid": UUID,
    "ipv4": lambda text: ip_address(text).version == 4,
    "ipv6": lambda text: ip_address(text).version == 6,
    "cidr": lambda text: ip_network(text, strict=False),
    "email": lambda text: re.match(r"[^@\s]+@[^@\s]+\Z", text) is not None,
    "hostname": lambda text: re.match(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z", text) is not None,
    "uri": lambda text: re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None,
    "mac": lambda text: re.match(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\Z", text) is not None,
}
