"""WebSocket over a connection, either side: the handshake (RFC 6455 section 4), whole messages, pings and closing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections import deque
from collections.abc import Mapping, Sequence

from switchboard.transport import websocket_frames as frames
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Connection
from switchboard.transport.websocket_frames import Message, MessageReader, WebSocketError, encode_frame

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LIMIT = 32 << 20  # bytes of one message


class BadHandshake(Exception):
    """The handshake cannot be answered with 101; `status` is what to answer instead (400, 403 or 426)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def accept_key(key: str) -> str:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`."""
    return base64.b64encode(hashlib.sha1((key + _MAGIC).encode()).digest()).decode()


def is_websocket(headers: Mapping[str, str]) -> bool:
    """Whether a request (lower-case header names) asks for an upgrade to WebSocket."""
    wanted = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    return "upgrade" in wanted and headers.get("upgrade", "").strip().lower() == "websocket"


def offered_protocols(headers: Mapping[str, str]) -> list[str]:
    """The subprotocols a client offers, in its order of preference."""
    return [token.strip() for token in headers.get("sec-websocket-protocol", "").split(",") if token.strip()]


def answer_handshake(headers: Mapping[str, str], supported: Sequence[str] = ()) -> tuple[list[tuple[str, str]], str]:
    """The headers of the 101 and the subprotocol agreed on ("" if the client offers none).

    The first subprotocol of the client's that is in `supported` is taken. Raises BadHandshake: not a WebSocket request
    of version 13, or none of the offered subprotocols is supported.
    """
    key = headers.get("sec-websocket-key", "").strip()
    if not is_websocket(headers):
        raise BadHandshake(400, "not a WebSocket upgrade request")
    if headers.get("sec-websocket-version", "").strip() != "13":
        raise BadHandshake(426, "only WebSocket version 13 is supported")
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise ValueError
    except ValueError as error:
        raise BadHandshake(400, "Sec-WebSocket-Key is missing or malformed") from error
    answer = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(key))]
    offered = offered_protocols(headers)
    chosen = next((protocol for protocol in offered if protocol in supported), "")
    if offered and not chosen:
        raise BadHandshake(403, f"none of the subprotocols {', '.join(offered)} is supported")
    if chosen:
        answer.append(("Sec-WebSocket-Protocol", chosen))
    return answer, chosen


class WebSocket:
    """Messages over an upgraded connection. One reader and one writer at a time; pings are answered while reading."""

    def __init__(self, connection: Connection, *, server: bool, protocol: str = "", limit: int = LIMIT) -> None:
        self.protocol = protocol
        self.close_code: int | None = None  # what the peer closed with, 1006 if it just went away
        self.close_reason = ""
        self._connection = connection
        self._mask = not server
        self._reader = MessageReader(masked=server, limit=limit)
        self._waiting: deque[Message] = deque()
        self._close_sent = False
        self._receiving = False
        self._over = asyncio.Event()  # the peer has closed: nothing more to read

    async def receive(self) -> Message | None:
        """The next TEXT or BINARY message; None once the peer has closed or broken the protocol."""
        self._receiving = True
        try:
            while not self._over.is_set():
                while self._waiting:
                    message = self._waiting.popleft()
                    if message.kind not in (frames.TEXT, frames.BINARY):
                        await self._control(message)
                    elif not self._close_sent:
                        return message
                if self._reader.error is not None:
                    await self._fail(self._reader.error)
                elif not self._over.is_set():
                    await self._fill()
            return None
        finally:
            self._receiving = False

    async def _fill(self) -> None:
        data = await self._connection.read()
        if data:
            self._waiting.extend(self._reader.feed(data))
        else:
            self._ended(frames.ABNORMAL, "")

    def _ended(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        self._over.set()
        self._connection.close()

    async def _fail(self, error: WebSocketError) -> None:
        await self._send_close(error.code, str(error))
        self._ended(error.code, str(error))

    async def _control(self, message: Message) -> None:
        if message.kind == frames.PING and not self._close_sent:
            try:
                await self._connection.write(encode_frame(frames.PONG, message.data, masked=self._mask))
            except ConnectionError:
                pass  # reading will say so
        elif message.kind == frames.CLOSE:
            code = message.close_code
            await self._send_close(frames.NORMAL if code == frames.NO_STATUS else code)
            self._ended(code, message.close_reason)

    async def send(self, data: bytes | str) -> None:
        """Send bytes as a BINARY message, a string as TEXT; ConnectionError if the connection is closed."""
        if self._close_sent:
            raise ConnectionResetError("the WebSocket is closed")
        kind = frames.TEXT if isinstance(data, str) else frames.BINARY
        payload = data.encode() if isinstance(data, str) else data
        await self._connection.write(encode_frame(kind, payload, masked=self._mask))

    async def ping(self, data: bytes = b"") -> None:
        """Send a ping; its pong is taken in by `receive`."""
        await self._connection.write(encode_frame(frames.PING, data, masked=self._mask))

    async def close(self, code: int = frames.NORMAL, reason: str = "", *, patience: float = 2.0) -> None:
        """Send CLOSE, give the peer `patience` seconds to answer, and close the connection; safe to call twice.

        The wait matters: closing with unread bytes would reset the connection under what the peer still has to read.
        """
        await self._send_close(code, reason)
        try:
            async with asyncio.timeout(patience):
                await (self._over.wait() if self._receiving else self.receive())
        except TimeoutError:
            pass
        self._ended(frames.ABNORMAL, "")

    async def _send_close(self, code: int, reason: str = "") -> None:
        if not self._close_sent:
            self._close_sent = True
            try:
                payload = frames.close_payload(code, reason)
                await self._connection.write(encode_frame(frames.CLOSE, payload, masked=self._mask))
            except ConnectionError:
                pass

    def abort(self) -> None:
        """Close the connection without the closing handshake; safe to call twice."""
        self._ended(frames.ABNORMAL, "")


class MessageConnection:
    """A `Connection` whose bytes travel as BINARY messages: for protocols tunnelled through a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """The next bytes, b"" once the WebSocket is closed."""
        while (message := await self._socket.receive()) is not None:
            if message.data:
                return message.data
        return b""

    async def write(self, data: bytes) -> None:
        """Send as one message."""
        await self._socket.send(data)

    async def write_eof(self) -> None:
        """Nothing: a WebSocket has no half-close."""

    def close(self) -> None:
        """Close the connection underneath, without the closing handshake; safe to call twice."""
        self._socket.abort()


async def connect_websocket(
    client: HttpClient,
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    protocols: Sequence[str] = (),
    patience: float | None = 30.0,
) -> WebSocket:
    """Open a WebSocket at an http(s) URL, offering `protocols`.

    Raises BadHandshake with the server's status when it does not agree, and what HttpClient raises.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    given = {**(headers or {}), "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    if protocols:
        given["Sec-WebSocket-Protocol"] = ", ".join(protocols)
    status, answer, connection = await client.upgrade("GET", url, given, timeout=patience)
    if isinstance(connection, bytes):
        raise BadHandshake(status, connection.decode("utf-8", "replace")[:1000])
    if answer.get("sec-websocket-accept") != accept_key(key):
        connection.close()
        raise BadHandshake(400, "the server's Sec-WebSocket-Accept is wrong")
    return WebSocket(connection, server=False, protocol=answer.get("sec-websocket-protocol", ""))
