"""One client's connection: requests are answered one after the other, in order.

States: idle (between requests) - reading (a request is arriving) - answering (a handler's task runs) - streaming (its
answer goes out piece by piece) - upgraded (another protocol has the transport) - refused (the last answer is out; what
still arrives is thrown away until the client leaves) - gone.
A handler that answers at once is answered within the call that read its request: no task is made.
Short answers leave together at the end of the loop's turn (`Server.later`): the first wakes the clients' side, and
waking it anew for each answer costs more than making one. Whatever else is written flushes them first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from switchboard.transport.chunks import ChunkWriter
from switchboard.transport.head import CONTINUE, LAST_CHUNK, Ids, chunk, date_line, header_lines, status_line
from switchboard.transport.messages import Response, Upgrade
from switchboard.transport.raw import RawConnection
from switchboard.transport.reader import Parsed, Refusal, RequestReader

if TYPE_CHECKING:
    from switchboard.transport.server import Server

_log = logging.getLogger(__name__)
_JOIN = 64 * 1024  # bodies up to this size are joined with their head into one write
_HALF_CLOSED = 1.0  # seconds a handler has after its client has closed its side
_LINGER = 1.0  # seconds a refused client has to read its answer before the connection is cut


class ServerConnection(asyncio.Protocol):
    """The protocol of one accepted connection."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, secure: bool) -> None:
        self._server = server
        self._ids: Ids | None = server.ids
        self._loop = loop
        self._secure = secure
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any use by connection_made
        self._reader: RequestReader = None  # type: ignore[assignment]  # likewise
        self._disconnected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._current: Parsed | None = None  # the request being answered by a task
        self._refusal: Refusal | None = None  # to be answered after the requests that came before it
        self._streaming = False
        self._pushed: ChunkWriter | None = None
        self._upgraded: RawConnection | None = None
        self._refused = False
        self._eof = False
        self._paused = False  # reading is paused
        self._head_timed = False  # the deadline is that of the head being read
        self._out: list[bytes] = []  # answers that leave at the end of this turn of the loop
        self._room: asyncio.Future[None] | None = None  # set while the client reads too slowly
        self.deadline: float | None = None
        self.gone: asyncio.Future[None] = loop.create_future()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected (under TLS: after the handshake)."""
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        certificate: dict[str, Any] | None = None
        if self._secure:
            from switchboard.transport.tls import peer_certificate  # it loads OpenSSL, which others do without

            certificate = peer_certificate(transport)
        base: dict[str, Any] = {
            "peer_certificate": certificate,
            "peer_address": peer[0] if isinstance(peer, tuple) else "",
            "secure": self._secure,
            "disconnected": self._disconnected,
        }
        self._reader = RequestReader(self._server.limits, base)
        self._server.connections.add(self)
        self.deadline = self._loop.time() + self._server.limits.head_timeout
        if self._server.closing:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._refused or self._refusal is not None:
            return
        try:
            self._reader.feed(data)
        except Refusal as refusal:
            self._refusal = refusal
        if self._current is None:
            self._advance()
        if len(self._reader.ready) > self._server.limits.pipelined and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client will send no more: it has gone, or it has said all (which TLS cannot tell apart).

        A stream ends; a handler has a moment to finish for those who only closed their side.
        """
        self._eof = True
        self.flush()
        if self._current is None or self._streaming or self._secure:
            return False
        self._loop.call_later(_HALF_CLOSED, self.cut, self._current)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: whoever works for it is told and cancelled."""
        self._server.connections.discard(self)
        self._out.clear()
        self._disconnected.set()
        if self._task is not None:
            self._task.cancel()
        if self._pushed is not None:
            self._pushed.lost()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if not self.gone.done():
            self.gone.set_result(None)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Room again."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if self._current is None and not self._refused:
            self._advance()

    # Called by the server

    def check_deadline(self, now: float) -> None:
        """Cut a client that has been silent for too long."""
        if self.deadline is None or now < self.deadline:
            return
        if self._current is None and not self._refused and (self._reader.in_head or self._reader.in_body):
            self._refusal = Refusal(408, "the request did not arrive in time")
            self._advance()
        else:
            self._transport.abort()

    def wind_down(self) -> None:
        """The server closes: end what has no end of its own, let the rest be answered."""
        if self._upgraded is not None:
            self._upgraded.close()
            if self._task is not None:
                self._task.cancel()
        elif self._pushed is not None:
            self._pushed.close()
        elif self._streaming and self._task is not None:
            self._task.cancel()
        elif self._current is None:
            self._close()

    def cut(self, only: Parsed | None = None) -> None:
        """Drop the connection and whoever works for it (if given: only while that request is being answered)."""
        if only is not None and self._current is not only:
            return
        self._disconnected.set()
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()

    def flush(self) -> None:
        """Send the answers that were kept for the end of the turn."""
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def _close(self) -> None:
        self.flush()
        self._transport.close()

    # Requests, in order

    def _advance(self) -> None:
        """Answer what is ready until a handler needs time, the client is slow, or nothing is left."""
        ready = self._reader.ready
        while ready and self._room is None and not self._transport.is_closing():
            self._answer(ready.popleft())
            if self._current is not None or self._refused or self._upgraded is not None:
                return
        if self._refusal is not None and not ready:
            self._refuse(self._refusal)
        elif not ready or self._room is None:
            self._rest()

    def _rest(self) -> None:
        """Nothing to answer: wait for more, with a deadline that fits what is being read."""
        reader, limits = self._reader, self._server.limits
        if reader.wants_continue:
            reader.wants_continue = False
            self.flush()
            self._transport.write(CONTINUE)
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if reader.in_head:
            if self.deadline is None or not self._head_timed:
                self._head_timed = True
                self.deadline = self._loop.time() + limits.head_timeout
            return
        self._head_timed = False
        self.deadline = self._loop.time() + (limits.body_timeout if reader.in_body else limits.idle_timeout)
        if self._eof or self._server.closing:
            self._close()

    def _answer(self, parsed: Parsed) -> None:
        try:
            result = self._server.handler(parsed.request)
        except Exception:
            result = self._failed(parsed)
        if type(result) is Response and result.stream is None and result.upgrade is None and result.push is None:
            self._send_whole(parsed, result)
            return
        self._current = parsed
        self.deadline = None
        self._task = self._loop.create_task(self._finish(parsed, result))

    async def _finish(self, parsed: Parsed, result: Response | Awaitable[Response]) -> None:
        """Wait for the handler and send its answer; then go on with the next request."""
        response: Response | None = None
        try:
            self._server.awaited += 1
            try:
                response = result if isinstance(result, Response) else await result
            except Exception:
                response = self._failed(parsed)
            finally:
                self._server.awaited -= 1
            if response.upgrade is not None:
                await self._send_upgrade(response, response.upgrade)
            elif response.push is not None:
                await self._send_pushed(parsed, response)
            elif response.stream is not None:
                await self._send_stream(parsed, response, response.stream)
            else:
                self._send_whole(parsed, response)
                if not self._server.awaited:
                    self.flush()  # no other answer to send along: whatever else this turn does need not come first
        except asyncio.CancelledError:
            self._transport.abort()  # the client left, or the server ends
        except ConnectionError as error:
            _log.debug("the answer to %s %s broke off: %s", parsed.request.method, parsed.request.path, error)
            self._transport.abort()
        except Exception:
            _log.exception("the answer to %s %s failed midway", parsed.request.method, parsed.request.path)
            self._transport.abort()
        finally:
            self._task = None
            if response is not None and response.stream is not None:
                await _end(response.stream)
        self._current = None
        if self._upgraded is None and not self._refused and not self._transport.is_closing():
            self._advance()

    def _failed(self, parsed: Parsed) -> Response:
        """The answer where the handler has just raised something."""
        _log.exception("the handler failed at %s %s", parsed.request.method, parsed.request.path)
        return self._server.on_error(500, "internal error")

    # Answers

    def _head(self, parsed: Parsed | None, response: Response, framing: bytes, last: bool) -> bytes:
        if last:
            framing += b"Connection: close\r\n"
        elif parsed is not None and parsed.http10:
            framing += b"Connection: keep-alive\r\n"
        mark = self._ids.line(parsed.request) if self._ids is not None and parsed is not None else b""
        return b"".join(
            (status_line(response.status), date_line(), header_lines(response.headers), mark, framing, b"\r\n"),
        )

    def _send_whole(self, parsed: Parsed, response: Response) -> None:
        body = response.body
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))
        last = not parsed.keep_alive or self._server.closing
        status = response.status
        empty = status in (204, 304) or status < 200
        framing = b"" if empty or _has(response, "content-length") else b"Content-Length: %d\r\n" % size
        head = self._head(parsed, response, framing, last)
        if empty or parsed.request.method == "HEAD" or not size:
            self._keep(head)
        elif size <= _JOIN:
            self._keep(head + body if isinstance(body, bytes) else b"".join([head, *body]))
        else:
            self.flush()
            self._transport.writelines([head, body] if isinstance(body, bytes) else [head, *body])
        self._sent(last)

    def _keep(self, data: bytes) -> None:
        if not self._out:
            self._server.later(self)
        self._out.append(data)

    def _sent(self, last: bool) -> None:
        """An answer is out; close behind the last one, else see what the client sent behind an upgrade not granted."""
        if last:
            self._refused = True
            self._reader.ready.clear()
            self._close()
        elif self._reader.upgrade_tail is not None and not self._reader.ready:
            try:
                self._reader.decline_upgrade()
            except Refusal as refusal:
                self._refusal = refusal

    def _linger(self) -> None:
        """Close our side and let the client read its answer: closing with unread bytes would reset the connection."""
        if self._eof:
            self._close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.deadline = None
        self._loop.call_later(_LINGER, self._transport.abort)

    def _refuse(self, refusal: Refusal) -> None:
        response = self._server.on_error(refusal.status, refusal.message)
        body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        head = self._head(None, response, b"Content-Length: %d\r\n" % len(body), True)
        self.flush()
        self._transport.write(head + body)
        self._refused = True
        self._linger()

    def _start_stream(self, parsed: Parsed, response: Response) -> tuple[bool, bool]:
        """Send the head of a streamed answer; returns (chunked, last)."""
        sized = _has(response, "content-length")
        chunked = not sized and not parsed.http10 and response.status not in (204, 304)
        last = not parsed.keep_alive or self._server.closing or (parsed.http10 and not sized)
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        self.flush()
        self._transport.write(self._head(parsed, response, framing, last))
        return chunked, last

    async def _send_stream(self, parsed: Parsed, response: Response, stream: AsyncIterator[bytes]) -> None:
        chunked, last = self._start_stream(parsed, response)
        if parsed.request.method != "HEAD":
            self._streaming = True
            try:
                await self._copy(stream, chunked)
            except asyncio.CancelledError:
                if not self._server.closing or self._transport.is_closing():
                    raise
                last = True  # an orderly end: the client sees the stream finish, not break
            finally:
                self._streaming = False
            if chunked:
                self._transport.write(LAST_CHUNK)
        self._sent(last)

    async def _copy(self, stream: AsyncIterator[bytes], chunked: bool) -> None:
        async for data in stream:
            if self._transport.is_closing() or self._eof:
                raise asyncio.CancelledError
            if data:
                self._transport.write(chunk(data) if chunked else data)
            if self._room is not None:
                await asyncio.shield(self._room)

    async def _send_pushed(self, parsed: Parsed, response: Response) -> None:
        assert response.push is not None
        chunked, last = self._start_stream(parsed, response)
        if parsed.request.method != "HEAD":
            self._streaming = True
            self._pushed = writer = ChunkWriter(self._transport, chunked, self._loop.create_future())
            try:
                response.push(writer)
                await writer.finished
            finally:
                self._streaming = False
                self._pushed = None
                writer.lost()
        self._sent(last)

    async def _send_upgrade(self, response: Response, upgrade: Upgrade) -> None:
        head = b"".join((status_line(101), date_line(), header_lines(response.headers), b"\r\n"))
        self.flush()
        self._transport.write(head)
        self._upgraded = raw = RawConnection()
        raw.on_lost = self._upgrade_lost
        if self._room is not None:
            raw.pause_writing()
        raw.take_over(self._transport, self._reader.upgrade_tail or b"")
        if self._eof:
            raw.eof_received()
        if self._paused:
            self._transport.resume_reading()
        try:
            await upgrade(raw)
        finally:
            raw.close()

    def _upgrade_lost(self) -> None:
        """The upgraded connection is gone; its reader sees the end of the stream and ends in its own time."""
        self._server.connections.discard(self)
        self._disconnected.set()
        if not self.gone.done():
            self.gone.set_result(None)


def _has(response: Response, name: str) -> bool:
    return name in [key.lower() for key, _ in response.headers]


async def _end(stream: AsyncIterator[bytes]) -> None:
    """Let a generator run its `finally` now rather than when it is collected."""
    closing: Callable[[], Awaitable[None]] | None = getattr(stream, "aclose", None)
    if closing is not None:
        try:
            await closing()
        except Exception:
            _log.exception("a stream failed while it was closed")
