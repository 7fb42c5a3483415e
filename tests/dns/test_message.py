"""The wire format: round trips, and whatever may come over a socket."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.dns import message as m
from switchboard.dns import reply
from switchboard.dns.responder import Responder
from switchboard.testing.zones import cluster, query

SOA = b"\xc0\x0c" + m.RR.pack(m.SOA, 1, 0, 22) + b"\0\0" + bytes(20)
LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)


@given(NAME, st.lists(NAME, max_size=5), st.integers(0, 65535))
def test_what_is_built_reads_back(name: str, targets: list[str], ident: int) -> None:
    asked = m.parse_query(query(name, "CNAME", ident=ident))
    records = [m.Record(m.encode_name(t), m.CNAME, 5, m.encode_name(name)) for t in targets]
    out = m.build(asked, 0, records)
    assert out[:2] == struct.pack("!H", ident)
    code, answers, _ = reply.parse_answer(out)
    assert code == 0 and answers == records


@given(st.binary(max_size=600))
def test_random_bytes_never_crash_and_never_amplify(data: bytes) -> None:
    out = Responder(cluster()).answer(data, "10.0.0.1")
    if isinstance(out, bytes) and out[3] & 15 == m.FORMERR:
        assert len(out) <= max(12, len(data))


@given(st.data())
def test_damaged_queries_never_crash(data: st.DataObject) -> None:
    raw = bytearray(query("db.default.svc.cluster.local", "SRV", edns=1232))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    Responder(cluster()).answer(bytes(raw[: data.draw(st.integers(0, len(raw)))]), "10.0.0.1")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (query("web.default.svc.cluster.local")[:20], m.FORMERR),
        (query("web.default.svc.cluster.local", flags=0x2800), m.NOTIMP),
        (m.HEADER.pack(1, 0, 2, 0, 0, 0) + query("a.b")[12:] * 2, m.FORMERR),
        (m.HEADER.pack(1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", m.FORMERR),
        (query("a.b")[:-2] + b"\0\3", m.REFUSED),  # class CH
        (query("a.b")[:-4] + b"\0\xfc\0\1", m.REFUSED),  # AXFR
        (m.HEADER.pack(1, 0, 0, 0, 0, 0), m.FORMERR),
        # IXFR comes with the SOA that the client has (RFC 1995)
        (m.HEADER.pack(1, 0, 1, 0, 1, 0) + query("a.b")[12:-4] + b"\0\xfb\0\1" + SOA, m.REFUSED),
        (query("a.b", edns=1232)[:-2] + b"\0\4\0\x0a\0\x08", m.FORMERR),  # an option longer than its record
        (query("a.b", edns=1232)[:-2] + b"\0\3\0\x0a\0", m.FORMERR),
        (query("a.b", flags=m.RD | 0x2000), m.NOTIMP),  # NOTIFY
        (query("a.b", edns=1232)[:-6] + b"\0\1\0\0\0\0", 0),  # EDNS version 1: BADVERS is 16, its low bits 0
    ],
)
def test_what_is_refused(data: bytes, code: int) -> None:
    out = Responder(cluster()).answer(data, "10.0.0.1")
    assert isinstance(out, bytes) and out[3] & 15 == code


def test_compression_loops_end() -> None:
    with pytest.raises(m.FormError):
        reply.expand_name(b"\0" * 12 + b"\xc0\x0e\xc0\x0c", 12)


@pytest.mark.parametrize("text", ["a" * 64, ".".join(["a" * 60] * 5), "a..b"])
def test_names_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError):
        m.encode_name(text)


def test_an_unknown_edns_version_is_told_so() -> None:
    """RFC 6891 section 6.1.3: BADVERS, with our own version in the OPT record."""
    asked = query("web.default.svc.cluster.local", edns=1232)
    out = Responder(cluster()).answer(asked[:-6] + b"\0\1\0\0\0\0", "10.0.0.1")
    assert isinstance(out, bytes) and out[-6:-4] == b"\1\0" and reply.parse_answer(out)[1] == []


@given(st.binary(max_size=300))
def test_answers_from_outside_never_crash(data: bytes) -> None:
    for raw in (data, b"\0\1\x81\x80\0\1\0\1\0\1\0\0" + data):
        try:
            reply.parse_answer(raw)
        except m.FormError:
            continue
