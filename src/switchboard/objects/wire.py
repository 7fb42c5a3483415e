"""Protocol Buffers wire format driven by a table instead of generated code: one codec for every message we meet.

A table maps a message name to its fields, field number (text or int) -> `[key in the dict, type]`:
`{"Pod": {"1": ["metadata", "ObjectMeta"], "2": ["spec", "PodSpec"]}}`. Types:

    string bytes bool double float enum (an int)
    int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64
    []T             repeated; packed and unpacked are read, packed is written for numbers when `packed=True`
    map<K, V>       a dict
    Name, .a.b.Name a message of the same package as the one it stands in, or (leading dot) of any package
    *T              a field whose zero value means something (a pointer in Go): kept where `drop_zero` would drop it
    ~Name           a message whose fields stand in its parent's dict (an inlined struct in Go)

Use for other services (CRI, for example): `codec = Codec(TABLE, packed=True, raw_bytes=True)`, then
`codec.encode("PodSandboxConfig", {...})` and `codec.decode("ContainerStatus", data)`. Absent fields are absent from the
dict, so read with `.get`; `oneof` members are plain fields of which one is set; enums are ints.
`special={"Time": (decode, encode)}` swaps single messages for Python values: `decode(bytes) -> Any`,
`encode(value) -> bytes`; a decode that returns `ABSENT` leaves the field out. Malformed data raises `BadRequest`.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from switchboard.objects.errors import BadRequest

Table = Mapping[str, Mapping[Any, Any]]
Special = tuple[Callable[[bytes], Any], Callable[[Any], bytes]]

ABSENT: Any = object()
MAX_DEPTH = 100  # gogo's generated code has 10,000; nothing legitimate nests deeper than CRD schemas do

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)
_U64 = (1 << 64) - 1


def malformed(why: str) -> BadRequest:
    """What every decoding failure raises."""
    return BadRequest(f"the body of the request was in an unknown format - protobuf: {why}")


def read_varint(data: bytes, pos: int, end: int) -> tuple[int, int]:
    """The unsigned varint at `pos` and the position after it."""
    value = shift = 0
    while True:
        if pos >= end:
            raise malformed("unexpected end of data")
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _U64, pos
        shift += 7
        if shift >= 70:
            raise malformed("integer overflow")


def write_varint(value: int) -> bytes:
    """An int as varint; negative ones as their 64-bit two's complement."""
    value &= _U64
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _skip(data: bytes, pos: int, end: int, wire: int, depth: int) -> int:
    if wire == VARINT:
        return read_varint(data, pos, end)[1]
    if wire == BYTES:
        size, pos = read_varint(data, pos, end)
        pos += size
    elif wire == FIXED64:
        pos += 8
    elif wire == FIXED32:
        pos += 4
    elif wire == START_GROUP and depth < MAX_DEPTH:
        while True:
            tag, pos = read_varint(data, pos, end)
            if tag & 7 == END_GROUP:
                return pos
            pos = _skip(data, pos, end, tag & 7, depth + 1)
    else:
        raise malformed(f"illegal wire type {wire}")
    if pos > end:
        raise malformed("unexpected end of data")
    return pos


def _signed(bits: int) -> Callable[[int], int]:
    half, full = 1 << (bits - 1), 1 << bits

    def convert(value: int) -> int:
        value &= full - 1
        return value - full if value >= half else value

    return convert


def _unsigned(bits: int) -> Callable[[int], int]:
    mask = (1 << bits) - 1
    return lambda value: value & mask


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _from_bits(packing: str) -> Callable[[int], Any]:
    """Fixed-width values arrive as unsigned ints; this reinterprets their bits."""
    unsigned = {"<f": "<I", "<d": "<Q", "<i": "<I", "<q": "<Q"}.get(packing, packing)
    return lambda value: struct.unpack(packing, struct.pack(unsigned, value))[0]


def _fixed(packing: str) -> Callable[[Any], bytes]:
    return lambda value: struct.pack(packing, value)


# type -> (wire type, int from the wire -> value, value -> bytes)
_NUMBERS: dict[str, tuple[int, Callable[[int], Any], Callable[[Any], bytes]]] = {
    "bool": (VARINT, bool, lambda value: b"\1" if value else b"\0"),
    "int32": (VARINT, _signed(32), write_varint),
    "int64": (VARINT, _signed(64), write_varint),
    "enum": (VARINT, _signed(32), write_varint),
    "uint32": (VARINT, _unsigned(32), write_varint),
    "uint64": (VARINT, _unsigned(64), write_varint),
    "sint32": (VARINT, _zigzag, lambda v: write_varint((v << 1) ^ (v >> 31))),
    "sint64": (VARINT, _zigzag, lambda v: write_varint((v << 1) ^ (v >> 63))),
    "fixed32": (FIXED32, _unsigned(32), _fixed("<I")),
    "fixed64": (FIXED64, _unsigned(64), _fixed("<Q")),
    "sfixed32": (FIXED32, _from_bits("<i"), _fixed("<i")),
    "sfixed64": (FIXED64, _from_bits("<q"), _fixed("<q")),
    "float": (FIXED32, _from_bits("<f"), _fixed("<f")),
    "double": (FIXED64, _from_bits("<d"), _fixed("<d")),
}


