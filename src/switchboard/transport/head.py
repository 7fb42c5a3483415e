"""Response heads as bytes: status lines, a Date that is made once a second, and headers that cannot be split.

Source: RFC 9112 (message syntax), RFC 9110 section 6.6.1 (Date).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from http import HTTPStatus

from switchboard.transport.messages import Request

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_LINES[413] = b"HTTP/1.1 413 Request Entity Too Large\r\n"
_LINES[422] = b"HTTP/1.1 422 Unprocessable Entity\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# Most answers have one of a few sets of headers.
_FEW, _SHORT, _KNOWN = 5, 512, 256
_known: dict[tuple[tuple[str, str], ...], bytes] = {}

_LOW = 256
_ENDS = [b"%02x\r\n" % low for low in range(_LOW)]

_date = b""
_date_second = 0


def date_line() -> bytes:
    """`Date: ...` for now, made once a second."""
    global _date, _date_second
    now = int(time.time())
    if now != _date_second:
        _date_second = now
        _date = f"Date: {http_date(now)}\r\n".encode()
    return _date


def http_date(seconds: int) -> str:
    """A time since the epoch as RFC 9110 section 5.6.7 wants it, whatever the locale."""
    t = time.gmtime(seconds)
    clock = f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}"
    return f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year} {clock} GMT"


def status_line(status: int) -> bytes:
    """`HTTP/1.1 404 Not Found`; a status nobody named has an empty phrase."""
    return _LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()


def header_lines(headers: Sequence[tuple[str, str]]) -> bytes:
    """`Name: value` lines. Line ends within a value become spaces, so that a value can never add a header."""
    if len(headers) > _FEW:
        return _lines(headers)
    known = tuple(headers)
    found = _known.get(known)
    if found is None:
        found = _lines(headers)
        if len(_known) >= _KNOWN:
            _known.clear()
        if len(found) <= _SHORT:
            _known[known] = found
    return found


def _lines(headers: Sequence[tuple[str, str]]) -> bytes:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers) or "\0" in text:
        text = "".join([f"{_flat(name)}: {_flat(value)}\r\n" for name, value in headers])
    return text.encode()


class Ids:
    """Marks each answer, under one header, with what its client called the request, or with a UUID of its own.

    Such a UUID is that of the process (74 random bits) with a number in place of its last 48: it says no more than that
    it is another one, and costs a thirtieth of a random one.
    """

    def __init__(self, header: str) -> None:
        self._header = header
        self._own = f"{header}: {str(uuid.uuid4())[:24]}".encode()  # with the digits of version and variant
        self._line = b""  # all but the last two digits
        self._count = 0

    def line(self, request: Request) -> bytes:
        """The header of a request's answer."""
        given = request.id or request.headers.get(self._header)
        if given:
            return _lines([(self._header, given)])
        low = self._count % _LOW
        if low == 0:
            self._line = b"%b%010x" % (self._own, self._count // _LOW)
        self._count += 1
        return self._line + _ENDS[low]


def _flat(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ")


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked encoding (RFC 9112 section 7.1); `data` must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)
