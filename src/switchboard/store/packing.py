"""Values that nobody has asked for lately are held compressed: objects of one resource are much alike.

With some of its kind as the dictionary a pod of 5 KB takes 170 bytes, for 3 us once; reading it again takes 1. The
youngest `YOUNG` bytes are as they came, `MOST` while there is no time to pack the rest. A value is unpacked when it is
read, and `READ` bytes of what was read stay unpacked beside their packed form. So what is hot costs nothing, and a
small store never packs (nor imports the library).

A resource's dictionary is looked at again from time to time: its objects may have come to be of another sort. Packed
values hold on to the one they were packed with.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from switchboard.store.record import Record, Unpack
from switchboard.store.table import table_name

YOUNG: Final = 4 << 20
MOST: Final = 16 << 20
READ: Final = 4 << 20
_SMALLEST: Final = 192  # bytes of a value that is worth it
_SAMPLES: Final = 8  # values in a dictionary, evenly from the youngest
_DICTIONARY: Final = 32 << 10
_EARLY, _AGAIN = 64, 4096  # packed values after which a dictionary is looked at: of few values, of many
_GAIN: Final = 6  # a dictionary that does not bring values to a sixth is made anew
_LEVEL: Final = -1  # half the time of 1 for a tenth more


class _Codec:
    """How the values of one resource are packed now."""

    __slots__ = ("_after", "_before", "_left", "_pack", "unpack")

    def __init__(self, some: list[Record]) -> None:
        import zstandard  # with the first value that is packed: 1.5 MB

        samples = some[-1 :: -(len(some) // _SAMPLES + 1)]
        content = b"".join([record.value for record in reversed(samples)])[-_DICTIONARY:]
        dictionary = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        dictionary.precompute_compress(level=_LEVEL)
        self._pack = zstandard.ZstdCompressor(_LEVEL, dictionary, write_checksum=False).compress
        self.unpack: Unpack = zstandard.ZstdDecompressor(dictionary).decompress
        self._left = _AGAIN if len(some) >= _EARLY else _EARLY
        self._before = self._after = 0

    def pack(self, value: bytes) -> bytes:
        """The value, packed."""
        # A copy: the library leaves its result in the memory that it took for the worst case.
        packed = bytes(memoryview(self._pack(value)))
        self._left -= 1
        self._before += len(value)
        self._after += len(packed)
        return packed

    def stale(self) -> bool:
        """Whether the values have come to be other ones than the dictionary's."""
        if self._left > 0:
            return False
        stale = self._after * _GAIN > self._before
        self._left, self._before, self._after = _AGAIN, 0, 0
        return stale


class Packer:
    """Decides which records of a store hold their values packed. For one thread."""

    def __init__(self, young: int = YOUNG, most: int = MOST, read: int = READ) -> None:
        self._least, self._most, self._most_read = young, most, read
        self._young: deque[Record] = deque()  # never packed yet, oldest first
        self._young_bytes = 0
        self._read: deque[Record] = deque()  # packed, and unpacked beside it
        self._read_bytes = 0
        self._codecs: dict[str, _Codec] = {}

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

    def pack(self, number: int) -> None:
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

    def _codec(self, record: Record) -> _Codec:
        table = table_name(record.key) or ""
        codec = self._codecs.get(table)
        if codec is None or codec.stale():
            alike = [other for other in self._young if other.key.startswith(table)]
            codec = self._codecs[table] = _Codec([record, *alike])
        return codec
