"""A DNS client for tests: one question over UDP or TCP, and the answer as `dig +short` would show it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from switchboard.dns import reply
from switchboard.dns.upstream import Address, Upstream
from switchboard.testing.zones import CODES, query, show


class DnsClient:
    """Asks a server on a loopback port."""

    def __init__(self, port: int) -> None:
        self._server = Upstream(Address("127.0.0.1", port))

    async def ask(self, name: str, qtype: str = "A") -> str:
        """The records joined by ` | `, or NODATA, or the code; TimeoutError after three seconds."""
        code, answers, _ = reply.parse_answer(await self._server.ask(query(name, qtype, edns=1232), 3.0))
        return CODES[code] if code else " | ".join(sorted(map(show, answers))) or "NODATA"

    async def becomes(self, wanted: str, name: str, qtype: str = "A", within: float = 10.0) -> None:
        """Ask until the answer is the wanted one."""
        last = ""

        async def same() -> bool:
            nonlocal last
            last = await self.ask(name, qtype)
            return last == wanted

        try:
            await until(same, within)
        except TimeoutError:
            raise AssertionError(f"{name} {qtype}: {last!r}, wanted {wanted!r}") from None

    def close(self) -> None:
        """Give up the sockets."""
        self._server.close()


async def until(condition: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    """Wait for a condition; TimeoutError."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110  # what is waited for is in another process, or has no event
            await asyncio.sleep(0.01)


def free_port() -> int:
    """A port that is free for UDP and TCP on loopback."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
