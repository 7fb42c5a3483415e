"""The objects of an informer, by key: as they are, or packed and read when somebody asks, where there are very many.

A decoded pod takes 6 KB, packed 250 bytes; to read it again takes 20 us. So what comes while there are fewer than
`most` objects of a resource is held as it is, and others packed: in the process of the store, as the record that the
store has of it anyhow (`find`), where that is the very same object. Of the others those stay decoded that were asked
for lately: whoever looks at the same ones again and again has them at hand, and whoever goes through all of them pays
for it once. Objects are never changed, so nobody notices which of two equal ones he has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Generic, TypeVar, cast

from switchboard.store.codec import SAMPLES, Codec, Unpack
from switchboard.store.record import Record

T = TypeVar("T")
Form = Any  # what is held of one object: itself, its bytes packed, or its record in the store
Find = Callable[[str], Record | None]  # the newest record of an object, by the object's key

_ASKED: Final = 1024  # objects that somebody asked for, kept decoded: at most twice as many
_ARRIVED: Final = 256  # objects that came just now, for whoever acts on them at once


class Copies(Generic[T]):
    """Objects by key. `read` makes one of its JSON; `most`: from how many on they are packed, None for never.

    `find`: of the store, if it is in this process. `head`: what its bytes begin with instead of the brace of an item of
    a list, which has no kind.
    """

    def __init__(
        self, read: Callable[[bytes], T], most: int | None = None, find: Find | None = None, head: bytes = b""
    ) -> None:
        self._read = read
        self._most = most
        self._find = find
        self._head = head
        self._forms: dict[str, Form] = {}
        self._arrived: dict[str, T] = {}
        self._asked: dict[str, T] = {}
        self._asked_before: dict[str, T] = {}
        self._codec: Codec | None = None
        self._unpacks: list[Unpack] = []  # of all codecs; the first byte of a packed form names one
        self._samples: deque[bytes] = deque(maxlen=SAMPLES)

    def __len__(self) -> int:
        return len(self._forms)

    def __contains__(self, key: object) -> bool:
        return key in self._forms

    def __iter__(self) -> Iterator[str]:
        return iter(self._forms)

    def keys(self) -> Collection[str]:
        """All keys, a live view."""
        return self._forms.keys()

    def values(self) -> Collection[T]:
        """All objects, a live view."""
        return Found(self, self._forms)

    def get(self, key: str) -> T | None:
        """One object, or None."""
        form = self._forms.get(key)
        if not _packed(form):
            return cast("T | None", form)
        obj = self._asked.get(key)
        if obj is None:
            obj = self._arrived.pop(key, None) or self._asked_before.pop(key, None) or self.read(form)
            self._asked[key] = obj
            if len(self._asked) > _ASKED:
                self.rest()
        return obj

    def pop(self, key: str) -> T | None:
        """Take one out."""
        obj = self.get(key)
        self._forms.pop(key, None)
        self._forget(key)
        return obj

    def packs(self, number: int) -> bool:
        """Whether an object that comes when there are so many is held packed."""
        return self._most is not None and number >= self._most

    def form(self, key: str, obj: T, raw: Any, number: int) -> Form:
        """What will be held of an object that comes when there are so many. `raw`: its JSON."""
        return self._pack(key, bytes(raw)) if self.packs(number) else obj

    def read(self, form: Form) -> T:
        """The object of a form."""
        if isinstance(form, bytes):
            return self._read(self._unpacks[form[0]](memoryview(form)[1:]))
        return self._read(form.peek()) if isinstance(form, Record) else cast(T, form)

    def put(self, key: str, obj: T, form: Form) -> None:
        """Hold an object."""
        self._forms[key] = form
        self._forget(key)
        if _packed(form):
            self._arrived[key] = obj
            if len(self._arrived) > _ARRIVED:
                self._arrived.clear()

    def settle(self, key: str, raw: Any) -> None:
        """Hold what is there already packed, if it should be: `raw` is its JSON."""
        form = self._forms.get(key)
        if form is not None and not _packed(form) and self.packs(len(self._forms)):
            self.put(key, form, self._pack(key, bytes(raw)))

    def rest(self) -> None:
        """Let go of what nobody has asked for since this was last called."""
        self._asked_before, self._asked = self._asked, {}
        self._arrived.clear()

    def _forget(self, key: str) -> None:
        self._arrived.pop(key, None)
        self._asked.pop(key, None)
        self._asked_before.pop(key, None)

    def _pack(self, key: str, raw: bytes) -> bytes | Record:
        if self._find is not None and (record := self._find(key)) is not None:
            value = record.peek()
            if value == raw or (value.startswith(self._head) and value[len(self._head) :] == raw[1:]):
                return record
        self._samples.append(raw)
        codec = self._codec
        if codec is None or (codec.stale() and len(self._unpacks) < 256):
            codec = self._codec = Codec(self._samples)
            self._unpacks.append(codec.unpack)
        return codec.pack(raw, bytes((len(self._unpacks) - 1,)))


def _packed(form: Form) -> bool:
    """Whether it is not the object itself."""
    return isinstance(form, (bytes, Record))


class Found(Collection[T]):
    """Some objects of an informer, read when they are looked at."""

    __slots__ = ("_copies", "_keys")

    def __init__(self, copies: Copies[T], keys: Collection[str]) -> None:
        self._copies = copies
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[T]:
        get = self._copies.get
        for key in self._keys:
            obj = get(key)
            if obj is not None:
                yield obj

    def __contains__(self, obj: object) -> bool:
        return any(each == obj for each in self)
