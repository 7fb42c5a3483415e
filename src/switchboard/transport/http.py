"""The HTTP/1.1 client: keep-alive pool, TLS, streams, upgrades, unix sockets, and connections through a dialer.

A request on a pooled connection that turns out to be dead is sent once more on a new one only if that cannot make it
happen twice: GET, HEAD and OPTIONS before any byte of an answer (the rule of Go's net/http).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from switchboard.transport.answer import BadResponse, ResponseReader
from switchboard.transport.messages import Connection
from switchboard.transport.raw import connect, connect_unix

if TYPE_CHECKING:  # half of what a process weighs that has no TLS to speak: imported where it is used
    import ssl as tls

Dial = Callable[[str, int], Awaitable[Connection]]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_WITH_LENGTH: Final = frozenset({"POST", "PUT", "PATCH"})
_IDLE: Final = 60.0  # seconds after which an unused connection is closed
_Origin = tuple[bool, str, int]  # (TLS, host, port)


class HttpFailure(Exception):
    """No usable answer: the server could not be reached, went away, or does not speak HTTP."""


class Unreachable(HttpFailure):
    """No connection: refused, no route, no such name, TLS not agreed. Nothing was sent."""


class Disconnected(HttpFailure):
    """The connection was lost, or broke the protocol, after the request was (perhaps) sent."""


class TooLarge(HttpFailure):
    """The response's body is larger than the caller allows."""


@dataclass(slots=True)
class HttpResponse:
    """A whole response; header names in lower case, repeated ones joined by ", "."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class StreamResponse:
    """A response whose body is still arriving: `body` yields its bytes as they come, for one reader."""

    status: int
    headers: dict[str, str]
    body: AsyncIterator[bytes]


class _Unread:
    """A connection with bytes that were read too far ahead put back in front."""

    def __init__(self, inner: Connection, early: bytes) -> None:
        self._inner = inner
        self._early = early
        self.write = inner.write
        self.write_eof = inner.write_eof
        self.close = inner.close

    async def read(self) -> bytes:
        if self._early:
            early, self._early = self._early, b""
            return early
        return await self._inner.read()


class HttpClient:
    """Speaks to any number of servers.

    `ssl`: context for https URLs (default: the system's roots). `server_name`: the name to verify and to send as SNI
    in place of the URL's host. `dial(host, port)`: opens connections in place of TCP; TLS is spoken through it.
    `unix`: path of a socket to which every request goes. `max_idle`: kept connections per server.
    """

    def __init__(
        self,
        *,
        ssl: tls.SSLContext | None = None,
        server_name: str | None = None,
        dial: Dial | None = None,
        unix: str | None = None,
        max_idle: int = 16,
        connect_timeout: float = 10.0,
    ) -> None:
        self._ssl = ssl
        self._server_name = server_name
        self._dial = dial
        self._unix = unix
        self._max_idle = max_idle
        self._connect_timeout = connect_timeout
        self._idle: dict[_Origin, list[tuple[float, Connection]]] = {}  # (since when, connection), oldest first
        self._swept = 0.0
        self._closed = False

    async def request(
        self,
        method: str,
        url: str,
        headers: Headers = (),
        body: bytes = b"",
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # of one request; callers have the deadline as a number
        limit: int | None = None,
    ) -> HttpResponse:
        """Send a request and read the whole answer, whatever its status.

        `timeout` in seconds for all of it (TimeoutError); `limit` bounds the answer's body in bytes (TooLarge).
        Raises Unreachable or Disconnected.
        """
        async with asyncio.timeout(timeout):
            origin, connection, reader = await self._exchange(method, url, headers, body)
            whole = False
            pieces: list[bytes] = []
            size = 0
            try:
                while True:
                    if data := reader.take():
                        pieces.append(data)
                        size += len(data)
                        if limit is not None and size > limit:
                            raise TooLarge(f"the response to {method} {url} is larger than {limit} bytes")
                    if reader.done:
                        break
                    await _more(connection, reader)
                whole = True
            finally:
                self._give_back(origin, connection, reader, whole)
        return HttpResponse(reader.status, reader.headers, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        headers: Headers = (),
        body: bytes = b"",
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # only up to the head, which asyncio.timeout cannot say
    ) -> AsyncIterator[StreamResponse]:
        """Send a request and read the answer piece by piece; leaving early closes the connection.

        `timeout` bounds the time to the answer's head. The body's iterator raises Disconnected if it breaks off.
        """
        async with asyncio.timeout(timeout):
            origin, connection, reader = await self._exchange(method, url, headers, body)
        try:
            yield StreamResponse(reader.status, reader.headers, _body(connection, reader))
        finally:
            self._give_back(origin, connection, reader, reader.done)

    async def upgrade(
        self,
        method: str,
        url: str,
        headers: Headers = (),
        body: bytes = b"",
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # as in `request`
    ) -> tuple[int, dict[str, str], Connection | bytes]:
        """Ask for another protocol: (101, headers, connection), or (status, headers, body) when refused.

        `headers` must name the protocol (`Upgrade`); `Connection: Upgrade` is added. The connection is the caller's.
        """
        given = [*_pairs(headers), ("Connection", "Upgrade")]
        async with asyncio.timeout(timeout):
            origin, connection, reader = await self._exchange(method, url, given, body, fresh=True)
            if reader.upgraded:
                early = _Unread(connection, reader.rest) if reader.rest else connection
                return reader.status, reader.headers, early
            refusal = b""
            try:
                async for data in _body(connection, reader):
                    refusal += data
            finally:
                self._give_back(origin, connection, reader, reader.done)
        return reader.status, reader.headers, refusal

    async def close(self) -> None:
        """Close all idle connections; those in use close when they are done."""
        self._closed = True
        for connections in self._idle.values():
            for _, connection in connections:
                connection.close()
        self._idle.clear()

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # One exchange

    async def _exchange(
        self, method: str, url: str, headers: Headers, body: bytes, *, fresh: bool = False
    ) -> tuple[_Origin, Connection, ResponseReader]:
        """Send, and read up to the head of the answer (bodies that come along stay in the reader)."""
        origin, host, target = _split(url)
        message = _encode(method, target, host, headers, body)
        while True:
            pooled = None if fresh else self._pooled(origin)
            connection = pooled or await self._connect(origin)
            reader = ResponseReader(method)
            try:
                await connection.write(message)
                while not reader.headed:
                    await _more(connection, reader)
            except (OSError, BadResponse, Disconnected) as error:
                connection.close()
                if pooled is not None and not reader.started and method in _REPEATABLE:
                    continue
                raise Disconnected(f"{method} {url}: {error}") from error
            except BaseException:
                connection.close()
                raise
            return origin, connection, reader

    def _pooled(self, origin: _Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            _, connection = idle.pop()
            if not getattr(connection, "stale", False):
                return connection
            connection.close()
        return None

    def _give_back(self, origin: _Origin, connection: Connection, reader: ResponseReader, whole: bool) -> None:
        now = asyncio.get_running_loop().time()
        idle = self._idle.setdefault(origin, [])
        if whole and reader.keep_alive and not self._closed and len(idle) < self._max_idle:
            idle.append((now, connection))
        else:
            connection.close()
        if now - self._swept > _IDLE / 2:
            self._swept = now
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Close what has been idle for long or was closed by its server: there may be very many servers."""
        for origin, idle in list(self._idle.items()):
            kept = [(since, c) for since, c in idle if now - since < _IDLE and not getattr(c, "stale", False)]
            for since, connection in idle:
                if (since, connection) not in kept:
                    connection.close()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]

    async def _connect(self, origin: _Origin) -> Connection:
        secure, host, port = origin
        context = (self._ssl or _system_roots()) if secure else None
        name = self._server_name or host
        try:
            async with asyncio.timeout(self._connect_timeout):
                if self._unix is None and self._dial is None:
                    return await connect(host, port, ssl=context, name=name)
                inner: Connection
                if self._unix is not None:
                    inner = await connect_unix(self._unix)
                else:
                    assert self._dial is not None
                    inner = await self._dial(host, port)
                return inner if context is None else await _wrap(inner, context, name)
        except TimeoutError as error:
            raise Unreachable(f"{host}:{port}: no connection within {self._connect_timeout:g} s") from error
        except OSError as error:  # ssl.SSLError is one
            raise Unreachable(f"{host}:{port}: {error}") from error


