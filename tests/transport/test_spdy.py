"""SPDY/3.1: frames survive any cutting, streams share a connection, and either end may leave."""

import asyncio
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.transport import spdy_frames as frames
from switchboard.transport.spdy import SpdySession
from switchboard.transport.spdy_frames import FrameReader, FrameWriter, SpdyError

NUMBER = st.integers(1, 0x7FFFFFFF)
NAME = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
HEADERS = st.dictionaries(NAME, st.text(max_size=20).filter(lambda t: "\0" not in t), max_size=4)
U32 = st.integers(0, 0xFFFFFFFF)
FRAMES = st.one_of(
    st.builds(frames.SynStream, NUMBER, HEADERS, st.booleans(), st.booleans(), NUMBER, st.integers(0, 7)),
    st.builds(frames.SynReply, NUMBER, HEADERS, st.booleans()),
    st.builds(frames.Headers, NUMBER, HEADERS, st.booleans()),
    st.builds(frames.Data, NUMBER, st.binary(max_size=300), st.booleans()),
    st.builds(frames.Reset, NUMBER, st.integers(1, 11)),
    st.builds(frames.Ping, U32),
    st.builds(frames.GoAway, NUMBER, U32),
    st.builds(frames.WindowUpdate, NUMBER, U32),
    st.builds(frames.Settings, st.dictionaries(st.integers(1, 0xFFFFFF), U32, max_size=4)),
)


@settings(max_examples=150, deadline=None)
@given(sent=st.lists(FRAMES, min_size=1, max_size=12), size=st.integers(1, 400))
def test_any_cutting_gives_the_same_frames(sent, size):
    writer, reader = FrameWriter(), FrameReader()
    wire = b"".join(writer.encode(frame) for frame in sent)
    found = [frame for i in range(0, len(wire), size) for frame in reader.feed(wire[i : i + size])]
    assert found == sent


def test_cut_at_every_byte():
    sent = [
        frames.SynStream(1, {"streamtype": "stdin"}),
        frames.Data(1, b"hello"),
        frames.SynReply(1, {"streamtype": "stdin"}),
        frames.Data(1, b"", fin=True),
    ]
    writer = FrameWriter()
    wire = b"".join(writer.encode(frame) for frame in sent)
    for at in range(len(wire)):
        reader = FrameReader()
        assert reader.feed(wire[:at]) + reader.feed(wire[at:]) == sent


def test_the_bytes_that_others_expect():
    """The dictionary's checksum and the layout of the frames, from the draft."""
    assert (len(frames.DICTIONARY), zlib.adler32(frames.DICTIONARY)) == (1423, 0xE3C6A7C2)
    wire = FrameWriter().encode(frames.SynStream(1, {"StreamType": "error"}, fin=True, priority=2))
    assert wire[:5] == bytes.fromhex("8003000101")
    assert wire[8:18] == bytes.fromhex("00000001 00000000 40 00".replace(" ", ""))
    assert wire[18] & 0x0F == 8  # deflate
    assert wire[19] & 0x20  # with a dictionary, whose checksum follows
    assert wire[20:24] == bytes.fromhex("e3c6a7c2")
    block = zlib.decompressobj(zdict=frames.DICTIONARY).decompress(wire[18:])
    assert block == struct.pack(">II10sI5s", 1, 10, b"streamtype", 5, b"error")
    assert FrameWriter().encode(frames.Data(3, b"ab", fin=True)) == bytes.fromhex("00000003010000026162")
    assert FrameWriter().encode(frames.Ping(2)) == bytes.fromhex("800300060000000400000002")


def control(kind, body, version=3):
    return struct.pack(">HHI", 0x8000 | version, kind, len(body)) + body


def block(raw):
    deflate = zlib.compressobj(zdict=frames.DICTIONARY)
    return deflate.compress(raw) + deflate.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    "wire",
    [
        control(1, b"\0\0\0\1", version=2),
        control(1, b"\0\0\0\1"),
        control(1, bytes(10) + block(b"\0\0\0\0")),
        control(2, b"\0\0\0\1" + b"not zlib"),
        control(2, b"\0\0\0\1" + block(b"\0\0\0\2\0\0\0\1a\0\0\0\1b")),
        control(2, b"\0\0\0\1" + block(b"\0\0\0\1\0\0\0\0\0\0\0\1b")),
        control(2, b"\0\0\0\1" + block(b"\0\0\0\1\xff\xff\xff\xffa")),
        control(2, b"\0\0\0\1" + block(bytes(2 << 20))),
        control(4, b"\0\0\0\2" + bytes(8)),
        struct.pack(">HHI", 0x8003, 2, 0xFFFFFF),
        struct.pack(">II", 0, 1) + b"x",
        b"\xff" * 8,
    ],
)
def test_what_is_not_spdy_is_refused(wire):
    reader = FrameReader()
    with pytest.raises(SpdyError):
        reader.feed(wire)
        reader.feed(bytes(8 + 0xFFFFFF))


def test_unknown_control_frames_are_passed_over():
    assert FrameReader().feed(control(77, b"whatever") + control(6, b"\0\0\0\1")) == [frames.Ping(1)]


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_noise_is_read_or_refused(data):
    try:
        FrameReader().feed(b"\x80\x03\x00" + data)
    except SpdyError:
        pass


@pytest.fixture
async def sessions(pair):
    left, right = await pair()
    client, server = SpdySession(left, server=False), SpdySession(right, server=True)
    running = [asyncio.create_task(session.run()) for session in (client, server)]
    yield client, server
    for session in (client, server):
        await session.close(patience=0.1)
    async with asyncio.timeout(5):
        await asyncio.gather(*running)


