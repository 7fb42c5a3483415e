"""What load balancers and people ask: /healthz of the proxy, and healthCheckNodePort of Services with a Local policy.

A Service's port answers 200 with the number of its ready endpoints on this node, 503 when there is none, so that a load
balancer sends nothing here (`pkg/proxy/healthcheck/service_health.go`: paths, fields and headers). /healthz is 200
while the kernel follows.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

from switchboard.proxy.objects import EndpointSlice, Service
from switchboard.proxy.services import Node, is_port

log = logging.getLogger(__name__)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_RETRY = 1.0  # seconds until a port that was taken is tried again
_LONGEST = 5.0  # seconds a client may take to ask


class Health:
    """The servers, and what they say. `update` and `beat` only take notes, so they may be called from anywhere on the
    loop.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._ok = False
        self._beat = datetime.now(UTC)
        self._local: dict[str, tuple[int, int]] = {}  # Service -> port, ready endpoints here
        self._servers: dict[int, asyncio.Server] = {}
        self._own: asyncio.Server | None = None
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open /healthz (when there is an address for it) and keep the Services' ports open."""
        self._task = asyncio.create_task(self._follow())
        host, _, port = self._address.rpartition(":")
        if port:
            try:
                self._own = await asyncio.start_server(
                    self._serve_own, host.strip("[]") or None, int(port), reuse_address=True
                )
            except OSError as error:
                log.warning("no /healthz on %s: %s", self._address, error)

    async def stop(self) -> None:
        """Close everything."""
        if self._task is not None:
            self._task.cancel()
        for server in [*self._servers.values(), *([self._own] if self._own else [])]:
            server.close()
        self._servers = {}

    def beat(self, *, ok: bool) -> None:
        """The kernel took (or refused) a change just now."""
        self._ok, self._beat = ok, datetime.now(UTC)

    def update(self, key: str, service: Service | None, slices: Iterable[EndpointSlice], node: Node) -> None:
        """Note how many ready endpoints of a Service are here."""
        spec = service.spec if service is not None else None
        port = spec.healthCheckNodePort if spec is not None and spec.externalTrafficPolicy == "Local" else None
        if not is_port(port):
            if self._local.pop(key, None) is not None:
                self._wanted.set()
            return
        ready = {(one.addressType, address) for one in slices for address in ready_here(one, node)}
        # a pod with an address of each family is one endpoint
        count = max(Counter(family for family, _ in ready).values(), default=0)
        if self._local.get(key, (0, 0))[0] != port:
            self._wanted.set()
        self._local[key] = (port, count)

    async def _follow(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            wanted = {port for port, _ in self._local.values()}
            for port in self._servers.keys() - wanted:
                self._servers.pop(port).close()
            for port in wanted - self._servers.keys():
                try:
                    self._servers[port] = await asyncio.start_server(
                        self._serve_port(port), None, port, reuse_address=True
                    )
                except OSError as error:
                    log.warning("health check port %d: %s", port, error)
                    asyncio.get_running_loop().call_later(_RETRY, self._wanted.set)

    def _serve_port(self, port: int) -> Handler:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            key, count = next(((key, count) for key, (at, count) in self._local.items() if at == port), ("/", 0))
            namespace, _, name = key.partition("/")
            body = {
                "service": {"namespace": namespace, "name": name},
                "localEndpoints": count,
                "serviceProxyHealthy": self._ok,
            }
            headers = f"X-Content-Type-Options: nosniff\r\nX-Load-Balancing-Endpoint-Weight: {count}\r\n"
            await answer(reader, writer, 200 if count and self._ok else 503, body, headers)

        return serve

    async def _serve_own(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = datetime.now(UTC)
        body = {"lastUpdated": self._beat.isoformat(), "currentTime": now.isoformat(), "nodeEligible": True}
        await answer(reader, writer, 200 if self._ok else 503, body)


def ready_here(item: EndpointSlice, node: Node) -> Iterable[str]:
    """Addresses of ready endpoints of a slice on this node."""
    for endpoint in item.endpoints or ():
        conditions = endpoint.conditions
        if (
            endpoint.nodeName == node.name
            and endpoint.addresses
            and (conditions is None or conditions.ready is not False)
        ):
            yield endpoint.addresses[0]


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, body: object, headers: str = ""
) -> None:
    """One JSON answer to whatever is asked, then the connection ends."""
    try:
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _LONGEST)
        data = json.dumps(body).encode()
        reason = "OK" if status == 200 else "Service Unavailable"
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        head += f"Connection: close\r\n{headers}\r\n"
        writer.write(head.encode() + data)
        await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()