class _Field:
    """One line of the table, compiled."""

    __slots__ = (
        "convert",
        "inline",
        "keep",
        "map",
        "message",
        "name",
        "number",
        "pack",
        "repeated",
        "tag",
        "type",
        "wire",
    )

    def __init__(self, number: int, name: str, type_: str, package: str) -> None:
        self.number, self.name = number, name
        self.inline = type_.startswith("~")
        self.keep = type_.startswith("*")
        type_ = type_.lstrip("~*")
        self.repeated = type_.startswith("[]")
        type_ = type_.removeprefix("[]").removeprefix("*")
        self.map: tuple[_Field, _Field] | None = None
        if type_.startswith("map<"):
            key, value = type_[4:-1].split(",", 1)
            # The zero value of a map's key or value is a key or value like others.
            self.map = _Field(1, "key", f"*{key.strip()}", package), _Field(2, "value", f"*{value.strip()}", package)
        self.type = type_
        self.message = ""
        self.wire, self.convert, self.pack = _NUMBERS.get(type_, (BYTES, bool, bytes))
        if type_ not in _NUMBERS and type_ not in ("string", "bytes") and self.map is None:
            self.message = type_[1:] if type_.startswith(".") else f"{package}{type_}"
        self.tag = write_varint(number << 3 | self.wire)


