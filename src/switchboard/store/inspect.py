"""What SQLite does not tell when it opens a damaged file: read from the raw bytes, without changing them.

SQLite treats an empty file as a new database, and ends its recovery of the write-ahead log silently at the first frame
that fails its checksum, as if all behind it had never been committed. One commit can be torn when a machine stops: it
was not acknowledged. Two cannot. Source: https://sqlite.org/fileformat2.html (sections 1.3, 1.6 and 4).
"""

from __future__ import annotations

import struct
from typing import Final

MAGIC: Final = b"SQLite format 3\0"
_WAL_MAGIC: Final = (0x377F0682, 0x377F0683)  # checksums over little-endian, big-endian words
_HEADER = 32
_FRAME = 24
_LEAF: Final = 0x0D  # a leaf page of a table with row ids: of the log, or of the schema, whose ids are tiny


def is_database(head: bytes) -> bool:
    """Whether a file that begins like this can be a store at all."""
    return len(head) >= 512 and head.startswith(MAGIC)


def wal_header_intact(wal: bytes) -> bool:
    """Whether the header of a write-ahead log matches its own checksum; one that is not there yet does."""
    if len(wal) < _HEADER:
        return True
    magic = int.from_bytes(wal[:4], "big")
    if magic not in _WAL_MAGIC:
        return False
    words = struct.unpack("<6I" if magic == _WAL_MAGIC[0] else ">6I", wal[:24])
    first = second = 0
    for at in range(0, 6, 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return struct.unpack(">II", wal[24:32]) == (first, second)


def commits(wal: bytes) -> list[int]:
    """For each commit whose frames stand in the log's present generation: the highest row id that it wrote."""
    if len(wal) < _HEADER + _FRAME:
        return []
    page = int.from_bytes(wal[8:12], "big")
    salts = wal[16:24]
    found: list[int] = []
    highest = 0
    for at in range(_HEADER, len(wal) - _FRAME - page + 1, _FRAME + page):
        if wal[at + 8 : at + 16] != salts:
            continue  # of an older generation, or damaged
        highest = max(highest, last_row(wal, at + _FRAME, page))
        if wal[at + 4 : at + 8] != b"\0\0\0\0":
            found.append(highest)
            highest = 0
    return found


def last_row(data: bytes, start: int, size: int) -> int:
    """The highest row id of the table leaf at `start`; 0 if the page is something else."""
    if data[start] != _LEAF:
        return 0
    cells = int.from_bytes(data[start + 3 : start + 5], "big")
    if not cells or 8 + 2 * cells > size:
        return 0
    pointer = start + 8 + 2 * (cells - 1)
    cell = start + int.from_bytes(data[pointer : pointer + 2], "big")
    _, after = _varint(data, cell)
    row, _ = _varint(data, after)
    return row


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for byte in data[at : at + 8]:
        value = value << 7 | byte & 0x7F
        at += 1
        if byte < 0x80:
            return value, at
    return value << 8 | (data[at] if at < len(data) else 0), at + 1
