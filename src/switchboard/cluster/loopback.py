"""The in-process client transport: controllers and scheduler call the API they live with, without a socket, TLS or
HTTP parsing.

It goes the same way as every request (`App.handle_as`): authorisation, admission, storage, encoding. Only the bytes
between are saved. Watches tell of writes before they are committed (`store.Stage.WRITTEN`); so that nobody reads an
older state than the one it was told of, a read waits for the commit of what is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from switchboard.api.app import App
from switchboard.api.identity import Identity
from switchboard.client.copies import Find
from switchboard.client.resources import Resource
from switchboard.client.transport import Disconnected, Reply, error_of_reply
from switchboard.store.record import Record
from switchboard.transport.messages import Request, Response


class Pipe:
    """A `PushWriter` whose reader is a coroutine of the same loop: pieces wait in a list until they are taken
    together.
    """

    local = True

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._ready = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._size = 0
        self._closed = self._aborted = False

    @property
    def buffered(self) -> int:
        """Bytes the reader has not taken yet."""
        return self._size

    @property
    def closed(self) -> bool:
        """Whether writing has no more effect."""
        return self._closed

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, at the end."""
        if self._closed:
            callback()
        else:
            self._callbacks.append(callback)

    def write(self, data: bytes) -> None:
        """One piece, which ends at a line end."""
        if not self._closed:
            self._pieces.append(data)
            self._size += len(data)
            self._ready.set()

    def close(self) -> None:
        """The end; what was written is still read."""
        if not self._closed:
            self._closed = True
            self._ready.set()
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()

    def abort(self) -> None:
        """The end at once; what was not read is lost."""
        self._aborted = True
        self._pieces.clear()
        self._size = 0
        self.close()

    async def read(self) -> AsyncIterator[bytes]:
        """Everything that is there, joined, again and again until the end. Raises Disconnected when cut off."""
        while True:
            if self._pieces:
                pieces, self._pieces, self._size = self._pieces, [], 0
                yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
            elif self._aborted:
                raise Disconnected("the watch was cut off: its reader was too slow")
            elif self._closed:
                return
            else:
                self._ready.clear()
                await self._ready.wait()


class Loopback:
    """A `client.Transport` to an API in this process, for one identity."""

    def __init__(self, app: App, identity: Identity) -> None:
        self._app = app
        self._identity = identity

    async def request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """One exchange; the answer is always whole."""
        response = await self._answer(_request(method, target, headers, body))
        if response.stream is not None:
            content = b"".join([part async for part in response.stream])
        elif response.push is not None:
            pipe = Pipe()
            response.push(pipe)
            content = b"".join([part async for part in pipe.read()])
        else:
            content = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        return Reply(response.status, {name.lower(): value for name, value in response.headers}, content)

    @asynccontextmanager
    async def stream(self, method: str, target: str, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch; leaving the block ends it on the server's side too."""
        request = _request(method, target, headers, b"")
        request.disconnected = asyncio.Event()
        response = await self._answer(request)
        try:
            if response.push is not None and response.status == 200:
                pipe = Pipe()
                response.push(pipe)
                try:
                    yield pipe.read()
                finally:
                    pipe.close()
            elif response.stream is not None and response.status == 200:
                try:
                    yield response.stream
                finally:
                    close = getattr(response.stream, "aclose", None)
                    if close is not None:
                        await close()
            else:
                content = response.body if isinstance(response.body, bytes) else b"".join(response.body)
                if response.status != 200:
                    names = {name.lower(): value for name, value in response.headers}
                    raise error_of_reply(Reply(response.status, names, content))
                yield _once(content)  # a watch that is over at once: an ERROR event, say
        finally:
            request.disconnected.set()

    def finder(self, res: Resource) -> Find:
        """Where copies of a resource find its records, which they need not hold once more (`client.copies`)."""
        of, name, head = self._app.registry.resource, (res.group, res.version, res.plural), self._app.store.head

        def find(key: str) -> Record | None:
            kind = of(*name)  # a custom one may come, go and change
            return head(kind.storage_prefix + key) if kind is not None else None

        return find

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _answer(self, request: Request) -> Response:
        if request.method == "GET" and (settled := self._app.store.settled()) is not None:
            await settled
        answer: Response | Awaitable[Response] = self._app.handle_as(self._identity, request)
        return answer if isinstance(answer, Response) else await answer


async def _once(content: bytes) -> AsyncIterator[bytes]:
    if content:
        yield content


def _request(method: str, target: str, headers: dict[str, str], body: bytes) -> Request:
    path, _, query = target.partition("?")
    return Request(method, path, query, {name.lower(): value for name, value in headers.items()}, body)
