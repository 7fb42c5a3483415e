"""What passes between the HTTP server and whoever answers: requests and responses, without sockets.

Rules: header names are lower case; a target's path is still percent-encoded; nothing here knows Kubernetes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


class Connection(Protocol):
    """A raw two-way byte stream after an upgrade (or dialled): reads until b"", writes with back-pressure."""

    async def read(self) -> bytes:
        """The next bytes, b"" at the end of the stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, waiting while the peer is slow."""
        ...

    async def write_eof(self) -> None:
        """Half-close where the transport can, else nothing."""
        ...

    def close(self) -> None:
        """Close at once; safe to call twice."""
        ...


@dataclass(slots=True)
class Request:
    """One HTTP request, its body read whole (up to the server's limit)."""

    method: str
    path: str  # raw, percent-encoded, without the query
    query: str  # raw, without "?"
    headers: dict[str, str]  # lower-case names; repeated headers joined by ", "
    body: bytes
    peer_certificate: dict[str, Any] | None = None  # ssl.getpeercert() and "sha256", or None
    peer_address: str = ""
    secure: bool = True
    disconnected: asyncio.Event | None = None  # set when the client goes away while the answer is made
    extra: dict[str, Any] = field(default_factory=dict)
    id: str = ""  # what its answer is marked with (`head.Ids`), where somebody has to know it before


Upgrade = Callable[[Connection], Awaitable[None]]


class PushWriter(Protocol):
    """Where a pushed stream writes to: from the event loop, without waiting and without a task per client.

    `local`: its reader is in this process.
    """

    local: bool

    @property
    def buffered(self) -> int:
        """Bytes that the client has not taken yet; the pusher cuts off (`abort`) whoever is too slow."""
        ...

    @property
    def closed(self) -> bool:
        """Whether writing has no more effect."""
        ...

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, when the stream has ended for whatever reason; others are called as well."""
        ...

    def write(self, data: bytes) -> None:
        """Send one chunk now."""
        ...

    def close(self) -> None:
        """End the stream in good order; safe to call twice."""
        ...

    def abort(self) -> None:
        """Cut the client off, dropping what it has not read."""
        ...


Push = Callable[[PushWriter], None]


@dataclass(slots=True)
class Response:
    """One HTTP response: exactly one of `body`, `stream`, `push`, `upgrade` carries it.

    `stream` chunks are flushed one by one (chunked encoding); `push` is called once with a writer for the same encoding
    and returns at once (for feeds with very many clients); `upgrade` is run on the raw connection after a 101
    whose headers are `headers`. A list of buffers in `body` is sent without being joined first.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | list[bytes] = b""
    stream: AsyncIterator[bytes] | None = None
    upgrade: Upgrade | None = None
    push: Push | None = None


# A handler may answer at once (the fast path: no task is made) or return an awaitable.
Handler = Callable[[Request], "Response | Awaitable[Response]"]
