"""DNS messages as bytes: questions in, answers out. Pure; RFC 1035 (format), RFC 6891 (EDNS), RFC 2782 (SRV).

Rules: names inside the program are wire-format, lower case, without compression; the question of an answer repeats the
query's own bytes, so the letter case a client sent (0x20) comes back as it was.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
OPT: Final = 41
AXFR: Final = 252
ANY: Final = 255

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16

CLASS_IN: Final = 1
HEADER: Final = struct.Struct("!HHHHHH")
_QUESTION_TAIL = struct.Struct("!HH")
_OWN = b"\xc0\x0c"  # the pointer to the question's name
RR = struct.Struct("!HHIH")

QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
LOWER = bytes(range(65)) + bytes(range(97, 123)) + bytes(range(91, 256))  # A-Z -> a-z; label lengths stop at 63


class FormError(ValueError):
    """The message cannot be understood; `answerable` says whether its header can be answered with FORMERR at all."""

    def __init__(self, why: str, *, answerable: bool = True) -> None:
        super().__init__(why)
        self.answerable = answerable


@dataclass(slots=True)
class Query:
    """One question as it came in: `name` is lower-case wire format, `question` the raw bytes to repeat."""

    id: int
    flags: int
    name: bytes
    qtype: int
    qclass: int
    question: bytes
    udp_size: int = 512  # what the client can take (RFC 6891 section 6.2.3), 512 without EDNS
    edns: bool = False
    do: bool = False
    version: int = 0

    @property
    def opcode(self) -> int:
        """0 is a standard query."""
        return (self.flags >> 11) & 15

    @property
    def labels(self) -> list[bytes]:
        """The name's labels, the root's empty one left out."""
        return labels(self.name)


class Record(NamedTuple):
    """A resource record: owner name and rdata in wire format, TTL in seconds."""

    name: bytes
    type: int
    ttl: int
    rdata: bytes


def encode_name(text: str) -> bytes:
    """`web.default.svc.cluster.local` (a final dot is optional) as lower-case wire bytes; ValueError if too long."""
    out = bytearray()
    for label in text.rstrip(".").split(".") if text.rstrip(".") else ():
        raw = label.encode("ascii").lower()
        if not 0 < len(raw) < 64:
            raise ValueError(f"label {label!r} is not 1 to 63 bytes long")
        out.append(len(raw))
        out += raw
    out.append(0)
    if len(out) > 255:
        raise ValueError(f"name {text!r} is longer than 255 bytes")
    return bytes(out)


def labels(name: bytes) -> list[bytes]:
    """The labels of an uncompressed wire name."""
    found, at = [], 0
    while name[at]:
        found.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return found


def at_label(name: bytes, offset: int) -> bool:
    """Whether a label of the wire name begins at `offset`."""
    at = 0
    while at < offset and name[at]:
        at += 1 + name[at]
    return at == offset


def text(name: bytes) -> str:
    """A wire name for people: dots between labels, a final dot."""
    return ".".join(part.decode("ascii", "backslashreplace") for part in labels(name)) + "."


def name_end(data: bytes, at: int) -> int:
    """Where an uncompressed name that starts at `at` ends; FormError for compression, overrun or excess length."""
    start, size = at, len(data)
    while at < size:
        length = data[at]
        at += 1
        if length == 0:
            if at - start > 255:
                raise FormError("name longer than 255 bytes")
            return at
        if length > 63:
            raise FormError("compressed or extended label in a question")
        at += length
    raise FormError("name runs past the end of the message")


def parse_query(data: bytes) -> Query:
    """Read one query; FormError when it is no query, has not exactly one question, or its parts overrun."""
    if len(data) < 12:
        raise FormError("shorter than a header", answerable=False)
    ident, flags, questions, answers, authorities, additional = HEADER.unpack_from(data)
    if flags & QR:
        raise FormError("an answer, not a query", answerable=False)
    if questions != 1 or answers or authorities > 1:  # RFC 9619: one question; IXFR (RFC 1995) comes with an SOA
        if (flags >> 11) & 15:
            return Query(ident, flags, b"\0", 0, 0, b"")  # other opcodes get NOTIMP whatever follows
        raise FormError("not exactly one question")
    end = name_end(data, 12)
    if end + 4 > len(data):
        raise FormError("question runs past the end of the message")
    qtype, qclass = _QUESTION_TAIL.unpack_from(data, end)
    query = Query(ident, flags, data[12:end].translate(LOWER), qtype, qclass, data[12 : end + 4])
    if authorities or additional:
        _read_additional(data, end + 4, authorities + additional, query)
    return query


def _read_additional(data: bytes, at: int, count: int, query: Query) -> None:
    for _ in range(count):
        owner, at = at, skip_name(data, at)
        if at + 10 > len(data):
            raise FormError("additional record runs past the end of the message")
        rtype, rclass, ttl, length = RR.unpack_from(data, at)
        at += 10 + length
        if at > len(data):
            raise FormError("additional record runs past the end of the message")
        if rtype == OPT:
            if query.edns or data[owner]:
                raise FormError("second OPT, or OPT not at the root")  # RFC 6891 section 6.1.1
            query.edns, query.udp_size = True, max(512, rclass)
            query.version, query.do = (ttl >> 16) & 255, bool(ttl & 0x8000)
            _check_options(data[at - length : at])


def _check_options(rdata: bytes) -> None:
    """Cookies, padding and the like are not looked at, but must be whole (RFC 6891 section 6.1.2)."""
    at = 0
    while at < len(rdata):
        at += 4 + int.from_bytes(rdata[at + 2 : at + 4], "big")
    if at != len(rdata):
        raise FormError("option runs past the end of the OPT record")


def skip_name(data: bytes, at: int) -> int:
    """Where a name that may end in a compression pointer ends."""
    while at < len(data):
        length = data[at]
        if length >= 0xC0:
            return at + 2
        at += 1
        if not length:
            return at
        if length > 63:
            raise FormError("extended label")
        at += length
    raise FormError("name runs past the end of the message")


def ip_rdata(address: str) -> tuple[int, bytes]:
    """The record type (A or AAAA) and rdata of an address; ValueError when it is none."""
    try:
        if ":" in address:
            return AAAA, socket.inet_pton(socket.AF_INET6, address)
        return A, socket.inet_pton(socket.AF_INET, address)
    except OSError:
        raise ValueError(f"{address!r} is not an address") from None


def srv_rdata(priority: int, weight: int, port: int, target: bytes) -> bytes:
    """RFC 2782 rdata; the target is not compressed."""
    return struct.pack("!HHH", priority, weight, port) + target


def soa_rdata(mname: bytes, rname: bytes, serial: int, minimum: int) -> bytes:
    """SOA rdata with CoreDNS's timers; `minimum` is how long absence may be cached (RFC 2308), seconds."""
    return mname + rname + struct.pack("!IIIII", serial & 0xFFFFFFFF, 7200, 1800, 86400, minimum)


