"""nf_tables over netlink, as bytes: attributes, messages of a transaction, set elements, and what a dump says. Pure.

Source: include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h. Numbers in attributes are big-endian; header fields
are native. A transaction is BATCH_BEGIN, messages, BATCH_END in one datagram: the kernel applies all of it or nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from switchboard.proxy.rules import MAPS, Family, Key, Map

NFPROTO = {4: 2, 6: 10}
NEWTABLE, DELTABLE, NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, GETRULE, DELRULE = 0, 2, 3, 4, 5, 6, 7, 8
NEWSET, GETSET, NEWSETELEM, GETSETELEM, DELSETELEM = 9, 10, 12, 13, 14
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
BATCH_BEGIN, BATCH_END = 0x10, 0x11
REQUEST, ACK, DUMP, CREATE, APPEND = 0x1, 0x4, 0x300, 0x400, 0x800
GOTO = struct.pack(">i", -4)
_LENGTH = {
    "protocol": 1,
    "port": 2,
    "number": 4,
    "base": 4,
    "kind": 4,
    "slot": 4,
}  # bytes of a field; addresses by family
_TYPE = {
    "protocol": 12,
    "port": 13,
    "number": 23,
    "base": 23,
    "kind": 23,
    "slot": 19,
}  # nft's datatype numbers: what `nft list` prints
_SET_FLAGS = {"hash": 0, "interval": 0x4, "ranges": 0x84, "packets": 0x30}
_head, _nf, _attr = struct.Struct("=IHHII"), struct.Struct(">BBH"), struct.Struct("=HH")
_CHUNK = 40_000  # bytes of elements in one message: a nested attribute's length has 16 bits


class Change(NamedTuple):
    """One element comes or goes: index into MAPS, key and data as packed bytes (see `maps`)."""

    add: bool
    map: int
    key: bytes
    data: bytes


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    size = 4 + len(payload)
    return _attr.pack(size, kind) + payload + b"\0" * (-size & 3)


def nest(kind: int, *parts: bytes) -> bytes:
    """An attribute of attributes."""
    return attr(kind | 0x8000, b"".join(parts))


def be32(kind: int, value: int) -> bytes:
    """A number."""
    return attr(kind, struct.pack(">I", value & 0xFFFFFFFF))


def name(kind: int, text: str) -> bytes:
    """A zero-terminated string."""
    return attr(kind, text.encode() + b"\0")


def message(kind: int, family: Family, flags: int, *attributes: bytes) -> bytes:
    """One nf_tables message; its sequence number is filled in by the sender (`number`)."""
    body = _nf.pack(NFPROTO[family], 0, 0) + b"".join(attributes)
    return _head.pack(16 + len(body), SUBSYSTEM << 8 | kind, REQUEST | flags, 0, 0) + body


def batch(messages: Sequence[bytes], sequence: int) -> bytes:
    """A whole transaction. Messages get the numbers from `sequence` + 1 on; only the last asks for an answer besides
    errors.
    """
    out = [_head.pack(20, BATCH_BEGIN, REQUEST, sequence, 0) + _nf.pack(0, 0, SUBSYSTEM)]
    last = len(messages) - 1
    for at, one in enumerate(messages):
        size, kind, flags, _, _ = _head.unpack_from(one)
        out.append(_head.pack(size, kind, flags | (ACK if at == last else 0), sequence + 1 + at, 0))
        out.append(one[16:])
    out.append(_head.pack(20, BATCH_END, REQUEST, sequence + len(messages) + 1, 0) + _nf.pack(0, 0, SUBSYSTEM))
    return b"".join(out)


def width(key: Key, family: Family) -> int:
    """Bytes of a key in registers: fields of a concatenation are padded to four."""
    if len(key) == 1:
        return _bare(key[0], family)
    return sum(_bare(field, family) + 3 & ~3 for field in key)


def set_message(table: str, item: Map, family: Family, number: int, size: int = 0) -> bytes:
    """NEWSET: a map or set of the fixed table."""
    flags = _SET_FLAGS[item.kind] | (8 if item.data else 0)
    out = [
        name(1, table),
        name(2, item.name),
        be32(3, flags),
        be32(4, _types(item.key, family)),
        be32(5, width(item.key, family)),
    ]
    if item.data == ("verdict",):
        out += [be32(6, 0xFFFFFF00), be32(7, 0)]
    elif item.data:
        out += [be32(6, _types(item.data, family)), be32(7, width(item.data, family))]
    description = [be32(1, size)] if size else []
    if item.kind == "ranges":
        description.append(nest(2, *(nest(1, be32(1, _bare(field, family))) for field in item.key)))
    if description:
        out.append(nest(9, *description))
    out.append(be32(10, number))
    return message(NEWSET, family, CREATE, *out)


def _bare(field: str, family: Family) -> int:
    return _LENGTH.get(field) or (4 if family == 4 else 16)


def _types(key: Key, family: Family) -> int:
    out = 0
    for field in key:
        out = out << 6 | (_TYPE.get(field) or (7 if family == 4 else 8))
    return out


def element(item: Map, key: bytes, data: bytes) -> bytes:
    """One element as NFTA_LIST_ELEM; data is the value, a chain's name, the end of a range, or the flag of an
    interval's end.
    """
    size = len(key)
    inner = _attr.pack(8 + size, 0x8001) + _attr.pack(4 + size, 1) + key
    if item.kind == "interval":
        if data:
            inner += be32(3, 1)
    elif item.kind == "ranges":
        inner += nest(10, attr(1, data))
    elif item.data == ("verdict",):
        inner += nest(2, nest(2, attr(1, GOTO), attr(2, data + b"\0")))
    elif data:
        inner += _attr.pack(8 + len(data), 0x8002) + _attr.pack(4 + len(data), 1) + data
    return _attr.pack(4 + len(inner), 0x8001) + inner


def element_messages(table: str, changes: Iterable[Change], family: Family) -> list[bytes]:
    """NEWSETELEM and DELSETELEM for a list of changes, in its order, neighbours of one kind together."""
    out: list[bytes] = []
    pending: list[bytes] = []
    size, kind = 0, (True, -1)

    def close() -> None:
        if pending:
            flags = CREATE if kind[0] else 0
            head = (name(1, table), name(2, MAPS[kind[1]].name), nest(3, *pending))
            out.append(message(NEWSETELEM if kind[0] else DELSETELEM, family, flags, *head))

    for add, at, key, data in changes:
        if (add, at) != kind or size > _CHUNK:
            close()
            pending, size, kind = [], 0, (add, at)
        item = MAPS[at]
        one = element(item, key, data if add or item.kind != "hash" else b"")
        pending.append(one)
        size += len(one)
    close()
    return out


def attributes(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of each attribute's payload between two offsets."""
    while start + 4 <= end:
        size, kind = _attr.unpack_from(data, start)
        if size < 4:
            return
        yield kind & 0x3FFF, start + 4, start + size
        start += size + 3 & ~3


def dumped_elements(data: bytes, start: int, end: int, item: Map) -> Iterator[tuple[bytes, bytes]]:
    """(key, data) of every element in one NEWSETELEM message, `start` being behind the nfgenmsg header."""
    for kind, at, stop in attributes(data, start, end):
        if kind != 3:
            continue
        for _, first, last in attributes(data, at, stop):
            yield _dumped(data, first, last, item)


def _dumped(data: bytes, start: int, end: int, item: Map) -> tuple[bytes, bytes]:
    key = value = b""
    for kind, at, stop in attributes(data, start, end):
        if kind == 1:
            key = data[at + 4 : stop]
        elif kind == 10:
            value = data[at + 4 : stop]
        elif kind == 3 and item.kind == "interval":
            value = b"end" if data[stop - 1] & 1 else b""
        elif kind == 2:
            value = data[at + 4 : stop] if item.data != ("verdict",) else _chain_of(data, at, stop)
    return key, value


def _chain_of(data: bytes, start: int, end: int) -> bytes:
    for _, at, stop in attributes(data, start, end):
        for kind, first, last in attributes(data, at, stop):
            if kind == 2:
                return data[first : last - 1]
    return b"?"
