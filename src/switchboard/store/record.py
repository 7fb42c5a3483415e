"""A key's state at one revision, and the change that led to it. Small on purpose: tens of thousands are in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Index = Callable[[str, bytes], Any]
_UNMADE: Final = object()


class Record:
    """One key at one revision. `created` is the revision at which the key came to be; both count from 1."""

    __slots__ = ("_index", "_meta", "created", "key", "revision", "value")

    def __init__(self, key: str, value: bytes, revision: int, created: int, index: Index | None = None) -> None:
        self.key = key
        self.value = value
        self.revision = revision
        self.created = created
        self._index = index
        self._meta: Any = _UNMADE

    @property
    def meta(self) -> Any:
        """What `index(key, value)` makes of this record: made when first asked for, then kept (None without index)."""
        if self._meta is _UNMADE:
            self._meta = self._index(self.key, self.value) if self._index is not None else None
        return self._meta

    def __repr__(self) -> str:
        return f"Record({self.key!r}, {len(self.value)} bytes, revision={self.revision}, created={self.created})"


class Event:
    """One committed change: `record` is the new state, or the last one if `deleted`; `previous` what stood before."""

    __slots__ = ("_cache", "deleted", "previous", "record")

    def __init__(self, record: Record, previous: Record | None, deleted: bool) -> None:
        self.record = record
        self.previous = previous
        self.deleted = deleted
        self._cache: dict[Any, Any] | None = None

    @property
    def revision(self) -> int:
        """The revision of the change."""
        return self.record.revision

    @property
    def cache(self) -> dict[Any, Any]:
        """Encodings shared by all watchers of this event; may be emptied at any time once the event is old."""
        if self._cache is None:
            self._cache = {}
        return self._cache

    def forget_cache(self) -> None:
        """Give the memory of the shared encodings back."""
        self._cache = None

    def __repr__(self) -> str:
        word = "delete" if self.deleted else "put"
        return f"Event({word} {self.record.key!r} at {self.revision})"
