"""Whatever arrives, in whatever pieces: well-formed answers in order, and never an exception."""

import asyncio
import itertools
import json

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.transport.messages import Response
from switchboard.transport.reader import Limits
from switchboard.transport.server import Server
from switchboard.transport.server_connection import ServerConnection


class Wire(asyncio.Transport):
    """A transport that keeps what is written; writing to it after its end is an error, as it would be lost."""

    def __init__(self):
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.sent = b""
        self.over = False

    def write(self, data):
        assert not self.over
        self.sent += data

    def writelines(self, parts):
        self.write(b"".join(parts))

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.over = True

    def is_closing(self):
        return self.over

    def close(self):
        self.over = True

    abort = pause_reading = resume_reading = close


class Answers:
    """Splits what the server sent; fails on anything that is not HTTP."""

    def __init__(self, data):
        self.found = []
        self.body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        status = self._parser.get_status_code()
        if status != 100:
            self.found.append((status, self.body))
        self.body = b""


def handle(request):
    return Response(200, [], f"{request.method} {request.path}?{request.query} ".encode() + request.body)


def answer(pieces, limits=None):
    """The answers of a server to these pieces, and whether it ended the connection."""

    async def run():
        loop = asyncio.get_running_loop()
        errors = []
        loop.set_exception_handler(lambda loop, context: errors.append(context))
        refuse = lambda status, message: Response(status, [], json.dumps([status, message]).encode())  # noqa: E731
        connection = ServerConnection(Server(handle, on_error=refuse, limits=limits), loop, False)
        wire = Wire()
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
        connection.connection_lost(None)
        assert not errors
        return Answers(wire.sent).found, wire.over

    return asyncio.run(run())


CONVERSATION = (
    b"GET /a?x HTTP/1.1\r\nHost: x\r\n\r\n"
    b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
    b"GET http://host/d?q HTTP/1.1\r\nhost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"
    b"GET /z%C3%BC HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
)
EXPECTED = [
    (200, b"GET /a?x "),
    (200, b"POST /b? hello"),
    (200, b"PUT /c? abcde"),
    (200, b"GET /d?q "),
    (200, b"OPTIONS *? "),
    (200, b"GET /z%C3%BC? "),
]


def test_cut_in_two_at_every_byte():
    for at in range(len(CONVERSATION)):
        assert answer([CONVERSATION[:at], CONVERSATION[at:]])[0] == EXPECTED, at


def test_byte_by_byte():
    assert answer([CONVERSATION[i : i + 1] for i in range(len(CONVERSATION))]) == (EXPECTED, True)


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, len(CONVERSATION)), max_size=10).map(sorted))
def test_cut_anywhere(cuts):
    edges = [0, *cuts, len(CONVERSATION)]
    pieces = [CONVERSATION[a:b] for a, b in itertools.pairwise(edges) if a < b]
    assert answer(pieces)[0] == EXPECTED


def check(pieces, limits=None):
    found, over = answer(pieces, limits)
    assert all(status in (200, 400, 413, 417, 431) for status, _ in found)
    for status, body in found[:-1]:
        assert status == 200
        assert body
    if found and found[-1][0] != 200:
        assert over
        assert json.loads(found[-1][1])[0] == found[-1][0]


@settings(max_examples=300, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(CONVERSATION)), st.integers(0, 3), st.binary(max_size=6)), max_size=6),
    size=st.integers(1, 600),
)
def test_a_damaged_conversation(edits, size):
    data = bytearray(CONVERSATION)
    for at, cut, new in edits:
        data[at : at + cut] = new
    check([bytes(data[i : i + size]) for i in range(0, len(data), size)])


TOKENS = (
    b"GET|POST| |/|HTTP/1.1|HTTP/1.0|\r\n|\n|:|Host|Content-Length|5|-1|Transfer-Encoding|chunked|Upgrade|Connection|"
    b"close|Expect|100-continue|99999999999999999999|0|\0|\xff|%|*|CONNECT|PRI|\r\n\r\n|" + b"x" * 3000
).split(b"|")


@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4)), max_size=30), size=st.integers(1, 999))
def test_words_of_http_in_any_order(words, size):
    data = b"".join(words)
    check([data[i : i + size] for i in range(0, len(data), size)], Limits(body=1000, head=2000, headers=8))


@pytest.mark.parametrize("piece", [b"A", b"A: b\r\n", b"A: " + b"x" * 500 + b"\r\n"])
def test_memory_stays_bounded_however_a_head_is_dripped(piece):
    found, over = answer([b"GET / HTTP/1.1\r\nHost: x\r\n", *[piece] * 20_000], Limits(head=5000))
    assert [status for status, _ in found] == [431]
    assert over
