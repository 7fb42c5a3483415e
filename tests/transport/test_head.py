"""Response heads as bytes."""

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from switchboard.transport.head import chunk, date_line, header_lines, http_date, status_line


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
