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
_REPEATED = frozenset(("namespace", "creationTimestamp", "generateName"))  # of the texts in metadata
_NOTHING: Object = {}


class Sharing:
    """What has been seen so far."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._numbers: dict[int, int] = {}  # the small ones are shared by Python itself
        self._parts: dict[tuple[Any, ...], Any] = {}

    def object(self, obj: Object, old: Object | None = None) -> Object:
        """The object, a map of its own still, with the parts that it has in common with others.

        `old`: what it was before; most of it is, and comparing is quicker than looking at every part. (True is 1 to
        Python, but a field of a kind has one type.)
        """
        if max(len(self._texts), len(self._numbers), len(self._parts)) > _MOST:
            self._texts.clear()
            self._numbers.clear()
            self._parts.clear()
        before = _NOTHING if old is None else old
        self._top(obj["metadata"], before.get("metadata", _NOTHING), _REPEATED)
        self._top(obj, before, None)
        return obj

    def _top(self, obj: Object, old: Object, texts: frozenset[str] | None) -> None:
        """The fields of a map that nobody shares; of its texts only `texts` may be others' too (None: any)."""
        for key, value in obj.items():
            kind = value.__class__
            if kind is str:
                if texts is None or key in texts:
                    obj[key] = self._texts.setdefault(value, value)
            elif (kind is dict or kind is list) and (texts is not None or key != "metadata"):
                before = old.get(key)
                obj[key] = before if before == value else self._part(value)

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