class Codec:
    """Decodes and encodes the messages of one table; see the module's page for the table's language.

    `raw_bytes`: `bytes` fields are Python bytes, else base64 text (their form in JSON). `drop_zero`: scalars that hold
    their zero value are left out when decoding unless marked `*` (Go writes every non-pointer field). `packed`:
    repeated numbers are written packed.
    """

    def __init__(
        self,
        table: Table,
        *,
        special: Mapping[str, Special] | None = None,
        raw_bytes: bool = False,
        drop_zero: bool = False,
        packed: bool = False,
    ) -> None:
        self._table = table
        self._special = dict(special or {})
        self._raw_bytes, self._drop_zero, self._packed = raw_bytes, drop_zero, packed
        self._plans: dict[str, dict[int, _Field]] = {}

    def __contains__(self, message: object) -> bool:
        return message in self._table

    def _plan(self, message: str) -> dict[int, _Field]:
        """The compiled fields of a message; compiled on first use, since one process meets few of the messages."""
        plan = self._plans.get(message)
        if plan is None:
            fields: Mapping[Any, Any] = self._table[message]
            fields = fields.get("fields", fields)
            package = message.rpartition(".")[0]
            package = f"{package}." if package else ""
            plan = {int(n): _Field(int(n), entry[0], entry[1], package) for n, entry in fields.items()}
            self._plans[message] = plan
        return plan

    # decoding

    def decode(self, message: str, data: bytes) -> dict[str, Any]:
        """The message as a dict; raises BadRequest for malformed data, KeyError for a message not in the table."""
        out: dict[str, Any] = {}
        try:
            self._decode_into(out, self._plan(message), bytes(data), 0, len(data), 0)
        except RecursionError as error:  # special messages may decode within themselves
            raise malformed("nested too deeply") from error
        return out

    def _decode_into(
        self, out: dict[str, Any], plan: dict[int, _Field], data: bytes, pos: int, end: int, depth: int
    ) -> None:
        if depth > MAX_DEPTH:
            raise malformed("nested too deeply")
        while pos < end:
            tag = data[pos]
            if tag < 0x80:
                pos += 1
            else:
                tag, pos = read_varint(data, pos, end)
            field, wire = plan.get(tag >> 3), tag & 7
            if field is None:
                if tag >> 3 == 0:
                    raise malformed("illegal tag 0")
                pos = _skip(data, pos, end, wire, 0)
            elif wire == BYTES:
                size, pos = read_varint(data, pos, end)
                stop = pos + size
                if stop > end:
                    raise malformed("unexpected end of data")
                self._take_bytes(out, field, data, pos, stop, depth)
                pos = stop
            else:
                value, pos = self._number(field, data, pos, end, wire)
                self._store(out, field, value)

    def _number(self, field: _Field, data: bytes, pos: int, end: int, wire: int) -> tuple[Any, int]:
        if wire != field.wire:
            raise malformed(f"wrong wire type {wire} for field {field.name}")
        if wire == VARINT:
            raw, pos = read_varint(data, pos, end)
            return field.convert(raw), pos
        size = 8 if wire == FIXED64 else 4
        if pos + size > end:
            raise malformed("unexpected end of data")
        return field.convert(int.from_bytes(data[pos : pos + size], "little")), pos + size

    def _take_bytes(self, out: dict[str, Any], field: _Field, data: bytes, pos: int, stop: int, depth: int) -> None:
        if field.map is not None:
            target = out.setdefault(field.name, {})
            key, value = self._map_entry(field.map, data, pos, stop, depth + 1)
            target[key] = value
        elif field.wire != BYTES:  # packed numbers
            if not field.repeated:
                raise malformed(f"wrong wire type {BYTES} for field {field.name}")
            values = out.setdefault(field.name, [])
            while pos < stop:
                value, pos = self._number(field, data, pos, stop, field.wire)
                values.append(value)
        elif field.inline:
            self._decode_into(out, self._plan(field.message), data, pos, stop, depth + 1)
        else:
            # A message that comes twice is merged (its second part wins), as the specification asks.
            before = out.get(field.name) if field.message and not field.repeated else None
            self._store(out, field, self._value(field, data, pos, stop, depth, before))

    def _value(self, field: _Field, data: bytes, pos: int, stop: int, depth: int, before: Any = None) -> Any:
        if field.type == "string":
            return data[pos:stop].decode("utf-8", "replace")
        if field.type == "bytes":
            raw = data[pos:stop]
            return raw if self._raw_bytes else base64.b64encode(raw).decode("ascii")
        special = self._special.get(field.message)
        if special is not None:
            if depth > MAX_DEPTH:
                raise malformed("nested too deeply")
            return special[0](data[pos:stop])
        out = before if isinstance(before, dict) else {}
        self._decode_into(out, self._plan(field.message), data, pos, stop, depth + 1)
        return out

    def _store(self, out: dict[str, Any], field: _Field, value: Any) -> None:
        if field.repeated:
            out.setdefault(field.name, []).append(None if value is ABSENT else value)
        elif value is ABSENT or (self._drop_zero and not (value or field.keep or isinstance(value, dict | list))):
            out.pop(field.name, None)
        else:
            out[field.name] = value

    def _map_entry(self, entry: tuple[_Field, _Field], data: bytes, pos: int, end: int, depth: int) -> tuple[Any, Any]:
        pair: dict[str, Any] = {}
        self._decode_into(pair, {1: entry[0], 2: entry[1]}, data, pos, end, depth)
        key = pair["key"] if "key" in pair else self._zero(entry[0])
        return key, pair["value"] if "value" in pair else self._zero(entry[1])

    def _zero(self, field: _Field) -> Any:
        if field.type == "string" or (field.type == "bytes" and not self._raw_bytes):
            return ""
        if field.message:
            special = self._special.get(field.message)
            value = special[0](b"") if special is not None else {}
            return None if value is ABSENT else value
        return b"" if field.type == "bytes" else field.convert(0)

    # encoding

    def encode(self, message: str, obj: Mapping[str, Any]) -> bytes:
        """The dict as a message: unknown keys are passed over, None counts as absent, fields go out in table order.

        Raises BadRequest when a value does not fit its field's type."""
        out: list[bytes] = []
        try:
            self._encode_into(out, self._plan(message), obj)
        except (TypeError, ValueError, AttributeError, struct.error) as error:
            raise BadRequest(f"{message} cannot be encoded as protobuf: {error}") from error
        return b"".join(out)

    def _encode_into(self, out: list[bytes], plan: dict[int, _Field], obj: Mapping[str, Any]) -> None:
        for field in plan.values():
            if field.inline:
                inner: list[bytes] = []
                self._encode_into(inner, self._plan(field.message), obj)
                if inner:
                    self._frame(out, field, b"".join(inner))
                continue
            value = obj.get(field.name)
            if value is None:
                continue
            if field.map is not None:
                for key, item in value.items():
                    pair: list[bytes] = []
                    self._encode_one(pair, field.map[0], key)
                    self._encode_one(pair, field.map[1], item)
                    self._frame(out, field, b"".join(pair))
            elif not field.repeated:
                self._encode_one(out, field, value)
            elif self._packed and field.wire != BYTES and value:
                body = b"".join(field.pack(item) for item in value)
                out += (write_varint(field.number << 3 | BYTES), write_varint(len(body)), body)
            else:
                for item in value:
                    self._encode_one(out, field, item)

    def _frame(self, out: list[bytes], field: _Field, body: bytes) -> None:
        out += (field.tag, write_varint(len(body)), body)

    def _encode_one(self, out: list[bytes], field: _Field, value: Any) -> None:
        if field.wire != BYTES:
            out += (field.tag, field.pack(value))
        elif field.type == "string":
            self._frame(out, field, value.encode("utf-8"))
        elif field.type == "bytes":
            self._frame(out, field, self._to_bytes(value))
        elif field.message in self._special:
            self._frame(out, field, self._special[field.message][1](value))
        else:
            inner: list[bytes] = []
            self._encode_into(inner, self._plan(field.message), value)
            self._frame(out, field, b"".join(inner))

    def _to_bytes(self, value: Any) -> bytes:
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        if self._raw_bytes:
            raise TypeError(f"bytes wanted, not {type(value).__name__}")
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(f"not base64: {error}") from error


def decode_fields(data: bytes, names: Sequence[str]) -> dict[str, Any]:
    """A small all-bytes message (`names[i]` is field i + 1) without a table: what an envelope is read with."""
    table = {"M": {str(i): [name, "bytes"] for i, name in enumerate(names, 1)}}
    return Codec(table, raw_bytes=True).decode("M", data)
