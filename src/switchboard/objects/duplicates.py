"""Duplicate keys in a JSON body: the one thing a decoded object no longer shows."""

from __future__ import annotations

import json
from typing import Any

import msgspec


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands in the text: every pair, in order."""


def duplicate_fields(raw: bytes, decoded: Any = None) -> list[str]:
    """Paths of keys that stand twice in one object (`data.a`), in document order, each once.

    `decoded`: the body as decoded and not yet changed. When the body is as compact as its own encoding, nothing
    was lost
    in decoding, and that costs a few microseconds instead of a second parse. Text that is not JSON has no duplicates.
    """
    if decoded is not None and len(raw.strip()) == len(msgspec.json.encode(decoded)):
        return []
    try:
        tree = json.loads(raw, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return []
    found: list[str] = []
    _walk(tree, "", found)
    return list(dict.fromkeys(found))


def _walk(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, inner in value:
            here = f"{path}.{key}" if path else key
            if key in seen:
                found.append(here)
            seen.add(key)
            if inner.__class__ is _Pairs or inner.__class__ is list:
                _walk(inner, here, found)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if inner.__class__ is _Pairs or inner.__class__ is list:
                _walk(inner, f"{path}[{i}]", found)
