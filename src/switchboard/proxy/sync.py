"""The proxy of one node: what the API says becomes what the kernel does, as soon as it is said.

Informers (Services, EndpointSlices, this Node, this node's pods) mark keys as dirty; one flush plans the dirty ones and
sends one transaction, so whatever came in one turn of the event loop is one change of the kernel. The kernel tells of
foreign changes of our table, which is then compared and mended. Nothing is sent before every informer is in step: a
restart changes only what differs.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from socket import AF_INET, AF_INET6, inet_pton
from time import monotonic
from typing import Any

from msgspec import Struct

from switchboard.client.informer import Informer
from switchboard.client.resources import ENDPOINTSLICES, NODES, PODS, SERVICECIDRS, SERVICES
from switchboard.client.transport import Disconnected
from switchboard.client.verbs import Client
from switchboard.objects.errors import StatusError
from switchboard.proxy import conntrack, netlink
from switchboard.proxy.health import Health
from switchboard.proxy.hostports import Pod, matters, plan_pod
from switchboard.proxy.nft import Monitor, Nft
from switchboard.proxy.objects import Conditions, EndpointSlice, Meta, Service
from switchboard.proxy.packing import readable
from switchboard.proxy.plane import Plane
from switchboard.proxy.rules import Family
from switchboard.proxy.services import of_service
from switchboard.proxy.settings import ProxySettings

log = logging.getLogger(__name__)
_NOT_OURS = "!service.kubernetes.io/service-proxy-name"
_NO_HEADLESS = f"!service.kubernetes.io/headless,{_NOT_OURS}"
_PLANNED_AT_ONCE = 256  # Services, ~10 ms
_REPAIR_PAUSE, _RETRY_PAUSE = 0.002, 1.0  # seconds


class NodeLabels(Struct, gc=False, rename={"zone": "topology.kubernetes.io/zone"}):
    """The one label that matters."""

    zone: str = ""


class NodeMeta(Struct, gc=False):
    """Of ObjectMeta of a Node."""

    name: str = ""
    labels: NodeLabels | None = None


class NodeSpec(Struct, gc=False):
    """Of core/v1 NodeSpec where its pods live."""

    podCIDR: str | None = None
    podCIDRs: tuple[str, ...] | None = None


class NodeObject(Struct, gc=False):
    """core/v1 Node."""

    metadata: NodeMeta
    spec: NodeSpec | None = None


class CidrSpec(Struct, gc=False):
    """networking/v1 ServiceCIDRSpec."""

    cidrs: tuple[str, ...] | None = None


class ServiceCidr(Struct, gc=False):
    """networking/v1 ServiceCIDR: where ClusterIPs come from."""

    metadata: Meta
    spec: CidrSpec | None = None


class Way(Enum):
    """To a pod that goes: `CLOSING` when somebody will yet say that it goes, `KEPT` when all is said, or nobody will
    (publishNotReadyAddresses, slices made by hand).
    """

    NONE = 0
    CLOSING = 1
    KEPT = 2


class Proxy:
    """`Proxy(client, settings).run()` serves this node until cancelled; its rules stay, so that traffic goes on without
    it.

    Run it in the node's network namespace. `ready` is set once the kernel equals the API.
    """

    def __init__(self, client: Client, settings: ProxySettings) -> None:
        self.settings = settings
        self.ready = asyncio.Event()
        self._services = Informer(client, SERVICES, label_selector=_NOT_OURS, type_=Service)
        self._slices = Informer(client, ENDPOINTSLICES, label_selector=_NO_HEADLESS, type_=EndpointSlice)
        # Service -> its slices: an index of the informer would keep a dict for each, 3 MB at 10,000
        self._slices_of: dict[str, tuple[EndpointSlice, ...]] = {}
        name = settings.node_name
        self._node = Informer(client, NODES, field_selector=f"metadata.name={name}", type_=NodeObject)
        self._pods = Informer(client, PODS, field_selector=f"spec.nodeName={name}", type_=Pod)
        self._cidrs = Informer(client, SERVICECIDRS, type_=ServiceCidr)
        self._client = client
        self._routed: tuple[str, ...] = ()
        self._dirty: set[str] = set()
        self._dirty_pods: set[str] = set()
        self._scheduled = False
        self._handle: asyncio.Handle | None = None  # of a flush that is scheduled
        self._broken = False
        self._last_repair = 0.0
        self._plane: Plane
        self._conntrack: conntrack.Conntrack
        self._health = Health(settings.health_address)

    async def run(self) -> None:
        """Serve until cancelled."""
        self._loop = asyncio.get_running_loop()
        if self.settings.set_sysctls:
            netlink.set_sysctls(localhost=self.settings.localhost_node_ports)
        nft = Nft()
        monitor: Monitor | None = None
        self._conntrack = conntrack.Conntrack()
        self._plane = Plane(self.settings, nft, families(self.settings))
        informers: list[Informer[Any]] = [self._services, self._slices, self._node]
        if self.settings.host_ports:
            informers.append(self._pods)
        if await self._knows_cidrs():
            informers.append(self._cidrs)
        tasks = [asyncio.create_task(one.run()) for one in informers]
        try:
            await self._health.start()
            await asyncio.gather(*(one.synced.wait() for one in informers))
            await self._begin()
            # not before: the kernel would have to tell it of everything we just said
            monitor = Monitor(self.settings.table, nft.port)
            self._loop.add_reader(monitor.fileno(), self._heard, monitor)
            await asyncio.gather(*tasks)
        finally:
            if monitor is not None:
                self._loop.remove_reader(monitor.fileno())
                monitor.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._health.stop()
            for one in (nft, self._conntrack):
                one.close()

    def way_to(self, namespace: str, address: str) -> Way:
        """Whether the kernel may still send a new connection to a Service of that namespace to that pod, which goes."""
        prefix = f"{namespace}/"
        if self._broken or not self.ready.is_set() or any(key.startswith(prefix) for key in self._dirty):
            return Way.CLOSING
        if not self._plane.leads_to(address):
            return Way.NONE
        found = [
            endpoint.conditions or Conditions()
            for key, slices in self._slices_of.items()
            if key.startswith(prefix)
            for piece in slices
            for endpoint in piece.endpoints or ()
            if endpoint.addresses and endpoint.addresses[0] == address
        ]
        if all(conditions.ready is False for conditions in found):
            return Way.NONE
        return Way.CLOSING if any(conditions.terminating is False for conditions in found) else Way.KEPT

    def talks_to(self, address: str) -> bool:
        """Whether connections through Services, ours or other nodes', to that pod are open and in use."""
        if not self.ready.is_set():
            return False
        try:
            packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
            return self._conntrack.talking(packed, self._plane.near(packed)) > 0
        except OSError as error:
            log.warning("cannot tell which connections %s has: %s", address, error)
            return False

    async def _knows_cidrs(self) -> bool:
        """Whether the API has ServiceCIDR objects (Kubernetes has since 1.33)."""
        while True:
            try:
                await self._client.list(SERVICECIDRS, limit=1)
                return True
            except Disconnected:
                await asyncio.sleep(_RETRY_PAUSE)
            except StatusError as error:
                log.info("no ServiceCIDR objects: %s", error.message)
                return False

    async def _begin(self) -> None:
        """Everything there is, once; then every change as it comes. Other work of the process goes on meanwhile."""
        self._scheduled = True  # nothing is sent before everything is planned
        self._look_at_networks()
        self._plane.prior()
        for item in self._slices.items():
            self._file(item, item)
        self._dirty.clear()
        self._dirty_pods.update(self._pods.keys())
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        self._slices.on_all_told(self._flush_now)
        self._node.on_change(self._networks_changed)
        self._cidrs.on_change(self._networks_changed)
        self._pods.on_change(self._pod_changed)
        for at, key in enumerate(list(self._services.keys())):
            self._plan(key, self._services.get_key(key), self._slices_of.get(key, ()))
            if at % _PLANNED_AT_ONCE == _PLANNED_AT_ONCE - 1:
                await asyncio.sleep(0)
        self._flush()
        if not self._broken:
            self._plane.forget_strays(self._conntrack)

    # Something changed

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        meta = (new or old).metadata  # type: ignore[union-attr]  # one of them is there
        self._mark(f"{meta.namespace}/{meta.name}")

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        if old is not None:
            self._file(old, None)
        if new is not None:
            self._file(new, new)

    def _file(self, item: EndpointSlice, new: EndpointSlice | None) -> None:
        """Put a slice in (or take it out of) its Service's tuple."""
        key = of_service(item)
        if not key:
            return
        rest = tuple(one for one in self._slices_of.get(key, ()) if one.metadata.name != item.metadata.name)
        slices = rest if new is None else (*rest, new)
        if slices:
            self._slices_of[key] = slices
        else:
            self._slices_of.pop(key, None)
        self._mark(key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if not matters(old, new):
            return
        meta = (new or old).metadata  # type: ignore[union-attr]  # one of them is there
        self._dirty_pods.add(f"{meta.namespace}/{meta.name}")
        self._schedule()

    def _networks_changed(self, _: object, __: object) -> None:
        if self._look_at_networks():
            self._dirty.update(self._services.keys())
        self._schedule()

    def _mark(self, key: str) -> None:
        self._dirty.add(key)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._handle = self._loop.call_soon(self._flush)

    def _flush_now(self) -> None:
        """Other watches may have told of something in the same turn, which need not come first."""
        if self._handle is not None:
            self._handle.cancel()
            self._flush()

    def _look_at_networks(self) -> bool:
        """Take over zone, pod networks and ClusterIP networks; True when Services have to be planned anew."""
        node = self._node.get(None, self.settings.node_name)
        spec = node.spec if node is not None else None
        pods = (spec.podCIDRs or ((spec.podCIDR,) if spec.podCIDR else ())) if spec is not None else ()
        pods = tuple(filter(readable, pods))
        given = (cidr for one in self._cidrs.items() if one.spec for cidr in one.spec.cidrs or ())
        cidrs = tuple(sorted(filter(readable, given)))
        self._plane.networks(pods, cidrs)
        if (every := tuple(dict.fromkeys((*self.settings.service_cidrs, *cidrs)))) != self._routed:
            self._routed = every
            ips = [inet_pton(AF_INET6 if ":" in ip else AF_INET, ip) for ip in self.settings.node_ips]
            netlink.reach_services(every, ips)
        labels = node.metadata.labels if node is not None else None
        zone = self.settings.zone or (labels.zone if labels else "")
        changed = zone != self._plane.node.zone
        self._plane.node = self._plane.node._replace(zone=zone)
        return changed

    # The kernel follows

    def _flush(self) -> None:
        self._scheduled, self._handle = False, None
        for key in self._dirty:
            service = self._services.get_key(key)
            self._plan(key, service, self._slices_of.get(key, ()))
        self._dirty.clear()
        for key in self._dirty_pods:
            self._plan_pod(key, self._pods.get_key(key))
        self._dirty_pods.clear()
        self._commit(restore=self._broken)

    def _plan(self, key: str, service: Service | None, slices: tuple[EndpointSlice, ...]) -> None:
        try:
            self._plane.service(key, service, slices)
        except Exception:
            # whatever one object holds, the others go on; it keeps what it had
            log.exception("cannot plan Service %s", key)
        self._health.update(key, service, slices, self._plane.node)

    def _plan_pod(self, key: str, pod: Pod | None) -> None:
        try:
            plans = {family: plan_pod(pod, family) for family in self._plane.states} if pod is not None else {}
            self._plane.owner(f"~pod/{key}", plans)
        except Exception:
            log.exception("cannot plan the host ports of pod %s", key)

    def _commit(self, *, restore: bool) -> None:
        try:
            if restore:
                self._plane.restore()
            else:
                self._plane.commit()
        except OSError as error:
            log.error("the kernel refuses the rules: %s", error)
            self._broken = True
            self._health.beat(ok=False)
            self._loop.call_later(_RETRY_PAUSE, self._schedule)
            return
        self._broken = False
        self._health.beat(ok=True)
        self.ready.set()
        flows = self._plane.stale_flows()
        if flows:
            try:
                self._conntrack.delete(flows)
            except OSError as error:
                log.warning("cannot forget %d stale flows: %s", len(flows), error)

    def _heard(self, monitor: Monitor) -> None:
        if monitor.touched():
            # somebody who fights with us gets an answer once a second
            quiet = monotonic() - self._last_repair
            self._loop.call_later(_REPAIR_PAUSE if quiet > _RETRY_PAUSE else _RETRY_PAUSE, self._repair)

    def _repair(self) -> None:
        if monotonic() - self._last_repair < _RETRY_PAUSE / 2:
            return
        self._last_repair = monotonic()
        log.warning("somebody changed table %s: comparing and mending it", self.settings.table)
        self._commit(restore=True)


def families(settings: ProxySettings) -> tuple[Family, ...]:
    """4, and 6 where it is wanted and the kernel has it."""
    if settings.ipv6 is None:
        from os.path import exists

        return (4, 6) if exists("/proc/sys/net/ipv6/conf") else (4,)
    return (4, 6) if settings.ipv6 else (4,)
