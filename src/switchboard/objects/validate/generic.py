"""What the type table itself says of kinds that have no rules of their own here: required fields and enumerations."""

from __future__ import annotations

from typing import Any

from switchboard.objects.types import definitions
from switchboard.objects.validate.fields import Errors

Schema = dict[str, Any]
_SKIP = ("metadata", "status", "kind", "apiVersion")


def by_schema(definition: str, obj: dict[str, Any], errs: Errors) -> None:
    """Check an object against its definition's `required` and `enum`; metadata and status are not looked at."""
    _object(definitions()[definition], {k: v for k, v in obj.items() if k not in _SKIP}, "", errs)


def _object(schema: Schema, obj: dict[str, Any], path: str, errs: Errors) -> None:
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in _SKIP and obj.get(name) in (None, "") and properties.get(name, {}).get("type") != "array":
            errs.required(f"{path}.{name}" if path else name)
    for name, value in obj.items():
        if name in properties and value is not None:
            _value(properties[name], value, f"{path}.{name}" if path else name, errs)


def _value(schema: Schema, value: Any, path: str, errs: Errors) -> None:
    if "$ref" in schema:
        schema = definitions().get(schema["$ref"], {})
    allowed = schema.get("enum")
    if allowed and value not in allowed and value != "":
        errs.unsupported(path, value, tuple(allowed))
    if isinstance(value, dict):
        if "properties" in schema:
            _object(schema, value, path, errs)
        elif isinstance(schema.get("additionalProperties"), dict):
            for key, inner in value.items():
                _value(schema["additionalProperties"], inner, f"{path}[{key}]", errs)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if inner is not None:
                _value(schema.get("items") or {}, inner, f"{path}[{i}]", errs)
