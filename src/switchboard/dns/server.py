"""The DNS server: sockets in front of the responder, informers behind it.

Order of a query: kept bytes -> zone -> upstreams. The UDP socket is read directly, many queries per wake-up, and
answered on the spot; only questions for the world outside become tasks.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from switchboard.client import Client, Informer
from switchboard.client.resources import ENDPOINTSLICES, PODS, SERVICES
from switchboard.dns import message as m
from switchboard.dns.forward import Forwarder
from switchboard.dns.records import EndpointSlice, PodAddress, Service
from switchboard.dns.responder import Forward, Responder
from switchboard.dns.zone import Zone

log = logging.getLogger(__name__)

_BATCH = 256  # queries answered per wake-up of the loop, so that TCP and informers get their turn
_TCP_IDLE = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """Where to listen, what the zone is called, whom to ask about everything else."""

    listen: Sequence[str] = ("127.0.0.1",)
    port: int = 53
    domain: str = "cluster.local"
    networks: Sequence[str] = ()  # cluster and pod CIDRs: their reverse names are ours
    upstreams: Sequence[tuple[str, int]] = field(default_factory=tuple)
    autopath: bool = True


class DnsServer:
    """Cluster DNS over UDP and TCP; `run()` serves until cancelled, `synced` is set when it knows the whole cluster."""

    def __init__(self, client: Client, settings: DnsSettings) -> None:
        self._settings = settings
        self.zone = Zone(settings.domain, settings.networks)
        self._namespaces: dict[str, str] = {}
        self.responder = Responder(self.zone, self._namespaces.get if settings.autopath else None)
        self._forwarder = Forwarder(settings.upstreams)
        self._services: Informer[Service] = Informer(client, SERVICES, type_=Service)
        self._slices: Informer[EndpointSlice] = Informer(client, ENDPOINTSLICES, type_=EndpointSlice)
        self._pods: Informer[PodAddress] | None = (
            Informer(client, PODS, type_=PodAddress) if settings.autopath else None
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self.synced = asyncio.Event()
        self.answered = 0

    async def run(self) -> None:
        """Open the sockets, follow the cluster, answer."""
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        informers: list[Informer[Service] | Informer[EndpointSlice] | Informer[PodAddress]] = [
            self._services,
            self._slices,
        ]
        if self._pods is not None:
            self._pods.on_change(self._pod_changed)
            informers.append(self._pods)
        sockets = [_udp_socket(host, self._settings.port) for host in self._settings.listen]
        loop = asyncio.get_running_loop()
        servers = [
            await asyncio.start_server(self._serve_tcp, host, self._settings.port, reuse_port=True)
            for host in self._settings.listen
        ]
        for sock in sockets:
            loop.add_reader(sock.fileno(), self._drain, sock)
        try:
            async with asyncio.TaskGroup() as group:
                for informer in informers:
                    group.create_task(informer.run())
                for informer in informers[:2]:
                    await informer.synced.wait()
                self.synced.set()
                log.info("serving %s on %s port %d", self.zone.domain, list(self._settings.listen), self._settings.port)
        finally:
            for sock in sockets:
                loop.remove_reader(sock.fileno())
                sock.close()
            for server in servers:
                server.close()

    # -- what the cluster says ----------------------------------------------------------------------------------------

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        meta = (new or old or _never()).metadata
        self.responder.forget(self.zone.put_service((meta.namespace, meta.name), new))

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        if old is not None and old.service and (new is None or new.service != old.service):
            key = (old.metadata.namespace, old.service)
            self.responder.forget(self.zone.put_slice(key, old.metadata.name, None))
        if new is not None and new.service:
            key = (new.metadata.namespace, new.service)
            self.responder.forget(self.zone.put_slice(key, new.metadata.name, new))

    def _pod_changed(self, old: PodAddress | None, new: PodAddress | None) -> None:
        if old is not None and (new is None or new.address != old.address):
            self._namespaces.pop(old.address, None)
        if new is not None and new.address:
            self._namespaces[new.address] = new.metadata.namespace

    # -- UDP ----------------------------------------------------------------------------------------------------------

    def _drain(self, sock: socket.socket) -> None:
        receive, send, kept = sock.recvfrom, sock.sendto, self.responder.kept.get
        for turn in range(_BATCH):
            try:
                data, peer = receive(4096)
            except (BlockingIOError, ConnectionRefusedError):
                return
            ready = kept(data[2:])
            if ready is None:
                self._answer(sock, data, peer)
                continue
            if type(ready) is list:
                ready = ready[(self.answered + turn) % len(ready)]
            self.answered += 1
            try:
                send(data[:2] + ready, peer)  # type: ignore[operator]  # a list was resolved above
            except OSError:
                continue  # the client's buffer or route is gone: it will ask again

    def _answer(self, sock: socket.socket, data: bytes, peer: tuple[str, int]) -> None:
        try:
            found = self.responder.answer(data, peer[0])
        except Exception:
            log.exception("no answer for a query from %s", peer[0])
            found = m.error(data, m.SERVFAIL)
        if isinstance(found, Forward):
            task = asyncio.ensure_future(self._forward_udp(sock, found, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif found is not None:
            self.answered += 1
            _send(sock, found, peer)

    async def _forward_udp(self, sock: socket.socket, wanted: Forward, peer: tuple[str, int]) -> None:
        _send(sock, await self._forward(wanted), peer)

    async def _forward(self, wanted: Forward) -> bytes:
        rcode, answers, authority = await self._forwarder.ask(wanted.name, wanted.query)
        if wanted.fallback is not None and rcode != m.NOERROR:
            return wanted.fallback
        return m.build(
            wanted.query,
            rcode,
            wanted.prefix + answers,
            authority if not answers else [],
            authoritative=False,
            max_size=wanted.max_size,
        )

    # -- TCP ----------------------------------------------------------------------------------------------------------

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(size)
                found = self.responder.answer(data, peer[0], udp=False)
                if isinstance(found, Forward):
                    found = await self._forward(found)
                if found is None:
                    return
                self.answered += 1
                writer.write(struct.pack("!H", len(found)) + found)
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            writer.close()


def _udp_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setblocking(False)
    sock.bind((host, port))
    return sock


def _send(sock: socket.socket, data: bytes, peer: tuple[str, int]) -> None:
    try:
        sock.sendto(data, peer)
    except OSError as why:
        log.debug("answer to %s not sent: %s", peer, why)


def _never() -> Service:
    raise AssertionError("a change has an old or a new object")
