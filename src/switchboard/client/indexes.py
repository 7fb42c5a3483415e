"""Indexes of informers that several parts of a process ask for: under one name each, so that they are kept once."""

from __future__ import annotations

from typing import Any, Final

Object = dict[str, Any]

PLACES: Final = "places"  # by `places`
SPACE: Final = "space"  # by `space`


def space(obj: Object) -> list[str]:
    """Index function: the namespace of an object ("" for none)."""
    return [obj["metadata"].get("namespace") or ""]


def places(obj: Object) -> list[str]:
    """Index function: the namespace of an object, and each of its labels in that namespace (`place`)."""
    meta = obj["metadata"]
    where = meta.get("namespace") or ""
    return [where, *(place(where, key, value) for key, value in (meta.get("labels") or {}).items())]


def place(where: str, key: str, value: str) -> str:
    """Under what `places` has the objects of a namespace with a label."""
    return f"{where}/{key}={value}"