def txt_rdata(value: str) -> bytes:
    """One character-string of at most 255 bytes."""
    raw = value.encode()
    return bytes([len(raw)]) + raw


def build(
    query: Query,
    rcode: int,
    answers: list[Record],
    authority: list[Record] | None = None,
    additional: list[Record] | None = None,
    *,
    authoritative: bool = True,
    recursion: bool = True,
    authentic: bool = False,
    max_size: int = 65535,
) -> bytes:
    """The finished answer. What does not fit `max_size` is left out whole and TC set (RFC 2181 section 9);
    additional records are dropped first, without TC. `authentic` shows where the client asked for it (RFC 6840 section
    5.8)."""
    tail = _opt(query, rcode) if query.edns else b""
    flags = QR | (query.flags & (0x7800 | RD | CD)) | (rcode & 15)
    flags |= (AA if authoritative else 0) | (RA if recursion else 0)
    flags |= AD if authentic and (query.do or query.flags & AD) else 0
    own = query.name if len(query.name) > 1 else None
    asked, opts = 1 if query.question else 0, 1 if tail else 0
    # What most answers are: addresses of the name that was asked for, which fit (12 bytes is the least of a record).
    if not authority and not additional and 12 * len(answers) < max_size:
        same = [_OWN + RR.pack(r.type, CLASS_IN, r.ttl, len(r.rdata)) + r.rdata for r in answers if r.name == own]
        if len(same) == len(answers):
            short = b"".join((query.question, *same, tail))
            if len(short) + 12 <= max_size:
                return HEADER.pack(query.id, flags, asked, len(same), 0, opts) + short
    out, counts, truncated = _sections(query, own, (answers, authority or (), additional or ()), max_size - len(tail))
    out += tail
    HEADER.pack_into(out, 0, query.id, flags | (TC if truncated else 0), asked, counts[0], counts[1], counts[2] + opts)
    return bytes(out)


def _sections(
    query: Query, own: bytes | None, sections: Sequence[Sequence[Record]], max_size: int
) -> tuple[bytearray, list[int], bool]:
    """A message with room for its header, the question and as many whole records as fit; how many of each section, and
    whether answers or authority had to be cut. `own` is the question's name, where a pointer to it is shorter."""
    names: dict[bytes, int] = {}  # made only for an answer that has other names than the question's
    out = bytearray(12)
    out += query.question
    counts = [0, 0, 0]
    for section, records in enumerate(sections):
        for record in records:
            mark = len(out)
            if record.name == own:
                out += _OWN
            else:
                if not names:
                    _remember(names, query.name, 12)
                _owner(out, names, record.name)
            out += RR.pack(record.type, CLASS_IN, record.ttl, len(record.rdata))
            out += record.rdata
            if len(out) > max_size:
                del out[mark:]
                return out, counts, section < 2
            counts[section] += 1
    return out, counts, False


def _opt(query: Query, rcode: int, size: int = 1232) -> bytes:
    """Our own OPT record: the payload size that avoids fragments (DNS flag day 2020), extended rcode bits, the DO bit
    as it came (RFC 3225 section 3)."""
    return b"\0" + RR.pack(OPT, size, ((rcode >> 4) << 24) | (0x8000 if query.do else 0), 0)


def _remember(names: dict[bytes, int], name: bytes, at: int) -> None:
    """Note every suffix of a name written at `at`, as a target for compression pointers."""
    offset = 0
    while name[offset] and at + offset < 0x3FFF:
        names.setdefault(name[offset:], at + offset)
        offset += 1 + name[offset]


def _owner(out: bytearray, names: dict[bytes, int], name: bytes) -> None:
    """Write a name, as far as needed: what was written before is pointed at."""
    at = 0
    while name[at]:
        pointer = names.get(name[at:])
        if pointer is not None:
            break
        if len(out) < 0x3FFF:
            names[name[at:]] = len(out)
        out += name[at : at + 1 + name[at]]
        at += 1 + name[at]
    out += struct.pack("!H", 0xC000 | names[name[at:]]) if name[at] else b"\0"


def error(data: bytes, rcode: int) -> bytes:
    """An answer that carries only a code, for a message whose question could not be read."""
    ident, flags = struct.unpack_from("!HH", data)
    return HEADER.pack(ident, QR | (flags & (0x7800 | RD)) | rcode, 0, 0, 0, 0)
