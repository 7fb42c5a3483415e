"""exec and attach over WebSocket: channels of messages on the client's side, SPDY streams on the agent's.

A message is one byte of channel and its data (base64 variants: a digit and base64 text). Channels: 0 stdin, 1 stdout,
2 stderr, 3 error (a Status), 4 resize; v5 adds 255, "this channel is closed". Sources: KEP-4006,
`apimachinery/pkg/util/remotecommand`, `apiserver/pkg/util/proxy/streamtranslator.go`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from switchboard.objects.errors import InternalError
from switchboard.transport.messages import Connection
from switchboard.transport.spdy import SpdySession, SpdyStream
from switchboard.transport.websocket import WebSocket

PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_NAMES = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr", ERROR: "error", RESIZE: "resize"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the client asked for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def channels(self) -> list[int]:
        """The channels to open toward the agent, error first as clients of SPDY do."""
        found = [ERROR]
        if self.stdin:
            found.append(STDIN)
        if self.stdout:
            found.append(STDOUT)
        if self.stderr and not self.tty:
            found.append(STDERR)
        if self.tty:
            found.append(RESIZE)
        return found


class Channels:
    """Encoding of channel messages in the negotiated protocol."""

    def __init__(self, socket: WebSocket, protocol: str) -> None:
        self._socket = socket
        self._base64 = "base64" in protocol
        self.statuses = protocol.startswith(("v4", "v5"))
        self.closable = protocol.startswith("v5")
        self._lock = asyncio.Lock()

    async def send(self, channel: int, data: bytes) -> None:
        """One message."""
        async with self._lock:
            if self._base64:
                await self._socket.send(str(channel) + base64.b64encode(data).decode())
            else:
                await self._socket.send(bytes([channel]) + data)

    async def receive(self) -> tuple[int, bytes] | None:
        """The next message (channel, data); None at the end."""
        while (message := await self._socket.receive()) is not None:
            data = message.data
            if not data:
                continue
            if not self._base64:
                return data[0], data[1:]
            try:
                return data[0] - 48, base64.b64decode(data[1:])
            except (binascii.Error, ValueError):
                return None
        return None


async def translate(socket: WebSocket, protocol: str, agent: Connection, wanted: Wanted) -> None:
    """Run until the command ends or either side goes away."""
    session = SpdySession(agent, server=False)
    running = asyncio.ensure_future(session.run())
    channels = Channels(socket, protocol)
    incoming: asyncio.Future[None] | None = None
    try:
        streams = {c: await session.open({"streamtype": _NAMES[c]}) for c in wanted.channels()}
        first = STDOUT if wanted.stdout else STDERR if wanted.stderr else ERROR
        await channels.send(first, b"")  # tells the client that everything is connected
        incoming = asyncio.ensure_future(_incoming(channels, streams))
        outgoing = [asyncio.ensure_future(_outgoing(channels, c, streams[c])) for c in (STDOUT, STDERR) if c in streams]
        ended = asyncio.ensure_future(_error(channels, streams[ERROR]))
        await asyncio.wait([ended, incoming, running], return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and outgoing:
            await asyncio.wait(outgoing, timeout=5.0)
        if ended.done() and not ended.exception():
            await channels.send(ERROR, ended.result()) if ended.result() else None
        for task in (*outgoing, ended):
            task.cancel()
        await asyncio.gather(*outgoing, ended, return_exceptions=True)
    except (ConnectionError, TimeoutError) as e:
        await _failed(channels, InternalError(f"Internal error occurred: {e}").status())
    finally:
        if incoming is not None:
            incoming.cancel()
            await asyncio.gather(incoming, return_exceptions=True)
        await socket.close()
        running.cancel()
        agent.close()
        await asyncio.gather(running, return_exceptions=True)


async def fail(socket: WebSocket, protocol: str, status: dict[str, Any]) -> None:
    """Tell the client that there is no command to talk to."""
    await _failed(Channels(socket, protocol), status)
    await socket.close()


async def _failed(channels: Channels, status: dict[str, Any]) -> None:
    try:
        await channels.send(ERROR, json.dumps(status).encode() if channels.statuses else status["message"].encode())
    except ConnectionError:
        pass  # nobody is left to be told


async def _incoming(channels: Channels, streams: dict[int, SpdyStream]) -> None:
    """From the client to stdin and resize; returns when the client goes away."""
    while (message := await channels.receive()) is not None:
        channel, data = message
        if channel == CLOSE and channels.closable:
            if data and data[0] in streams:
                await streams[data[0]].write_eof()
        elif channel in (STDIN, RESIZE) and channel in streams and data:
            try:
                await streams[channel].write(data)
            except ConnectionError:
                pass  # the command no longer reads; its end comes on the error stream


async def _outgoing(channels: Channels, channel: int, stream: SpdyStream) -> None:
    try:
        while data := await stream.read():
            await channels.send(channel, data)
    except ConnectionError:
        pass  # one side went away; that ends `_incoming` or the error stream, which the caller waits for


async def _error(channels: Channels, stream: SpdyStream) -> bytes:
    """The final Status, whole; for clients older than v4, only a failure's message."""
    whole = b""
    while data := await stream.read():
        whole += data
    if channels.statuses or not whole:
        return whole
    try:
        status = json.loads(whole)
        return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()
    except (ValueError, AttributeError):
        return whole
