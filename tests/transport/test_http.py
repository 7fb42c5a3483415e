"""The client against our server and against servers that misbehave."""

import asyncio
import time

import pytest

from switchboard.transport.http import Disconnected, HttpClient, TooLarge, Unreachable
from switchboard.transport.messages import Response
from switchboard.transport.raw import connect, pipe
from switchboard.transport.server import Server


async def echo(connection):
    while data := await connection.read():
        await connection.write(b"<" + data + b">")
    connection.close()


def handle(request):
    if request.path == "/upgrade":
        return Response(101, [("Upgrade", "echo"), ("Connection", "Upgrade")], upgrade=echo)
    if request.path == "/stream":

        async def chunks():
            for number in range(3):
                yield b"%d\n" % number

        return Response(200, [("X-A", "1"), ("X-A", "2")], stream=chunks())
    if request.path == "/big":
        return Response(200, [], bytes(1 << 20))
    target = f"{request.method} {request.path}?{request.query} {request.headers['host']} "
    return Response(201, [], target.encode() + request.body)


class Scripted:
    """A TCP server that answers the n-th connection with the n-th list of (wait for a request, then send) steps."""

    def __init__(self):
        self.connections = 0
        self.received = []

    async def start(self, *scripts):
        async def serve(reader, writer):
            self.connections += 1
            script = scripts[min(self.connections, len(scripts)) - 1]
            for step in script:
                head = await reader.readuntil(b"\r\n\r\n")
                self.received.append(head)
                writer.write(step)
                await writer.drain()
            writer.close()

        self.server = await asyncio.start_server(serve, "127.0.0.1")
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def scripted():
    made = Scripted()
    yield made
    made.server.close()


@pytest.fixture(params=["plain", "tls", "unix", "dialled", "tls through a tunnel"])
async def site(request, certificates, tmp_path):
    """A client and the base of its URLs, for each way to reach a server."""
    server = Server(handle)
    tls = "tls" in request.param
    port = await server.listen("127.0.0.1", ssl=certificates.server() if tls else None)
    await server.listen_unix(tmp_path / "sock")

    async def dial(host, port_):
        assert (host, port_) == ("tunnel.example", 1234)
        return await connect("127.0.0.1", port)

    client, base = {
        "plain": lambda: (HttpClient(), f"http://127.0.0.1:{port}"),
        "tls": lambda: (HttpClient(ssl=certificates.client()), f"https://127.0.0.1:{port}"),
        "unix": lambda: (HttpClient(unix=str(tmp_path / "sock")), "http://anything"),
        "dialled": lambda: (HttpClient(dial=dial), "http://tunnel.example:1234"),
        "tls through a tunnel": lambda: (
            HttpClient(ssl=certificates.client(), dial=dial),
            "https://tunnel.example:1234",
        ),
    }[request.param]()
    yield client, base
    await client.close()
    await server.close(grace=0.1)


async def test_requests_share_a_connection(site):
    client, base = site
    host = base.partition("://")[2].encode()
    for _ in range(3):
        answer = await client.request("POST", base + "/a%20b?c=d", {"X-Y": "z"}, b"body")
        assert (answer.status, answer.body) == (201, b"POST /a%20b?c=d " + host + b" body")
    assert (await client.request("HEAD", base)).body == b""
    assert (await client.request("GET", base + "?q")).body == b"GET /?q " + host + b" "
    assert len((await client.request("GET", base + "/big")).body) == 1 << 20
    assert [len(idle) for idle in client._idle.values()] == [1]


async def test_streams(site):
    client, base = site
    async with client.stream("GET", base + "/stream") as answer:
        assert (answer.status, answer.headers["x-a"]) == (200, "1, 2")
        assert b"".join([piece async for piece in answer.body]) == b"0\n1\n2\n"
    assert [len(idle) for idle in client._idle.values()] == [1]
    async with client.stream("GET", base + "/big") as answer:
        async for _ in answer.body:
            break
    assert sum(len(idle) for idle in client._idle.values()) == 0


async def test_upgrades(site):
    client, base = site
    status, headers, connection = await client.upgrade("GET", base + "/upgrade", {"Upgrade": "echo"})
    assert (status, headers["upgrade"]) == (101, "echo")
    await connection.write(b"hello")
    data = b""
    while not data.endswith(b">"):
        data += await connection.read()
    assert data == b"<hello>"
    connection.close()
    status, _, body = await client.upgrade("GET", base + "/other", {"Upgrade": "echo"})
    assert (status, body[:11]) == (201, b"GET /other?")


