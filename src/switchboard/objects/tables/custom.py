"""Rows of custom resources: the name, then the JSONPath columns that their CustomResourceDefinition names.

Source: apiextensions-apiserver/pkg/registry/customresource/tableconvertor.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from switchboard.objects.kinds import Kind
from switchboard.objects.tables import human
from switchboard.objects.tables.jsonpath import JsonPathError, Path, parse

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _printer_columns(kind: Kind) -> list[dict[str, Any]]:
    versions = ((kind.extra or {}).get("spec") or {}).get("versions") or () if isinstance(kind.extra, dict) else ()
    version: dict[str, Any] = next((v for v in versions if v.get("name") == kind.version), {})
    return version.get("additionalPrinterColumns") or [_AGE]


def columns(kind: Kind) -> list[dict[str, Any]]:
    """Name, then `additionalPrinterColumns` (Age when there are none)."""
    out = [{"name": "Name", "type": "string", "format": "name", "description": "Name of the object", "priority": 0}]
    for column in _printer_columns(kind):
        out.append(
            {
                "name": column["name"],
                "type": column["type"],
                "format": column.get("format", ""),
                "description": column.get("description") or f"Custom column at {column['jsonPath']}",
                "priority": column.get("priority", 0),
            }
        )
    return out


@lru_cache(maxsize=1024)
def _path(text: str) -> Path | None:
    try:
        return parse(text)
    except JsonPathError:  # validation lets none through; an old object must still be listed
        return None


def row_cells(kind: Kind, obj: dict[str, Any], now: float) -> list[Any]:
    """The cells; a path that finds nothing is null."""
    cells: list[Any] = [human.name(obj)]
    for column in _printer_columns(kind):
        path = _path(column["jsonPath"])
        try:
            found = path.find(obj) if path is not None else []
        except JsonPathError:
            found = []
        cells.append(_cell(column["type"], found[0], now) if found else None)
    return cells


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _cell(type_: str, value: Any, now: float) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match type_:
        case "string":
            return "<nil>" if value is None else _text(value)
        case "integer":
            return int(value) if number else None
        case "number":
            return float(value) if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date" if isinstance(value, str):
            moment = human.seconds_of(value)
            return "<invalid>" if moment is None else human.duration(now - moment)
    return None
