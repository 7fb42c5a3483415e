"""The DNS server: informers behind, sockets in front, one responder between.

Order of a query: kept bytes -> zone -> hosts -> cache -> upstreams. See `listener.py` for the sockets.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from switchboard.client import Client, Disconnected, Informer
from switchboard.client.resources import ENDPOINTSLICES, NAMESPACES, PODS, SERVICES
from switchboard.dns import register, searchpath, sources, status
from switchboard.dns.apilink import ApiLink
from switchboard.dns.forward import Forwarder
from switchboard.dns.hosts import Hosts
from switchboard.dns.listener import WILDCARDS, Listener
from switchboard.dns.records import EndpointSlice, Namespace, PodAddress, Service
from switchboard.dns.responder import Responder
from switchboard.dns.upstream import Address
from switchboard.dns.zone import Pods, Zone
from switchboard.objects.errors import StatusError
from switchboard.transport.server import Server

log = logging.getLogger(__name__)

_WAIT = 1.0  # seconds that queries may wait for the first sight of the cluster, and Services for namespaces


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
    pods: Pods = Pods.INSECURE
    query_log: bool = False
    status_port: int = 0  # /health, /ready, /metrics on the first listening address; 0 for none
    announce_ip: str = ""  # keep Service kube-system/kube-dns at this address, with ourselves behind it; "" for not
    node_name: str = ""


class DnsServer:
    """Cluster DNS over UDP and TCP; `run()` serves until cancelled, `synced` is set when it knows the whole cluster.

    SIGHUP reads the files again, SIGUSR1 switches the query log on and off; neither loses a query.
    """

    def __init__(self, client: Client, settings: DnsSettings) -> None:
        self._settings = settings
        self.link = ApiLink(client.transport)
        self._client = Client(self.link, user_agent="switchboard-dns")
        self.zone = Zone(settings.domain, settings.networks, [a for a in settings.listen if a not in WILDCARDS])
        self.zone.pods = settings.pods
        self._pods_at: dict[str, PodAddress] = {}
        self._searches: list[str] = []  # of the node's own resolv.conf
        self.responder = Responder(self.zone, self._search_path_at if settings.autopath else None)
        self.responder.ready = False
        self.forwarder = Forwarder(settings.upstreams, settings.stubs)
        self._services: Informer[Service] = Informer(self._client, SERVICES, type_=Service)
        self._slices: Informer[EndpointSlice] = Informer(self._client, ENDPOINTSLICES, type_=EndpointSlice)
        self._namespaces: Informer[Namespace] = Informer(self._client, NAMESPACES, type_=Namespace)
        self._pods: Informer[PodAddress] = Informer(self._client, PODS, type_=PodAddress)
        self.listener = Listener(self.responder, self.forwarder, query_log=settings.query_log)
        self.synced = asyncio.Event()
        self._reloads = 0

    async def run(self) -> None:
        """Open the sockets, follow the cluster, answer."""
        settings = self._settings
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        self._namespaces.on_change(self._namespace_changed)
        self._pods.on_change(self._pod_changed)
        await self.listener.open(settings.listen, settings.port, start=False)
        web = Server(status.handler(self.synced.is_set, self._figures))
        try:
            if settings.status_port:
                await web.listen(settings.listen[0], settings.status_port)
            async with asyncio.TaskGroup() as group:
                self._follow_files(group)
                group.create_task(self._services.run())
                group.create_task(self._slices.run())
                group.create_task(self._namespaces.run())
                if settings.autopath or settings.pods is Pods.VERIFIED:
                    group.create_task(self._pods.run())
                group.create_task(self._read_at_last())
                await self._sync()
                await self.listener.start()
                group.create_task(self.forwarder.watch_for_loops())
                log.info("serving %s on %s port %d", self.zone.domain, list(settings.listen), settings.port)
                if settings.announce_ip:
                    group.create_task(self._announce())
        finally:
            self.listener.close()
            await web.close(0)

    async def _sync(self) -> None:
        """Wait until the cluster is known. Namespaces may be forbidden to us: then those with Services must do."""
        await self._services.synced.wait()
        await self._slices.synced.wait()
        if self._settings.pods is Pods.VERIFIED:  # or names of pods that are there would be absent
            await self._pods.synced.wait()
        try:
            async with asyncio.timeout(_WAIT):
                await self._namespaces.synced.wait()
        except TimeoutError:
            log.warning("namespaces cannot be read: one without Services counts as absent")
        self.responder.ready = True
        self.synced.set()

    async def _read_at_last(self) -> None:
        """Without an API queries do not wait for ever: cluster names are SERVFAIL then, others are forwarded."""
        try:
            async with asyncio.timeout(_WAIT):
                await self.synced.wait()
        except TimeoutError:
            await self.listener.start()

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

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if (old is None) != (new is None):
            name = (new or old or _never()).metadata.name
            self.responder.forget(self.zone.put_namespace(name, new is not None))

    def _pod_changed(self, old: PodAddress | None, new: PodAddress | None) -> None:
        meta = (new or old or _never()).metadata
        if self.zone.pods is Pods.VERIFIED:
            had, has = old.named if old is not None else (), new.named if new is not None else ()
            self.responder.forget(self.zone.put_pod(meta.namespace, had, has))
        for address in old.addresses if old is not None else ():
            known = self._pods_at.get(address)
            # an address may have gone to another pod before this one's end is told
            if known is not None and (known.metadata.namespace, known.metadata.name) == (meta.namespace, meta.name):
                del self._pods_at[address]
        for address in new.addresses if new is not None else ():
            self._pods_at[address] = new or _never()

    def _search_path_at(self, address: str) -> searchpath.SearchPath | None:
        pod = self._pods_at.get(address)
        return searchpath.of_pod(pod, self.zone.domain, self._searches) if pod is not None else None

    # -- what the machine says ----------------------------------------------------------------------------------------

    def _follow_files(self, group: asyncio.TaskGroup) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            loop.add_signal_handler(signal.SIGHUP, self.reload)
            loop.add_signal_handler(signal.SIGUSR1, self._switch_log)
        if settings.hosts is not None:
            self._take_hosts(sources.read(settings.hosts))
            group.create_task(sources.follow(settings.hosts, self._take_hosts))
        if settings.resolv_conf is not None:
            self._take_resolv_conf(sources.read(settings.resolv_conf))
            group.create_task(sources.follow(settings.resolv_conf, self._take_resolv_conf))

    def reload(self) -> None:
        """Read the files again now, instead of at the next look; sockets and caches stay as they are."""
        self._reloads += 1
        if self._settings.hosts is not None:
            self._take_hosts(sources.read(self._settings.hosts))
        if self._settings.resolv_conf is not None:
            self._take_resolv_conf(sources.read(self._settings.resolv_conf))
        log.info("read again")

    def _switch_log(self) -> None:
        self.listener.query_log = not self.listener.query_log

    def _take_hosts(self, text: str) -> None:
        self.responder.hosts = Hosts(text)

    def _take_resolv_conf(self, text: str) -> None:
        self._searches = sources.searches(text)
        if self._settings.upstreams:
            return  # told by hand whom to ask
        own = {(host, self._settings.port) for host in (*self._settings.listen, self._settings.announce_ip)}
        # asking ourselves would be a loop
        found = [a for a in sources.nameservers(text) if (a.host, a.port) not in own]
        self.forwarder.configure(found, self._settings.stubs)

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
        responder, settings = self.responder, self._settings
        return status.Figures(
            answers=responder.counts(),
            took=self.listener.took,
            forwarder=self.forwarder,
            zone=f"{self.zone.domain}.",
            server=f"dns://:{settings.port}",
            plain={
                "coredns_autopath_success_total": responder.walked,
                "coredns_forward_max_concurrent_rejects_total": self.listener.rejected,
                "coredns_panics_total": self.listener.panics,
                "coredns_hosts_entries": len(responder.hosts),
                "switchboard_dns_kept_answers": len(responder.kept),
                "switchboard_dns_services": len(self._services.items()),
                "switchboard_dns_api_connected": int(self.link.connected),
                "switchboard_dns_api_since_seconds": int(self.link.since),
                "switchboard_dns_api_losses_total": self.link.losses,
                "switchboard_dns_reloads_total": self._reloads,
            },
        )


def _never() -> Any:
    raise AssertionError("a change has an old or a new object")
