"""Indexes of informers that several parts of a process ask for: under one name each, so that they are kept once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from switchboard.client.informer import Informer

Object = dict[str, Any]

PLACES: Final = "places"  # by `places`
SPACE: Final = "space"  # by `space`
SELECTOR: Final = "selector"  # by `first_pair`


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


def labelled(informer: Informer[Object], where: str, pairs: Iterable[tuple[str, str]]) -> Collection[Object]:
    """Objects of a namespace with one of these labels, the one that fewest have: all of them where none is given. Out
    of the index by places.
    """
    found = [informer.by(PLACES, place(where, key, value)) for key, value in pairs]
    return min(found, key=len) if found else informer.by(PLACES, where)


def first_pair(service: Object) -> list[str]:
    """Index function: the place of one pair of a Service's selector, the one that sorts first, as a pod has it."""
    selector = (service.get("spec") or {}).get("selector")
    if not selector:
        return []
    key = min(selector)
    return [place(service["metadata"].get("namespace") or "", key, selector[key])]