async def test_bytes_that_come_with_the_101_are_not_lost(scripted):
    base = await scripted.start([b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly"])
    async with HttpClient() as client:
        _, _, connection = await client.upgrade("GET", base, {"Upgrade": "x"})
        assert await connection.read() == b"early"
        assert await connection.read() == b""


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_stale_connection_is_replaced_for_what_may_be_repeated(scripted):
    base = await scripted.start([OK, b""], [OK, b""])
    async with HttpClient() as client:
        for _ in range(2):
            assert (await client.request("GET", base)).body == b"ok"
        assert scripted.connections == 2
        with pytest.raises(Disconnected):
            await client.request("POST", base, body=b"x")
        assert scripted.connections == 2


async def test_a_connection_closed_while_idle_is_not_used_again(scripted):
    base = await scripted.start([OK])
    async with HttpClient() as client:
        for number in range(1, 4):
            assert (await client.request("POST", base)).status == 200
            (idle,) = client._idle.values()
            async with asyncio.timeout(5):
                assert await idle[0][1].read() == b""
            assert scripted.connections == number


async def test_connections_nobody_uses_are_closed(scripted):
    base = await scripted.start([OK, OK])
    client = HttpClient()
    await client.request("GET", base)
    now = asyncio.get_running_loop().time()
    client._sweep(now + 59)
    assert len(client._idle) == 1
    client._sweep(now + 61)
    assert not client._idle
    await client.request("GET", base)
    assert scripted.connections == 2
    await client.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\nT: x\r\n\r\n", b"ab"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
    ],
)
async def test_where_a_body_ends(scripted, answer, body):
    base = await scripted.start([answer])
    async with HttpClient() as client:
        assert (await client.request("GET", base)).body == body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nA: b",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
async def test_a_broken_answer_is_said(scripted, answer):
    base = await scripted.start([answer])
    async with HttpClient() as client:
        with pytest.raises(Disconnected):
            await client.request("POST", base)
        with pytest.raises(Disconnected):
            async with client.stream("GET", base) as stream:
                async for _ in stream.body:
                    pass


async def test_limits_timeouts_and_refused_connections(certificates, scripted):
    server = Server(lambda request: asyncio.get_running_loop().create_future())
    port = await server.listen("127.0.0.1")
    base = await scripted.start([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"])
    async with HttpClient(ssl=certificates.client()) as client:
        with pytest.raises(TooLarge):
            await client.request("GET", base, limit=4)
        assert (await client.request("GET", base, limit=5)).body == b"12345"
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            await client.request("GET", f"http://127.0.0.1:{port}", timeout=0.05)
        assert time.monotonic() - start < 2
        with pytest.raises(Unreachable):
            await client.request("GET", f"https://127.0.0.1:{port}")  # no TLS there
        await server.close(grace=0)
        with pytest.raises(Unreachable):
            await client.request("GET", f"http://127.0.0.1:{port}")


async def test_an_unknown_certificate_is_refused(certificates):
    server = Server(handle)
    port = await server.listen("127.0.0.1", ssl=certificates.server())
    async with HttpClient() as client:
        with pytest.raises(Unreachable, match="certificate"):
            await client.request("GET", f"https://127.0.0.1:{port}")
    await server.close(grace=0)


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "/path"])
async def test_urls(url):
    with pytest.raises(ValueError, match="URL"):
        await HttpClient().request("GET", url)


@pytest.mark.parametrize("bad", [{"A": "b\r\nC: d"}, {"A\r\nB": "c"}])
async def test_nothing_can_be_smuggled_into_a_request(bad, scripted):
    base = await scripted.start([OK])
    with pytest.raises(ValueError, match="line end"):
        await HttpClient().request("GET", base, bad)
    with pytest.raises(ValueError, match="space"):
        await HttpClient().request("GET", base + "/a b")


async def test_pipe_copies_both_ways_and_passes_half_closes_on(pair):
    (client, left), (right, server) = await pair(), await pair()
    piping = asyncio.create_task(pipe(left, right))
    await client.write(b"question" * 100_000)
    await client.write_eof()
    question = b""
    while data := await server.read():
        question += data
    assert question == b"question" * 100_000
    await server.write(b"answer")
    await server.write_eof()
    assert await client.read() == b"answer"
    assert await client.read() == b""
    await piping
    with pytest.raises(ConnectionError):
        for _ in range(10):
            await left.write(b"x")
