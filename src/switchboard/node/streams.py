"""Streams into containers: an upgrade (SPDY or WebSocket) is passed byte for byte to the runtime's streaming server.

The runtime makes a one-time URL for each stream (CRI Exec, Attach, PortForward); we ask it for the same upgrade that
the caller asked us for, and copy. `dial` opens plain TCP from inside the node's network.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from switchboard.node.runtime import CriRuntime
from switchboard.transport.http import HttpClient, HttpFailure
from switchboard.transport.messages import Connection, Request, Response
from switchboard.transport.raw import connect, pipe

_DIAL_TIMEOUT: Final = 10.0
# What belongs to the hop between the caller and us; everything else (protocol versions, keys) is the stream's.
_HOP: Final = frozenset(
    "host connection content-length transfer-encoding authorization accept-encoding user-agent te trailer".split()
)


def flag(query: dict[str, str], *names: str) -> bool:
    """Whether any of the parameters is on (`1` of the kubelet's API, `true` of the API server's)."""
    return any(query.get(name, "").lower() in ("1", "true") for name in names)


def asked_for(query: dict[str, str]) -> bool:
    """Whether the caller wants any stream at all."""
    wanted = _standard(query)
    return bool(wanted["stdin"] or wanted["stdout"] or wanted["stderr"])


class Streams:
    """Streams of one runtime."""

    def __init__(self, runtime: CriRuntime) -> None:
        self._runtime = runtime
        self._http = HttpClient(max_idle=0)

    async def exec(self, request: Request, container: str, command: list[str], query: dict[str, str]) -> Response:
        """Run a command. Raises RuntimeFailure."""
        wanted = {"container_id": container, "cmd": command, **_standard(query)}
        return await self._through(request, "Exec", wanted)

    async def attach(self, request: Request, container: str, query: dict[str, str]) -> Response:
        """Join the container's first process. Raises RuntimeFailure."""
        return await self._through(request, "Attach", {"container_id": container, **_standard(query)})

    async def port_forward(self, request: Request, sandbox: str, ports: list[int]) -> Response:
        """Connections to ports of a pod. Raises RuntimeFailure."""
        return await self._through(request, "PortForward", {"pod_sandbox_id": sandbox, "port": ports})

    async def _through(self, request: Request, method: str, wanted: dict[str, object]) -> Response:
        url = str((await self._runtime.call(method, wanted))["url"])
        if "upgrade" not in request.headers:
            return Response(400, [("Content-Type", "text/plain")], b"Upgrade request required")
        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        try:
            status, answer, found = await self._http.upgrade(request.method, url, headers, timeout=30)
        except (HttpFailure, TimeoutError) as error:
            return Response(502, [("Content-Type", "text/plain")], f"the streaming server: {error}\n".encode())
        kept = [(k, v) for k, v in answer.items() if k not in ("content-length", "transfer-encoding", "date")]
        if status != 101 or isinstance(found, bytes):
            body = found if isinstance(found, bytes) else b""
            return Response(status, [(k, v) for k, v in kept if k != "connection"], body)
        inner: Connection = found

        async def copy(outer: Connection) -> None:
            await pipe(outer, inner)

        return Response(101, kept, upgrade=copy)

    async def dial(self, host: str, port: int) -> Response:
        """TCP to an address as this node reaches it; 502 when nobody answers there."""
        try:
            async with asyncio.timeout(_DIAL_TIMEOUT):
                inner = await connect(host, port)
        except TimeoutError:
            return Response(504, [("Content-Type", "text/plain")], f"dial tcp {host}:{port}: i/o timeout".encode())
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else str(error)  # asyncio puts words of its own there
            return Response(502, [("Content-Type", "text/plain")], f"dial tcp {host}:{port}: connect: {why}".encode())

        async def copy(outer: Connection) -> None:
            await pipe(outer, inner)

        return Response(101, [("Upgrade", "tcp"), ("Connection", "Upgrade")], upgrade=copy)


def _standard(query: dict[str, str]) -> dict[str, object]:
    tty = flag(query, "tty")
    return {
        "stdin": flag(query, "input", "stdin"),
        "stdout": flag(query, "output", "stdout"),
        "stderr": flag(query, "error", "stderr") and not tty,  # a terminal has one stream for both
        "tty": tty,
    }
