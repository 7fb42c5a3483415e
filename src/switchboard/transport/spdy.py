"""A SPDY session over a connection: many streams, each of them a `Connection`; both ends of remote commands.

Rules, as moby/spdystream has them (the peer in kubectl, kubelets and containerd): a stream carries data only after its
SYN_REPLY; windows are neither sent nor obeyed; a stream whose reader is slow holds up the session (its only
back-pressure); GOAWAY lets open streams finish; a ping of the other side is sent back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine

from switchboard.transport import spdy_frames as frames
from switchboard.transport.messages import Connection
from switchboard.transport.spdy_frames import Frame, FrameReader, FrameWriter, SpdyError

_HIGH = 256 * 1024  # bytes a stream may hold unread before the session waits for its reader
_PIECE = 64 * 1024  # data of one frame
_BACKLOG = 256  # streams that wait to be accepted


class SpdyStream:
    """One stream: a `Connection` with `headers` (lower-case names, those of its opener) and a half-close that works.

    A stream of the peer is answered with SYN_REPLY at its first read or write, or by `reply`; `refuse` turns it down.
    """

    def __init__(self, session: SpdySession, number: int, headers: dict[str, str], *, ours: bool) -> None:
        self.id = number
        self.headers = headers
        self._session = session
        self._ours = ours
        self._replied = False
        self._answered = asyncio.Event()  # ours: SYN_REPLY or reset has come
        self._buffer: deque[bytes] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._remote_done = False
        self._local_done = False
        self._discard = False  # closed: nobody will read what still arrives
        self.was_reset = False

    # Connection

    async def read(self) -> bytes:
        """The next bytes, b"" once the peer has sent all or the stream was reset."""
        if not self._remote_done:
            await self.reply()
        while not self._buffer and not self._remote_done:
            self._changed.clear()
            await self._changed.wait()
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._size = 0
        self._session.has_room()
        return data

    async def write(self, data: bytes) -> None:
        """Send; ConnectionError if the stream is closed, reset or its session lost."""
        await self.reply()
        for start in range(0, len(data), _PIECE):
            if self._local_done:
                raise BrokenPipeError("the stream is closed for writing")
            await self._session.send(frames.Data(self.id, data[start : start + _PIECE]))

    async def write_eof(self) -> None:
        """Say that no more will be written."""
        if not self._local_done:
            await self.reply()
            self._local_done = True
            self._session.forget_finished(self)
            await self._session.send(frames.Data(self.id, b"", fin=True))

    def close(self) -> None:
        """Send the end of our data in the background and drop what still arrives; safe to call twice."""
        self._discard = True
        if not self._local_done:
            self._session.in_background(self.write_eof())
        self._buffer.clear()
        self._size = 0
        self._session.has_room()

    # SPDY

    async def reply(self, headers: dict[str, str] | None = None) -> None:
        """Accept a stream of the peer (nothing happens a second time, or for our own)."""
        if not self._ours and not self._replied:
            self._replied = True
            await self._session.send(frames.SynReply(self.id, headers or {}))

    async def refuse(self) -> None:
        """Turn down a stream of the peer that was not replied to."""
        await self.reset(frames.REFUSED_STREAM)

    async def reset(self, status: int = frames.CANCEL) -> None:
        """End the stream at once in both directions."""
        if not self.was_reset:
            self.ended(reset=True)
            self._session.forget_finished(self)
            await self._session.send(frames.Reset(self.id, status))

    @property
    def finished(self) -> bool:
        """Whether nothing more can pass in either direction."""
        return self._remote_done and self._local_done

    @property
    def full(self) -> bool:
        """Whether the reader is so far behind that the session must wait."""
        return self._size > _HIGH and not self._remote_done

    # Called by the session

    def one_sided(self) -> None:
        """Only the peer sends on this stream."""
        self._local_done = True

    def answered(self) -> None:
        """Our stream was accepted."""
        self._replied = True
        self._answered.set()

    async def accepted(self) -> None:
        """Wait until our stream is accepted; ConnectionError if it is turned down."""
        await self._answered.wait()
        if not self._replied:  # one that was accepted and has ended since may have left something to read
            raise ConnectionResetError("the peer refused the stream" if self.was_reset else "the session ended")

    def arrived(self, data: bytes, fin: bool) -> None:
        """Data of the peer."""
        if data and not self._remote_done and not self._discard:
            self._buffer.append(data)
            self._size += len(data)
        if fin:
            self._remote_done = True
        self._changed.set()

    def ended(self, *, reset: bool) -> None:
        """Both directions are over."""
        self._remote_done = self._local_done = True
        self.was_reset = self.was_reset or reset
        self._answered.set()
        self._changed.set()


class SpdySession:
    """Multiplexes a connection. `run` must be running (in a task of its own) for anything to happen."""

    def __init__(self, connection: Connection, *, server: bool) -> None:
        self._connection = connection
        self._server = server
        self._reader = FrameReader()
        self._writer = FrameWriter()
        self._streams: dict[int, SpdyStream] = {}
        self._incoming: asyncio.Queue[SpdyStream | None] = asyncio.Queue()
        self._next = 2 if server else 1
        self._last_received = 0
        self._next_ping = 2 if server else 1
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._room = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._going_away = False
        self._lost = False
        self._over: asyncio.Event | None = None  # set at the end of `run`

    async def run(self) -> None:
        """Read frames until the connection ends (or the peer breaks the protocol), then end every stream."""
        self._over = asyncio.Event()
        try:
            while data := await self._connection.read():
                for frame in self._reader.feed(data):
                    await self._take(frame)
        except (SpdyError, ConnectionError):
            pass  # the end of the session either way; streams see it
        finally:
            self._end()

    def _end(self) -> None:
        if self._over is not None:
            self._over.set()
        if self._lost:
            return
        self._lost = True
        self._connection.close()
        for stream in list(self._streams.values()):
            stream.ended(reset=False)
        self._streams.clear()
        for ping in self._pings.values():
            if not ping.done():
                ping.set_exception(ConnectionResetError("the session ended"))
        self._room.set()
        self._incoming.put_nowait(None)

    async def accept(self) -> SpdyStream | None:
        """The next stream that the peer opens; None once the session has ended. One caller at a time."""
        if self._lost and self._incoming.empty():
            return None
        return await self._incoming.get()

    async def open(self, headers: dict[str, str], *, fin: bool = False, patience: float = 30.0) -> SpdyStream:
        """Open a stream and wait until the peer has accepted it.

        ConnectionError if it refuses or the session is over; TimeoutError after `patience` seconds.
        """
        if self._going_away or self._lost:
            raise ConnectionResetError("the session takes no more streams")
        stream = SpdyStream(self, self._next, headers, ours=True)
        self._next += 2
        self._streams[stream.id] = stream
        try:
            async with asyncio.timeout(patience):
                await self.send(frames.SynStream(stream.id, headers, fin=fin))
                await stream.accepted()
        except BaseException:
            self._streams.pop(stream.id, None)
            raise
        if fin:
            stream.one_sided()
            self.forget_finished(stream)
        return stream

    async def ping(self) -> None:
        """Ask the peer for a sign of life and wait for it; ConnectionError if the session ends first."""
        number = self._next_ping
        self._next_ping = (self._next_ping + 2) & 0x7FFFFFFF
        answer = self._pings[number] = asyncio.get_running_loop().create_future()
        try:
            await self.send(frames.Ping(number))
            await answer
        finally:
            self._pings.pop(number, None)

    async def close(self, *, patience: float = 1.0) -> None:
        """Say goodbye, give the peer `patience` seconds to close, and close the connection; safe to call twice.

        The wait matters: closing with unread bytes would reset the connection under what the peer still has to read.
        """
        if self._background:
            await asyncio.wait(self._background)
        if not self._lost:
            try:
                await self.send(frames.GoAway(self._last_received))
                await self._connection.write_eof()
                async with asyncio.timeout(patience):
                    if self._over is not None:
                        await self._over.wait()
            except (ConnectionError, TimeoutError):
                pass
        self._end()

    # Used by streams

    async def send(self, frame: Frame) -> None:
        """Write one frame. Encoding and handing over happen in one step, so the header blocks keep their order."""
        if self._lost:
            raise ConnectionResetError("the session ended")
        await self._connection.write(self._writer.encode(frame))

    def has_room(self) -> None:
        """A stream was read: the session may go on."""
        self._room.set()

    def forget_finished(self, stream: SpdyStream) -> None:
        """Take a stream that is over in both directions off the table."""
        if stream.finished:
            self._streams.pop(stream.id, None)

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Run a coroutine of a stream's close; errors mean that the session is over anyway."""
        task = asyncio.ensure_future(_quietly(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Frames of the peer

    async def _take(self, frame: Frame) -> None:
        match frame:
            case frames.Data(number, data, fin):
                await self._data(number, data, fin)
            case frames.SynStream():
                await self._opened(frame)
            case frames.SynReply(number, _, fin):
                if stream := self._streams.get(number):
                    stream.answered()
                    if fin:
                        self._arrived(stream, b"", True)
            case frames.Headers(number, _, fin):
                if fin and (stream := self._streams.get(number)):
                    self._arrived(stream, b"", True)
            case frames.Reset(number):
                if stream := self._streams.pop(number, None):
                    stream.ended(reset=True)
            case frames.Ping(number):
                await self._pinged(number)
            case frames.GoAway():
                self._going_away = True
            case _:
                pass  # windows and settings: nobody here has any

    async def _data(self, number: int, data: bytes, fin: bool) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return  # gone already
        self._arrived(stream, data, fin)
        while stream.full and not self._lost:
            self._room.clear()
            await self._room.wait()

    def _arrived(self, stream: SpdyStream, data: bytes, fin: bool) -> None:
        stream.arrived(data, fin)
        self.forget_finished(stream)

    async def _opened(self, frame: frames.SynStream) -> None:
        ours = frame.stream % 2 == (0 if self._server else 1)
        if self._going_away:
            return
        if ours or frame.stream <= self._last_received:
            await self.send(frames.Reset(frame.stream, frames.PROTOCOL_ERROR))
            return
        self._last_received = frame.stream
        if self._incoming.qsize() >= _BACKLOG:
            await self.send(frames.Reset(frame.stream, frames.REFUSED_STREAM))
            return
        stream = SpdyStream(self, frame.stream, frame.headers, ours=False)
        if frame.unidirectional:
            stream.one_sided()
        self._streams[frame.stream] = stream
        if frame.fin:
            self._arrived(stream, b"", True)
        self._incoming.put_nowait(stream)

    async def _pinged(self, number: int) -> None:
        if number % 2 == (0 if self._server else 1):
            answer = self._pings.get(number)
            if answer is not None and not answer.done():
                answer.set_result(None)
        else:
            await self.send(frames.Ping(number))


async def _quietly(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except ConnectionError:
        pass
