"""The sockets: UDP read directly, many queries per wake-up, answered on the spot; TCP by the rules of RFC 7766.

Only questions for the world outside become tasks.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Sequence

from switchboard.dns import message as m
from switchboard.dns.forward import Forwarder
from switchboard.dns.responder import Forward, Responder

log = logging.getLogger(__name__)
queries = logging.getLogger("switchboard.dns.queries")

_BATCH = 256  # queries answered per wake-up of the loop, so that TCP and informers get their turn
_TCP_IDLE = 10.0  # seconds
_TCP_CLIENTS = 1000
_OUTSIDE = 5000  # questions for outside under way at once; more are answered SERVFAIL

Peer = tuple[str, int]


class Listener:
    """Serves a responder on any number of addresses."""

    def __init__(self, responder: Responder, forwarder: Forwarder, *, query_log: bool = False) -> None:
        self._responder, self._forwarder = responder, forwarder
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients = 0
        # With the log on, every query goes the long way, where it is written down.
        self._kept = {} if query_log else responder.kept
        self._query_log = query_log

    async def open(self, hosts: Sequence[str], port: int) -> None:
        """Bind UDP and TCP on every host. OSError when an address cannot be had."""
        loop = asyncio.get_running_loop()
        for host in hosts:
            sock = _udp_socket(host, port)
            self._sockets.append(sock)
            loop.add_reader(sock.fileno(), self._drain, sock)
            self._servers.append(await asyncio.start_server(self._serve, host, port, reuse_port=True))

    def close(self) -> None:
        """Give the sockets up."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()

    def _drain(self, sock: socket.socket) -> None:
        receive, send, kept = sock.recvfrom, sock.sendto, self._kept.get
        for _ in range(_BATCH):
            try:
                data, peer = receive(4096)
            except (BlockingIOError, ConnectionRefusedError):
                return
            entry = kept(data[2:])
            if entry is None:
                self._answer(sock, data, peer)
                continue
            entry.hits += 1
            ready = entry.ready if entry.orders is None else entry.orders[entry.hits % len(entry.orders)]
            try:
                send(data[:2] + ready, peer)
            except OSError:
                continue  # the client's buffer or route is gone: it will ask again

    def _answer(self, sock: socket.socket, data: bytes, peer: Peer) -> None:
        found = self._respond(data, peer, udp=True)
        if isinstance(found, Forward):
            if len(self._tasks) >= _OUTSIDE:
                _send(sock, m.build(found.query, m.SERVFAIL, [], authoritative=False), peer)
                return
            task = asyncio.ensure_future(self._forward_udp(sock, found, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif found is not None:
            _send(sock, found, peer)

    def _respond(self, data: bytes, peer: Peer, *, udp: bool) -> bytes | Forward | None:
        try:
            found = self._responder.answer(data, peer[0], udp=udp)
        except Exception:
            log.exception("no answer for a query from %s", peer[0])
            return m.error(data, m.SERVFAIL)
        if self._query_log:
            self._note(data, peer, found)
        return found

    @staticmethod
    def _note(data: bytes, peer: Peer, found: bytes | Forward | None) -> None:
        try:
            query = m.parse_query(data)
        except m.FormError as why:
            queries.info("%s: %s", peer[0], why)
            return
        code = "forwarded" if isinstance(found, Forward) else f"code {found[3] & 15}" if found else "dropped"
        queries.info("%s type %d %s %s", peer[0], query.qtype, m.text(query.name), code)

    async def _forward_udp(self, sock: socket.socket, wanted: Forward, peer: Peer) -> None:
        _send(sock, await self._forward(wanted), peer)

    async def _forward(self, wanted: Forward) -> bytes:
        outcome = await self._forwarder.ask(wanted.name, wanted.query)
        if wanted.fallback is not None and outcome.rcode != m.NOERROR:
            return wanted.fallback
        out = m.build(
            wanted.query,
            outcome.rcode,
            wanted.prefix + outcome.answers,
            outcome.authority if not outcome.answers else [],
            authoritative=False,
            max_size=wanted.max_size,
        )
        self._responder.counted[wanted.query.qtype, outcome.rcode] += 1
        return out

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._clients >= _TCP_CLIENTS:
            writer.close()
            return
        self._clients += 1
        peer: Peer = writer.get_extra_info("peername")
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(size)
                found = self._respond(data, peer, udp=False)
                if isinstance(found, Forward):
                    found = await self._forward(found)
                if found is None:
                    return
                writer.write(struct.pack("!H", len(found)) + found)
                async with asyncio.timeout(_TCP_IDLE):
                    await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            self._clients -= 1
            writer.close()


def _udp_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setblocking(False)
    sock.bind((host, port))
    return sock


def _send(sock: socket.socket, data: bytes, peer: Peer) -> None:
    try:
        sock.sendto(data, peer)
    except OSError as why:
        log.debug("answer to %s not sent: %s", peer, why)
