"""The DNS server: informers behind, sockets in front, one responder between.

Order of a query: kept bytes -> zone -> hosts -> cache -> upstreams. See `listener.py` for the sockets.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from switchboard.client import Client, Disconnected, Informer
from switchboard.client.resources import ENDPOINTSLICES, PODS, SERVICES
from switchboard.dns import register, sources, status
from switchboard.dns.forward import Forwarder
from switchboard.dns.hosts import Hosts
from switchboard.dns.listener import Listener
from switchboard.dns.records import EndpointSlice, PodAddress, Service
from switchboard.dns.responder import Responder
from switchboard.dns.upstream import Address
from switchboard.dns.zone import Zone
from switchboard.objects.errors import StatusError
from switchboard.transport.server import Server

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """Where to listen, what the zone is called, whom to ask about everything else."""

    listen: Sequence[str] = ("127.0.0.1",)
    port: int = 53
    domain: str = "cluster.local"
    networks: Sequence[str] = ()  # cluster and pod CIDRs: their reverse names are ours
    upstreams: Sequence[Address] = ()  # with none, those of `resolv_conf`
    resolv_conf: Path | None = None
    stubs: Mapping[str, Sequence[Address]] = field(default_factory=dict)  # domain -> who is asked about it
    hosts: Path | None = None
    autopath: bool = True
    query_log: bool = False
    status_port: int = 0  # /health, /ready, /metrics on the first listening address; 0 for none
    announce_ip: str = ""  # keep Service kube-system/kube-dns at this address, with ourselves behind it; "" for not
    node_name: str = ""


class DnsServer:
    """Cluster DNS over UDP and TCP; `run()` serves until cancelled, `synced` is set when it knows the whole cluster."""

    def __init__(self, client: Client, settings: DnsSettings) -> None:
        self._client, self._settings = client, settings
        self.zone = Zone(settings.domain, settings.networks)
        self._namespaces: dict[str, str] = {}  # pod address -> namespace
        self.responder = Responder(self.zone, self._namespaces.get if settings.autopath else None)
        self._forwarder = Forwarder(settings.upstreams, settings.stubs)
        self._services: Informer[Service] = Informer(client, SERVICES, type_=Service)
        self._slices: Informer[EndpointSlice] = Informer(client, ENDPOINTSLICES, type_=EndpointSlice)
        self._pods: Informer[PodAddress] = Informer(client, PODS, type_=PodAddress)
        self._listener = Listener(self.responder, self._forwarder, query_log=settings.query_log)
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Open the sockets, follow the cluster, answer."""
        settings = self._settings
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        self._pods.on_change(self._pod_changed)
        await self._listener.open(settings.listen, settings.port)
        try:
            async with asyncio.TaskGroup() as group:
                if settings.status_port:
                    handler = status.handler(self.synced.is_set, self._figures)
                    await Server(handler).listen(settings.listen[0], settings.status_port)
                self._follow_files(group)
                group.create_task(self._services.run())
                group.create_task(self._slices.run())
                if settings.autopath:
                    group.create_task(self._pods.run())
                await self._services.synced.wait()
                await self._slices.synced.wait()
                self.synced.set()
                log.info("serving %s on %s port %d", self.zone.domain, list(settings.listen), settings.port)
                if settings.announce_ip:
                    group.create_task(self._announce())
        finally:
            self._listener.close()

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

    # -- what the machine says ----------------------------------------------------------------------------------------

    def _follow_files(self, group: asyncio.TaskGroup) -> None:
        settings = self._settings
        if settings.hosts is not None:
            self._take_hosts(sources.read(settings.hosts))
            group.create_task(sources.follow(settings.hosts, self._take_hosts))
        if settings.resolv_conf is not None and not settings.upstreams:
            self._take_nameservers(sources.read(settings.resolv_conf))
            group.create_task(sources.follow(settings.resolv_conf, self._take_nameservers))

    def _take_hosts(self, text: str) -> None:
        self.responder.hosts = Hosts(text)

    def _take_nameservers(self, text: str) -> None:
        own = {(host, self._settings.port) for host in (*self._settings.listen, self._settings.announce_ip)}
        found = [
            a for a in sources.nameservers(text) if (a.host, a.port) not in own
        ]  # asking ourselves would be a loop
        self._forwarder.configure(found, self._settings.stubs)

    # -- what we say of ourselves -------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        settings = self._settings
        wanted = register.endpoints(
            settings.listen[0], settings.port, settings.status_port, settings.node_name, ready=True
        )
        while True:
            try:
                await register.announce(self._client, settings.announce_ip, wanted)
                await asyncio.sleep(30)
            except (StatusError, Disconnected) as why:
                log.warning("could not announce the DNS Service: %s", why)
                await asyncio.sleep(1)

    def _figures(self) -> status.Figures:
        counts = self.responder.counts()
        return status.Figures(
            answers=counts,
            kept=len(self.responder.kept),
            cached=len(self._forwarder.cache),
            services=len(self.zone.entries),
            forwarded=self._forwarder.asked,
            cache_hits=self._forwarder.hits,
            domain=self.zone.domain,
        )


def run_workers(count: int) -> int:
    """Fork so that `count` processes serve the same sockets' addresses (SO_REUSEPORT); gives this one's number from 0.

    Call before any event loop exists. The first process ends the others when it ends.
    """
    for number in range(1, count):
        if os.fork() == 0:
            _die_with_parent()
            return number
    return 0


def _die_with_parent() -> None:
    import ctypes

    pr_set_pdeathsig, sigterm = 1, 15
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, sigterm)


def _never() -> Any:
    raise AssertionError("a change has an old or a new object")
