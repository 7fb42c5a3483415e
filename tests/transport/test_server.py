"""The server over real sockets: order, limits, streams, upgrades, clients that leave, an orderly end."""

import asyncio
import select
import socket
import ssl
import struct

import pytest

from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Response
from switchboard.transport.raw import connect, connect_unix
from switchboard.transport.reader import Limits
from switchboard.transport.server import Server


class Site:
    """A handler whose slow answers the test lets go one by one."""

    def __init__(self):
        self.requests = []
        self.gates = {}
        self.asked = asyncio.Event()
        self.events = asyncio.Queue()

    def gate(self, name):
        return self.gates.setdefault(name, asyncio.Event())

    def handle(self, request):
        self.requests.append(request)
        self.asked.set()
        made = getattr(self, "on_" + request.path.strip("/").split("/")[0], None)
        if made is None:
            return Response(200, [("X-Path", request.path)], request.method.encode() + b" " + request.body)
        return made(request)

    async def on_slow(self, request):
        try:
            await self.gate(request.path).wait()
        except asyncio.CancelledError:
            self.events.put_nowait(f"cancelled, disconnected={request.disconnected.is_set()}")
            raise
        return Response(200, [], request.path.encode())

    def on_status(self, request):
        return Response(int(request.path.rpartition("/")[2]), [], b"body")

    def on_inject(self, request):
        return Response(200, [("Warning", "a\r\nSet-Cookie: b"), ("X-Name", "Zürich ✓")], b"")

    def on_fail(self, request):
        raise ZeroDivisionError

    async def on_fail_later(self, request):
        await asyncio.sleep(0)
        raise ZeroDivisionError

    def on_big(self, request):
        return Response(200, [], [b"x" * 100_000, b"y" * 100_000])

    def on_stream(self, request):
        async def chunks():
            try:
                for number in range(3):
                    await self.gate(f"chunk{number}").wait()
                    yield b"chunk%d" % number
            finally:
                self.events.put_nowait("stream ended")

        return Response(200, [], stream=chunks())

    def on_flood(self, request):
        async def chunks():
            while True:
                self.sent = getattr(self, "sent", 0) + 1
                self.events.put_nowait(self.sent)
                yield bytes(65536)

        return Response(200, [], stream=chunks())

    def on_push(self, request):
        def push(writer):
            self.writer = writer
            writer.on_close(lambda: self.events.put_nowait("closed"))
            writer.write(b"first")

        return Response(200, [], push=push)

    def on_upgrade(self, request):
        async def echo(connection):
            while data := await connection.read():
                await connection.write(b"<" + data + b">")
            await connection.write(b"bye")
            self.events.put_nowait("upgrade ended")

        return Response(101, [("Upgrade", "echo"), ("Connection", "Upgrade")], upgrade=echo)


def as_json(status, message):
    return Response(status, [("Content-Type", "application/json")], b'{"code":%d}' % status)


@pytest.fixture
async def site():
    return Site()


@pytest.fixture
async def server(site):
    made = Server(site.handle, on_error=as_json, limits=Limits(body=1000, head=4000, headers=50))
    yield made
    await made.close(grace=0.2)


@pytest.fixture
async def dial(server):
    port = await server.listen("127.0.0.1")
    made = []

    async def connection():
        made.append(await connect("127.0.0.1", port))
        return made[-1]

    connection.port = port
    yield connection
    for one in made:
        one.close()


async def until(connection, end: bytes) -> bytes:
    data = b""
    async with asyncio.timeout(5):
        while not data.endswith(end):
            piece = await connection.read()
            assert piece, f"closed after {data!r}"
            data += piece
    return data


async def everything(connection) -> bytes:
    data = b""
    async with asyncio.timeout(5):
        while piece := await connection.read():
            data += piece
    return data


def get(path, *lines):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def test_keep_alive_and_what_the_handler_sees(dial, site):
    one = await dial()
    for _ in range(2):
        await one.write(b"POST /a%2Fb?x=1&y HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 3\r\n\r\nabc")
        answer = await until(one, b"POST abc")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
        assert b"X-Path: /a%2Fb\r\n" in answer
    request = site.requests[0]
    assert (request.path, request.query, request.headers["x-a"]) == ("/a%2Fb", "x=1&y", "1, 2")
    assert request.extra["repeated"] == {"x-a": ["1", "2"]}
    assert (request.peer_address, request.secure, request.peer_certificate) == ("127.0.0.1", False, None)


