"""A key's state at one revision, and the change that led to it. Small on purpose: tens of thousands are in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from switchboard.store.codec import Unpack

Index = Callable[[str, bytes], Any]
_UNMADE: Final = object()


class Home:
    """What the records of one store share; `unpacked` is told of each whose packed value is read (packing.py)."""

    __slots__ = ("index", "unpacked")

    def __init__(self, index: Index | None = None, unpacked: Callable[[Record], None] = lambda record: None) -> None:
        self.index = index
        self.unpacked = unpacked


_ALONE: Final = Home()


class Record:
    """One key at one revision. `created` is the revision at which the key came to be; both count from 1."""

    __slots__ = ("_home", "_meta", "_packed", "_unpack", "_value", "created", "key", "revision", "size")

    def __init__(self, key: str, value: bytes, revision: int, created: int, home: Home = _ALONE) -> None:
        self.key = key
        self.revision = revision
        self.created = created
        self.size = len(value)
        self._value: bytes | None = value
        self._packed: bytes | None = None
        self._unpack: Unpack | None = None
        self._home = home
        self._meta: Any = _UNMADE

    @property
    def value(self) -> bytes:
        """The bytes that were put."""
        value = self._value
        if value is None:
            assert self._unpack is not None and self._packed is not None
            value = self._value = self._unpack(self._packed)
            self._home.unpacked(self)
        return value

    def peek(self) -> bytes:
        """The value, which does not stay unpacked for it: for those who keep what they make of it."""
        value = self._value
        if value is None:
            assert self._unpack is not None and self._packed is not None
            value = self._unpack(self._packed)
        return value

    @property
    def meta(self) -> Any:
        """What `index(key, value)` makes of this record: made when first asked for, then kept (None without index)."""
        if self._meta is _UNMADE:
            index = self._home.index
            self._meta = index(self.key, self.value) if index is not None else None
        return self._meta

    @property
    def held(self) -> int:
        """Bytes that the value takes in memory now."""
        return len(self._value or b"") + len(self._packed or b"")

    def hold(self, packed: bytes, unpack: Unpack) -> None:
        """Hold the value as what `unpack` makes of `packed` (packing.py)."""
        self._packed, self._unpack = packed, unpack
        self._value = None

    def forget(self) -> None:
        """Let the value go, which is there packed."""
        if self._packed is not None:
            self._value = None

    def __repr__(self) -> str:
        return f"Record({self.key!r}, {self.size} bytes, revision={self.revision}, created={self.created})"


def values(records: list[Record]) -> list[bytes]:
    """Their values: a list of many takes them without a call for each."""
    return [record.value if record._value is None else record._value for record in records]


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
