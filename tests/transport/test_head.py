"""Response heads as bytes."""

import uuid
from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from switchboard.transport.head import Ids, chunk, date_line, header_lines, http_date, status_line
from switchboard.transport.messages import Request


@given(seconds=st.integers(0, 4_000_000_000))
def test_dates_are_those_of_the_rfc(seconds):
    assert http_date(seconds) == formatdate(seconds, usegmt=True)


def test_lines():
    assert date_line().startswith(b"Date: ")
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(799) == b"HTTP/1.1 799 \r\n"
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@given(headers=st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_there_are_never_more_lines_than_headers(headers):
    lines = header_lines(headers)
    assert lines.count(b"\r\n") == lines.count(b"\n") == lines.count(b"\r") == len(headers)
    assert b"\0" not in lines


def request(**headers):
    return Request("GET", "/", "", {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def test_ids_are_uuids_and_never_twice_the_same():
    lines = [ids.line(request()) for ids in (Ids("audit-id"), Ids("audit-id")) for _ in range(600)]
    assert len(set(lines)) == 1200
    for line in lines:
        name, _, value = line.removesuffix(b"\r\n").decode().partition(": ")
        made = uuid.UUID(value)
        assert (name, made.version, made.variant, str(made)) == ("audit-id", 4, uuid.RFC_4122, value)


def test_a_given_id_comes_back_as_it_is():
    ids = Ids("audit-id")
    assert ids.line(request(audit_id="x" * 300)) == b"audit-id: " + b"x" * 300 + b"\r\n"
    known = request(audit_id="mine")
    known.id = "known\r\nx: y"
    assert ids.line(known) == b"audit-id: known  x: y\r\n"
    assert b"-4" in ids.line(request(audit_id=""))
