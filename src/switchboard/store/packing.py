"""Values that nobody has asked for lately are held compressed: objects of one resource are much alike.

The youngest `YOUNG` bytes are as they came, `MOST` while there is no time to pack the rest (`codec.py`). A value is
unpacked when it is read, and `READ` bytes of what was read stay unpacked beside their packed form. So what is hot costs
nothing, and a small store never packs (nor imports the library).

A resource's dictionary is looked at again from time to time: its objects may have come to be of another sort. Packed
values hold on to the one they were packed with.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from switchboard.store.codec import SAMPLES, Codec
from switchboard.store.record import Record
from switchboard.store.table import table_name

YOUNG: Final = 2 << 20
MOST: Final = 8 << 20
READ: Final = 4 << 20
_LOOKED_AT: Final = 512  # records, the next to be packed, among which samples are looked for
_SMALLEST: Final = 192  # bytes of a value that is worth it
_AT_ONCE: Final = 50  # values packed in a pause, before it is looked whether it lasts
_BETWEEN: Final = 0.005  # seconds until the next
_AFTER: Final = 0.5  # seconds without a write that make a pause


class Packer:
    """Decides which records of a store hold their values packed. For one thread."""

    def __init__(self, young: int = YOUNG, most: int = MOST, read: int = READ) -> None:
        self._least, self._most, self._most_read = young, most, read
        self._young: deque[Record] = deque()  # never packed yet, oldest first
        self._young_bytes = 0
        self._read: deque[Record] = deque()  # packed, and unpacked beside it
        self._read_bytes = 0
        self._codecs: dict[str, Codec] = {}

    def take(self, record: Record) -> None:
        """A new record: its value is packed in its time."""
        self._young.append(record)
        self._young_bytes += record.size
        while self._young_bytes > self._most:
            self._pack_oldest()

    @property
    def behind(self) -> bool:
        """Whether there is something to pack."""
        return self._young_bytes > self._least

    def pack(self, number: int = sys.maxsize) -> None:
        """Pack at most so many values, as far as it is their time."""
        while number > 0 and self.behind:
            number -= 1
            self._pack_oldest()

    def unpacked(self, record: Record) -> None:
        """A record's value was unpacked, since somebody reads it."""
        self._read.append(record)
        self._read_bytes += record.size
        while self._read_bytes > self._most_read:
            oldest = self._read.popleft()
            self._read_bytes -= oldest.size
            oldest.forget()

    def _pack_oldest(self) -> None:
        record = self._young.popleft()
        self._young_bytes -= record.size
        if record.size >= _SMALLEST:
            codec = self._codec(record)
            packed = codec.pack(record.value)
            if len(packed) < record.size * 3 // 4:
                record.hold(packed, codec.unpack)

    def _codec(self, record: Record) -> Codec:
        table = table_name(record.key) or ""
        codec = self._codecs.get(table)
        if codec is None or codec.stale():
            alike = [other for other in islice(self._young, _LOOKED_AT) if other.key.startswith(table)]
            some = [record, *alike[:: len(alike) // SAMPLES + 1]]
            codec = self._codecs[table] = Codec([each.value for each in some])
        return codec


class Pauses:
    """Packs while nobody writes. `quiet` gives the store's revision then, else None."""

    def __init__(self, packer: Packer, quiet: Callable[[], int | None]) -> None:
        self._packer, self._quiet = packer, quiet
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A pause begins."""
        if self._packer.behind and self._timer is None:
            self._look_after(_AFTER)

    def _look_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look, self._quiet())

    def _look(self, revision: int | None) -> None:
        self._timer = None
        lasts = revision is not None and revision == self._quiet()
        if lasts:
            self._packer.pack(_AT_ONCE)
        if self._packer.behind:
            self._look_after(_BETWEEN if lasts else _AFTER)

    def close(self) -> None:
        """No more looks."""
        if self._timer is not None:
            self._timer.cancel()