def _split(url: str) -> tuple[_Origin, str, str]:
    """URL -> (origin, value of Host, request target)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http(s) URL: {url!r}")
    secure = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (secure, parts.hostname, parts.port or (443 if secure else 80)), parts.netloc.rpartition("@")[2], target


def _pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    return headers.items() if isinstance(headers, Mapping) else headers


def _encode(method: str, target: str, host: str, headers: Headers, body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    names = set()
    for name, value in _pairs(headers):
        names.add(name.lower())
        lines.append(f"{name}: {value}")
    if "host" not in names:
        lines.insert(1, f"Host: {host}")
    if (body or method in _WITH_LENGTH) and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or lines[0].count(" ") != 2:
        raise ValueError("a request line or header contains a line end, or the target a space")
    return head.encode() + b"\r\n\r\n" + body


async def _more(connection: Connection, reader: ResponseReader) -> None:
    data = await connection.read()
    try:
        if data:
            reader.feed(data)
        else:
            reader.feed_eof()
    except BadResponse as error:
        raise Disconnected(str(error)) from error


async def _body(connection: Connection, reader: ResponseReader) -> AsyncIterator[bytes]:
    while True:
        if data := reader.take():
            yield data
        elif reader.done:
            return
        else:
            await _more(connection, reader)


async def _wrap(inner: Connection, context: tls.SSLContext, name: str) -> Connection:
    from switchboard.transport.tls import wrap

    return await wrap(inner, context, name=name)


_roots: tls.SSLContext | None = None


def _system_roots() -> tls.SSLContext:
    """The context of the system's certificate authorities, made once (it takes some 10 ms)."""
    global _roots
    if _roots is None:
        import ssl

        _roots = ssl.create_default_context()
    return _roots
