"""Very many small sets of keys, one for each of very many values: most have one key or a few, and take no more room."""

from __future__ import annotations

from collections.abc import Collection

_FEW = 8  # keys in a tuple, which a search goes through


class KeySets:
    """Values -> keys, in the order in which they came."""

    __slots__ = ("_sets",)

    def __init__(self) -> None:
        self._sets: dict[str, str | tuple[str, ...] | dict[str, None]] = {}

    def get(self, value: str) -> Collection[str]:
        """The keys of a value; valid until the next change."""
        held = self._sets.get(value)
        return () if held is None else (held,) if isinstance(held, str) else held

    def values(self) -> Collection[str]:
        """All values that have a key."""
        return self._sets.keys()

    def add(self, value: str, key: str) -> None:
        """One more key of a value; nothing happens if it has it."""
        held = self._sets.get(value)
        if held is None:
            self._sets[value] = key
        elif isinstance(held, dict):
            held[key] = None
        elif held != key and (isinstance(held, str) or key not in held):
            more = (held, key) if isinstance(held, str) else (*held, key)
            self._sets[value] = more if len(more) <= _FEW else dict.fromkeys(more)

    def drop(self, value: str, key: str) -> None:
        """One key less; nothing happens if the value has not got it."""
        held = self._sets.get(value)
        if isinstance(held, dict):
            held.pop(key, None)
        elif isinstance(held, tuple):
            held = self._sets[value] = tuple(each for each in held if each != key)
        if not held or held == key:
            self._sets.pop(value, None)
