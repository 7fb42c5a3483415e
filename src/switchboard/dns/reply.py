"""Answers of other servers, read: RFC 1035 with every name expanded, so that what is kept needs no message around it.

Pure. Whatever comes over the wire ends in records or in FormError; pointers only lead backwards, so reading ends.
"""

from __future__ import annotations

from switchboard.dns import message as m


def answers(data: bytes, asked: bytes) -> bool:
    """Whether `data` is the answer to the query `asked`: same id, same question in whatever letter case.

    A server that did not understand the query may answer its header only."""
    end = m.name_end(asked, 12) + 4
    if len(data) == 12:
        return data[:2] == asked[:2] and bool(data[2] & 0x80) and data[3] & 15 in (m.FORMERR, m.NOTIMP)
    return (
        len(data) >= end
        and data[:2] == asked[:2]
        and bool(data[2] & 0x80)
        and data[12:end].translate(m.LOWER) == asked[12:end].translate(m.LOWER)
    )


def parse_answer(data: bytes) -> tuple[int, list[m.Record], list[m.Record]]:
    """(rcode, answers, authority) of a response, names expanded; FormError when its parts overrun."""
    if len(data) < 12:
        raise m.FormError("shorter than a header")
    _, flags, questions, answered, authorities, _ = m.HEADER.unpack_from(data)
    at = 12
    for _ in range(questions):
        at = m.skip_name(data, at) + 4
    sections: list[list[m.Record]] = []
    for count in (answered, authorities):
        records: list[m.Record] = []
        for _ in range(count):
            record, at = _read_record(data, at)
            records.append(record)
        sections.append(records)
    return flags & 15, sections[0], sections[1]


# Where names stand in the rdata of the types that RFC 1035 lets compress them: (bytes before, names).
_NAMES_IN = {m.NS: (0, 1), m.CNAME: (0, 1), m.PTR: (0, 1), 15: (2, 1), m.SOA: (0, 2), m.SRV: (6, 1), 39: (0, 1)}


def _read_record(data: bytes, at: int) -> tuple[m.Record, int]:
    owner, at = expand_name(data, at)
    if at + 10 > len(data):
        raise m.FormError("record runs past the end of the message")
    rtype, _, ttl, length = m.RR.unpack_from(data, at)
    at += 10
    end = at + length
    if end > len(data):
        raise m.FormError("record runs past the end of the message")
    rdata = data[at:end]
    if rtype in _NAMES_IN:
        lead, count = _NAMES_IN[rtype]
        rdata, at = data[at : at + lead], at + lead
        for _ in range(count):
            name, at = expand_name(data, at, lower=False)
            rdata += name
        if at > end:
            raise m.FormError("name runs past its record")
        rdata += data[at:end]
    return m.Record(owner, rtype, 0 if ttl >> 31 else ttl, rdata), end  # RFC 2181 section 8


def expand_name(data: bytes, at: int, *, lower: bool = True) -> tuple[bytes, int]:
    """A name with its compression pointers followed (only backwards, so that it ends), and where it ends in place."""
    out, end, barrier = bytearray(), 0, at
    while True:
        if at >= len(data):
            raise m.FormError("name runs past the end of the message")
        length = data[at]
        if length >= 0xC0:
            if at + 2 > len(data):
                raise m.FormError("pointer runs past the end of the message")
            end = end or at + 2
            at = ((length & 0x3F) << 8) | data[at + 1]
            if at >= barrier:
                raise m.FormError("compression pointer does not point back")
            barrier = at
            continue
        if length > 63:
            raise m.FormError("extended label")
        out += data[at : at + 1 + length]
        at += 1 + length
        if len(out) > 255 or at > len(data):
            raise m.FormError("name too long")
        if not length:
            raw = bytes(out)
            return (raw.translate(m.LOWER) if lower else raw), end or at
