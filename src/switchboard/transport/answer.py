"""Bytes from a server become one response: llhttp splits them, this module knows where it ends (RFC 9112 section 6).

It never waits and never writes: `feed` gives bytes in; `status`, `headers` and `take()` give out what has arrived.
"""

from __future__ import annotations

import httptools

_MAX_HEAD = 1024 * 1024


class BadResponse(Exception):
    """The server's bytes are not HTTP, or end in the middle of a response."""


class ResponseReader:
    """Splits the bytes that answer one request. `done` once the response is whole, `headed` once its head is."""

    def __init__(self, method: str) -> None:
        self._bodiless = method == "HEAD"
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._interim = False
        self._head = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.started = False  # any byte arrived
        self.headed = False
        self.done = False
        self.upgraded = False
        self.keep_alive = False
        self.rest = b""  # bytes of the upgraded protocol that came with the head

    def feed(self, data: bytes) -> None:
        """Take bytes; raises BadResponse."""
        self.started = True
        if self.done:
            self.keep_alive = False  # bytes nobody asked for: this connection is out of step
            return
        self._head += 0 if self.headed else len(data)
        if self._head > _MAX_HEAD + len(data):
            raise BadResponse("the response's headers are too large")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.upgraded = self.headed = self.done = True
            self.status = self._parser.get_status_code()
            self.rest = bytes(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._whole():
                raise BadResponse(f"malformed HTTP response: {error}") from error
            self.keep_alive = False

    def _whole(self) -> bool:
        return self.done  # as a method: the parser's callbacks change it behind a type checker's back

    def feed_eof(self) -> None:
        """The server closed: the end of a body that is delimited by it, or BadResponse."""
        sized = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")
        if not self.done and (not self.headed or sized):
            raise BadResponse("the connection was closed in the middle of the response")
        self.done = True
        self.keep_alive = False

    def take(self) -> bytes:
        """The part of the body that has arrived since the last call."""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        return data

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A response begins (again, after a 1xx)."""
        if not self.done:
            self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line; repeated ones are joined."""
        if self.headed:
            return  # a trailer
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1") if value.isascii() else value.decode("utf-8", "replace")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """The head is whole; a 1xx other than 101 is passed over."""
        if self.done:
            return
        status = self._parser.get_status_code()
        self._interim = 100 <= status < 200 and status != 101
        if self._interim:
            return
        self.status = status
        self.headed = True
        if self._bodiless or status in (204, 304):
            self._finish()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self.done:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The response is whole."""
        if not self._interim and not self.done:
            self._finish()

    def _finish(self) -> None:
        self.done = True
        self.keep_alive = bool(self._parser.should_keep_alive())
