"""Bytes from a client become requests: llhttp splits them, this module holds the limits and the rules of RFC 9112.

It never waits and never writes: `feed` gives bytes in, `ready` holds whole requests, a `Refusal` says what to answer
before the connection is closed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import httptools

from switchboard.transport.messages import Request

_NAMES: dict[bytes, str] = {}  # header names seen, decoded: clients send the same few


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may send, and how long it may take. Sizes in bytes, times in seconds."""

    body: int = 3 * 1024 * 1024
    head: int = 1024 * 1024  # request line and headers together, as Go's default
    headers: int = 1000
    head_timeout: float = 32.0  # first byte of a request (or the accepted connection) to its last header
    body_timeout: float = 60.0  # between two pieces of a body
    idle_timeout: float = 90.0
    pipelined: int = 32  # requests that wait behind the one being answered before reading pauses


class Refusal(Exception):
    """A request that gets `status` and `message`, after which the connection is closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Parsed:
    """A whole request and what its answer must respect."""

    __slots__ = ("http10", "keep_alive", "request")

    def __init__(self, request: Request, keep_alive: bool, http10: bool) -> None:
        self.request = request
        self.keep_alive = keep_alive
        self.http10 = http10


class RequestReader:
    """Splits one connection's bytes into requests.

    `ready`: whole requests in order. `in_head`/`in_body`: what is being read. `wants_continue`: the client waits for a
    100. `upgrade_tail`: set once a request asks for an upgrade; what follows is another protocol's, if it is granted.
    """

    def __init__(self, limits: Limits, base: dict[str, Any]) -> None:
        self._limits = limits
        self._base = base
        self.ready: deque[Parsed] = deque()
        self.upgrade_tail: bytes | None = None
        self.in_head = False
        self.in_body = False
        self.wants_continue = False
        self._fresh()

    def _fresh(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._fed = 0
        self._refusal: Refusal | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes; raises Refusal when they cannot become an acceptable request."""
        if self.upgrade_tail is not None:
            self.upgrade_tail += data
            if len(self.upgrade_tail) > self._limits.body:
                raise Refusal(413, "too many bytes before the upgrade was answered")
            return
        counted = self.in_head
        if counted:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.upgrade_tail = bytes(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            raise self._refusal or Refusal(400, "malformed HTTP request") from error
        except httptools.HttpParserInvalidMethodError as error:
            raise Refusal(400, "unknown HTTP method") from error
        except httptools.HttpParserError as error:
            raise Refusal(400, f"malformed HTTP request: {error}") from error
        if self.in_head and not counted:
            self._fed = len(data) - (data.rfind(b"\r\n\r\n") + 1)  # the head began behind the last end of a head
        if self.in_head and self._fed > self._limits.head:
            raise Refusal(431, "the request's headers are too large")

    def decline_upgrade(self) -> None:
        """The upgrade was not granted: what came behind the request is the next request. May raise Refusal."""
        tail, self.upgrade_tail = self.upgrade_tail, None
        self._fresh()
        if tail:
            self.feed(tail)

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        self.in_head = True
        self._fed = 0
        self._url = b""
        self._head = 0
        self._count = 0
        self._headers: dict[str, str] = {}
        self._repeated: dict[str, list[str]] | None = None
        self._body: list[bytes] = []
        self._size = 0

    def _refuse(self, status: int, message: str) -> None:
        self._refusal = Refusal(status, message)
        raise self._refusal

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url = self._url + url if self._url else url
        self._head += len(url)
        if self._head > self._limits.head:
            self._refuse(431, "the request's target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line (of the head, or of the trailer, which is ignored)."""
        if not self.in_head:
            return
        self._head += len(name) + len(value) + 4
        self._count += 1
        if self._head > self._limits.head or self._count > self._limits.headers:
            self._refuse(431, "the request's headers are too large")
        key = _NAMES.get(name)
        if key is None:
            key = name.decode("latin-1").lower()
            if len(name) < 48 and len(_NAMES) < 512:
                _NAMES[name] = key
        text = value.decode("latin-1") if value.isascii() else value.decode("utf-8", "replace")
        if key in self._headers:
            self._repeat(key, text)
        else:
            self._headers[key] = text

    def _repeat(self, key: str, text: str) -> None:
        if key == "host":
            self._refuse(400, "too many Host headers")
        if self._repeated is None:
            self._repeated = {}
        self._repeated.setdefault(key, [self._headers[key]]).append(text)
        self._headers[key] += ("; " if key == "cookie" else ", ") + text

    def on_headers_complete(self) -> None:
        """The head is whole: refuse now what need not be read further."""
        self.in_head = False
        headers = self._headers
        parser = self._parser
        self._http10 = parser.get_http_version() == "1.0"
        if "host" not in headers and not self._http10:
            self._refuse(400, "missing required Host header")
        length = headers.get("content-length")
        if length is not None or "transfer-encoding" in headers:
            self.in_body = True
            if length is not None and int(length) > self._limits.body:
                self._refuse(413, f"the request's body is larger than {self._limits.body} bytes")
        expect = headers.get("expect")
        if expect is not None and not self._http10:
            if expect.lower() != "100-continue":
                self._refuse(417, "unknown expectation")
            self.wants_continue = self.in_body

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        if self._size > self._limits.body:
            self._refuse(413, f"the request's body is larger than {self._limits.body} bytes")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.in_body = False
        self.wants_continue = False
        parser = self._parser
        target = self._url.decode("ascii")  # the parser lets nothing else through
        if not target.startswith("/"):
            target = _origin_form(target)
        path, _, query = target.partition("?")
        pieces = self._body
        request = Request(
            method=parser.get_method().decode("ascii"),
            path=path,
            query=query,
            headers=self._headers,
            body=pieces[0] if len(pieces) == 1 else b"".join(pieces),
            **self._base,
        )
        if self._repeated is not None:
            request.extra["repeated"] = self._repeated
        self._body = []
        self.ready.append(Parsed(request, parser.should_keep_alive() or parser.should_upgrade(), self._http10))


def _origin_form(target: str) -> str:
    """`http://host/path?query` (what a proxy is sent) -> `/path?query`; `*` stays (RFC 9112 section 3.2)."""
    scheme, found, rest = target.partition("://")
    if found and scheme.lower() in ("http", "https"):
        slash = rest.find("/")
        mark = rest.find("?")
        if slash >= 0 and (mark < 0 or slash < mark):
            return rest[slash:]
        return "/" + (rest[mark:] if mark >= 0 else "")
    return target
