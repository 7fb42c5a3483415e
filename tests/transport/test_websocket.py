"""WebSocket: frames survive any cutting, broken rules are named, and both sides talk to each other."""

import asyncio
import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.transport import websocket_frames as frames
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Response
from switchboard.transport.server import Server
from switchboard.transport.websocket import (
    BadHandshake,
    MessageConnection,
    WebSocket,
    accept_key,
    answer_handshake,
    connect_websocket,
)
from switchboard.transport.websocket_frames import Message, MessageReader, close_payload, encode_frame, mask

SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65535, 65536, 70000]))


@st.composite
def conversations(draw):
    """(wire bytes, messages in order of completion) of fragmented messages with control frames in between."""
    masked = draw(st.booleans())
    wire, expected = b"", []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([frames.TEXT, frames.BINARY]))
        data = b"a" * draw(SIZES) if kind == frames.TEXT else os.urandom(draw(SIZES))
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
        edges = [0, *cuts, len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
        for number, piece in enumerate(pieces):
            first, last = number == 0, number == len(pieces) - 1
            wire += encode_frame(kind if first else frames.CONTINUATION, piece, masked=masked, fin=last)
            if not last and draw(st.booleans()):
                ping = draw(st.binary(max_size=125))
                wire += encode_frame(frames.PING, ping, masked=masked)
                expected.append(Message(frames.PING, ping))
        expected.append(Message(kind, data))
    return masked, wire, expected


@settings(max_examples=100, deadline=None)
@given(conversation=conversations(), size=st.integers(1, 5000))
def test_any_cutting_gives_the_same_messages(conversation, size):
    masked, wire, expected = conversation
    reader = MessageReader(masked=masked, limit=1 << 20)
    found = [m for i in range(0, len(wire), size) for m in reader.feed(wire[i : i + size])]
    assert (found, reader.error) == (expected, None)


def test_cut_at_every_byte():
    wire = encode_frame(frames.TEXT, "grüß".encode(), masked=True, fin=False)
    wire += encode_frame(frames.PING, b"p", masked=True) + encode_frame(frames.CONTINUATION, b"x" * 130, masked=True)
    expected = MessageReader(masked=True, limit=1000).feed(wire)
    assert len(expected) == 2
    for at in range(len(wire)):
        reader = MessageReader(masked=True, limit=1000)
        assert reader.feed(wire[:at]) + reader.feed(wire[at:]) == expected


@given(data=st.binary(max_size=50), key=st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_opposite(data, key):
    assert mask(mask(data, key), key) == data
    assert mask(data, key) == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


BROKEN = {
    "unmasked": (encode_frame(frames.TEXT, b"x", masked=False), 1002),
    "reserved bit": (b"\xc1\x80", 1002),
    "opcode 3": (b"\x83\x80", 1002),
    "fragmented ping": (b"\x09\x80", 1002),
    "long ping": (b"\x89\xfe", 1002),
    "continuation of nothing": (encode_frame(frames.CONTINUATION, b"", masked=True), 1002),
    "message within a message": (encode_frame(frames.TEXT, b"", masked=True, fin=False) * 2, 1002),
    "no UTF-8": (encode_frame(frames.TEXT, b"\xff", masked=True), 1007),
    "too big": (encode_frame(frames.BINARY, bytes(1001), masked=True), 1009),
    "too big, by its head alone": (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),
    "too big in fragments": (
        encode_frame(frames.BINARY, bytes(600), masked=True, fin=False)
        + encode_frame(frames.CONTINUATION, bytes(600), masked=True),
        1009,
    ),
    "half a close code": (encode_frame(frames.CLOSE, b"\x03", masked=True), 1002),
    "forbidden close code": (encode_frame(frames.CLOSE, b"\x03\xed", masked=True), 1002),
    "close reason not UTF-8": (encode_frame(frames.CLOSE, b"\x03\xe8\xff", masked=True), 1007),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rules_have_their_code_and_end_the_reading(name):
    wire, code = BROKEN[name]
    reader = MessageReader(masked=True, limit=1000)
    good = encode_frame(frames.TEXT, b"before", masked=True)
    assert reader.feed(good + wire) == [Message(frames.TEXT, b"before")]
    assert reader.error is not None
    assert reader.error.code == code
    assert reader.feed(good) == []


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_noise_is_read_or_refused(data):
    reader = MessageReader(masked=True, limit=1000)
    for byte in data:
        reader.feed(bytes([byte]))


def test_close_payloads():
    message = Message(frames.CLOSE, close_payload(1001, "é" * 100))
    assert (message.close_code, message.close_reason) == (1001, "é" * 61)
    assert len(message.data) <= 125
    assert Message(frames.CLOSE, b"").close_code == 1005


def request_headers(**changes):
    headers = {
        "connection": "keep-alive, Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return headers


def test_the_handshake_of_the_rfc():
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    answer, chosen = answer_handshake(request_headers(sec_websocket_protocol="v5, v4"), ["v4", "v5"])
    assert chosen == "v5"
    assert dict(answer)["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert dict(answer)["Sec-WebSocket-Protocol"] == "v5"
    assert "Sec-WebSocket-Protocol" not in dict(answer_handshake(request_headers(), ["v4"])[0])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"upgrade": "h2c"}, 400),
        ({"connection": "close"}, 400),
        ({"sec_websocket_version": "8"}, 426),
        ({"sec_websocket_key": "short"}, 400),
        ({"sec_websocket_key": "ä"}, 400),
        ({"sec_websocket_protocol": "v9"}, 403),
    ],
)
def test_handshakes_that_are_refused(changes, status):
    with pytest.raises(BadHandshake) as refused:
        answer_handshake(request_headers(**changes), ["v4"])
    assert refused.value.status == status


class Site:
    """A server that hands its WebSockets to the test."""

    def __init__(self):
        self.sockets = asyncio.Queue()
        self.release = asyncio.Event()

    def handle(self, request):
        try:
            headers, chosen = answer_handshake(request.headers, ["v5", "v4"])
        except BadHandshake as refused:
            return Response(refused.status, [], str(refused).encode())

        async def serve(connection):
            self.sockets.put_nowait(WebSocket(connection, server=True, protocol=chosen, limit=100_000))
            await self.release.wait()

        return Response(101, headers, upgrade=serve)


@pytest.fixture
async def both():
    """A client's and a server's WebSocket, connected."""
    site = Site()
    server = Server(site.handle)
    port = await server.listen("127.0.0.1")
    async with HttpClient() as http:
        client = await connect_websocket(http, f"http://127.0.0.1:{port}/x", protocols=["v9", "v4"])
        yield client, await site.sockets.get()
        with pytest.raises(BadHandshake) as refused:
            await connect_websocket(http, f"http://127.0.0.1:{port}/x", protocols=["v9"])
        assert refused.value.status == 403
    site.release.set()
    await server.close(grace=0.5)


async def test_messages_pings_and_an_orderly_close(both):
    client, server = both
    assert client.protocol == server.protocol == "v4"
    await client.send("text")
    await client.send(b"\x00bytes")
    await client.ping(b"are you there")
    assert await server.receive() == Message(frames.TEXT, b"text")
    assert await server.receive() == Message(frames.BINARY, b"\x00bytes")
    closing = asyncio.create_task(server.close(1000, "done"))
    assert await client.receive() is None
    assert (client.close_code, client.close_reason) == (1000, "done")
    await closing
    with pytest.raises(ConnectionError):
        await client.send(b"too late")


async def test_closing_while_another_task_receives_loses_nothing_sent(both):
    client, server = both
    receiving = asyncio.create_task(server.receive())
    await asyncio.sleep(0)
    for _ in range(50):
        await client.send(bytes(1000))  # the server will close with these unread
    await receiving
    await server.send(b"last words")
    receiving = asyncio.create_task(server.receive())
    await asyncio.sleep(0)
    closing = asyncio.create_task(server.close())
    assert await client.receive() == Message(frames.BINARY, b"last words")
    assert await client.receive() is None
    assert client.close_code == 1000
    await closing
    assert (await receiving) is None or server.close_code == 1000


async def test_a_broken_rule_is_answered_with_its_code(both):
    client, server = both
    await client.send(bytes(100_001))
    assert await server.receive() is None
    assert server.close_code == 1009
    assert await client.receive() is None
    assert client.close_code == 1009


async def test_a_lost_connection_is_1006(both):
    client, server = both
    client.abort()
    assert await server.receive() is None
    assert server.close_code == 1006


async def test_bytes_through_messages(both):
    client, server = map(MessageConnection, both)
    await client.write(b"one")
    await client.write(b"two")
    assert await server.read() + await server.read() == b"onetwo"
    server.close()
    assert await client.read() == b""