async def open_both(client, server, **headers):
    opening = asyncio.create_task(client.open(headers))
    theirs = await server.accept()
    await theirs.reply()
    return await opening, theirs


async def read_all(stream):
    data = b""
    async with asyncio.timeout(5):
        while piece := await stream.read():
            data += piece
    return data


async def test_streams_carry_data_both_ways_with_half_closes(sessions):
    client, server = sessions
    pairs = [await open_both(client, server, streamType=name) for name in ("error", "stdin", "stdout")]
    assert [theirs.headers for _, theirs in pairs] == [{"streamtype": n} for n in ("error", "stdin", "stdout")]
    assert [ours.id for ours, _ in pairs] == [1, 3, 5]
    for number, (ours, theirs) in enumerate(pairs):
        await ours.write(b"%d" % number * 200_000)
        await ours.write_eof()
        await theirs.write(b"reply %d" % number)
        with pytest.raises(BrokenPipeError):
            await ours.write(b"more")
        assert await read_all(theirs) == b"%d" % number * 200_000
        await theirs.write_eof()
        assert await read_all(ours) == b"reply %d" % number
    assert not client._streams
    assert not server._streams


async def test_an_accepted_stream_is_answered_by_its_first_use(sessions):
    client, server = sessions
    opening = asyncio.create_task(client.open({"port": "80"}))
    theirs = await server.accept()
    await asyncio.sleep(0)
    assert not opening.done()
    await theirs.write(b"hello")
    ours = await opening
    assert await ours.read() == b"hello"


async def test_refused_and_unanswered_streams(sessions):
    client, server = sessions
    opening = asyncio.create_task(client.open({"a": "b"}))
    await (await server.accept()).refuse()
    with pytest.raises(ConnectionError, match="refused"):
        await opening
    with pytest.raises(TimeoutError):
        await client.open({"a": "b"}, patience=0.01)
    assert not client._streams


@pytest.mark.parametrize("end", [frames.Reset(1, frames.CANCEL), frames.GoAway(0)], ids=["reset", "closed"])
async def test_a_stream_that_ended_with_its_acceptance_is_read_to_its_end(pair, end):
    left, right = await pair()
    client = SpdySession(left, server=False)
    running = asyncio.create_task(client.run())
    opening = asyncio.create_task(client.open({"streamtype": "error"}))
    await right.read()
    writer = FrameWriter()
    at_once = [frames.SynReply(1, {}), frames.Data(1, b"it has ended", fin=True), end]
    await right.write(b"".join(writer.encode(frame) for frame in at_once))
    right.close()
    async with asyncio.timeout(5):
        assert await read_all(await opening) == b"it has ended"
        await running


async def test_a_reset_ends_both_directions(sessions):
    client, server = sessions
    ours, theirs = await open_both(client, server)
    reading = asyncio.create_task(theirs.read())
    await ours.reset()
    assert await reading == b""
    assert theirs.was_reset
    with pytest.raises(ConnectionError):
        await theirs.write(b"x")


async def test_a_slow_reader_holds_up_the_session_and_then_gets_everything(sessions):
    client, server = sessions
    slow, theirs = await open_both(client, server)
    size = 8 << 20
    writing = asyncio.create_task(slow.write(bytes(size)))
    done, _ = await asyncio.wait([writing], timeout=0.2)
    assert not done, "the writer must feel that nobody reads"
    assert theirs._size < 1 << 20
    got = 0
    async with asyncio.timeout(10):
        while got < size:
            got += len(await theirs.read())
    await writing


async def test_a_closed_stream_drops_what_still_comes(sessions):
    client, server = sessions
    ours, theirs = await open_both(client, server)
    theirs.close()
    await ours.write(bytes(4 << 20))
    assert await read_all(ours) == b""
    again, its = await open_both(client, server)
    await again.write(b"still alive")
    assert await its.read() == b"still alive"


async def test_pings_are_answered_by_either_side(sessions):
    async with asyncio.timeout(5):
        for session in sessions:
            for _ in range(3):
                await session.ping()


async def test_the_end_of_a_session_ends_its_streams(sessions):
    client, server = sessions
    ours, theirs = await open_both(client, server)
    await ours.write(b"last words")
    await client.close()
    assert await read_all(theirs) == b"last words"
    assert await server.accept() is None
    assert await ours.read() == b""
    for session in (client, server):
        with pytest.raises(ConnectionError):
            await session.open({})


async def test_a_peer_that_breaks_the_protocol_ends_the_session(pair):
    left, right = await pair()
    session = SpdySession(right, server=True)
    await left.write(control(1, bytes(10), version=2))
    async with asyncio.timeout(5):
        await session.run()
    assert await session.accept() is None
    assert await left.read() == b""


async def test_streams_with_numbers_that_are_not_the_peers_are_reset(pair):
    left, right = await pair()
    session = SpdySession(right, server=True)
    running = asyncio.create_task(session.run())
    writer, reader = FrameWriter(), FrameReader()
    for number in (2, 3, 3, 1):
        await left.write(writer.encode(frames.SynStream(number)))
    found = []
    async with asyncio.timeout(5):
        while len(found) < 3:
            found += reader.feed(await left.read())
    assert found == [frames.Reset(number, frames.PROTOCOL_ERROR) for number in (2, 3, 1)]
    left.close()
    await running
