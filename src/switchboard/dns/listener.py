"""The sockets: UDP read directly, many queries per wake-up, answered on the spot; TCP in `streams.py`.

Only questions for the world outside that the cache cannot answer become tasks. Sockets are bound at once but read only
after `start`: what comes in between waits in the kernel instead of being lost.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

from switchboard.dns import message as m
from switchboard.dns import querylog
from switchboard.dns.cache import Outcome
from switchboard.dns.durations import Durations
from switchboard.dns.forward import Forwarder
from switchboard.dns.responder import Forward, Responder
from switchboard.dns.streams import Streams

log = logging.getLogger(__name__)

_BATCH = 256  # queries answered per wake-up of the loop, so that TCP and informers get their turn
_OUTSIDE = 5000  # questions for outside under way at once; more are answered SERVFAIL
_PKTINFO = socket.CMSG_SPACE(20)  # room for in_pktinfo (12 bytes) or in6_pktinfo (20)
_IP_PKTINFO = 8  # <linux/in.h>; the module socket does not name it
WILDCARDS = ("0.0.0.0", "::")

_FAILED = Outcome(m.SERVFAIL, [], [])

Peer = tuple[str, int]
Send = Callable[[bytes], None]


class Listener:
    """Serves a responder on any number of addresses."""

    def __init__(self, responder: Responder, forwarder: Forwarder, *, query_log: bool = False) -> None:
        self._responder, self._forwarder = responder, forwarder
        self._sockets: list[tuple[socket.socket, bool]] = []  # and whether it is bound to every address
        self._streams = Streams(self._answer_stream)
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0  # questions for outside
        self.rejected = 0  # questions for outside beyond _OUTSIDE
        self.panics = 0
        self.took = Durations()  # of all queries, from reading to sending
        self.query_log = query_log

    async def open(self, hosts: Sequence[str], port: int, *, start: bool = True) -> None:
        """Bind UDP and TCP on every host, and read unless told to wait. OSError when an address cannot be had."""
        for host in hosts:
            self._sockets.append((_udp_socket(host, port), host in WILDCARDS))
            await self._streams.bind(host, port)
        if start:
            await self.start()

    async def start(self) -> None:
        """Read what has come and will come. A second call does nothing."""
        loop = asyncio.get_running_loop()
        for sock, everywhere in self._sockets:
            loop.add_reader(sock.fileno(), self._drain_any if everywhere else self._drain, sock)
        await self._streams.start()

    def close(self) -> None:
        """Give the sockets up."""
        for sock, _ in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()
        self._streams.close()
        for task in self._tasks:
            task.cancel()

    # -- UDP ----------------------------------------------------------------------------------------------------------

    def _drain(self, sock: socket.socket) -> None:
        self._timed(self._answer_batch, sock)

    def _drain_any(self, sock: socket.socket) -> None:
        self._timed(self._answer_batch_any, sock)

    def _timed(self, batch: Callable[[socket.socket], tuple[int, int]], sock: socket.socket) -> None:
        """Answers of the zone take too little time to look at a clock for each: they share their batch's."""
        started = time.monotonic()
        ours, others = batch(sock)
        if ours:
            self.took.note((time.monotonic() - started) / (ours + others), ours)

    def _answer_batch(self, sock: socket.socket) -> tuple[int, int]:
        """Read and answer up to _BATCH queries; how many the zone answered, and how many others there were."""
        receive, send = sock.recvfrom, sock.sendto
        # With the log on, every query goes the long way, where it is written down.
        kept = _nothing if self.query_log else self._responder.kept.get
        others = 0
        for count in range(_BATCH):
            try:
                data, peer = receive(4096)
            except (BlockingIOError, ConnectionRefusedError):
                return count - others, others
            entry = kept(data[2:])
            if entry is None:
                others += not self._answer(data, peer, lambda out, peer=peer: _send(sock, out, peer))  # type: ignore[misc]
                continue
            entry.hits += 1
            ready = entry.ready if entry.orders is None else entry.orders[entry.hits % len(entry.orders)]
            try:
                send(data[:2] + ready, peer)
            except OSError:
                continue  # the client's buffer or route is gone: it will ask again
        return _BATCH - others, others

    def _answer_batch_any(self, sock: socket.socket) -> tuple[int, int]:
        """The same for a socket bound to every address: the answer must come from the one that was asked."""
        others = 0
        for count in range(_BATCH):
            try:
                data, control, _, peer = sock.recvmsg(4096, _PKTINFO)
            except (BlockingIOError, ConnectionRefusedError):
                return count - others, others
            source = [_from_same(level, kind, value) for level, kind, value in control]
            entry = None if self.query_log else self._responder.kept.get(data[2:])
            if entry is None:
                others += not self._answer(
                    data,
                    peer,
                    lambda out, peer=peer, source=source: _send(sock, out, peer, source),  # type: ignore[misc]
                )
                continue
            entry.hits += 1
            ready = entry.ready if entry.orders is None else entry.orders[entry.hits % len(entry.orders)]
            _send(sock, data[:2] + ready, peer, source)
        return _BATCH - others, others

    def _answer(self, data: bytes, peer: Peer, send: Send) -> bool:
        """Answer a query that has no kept answer, now or later; True when it is the zone's and not noted by itself."""
        started = time.monotonic()
        found = self._respond(data, peer, udp=True)
        if isinstance(found, Forward):
            self._forward(found, data, peer, started, send)
            return False
        if found is None or self.query_log:
            self._done(data, peer, "udp", found, started, send)
            return False
        send(found)
        return True

    def _forward(self, wanted: Forward, data: bytes, peer: Peer, started: float, send: Send) -> None:
        """Answer from the cache, or have a task ask outside."""
        out = self._from_cache(wanted, udp=True) or self._too_much(wanted, udp=True)
        if out is not None:
            self._done(data, peer, "udp", out, started, send)
            return
        task = asyncio.ensure_future(self._forward_udp(wanted, data, peer, started, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward_udp(self, wanted: Forward, data: bytes, peer: Peer, started: float, send: Send) -> None:
        out = await self._from_outside(wanted, udp=True)
        self._done(data, peer, "udp", out, started, send)

    def _done(self, data: bytes, peer: Peer, proto: str, out: bytes | None, started: float, send: Send) -> None:
        self._note(data, peer, proto, out, started)
        if out is not None:
            send(out)

    def _note(self, data: bytes, peer: Peer, proto: str, out: bytes | None, started: float) -> None:
        took = time.monotonic() - started
        self.took.note(took)
        if self.query_log:
            querylog.note(data, peer, proto, out, took)

    # -- both ---------------------------------------------------------------------------------------------------------

    def _respond(self, data: bytes, peer: Peer, *, udp: bool) -> bytes | Forward | None:
        try:
            return self._responder.answer(data, peer[0], udp=udp)
        except Exception:
            self.panics += 1
            log.exception("no answer for a query from %s", peer[0])
            return m.error(data, m.SERVFAIL)

    def _from_cache(self, wanted: Forward, *, udp: bool) -> bytes | None:
        """The answer, if all that it takes is in the cache."""
        while True:
            outcome = self._forwarder.known(wanted.name, wanted.query)
            if outcome is None:
                return None
            found = self._finish(wanted, outcome, udp=udp)
            if not isinstance(found, Forward):
                return found
            wanted = found

    async def _from_outside(self, wanted: Forward, *, udp: bool) -> bytes:
        self._under_way += 1
        try:
            while True:
                found = self._finish(wanted, await self._forwarder.ask(wanted.name, wanted.query), udp=udp)
                if not isinstance(found, Forward):
                    return found
                wanted = found
        finally:
            self._under_way -= 1

    def _too_much(self, wanted: Forward, *, udp: bool) -> bytes | None:
        """A refusal when too many questions are outside already."""
        if self._under_way < _OUTSIDE:
            return None
        self.rejected += 1
        return self._answer_of(wanted, _FAILED, udp=udp)

    def _finish(self, wanted: Forward, outcome: Outcome, *, udp: bool) -> bytes | Forward:
        """The answer to a forwarded question, or where else to ask: a search path goes on after each absence."""
        if wanted.otherwise is not None and outcome.rcode != m.NOERROR:
            found = wanted.otherwise(outcome.rcode)
            if isinstance(found, bytes):
                self._responder.counted[wanted.query.qtype, found[3] & 15, not udp] += 1
            return found
        self._responder.walked += wanted.otherwise is not None
        return self._answer_of(wanted, outcome, udp=udp)

    def _answer_of(self, wanted: Forward, outcome: Outcome, *, udp: bool) -> bytes:
        code = outcome.rcode
        self._responder.counted[wanted.query.qtype, code, not udp] += 1
        found = any(wanted.query.qtype in (r.type, m.ANY) for r in outcome.answers)
        return m.build(
            wanted.query,
            code,
            wanted.prefix + outcome.answers,
            [] if found else outcome.authority,
            authoritative=False,
            authentic=outcome.authentic and not wanted.prefix,  # nobody vouches for our own aliases
            max_size=wanted.max_size,
        )

    def _answer_stream(self, data: bytes, peer: Peer) -> bytes | Awaitable[bytes] | None:
        """TCP: the answer, None to hang up, or an answer that takes time."""
        started = time.monotonic()
        found = self._respond(data, peer, udp=False)
        if isinstance(found, Forward):
            refused = self._too_much(found, udp=False)
            if refused is None:
                return self._forward_stream(found, data, peer, started)
            found = refused
        self._note(data, peer, "tcp", found, started)
        return found

    async def _forward_stream(self, wanted: Forward, data: bytes, peer: Peer, started: float) -> bytes:
        out = await self._from_outside(wanted, udp=False)
        self._note(data, peer, "tcp", out, started)
        return out


def _nothing(data: bytes) -> None:
    """What is kept while the query log is on."""


def _udp_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if host == "0.0.0.0":
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    elif host == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    sock.setblocking(False)
    sock.bind((host, port))
    return sock


def _from_same(level: int, kind: int, value: bytes) -> tuple[int, int, bytes]:
    """The control message that sends from the address a query came to, by routing rather than a fixed interface."""
    if level == socket.IPPROTO_IP:  # in_pktinfo: ifindex, local address, header's destination
        return level, kind, bytes(4) + value[8:12] + bytes(4)
    return level, kind, value  # in6_pktinfo; link-local addresses need their interface


def _send(sock: socket.socket, data: bytes, peer: Peer, source: Sequence[tuple[int, int, bytes]] = ()) -> None:
    try:
        if source:
            sock.sendmsg([data], source, 0, peer)
        else:
            sock.sendto(data, peer)
    except OSError as why:
        log.debug("answer to %s not sent: %s", peer, why)