async def test_pipelined_requests_are_answered_in_order(dial, site):
    one = await dial()
    await one.write(get("/slow/1") + get("/quick") + get("/slow/2") + get("/last"))
    site.gate("/slow/2").set()
    await asyncio.sleep(0)
    site.gate("/slow/1").set()
    answer = await until(one, b"GET ")
    while answer.count(b"HTTP/1.1 200") < 4:
        answer += await one.read()
    order = [answer.index(mark) for mark in (b"/slow/1", b"/quick", b"/slow/2", b"/last")]
    assert order == sorted(order)


async def test_answers_kept_for_the_end_of_the_turn_are_sent_before_the_connection_closes(dial):
    one = await dial()
    await one.write(get("/a") * 3 + b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    async with asyncio.timeout(5):
        while data := await one.read():
            answer += data
    assert answer.count(b"HTTP/1.1 200") == 4
    assert answer.index(b"/a") < answer.index(b"/last")


async def test_answers_kept_for_the_end_of_the_turn_reach_a_client_that_has_said_all(dial):
    one = await dial()
    await one.write(get("/a") * 3)
    await one.write_eof()
    answer = b""
    async with asyncio.timeout(5):
        while data := await one.read():
            answer += data
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_an_answer_with_none_to_go_along_does_not_wait_for_what_else_is_done_in_its_turn(dial, site):
    with socket.create_connection(("127.0.0.1", dial.port)) as client:
        client.sendall(get("/slow/1"))
        while not site.requests:  # noqa: ASYNC110  # the loop turns until the server has it
            await asyncio.sleep(0)
        await asyncio.sleep(0)

        async def other() -> bool:
            await site.gate("/slow/1").wait()
            return bool(select.select([client], [], [], 0)[0])

        doing = asyncio.create_task(other())
        await asyncio.sleep(0)
        site.gate("/slow/1").set()
        assert await doing


async def test_a_refusal_comes_behind_the_answers_before_it(dial):
    one = await dial()
    await one.write(get("/a") + b"NONSENSE\r\n\r\n")
    answer = b""
    async with asyncio.timeout(5):
        while data := await one.read():
            answer += data
    assert answer.index(b"HTTP/1.1 200") < answer.index(b"HTTP/1.1 400")


async def test_a_client_that_pipelines_without_end_is_slowed_not_buffered(dial, site, server):
    one = await dial()
    await one.write(get("/slow/1") + get("/a") * 1000)
    await asyncio.sleep(0)
    site.gate("/slow/1").set()
    async with asyncio.timeout(5):
        answer = b""
        while answer.count(b"HTTP/1.1 200") < 1001:
            answer += await one.read()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("HEAD", "/x", b"Content-Length: 5\r\n\r\n"),
        ("GET", "/status/204", b"\r\n\r\n"),
        ("GET", "/status/304", b"\r\n\r\n"),
        ("GET", "/status/404", b"Content-Length: 4\r\n\r\nbody"),
    ],
)
async def test_which_answers_have_a_body(dial, method, path, expected):
    one = await dial()
    await one.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + get("/after", "Connection: close"))
    answer = await everything(one)
    first, _, second = answer.partition(b"HTTP/1.1 200 OK\r\n") if b"/status" in path.encode() else (answer, b"", b"")
    assert expected in first
    assert answer.endswith(b"Connection: close\r\n\r\nGET ")
    assert (b"Content-Length" in first) == (b"Content-Length" in expected)
    assert second or method == "HEAD"


async def test_http_1_0_and_connection_close(dial):
    for head, keeps in ((b"", False), (b"Connection: keep-alive\r\n", True)):
        one = await dial()
        await one.write(b"GET /a HTTP/1.0\r\n" + head + b"\r\n")
        answer = await (until(one, b"GET ") if keeps else everything(one))
        assert (b"Connection: keep-alive" in answer) == keeps
    one = await dial()
    await one.write(b"GET /stream HTTP/1.0\r\n\r\n")
    assert b"chunked" not in await until(one, b"\r\n\r\n")


async def test_values_cannot_add_headers_and_may_be_unicode(dial):
    one = await dial()
    await one.write(get("/inject", "Connection: close"))
    answer = await everything(one)
    assert b"\r\nSet-Cookie" not in answer
    assert "X-Name: Zürich ✓\r\n".encode() in answer


async def test_a_failing_handler_is_a_500_and_the_connection_goes_on(dial, caplog):
    one = await dial()
    for path in ("/fail", "/fail_later"):
        await one.write(get(path))
        assert (await until(one, b'{"code":500}')).startswith(b"HTTP/1.1 500 ")
    assert caplog.text.count("ZeroDivisionError") >= 2


