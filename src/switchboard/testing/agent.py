"""A node agent for tests of the API server: the kubelet's streaming paths without containers.

`/exec` and `/attach` copy stdin to stdout and end with a Status; `/portForward` echoes streams until `bye`;
`/containerLogs` sends lines; `/dial/<host>/<port>` opens a real TCP connection. It is a `KubeletDialer` itself, over
real HTTP on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from switchboard.api.kubelets import Headers
from switchboard.api.piping import pipe
from switchboard.objects.errors import ServiceUnavailable
from switchboard.transport.http import HttpClient, StreamResponse
from switchboard.transport.messages import Connection, Request, Response
from switchboard.transport.raw import RawConnection
from switchboard.transport.server import Server
from switchboard.transport.spdy import SpdySession, SpdyStream

_SUCCESS = b'{"metadata":{},"status":"Success"}'


class FakeAgent:
    """One agent that stands for every node; `requests` notes what came (method and target)."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.refuses = ""  # why nothing is upgraded
        self._server = Server(self._handle)
        self._client = HttpClient()
        self._base = ""

    async def __aenter__(self) -> FakeAgent:
        self._base = f"http://127.0.0.1:{await self._server.listen('127.0.0.1')}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()
        await self._server.close(0.5)

    # KubeletDialer

    def stream(
        self, node: str, method: str, target: str, headers: Headers, body: bytes
    ) -> AbstractAsyncContextManager[StreamResponse]:
        """A request whose answer arrives piece by piece."""
        return self._client.stream(method, self._base + target, headers, body)

    async def upgrade(
        self, node: str, method: str, target: str, headers: Headers
    ) -> tuple[int, dict[str, str], Connection | bytes]:
        """A request for another protocol."""
        return await self._client.upgrade(method, self._base + target, headers)

    async def dial(self, node: str, host: str, port: int) -> Connection:
        """TCP through `/dial`."""
        status, _, answer = await self.upgrade(node, "POST", f"/dial/{host}/{port}", [("Upgrade", "tcp")])
        if isinstance(answer, bytes):
            raise ServiceUnavailable(f"error trying to reach service: {status}")
        return answer

    # The agent's side

    async def _handle(self, request: Request) -> Response:
        self.requests.append(f"{request.method} {request.path}" + (f"?{request.query}" if request.query else ""))
        part = request.path.split("/")[1]
        if part == "containerLogs":
            return Response(200, [("content-type", "text/plain")], stream=_lines())
        if part == "dial":
            return await self._dial(request)
        if part in ("exec", "attach", "portForward"):
            if self.refuses:
                return Response(500, [("content-type", "text/plain")], self.refuses.encode())
            version = request.headers.get("x-stream-protocol-version", "").split(",")[0].strip()
            headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", version)]
            return Response(101, headers, upgrade=_echo if part == "portForward" else _command)
        return Response(404, [], b"no such path")

    async def _dial(self, request: Request) -> Response:
        _, _, host, port = request.path.split("/")
        loop = asyncio.get_running_loop()
        try:
            _, target = await loop.create_connection(RawConnection, host, int(port))
        except OSError as e:
            return Response(502, [], str(e).encode())

        async def run(connection: Connection) -> None:
            await pipe(connection, target)

        return Response(101, [("Connection", "Upgrade"), ("Upgrade", "tcp")], upgrade=run)


async def _lines() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"line %d\n" % number


async def _command(connection: Connection) -> None:
    """`cat`, as it were: stdin to stdout; the error stream ends it."""
    session = SpdySession(connection, server=True)
    running = asyncio.ensure_future(session.run())
    streams: dict[str, SpdyStream] = {}
    there = asyncio.Event()

    async def accept() -> None:
        while (stream := await session.accept()) is not None:
            await stream.reply()
            streams[stream.headers["streamtype"]] = stream
            if {"error", "stdin", "stdout"} <= streams.keys():
                there.set()

    accepting = asyncio.ensure_future(accept())
    await there.wait()
    while data := await streams["stdin"].read():
        await streams["stdout"].write(data)
    await streams["stdout"].write_eof()
    await streams["error"].write(_SUCCESS)
    await streams["error"].write_eof()
    if "stderr" in streams:
        await streams["stderr"].write_eof()
    await session.close()
    await running
    await accepting


async def _echo(connection: Connection) -> None:
    session = SpdySession(connection, server=True)
    running = asyncio.ensure_future(session.run())
    copies = []
    errors: dict[str, SpdyStream] = {}

    async def copy(stream: SpdyStream) -> None:
        while (data := await stream.read()) and data != b"bye":
            await stream.write(data)
        await stream.write_eof()
        await errors[stream.headers["requestid"]].write_eof()

    while (stream := await session.accept()) is not None:
        await stream.reply()
        if stream.headers.get("streamtype") == "data":
            copies.append(asyncio.ensure_future(copy(stream)))
        else:
            errors[stream.headers["requestid"]] = stream
    for task in copies:
        task.cancel()
    await running
