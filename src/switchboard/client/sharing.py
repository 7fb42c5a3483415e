"""Equal parts of many objects held once.

A copy of ten thousand Services has ten thousand times "TCP", `["IPv4"]` and `{"loadBalancer": {}}`: decoded, a small
object is 2 KB, of which hardly a third is its own. Objects of an informer are never changed, so that texts, lists and
maps that are equal can be the same ones.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
_MOST = 8192  # parts remembered of each sort; forgetting them all now and then costs a few that are held twice
_WIDEST = 16  # entries of a list or map that is worth looking for
_LONGEST = 64  # characters of a text


class Sharing:
    """What has been seen so far."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._numbers: dict[int, int] = {}  # the small ones are shared by Python itself
        self._parts: dict[tuple[Any, ...], Any] = {}

    def object(self, obj: Object) -> Object:
        """The object, a map of its own still, with the parts that it has in common with others."""
        if max(len(self._texts), len(self._numbers), len(self._parts)) > _MOST:
            self._texts.clear()
            self._numbers.clear()
            self._parts.clear()
        texts, part = self._texts, self._part
        for key, value in obj.items():
            kind = value.__class__
            if kind is str:
                obj[key] = texts.setdefault(value, value)
            elif key == "metadata":
                self._metadata(value)
            elif kind is dict or kind is list:
                obj[key] = part(value)
        return obj

    def _metadata(self, meta: Object) -> None:
        for key, value in meta.items():
            kind = value.__class__
            if kind is str:
                if key in ("namespace", "creationTimestamp", "generateName"):
                    meta[key] = self._texts.setdefault(value, value)
            elif kind is dict or kind is list:
                meta[key] = self._part(value)

    def _part(self, value: Any) -> Any:
        """A list or map, or the equal one that was there first."""
        texts = self._texts
        pairs = value.items() if value.__class__ is dict else enumerate(value)
        for key, inner in pairs:
            kind = inner.__class__
            if kind is str:
                if len(inner) <= _LONGEST:
                    value[key] = texts.setdefault(inner, inner)
            elif kind is dict or kind is list:
                value[key] = self._part(inner)
            elif kind is int:
                value[key] = self._numbers.setdefault(inner, inner)
        if len(value) > _WIDEST:
            return value
        # What is below is shared by now: the same things have the same identity, as long as `_parts` holds them.
        if value.__class__ is dict:
            return self._parts.setdefault((*value, *map(id, value.values())), value)
        return self._parts.setdefault((list, *map(id, value)), value)