async def test_expect_continue(dial):
    one = await dial()
    await one.write(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert await until(one, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await one.write(b"abc")
    assert (await until(one, b"PUT abc")).startswith(b"HTTP/1.1 200 OK")
    await one.write(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\nExpect: 100-continue\r\n\r\n")
    assert (await everything(one)).startswith(b"HTTP/1.1 413 ")


REFUSED = {
    "too long a body": (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413),
    "too long a chunked body": (
        b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001,
        413,
    ),
    "too long a header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 5000, 431),
    "too long a header, whole": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 5000 + b"\r\n\r\n", 431),
    "too long a target": (b"GET /" + b"a" * 5000, 431),
    "too many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 60 + b"\r\n", 431),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "no HTTP": (b"hello\r\n\r\n", 400),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "unknown method": (b"FROBNICATE / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bad length": (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    "two lengths": (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "length and chunks": (
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "bad chunk": (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "space in a header name": (b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400),
    "zero byte": (b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
    "unknown expectation": (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: magic\r\n\r\n", 417),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_and_closed_after_what_came_before(dial, name):
    data, status = REFUSED[name]
    one = await dial()
    await one.write(get("/before") + data)
    answer = await everything(one)
    before, _, refusal = answer.partition(b"GET HTTP/1.1 ")
    assert before.startswith(b"HTTP/1.1 200 OK")
    assert refusal.startswith(b"%d " % status)
    assert b"\r\nConnection: close\r\n" in refusal
    assert refusal.endswith(b"\r\n\r\n" + b'{"code":%d}' % status)


async def test_a_refused_client_that_goes_on_sending_still_reads_its_answer(dial):
    one = await dial()
    await one.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + bytes(1_000_000))
    assert (await until(one, b'{"code":413}')).startswith(b"HTTP/1.1 413 ")


def reset(connection):
    """Leave as a killed process with unread data does."""
    linger = struct.pack("ii", 1, 0)
    connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.abort()


@pytest.mark.parametrize("leave", [reset, lambda connection: connection.close()], ids=["reset", "close"])
async def test_a_disconnected_client_cancels_its_handler(dial, site, leave):
    one = await dial()
    await one.write(get("/slow/1"))
    await site.asked.wait()
    leave(one)
    async with asyncio.timeout(5):
        assert await site.events.get() == "cancelled, disconnected=True"


async def test_a_half_closed_client_is_still_answered(dial, site):
    one = await dial()
    await one.write(get("/slow/1"))
    await one.write_eof()
    await site.asked.wait()
    site.gate("/slow/1").set()
    assert (await everything(one)).endswith(b"/slow/1")


async def test_stream_chunks_leave_one_by_one(dial, site):
    one = await dial()
    await one.write(get("/stream") + get("/next"))
    assert b"Transfer-Encoding: chunked\r\n" in await until(one, b"\r\n\r\n")
    for number in range(3):
        site.gate(f"chunk{number}").set()
        data = await until(one, b"chunk%d\r\n" % number) if number < 2 else await until(one, b"GET ")
        assert data.startswith(b"6\r\nchunk%d\r\n" % number)
    assert b"0\r\n\r\nHTTP/1.1 200 OK" in data
    assert site.events.get_nowait() == "stream ended"


async def test_a_stream_ends_when_its_client_leaves(dial, site):
    for leave in ("abort", "close"):
        one = await dial()
        await one.write(get("/stream"))
        await until(one, b"\r\n\r\n")
        getattr(one, leave)()
        async with asyncio.timeout(5):
            assert await site.events.get() == "stream ended"


async def test_a_client_that_does_not_read_holds_up_its_own_stream_only(dial, site):
    slow = await dial()
    slow._transport.pause_reading()
    await slow.write(get("/flood"))
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            while True:
                async with asyncio.timeout(0.3):
                    sent = await site.events.get()
    assert sent * 65536 < 64 << 20
    other = await dial()
    await other.write(get("/a"))
    await until(other, b"GET ")


async def test_pushed_streams(dial, site):
    one = await dial()
    await one.write(get("/push") + get("/after"))
    assert (await until(one, b"first\r\n")).endswith(b"\r\n\r\n5\r\nfirst\r\n")
    site.writer.write(b"second")
    assert await until(one, b"second\r\n") == b"6\r\nsecond\r\n"
    site.writer.close()
    assert b"0\r\n\r\nHTTP/1.1 200 OK" in await until(one, b"GET ")
    assert await site.events.get() == "closed"
    assert site.writer.closed
    site.writer.write(b"ignored")
    await one.write(get("/push"))
    await until(one, b"first\r\n")
    one.abort()
    async with asyncio.timeout(5):
        assert await site.events.get() == "closed"


async def test_upgrade_gets_the_bytes_that_came_with_the_request(dial, site):
    one = await dial()
    await one.write(get("/upgrade", "Connection: Upgrade", "Upgrade: echo") + b"early")
    head = await until(one, b"<early>")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Content-Length" not in head
    await one.write(b"more")
    assert await until(one, b">") == b"<more>"
    await one.write_eof()
    assert await everything(one) == b"bye"
    assert await site.events.get() == "upgrade ended"


async def test_an_upgrade_that_is_not_granted_is_an_ordinary_request(dial):
    one = await dial()
    await one.write(get("/a", "Connection: Upgrade", "Upgrade: h2c") + get("/b", "Connection: close"))
    assert (await everything(one)).count(b"HTTP/1.1 200 OK") == 2


async def test_silent_clients_are_swept_away_and_harm_nobody(dial, server):
    silent = [await dial() for _ in range(500)]
    half = await dial()
    await half.write(b"GET / HTTP/1.1\r\nHo")
    one = await dial()
    await one.write(get("/a"))
    await until(one, b"GET ")
    now = asyncio.get_running_loop().time()
    assert len(server.connections) == 502
    for connection in list(server.connections):
        connection.check_deadline(now + 1)
    await one.write(get("/a"))
    await until(one, b"GET ")
    for connection in list(server.connections):
        connection.check_deadline(now + 1000)
    assert (await everything(half)).startswith(b"HTTP/1.1 408 ")
    for connection in silent:
        assert await everything(connection) == b""


async def test_tls_and_client_certificates(server, site, certificates):
    port = await server.listen("127.0.0.1", ssl=certificates.server())
    for certificate in (False, True):
        async with HttpClient(ssl=certificates.client(certificate=certificate)) as client:
            answer = await client.request("GET", f"https://127.0.0.1:{port}/a")
        assert answer.body == b"GET "
    anonymous, named = site.requests
    assert (anonymous.secure, anonymous.peer_certificate) == (True, None)
    subject = [pair for part in named.peer_certificate["subject"] for pair in part]
    assert ("commonName", "jane") in subject
    assert [value for name, value in subject if name == "organizationName"] == ["system:masters", "others"]


async def test_no_old_tls(server, certificates):
    context = certificates.server()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    port = await server.listen("127.0.0.1", ssl=context)
    old = certificates.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect("127.0.0.1", port, ssl=old)


async def test_unix_sockets_belong_to_their_owner(server, tmp_path):
    path = tmp_path / "s.sock"
    path.write_text("a leftover")
    await server.listen_unix(path)
    assert path.stat().st_mode & 0o777 == 0o600
    one = await connect_unix(str(path))
    await one.write(get("/a", "Connection: close"))
    assert (await everything(one)).endswith(b"GET ")


async def test_an_orderly_end(site):
    server = Server(site.handle)
    port = await server.listen("127.0.0.1")
    idle, slow, stream, pushed, upgraded = [await connect("127.0.0.1", port) for _ in range(5)]
    await slow.write(get("/slow/1"))
    await stream.write(get("/stream"))
    await pushed.write(get("/push"))
    await upgraded.write(get("/upgrade", "Connection: Upgrade", "Upgrade: echo"))
    for connection in (stream, upgraded):
        await until(connection, b"\r\n\r\n")
    await until(pushed, b"first\r\n")
    closing = asyncio.create_task(server.close(grace=5))
    assert await everything(idle) == b""
    assert await everything(stream) == b"0\r\n\r\n"
    assert await everything(pushed) == b"0\r\n\r\n"
    assert await everything(upgraded) in (b"", b"bye")
    site.gate("/slow/1").set()
    assert (await everything(slow)).endswith(b"Connection: close\r\n\r\n/slow/1")
    await closing
    with pytest.raises(OSError, match=r"refused|Connect"):
        await connect("127.0.0.1", port)


async def test_an_end_that_does_not_wait_for_ever(site):
    server = Server(site.handle)
    port = await server.listen("127.0.0.1")
    slow = await connect("127.0.0.1", port)
    await slow.write(get("/slow/1"))
    await site.asked.wait()
    async with asyncio.timeout(3):
        await server.close(grace=0.05)
    assert await everything(slow) == b""
