"""A value against an OpenAPI v3 schema, with the words of kube-openapi (pkg/validation/validate,
pkg/validation/errors)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from datetime import date
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from switchboard.objects.durations import nanoseconds
from switchboard.objects.errors import FieldError
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
    _type(value, schema, path, errs)
    if schema.get("enum") and value not in schema["enum"]:
        errs.unsupported(path, value, schema["enum"])
    if isinstance(value, dict):
        _object(value, schema, path, errs, root, old)
    elif isinstance(value, list):
        _array(value, schema, path, errs, old)
    elif isinstance(value, str):
        _string(value, schema, path, errs)
    elif value is None:
        return
    elif not isinstance(value, bool):
        _number(value, schema, path, errs)
    _combined(value, schema, path, errs)


_NUMBERS = ("int32", "int64", "float", "double")


def _type(value: Any, schema: Schema, path: str, errs: Errors) -> None:
    """The type; where a format is given, values of other types are told about that, and lists about nothing."""
    kind = schema.get("type")
    kinds = ("integer", "string") if schema.get("x-kubernetes-int-or-string") else (kind,) if kind else ()
    if not kinds or any(_fits(value, each) for each in kinds):
        return
    actual, form = word(value), schema.get("format") or ""
    numeric = kind in ("integer", "number")
    meant = form in _NUMBERS if numeric else form.replace("-", "") in _FORMATS  # others are as if they were not there
    if meant and value is not None:
        if not isinstance(value, str | list):
            number = "int64" if actual == "integer" else "float64" if actual == "number" else ""
            errs.wrong_type(path, number, f'{path} in body must be of type {form}: "{number}"')
            return
        if not numeric:
            return
    errs.wrong_type(path, actual, f'{path} in body must be of type {",".join(kinds)}: "{actual}"')


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
    pattern = schema.get("pattern")  # of these three, the first that is wrong is told
    if len(value) > schema.get("maxLength", len(value)):
        errs.too_long(path, schema["maxLength"])
    elif len(value) < schema.get("minLength", 0):
        errs.invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long")
    elif pattern and not matches(pattern, value):
        errs.invalid(path, value, f"{path} in body should match '{pattern}'")
    known = _FORMATS.get((schema.get("format") or "").replace("-", ""))
    if known is not None and not _has_form(known, value):
        errs.wrong_type(path, value, f"{path} in body must be of type {schema['format']}: {shown(value)}")


def _in_range(value: float, form: str | None) -> bool:
    bits = 31 if form == "int32" else 63
    return value == int(value) and -(1 << bits) <= value < 1 << bits


def _number(value: float, schema: Schema, path: str, errs: Errors) -> None:
    if schema.get("type") == "integer" and not _in_range(value, schema.get("format")):
        form = f"with format {schema['format']}" if schema.get("format") else "(default format)"
        errs.invalid("<nil>", "", f"Checked value must be of type integer {form} in {path}")
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if isinstance(value, int):  # upstream compares whole numbers with what is whole of the bounds
        least, most = (int(bound) if bound is not None else None for bound in (least, most))
    if least is not None and (value < least or (schema.get("exclusiveMinimum") and value == least)):
        more = "" if schema.get("exclusiveMinimum") else " or equal to"
        errs.invalid(path, value, f"{path} in body should be greater than{more} {least}")
    if most is not None and (value > most or (schema.get("exclusiveMaximum") and value == most)):
        more = "" if schema.get("exclusiveMaximum") else " or equal to"
        errs.invalid(path, value, f"{path} in body should be less than{more} {most}")
    if step and abs(value / step - round(value / step)) > 1e-9:
        errs.invalid(path, value, f"{path} in body should be a multiple of {step}")


def _errors(value: Any, schema: Schema, path: str) -> Errors:
    errs = Errors()
    check(value, schema, path, errs)
    return errs


def _extend(errs: Errors, more: Iterable[FieldError]) -> None:
    """What is said already is not said again."""
    errs.extend(error for error in more if error not in errs)


def _combined(value: Any, schema: Schema, path: str, errs: Errors) -> None:
    every = [_errors(value, below, path) for below in schema.get("allOf") or ()]
    if any(every):
        for each in every:
            _extend(errs, each)
        none = ". None validated" if all(every) else ""
        errs.invalid("<nil>", "", f'"{path}" must validate all the schemas (allOf){none}')
    if schema.get("anyOf"):
        found = [_errors(value, below, path) for below in schema["anyOf"]]
        if all(found):
            errs.invalid("<nil>", "", f'"{path}" must validate at least one schema (anyOf)')
            _extend(errs, found[0])
    if schema.get("oneOf"):
        found = [_errors(value, below, path) for below in schema["oneOf"]]
        held = sum(not each for each in found)
        if held != 1:
            said = f"Found {held} valid alternatives" if held else "Found none valid"
            errs.invalid("<nil>", "", f'"{path}" must validate one and only one schema (oneOf). {said}')
            _extend(errs, () if held else found[0])
    if schema.get("not") and not _errors(value, schema["not"], path):
        errs.invalid("<nil>", "", f'"{path}" must not validate the schema (not)')


def _has_form(known: Callable[[str], object], value: str) -> bool:
    try:
        return known(value) is not False
    except (ValueError, binascii.Error):
        return False


# As strfmt has it, odd as it is: the alternatives are bound to one end each.
_LETTER = r"a-zA-Z0-9\p{S}\p{L}"
_HOSTNAME = (
    rf"^([{_LETTER}]((-?[{_LETTER}]{{0,62}})?)|([{_LETTER}](([a-zA-Z0-9-\p{{S}}\p{{L}}]{{0,61}}[{_LETTER}])?)(\.))"
    r"{1,}([a-zA-Z\p{L}]){2,63})$"
)

_UNITS = re.compile(
    r"ns|nano.*|us|µs|micro.*|ms|milli.*|s|sec.*|m|min.*|h|hr|hour.*|d|day.*|w|wk|week.*", re.IGNORECASE
)


def _is_duration(text: str) -> bool:
    """Go's durations, and words as `2 days`."""
    try:
        return nanoseconds(text) is not None
    except ValueError:
        units = (unit for _, unit in re.findall(r"(\d+)\s*([A-Za-zµ]+)", text))
        return any(_UNITS.fullmatch(unit) for unit in units)


# format name without dashes -> raises or gives False when the text has not that form
_FORMATS: dict[str, Callable[[str], object]] = {
    "datetime": parse_time,
    "date": lambda text: re.match(r"\d{4}-\d\d-\d\d\Z", text) is not None and date.fromisoformat(text) is not None,
    "byte": lambda text: bool(base64.b64decode(text, validate=True)),
    "duration": _is_duration,
    "uuid": UUID,
    "ipv4": lambda text: ip_address(text).version == 4,
    "ipv6": lambda text: ip_address(text).version == 6,
    "cidr": lambda text: "/" in text and ip_network(text, strict=False) is not None,
    "email": lambda text: re.match(r"[^@\s]+@[^@\s]+\Z", text) is not None,
    "hostname": lambda text: len(text) <= 255 and matches(_HOSTNAME, text) and max(map(len, text.split("."))) <= 63,
    "uri": lambda text: re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None,
    "mac": lambda text: re.match(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\Z", text) is not None,
}
