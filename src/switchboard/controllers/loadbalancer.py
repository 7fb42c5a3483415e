"""The Service controller: addresses for LoadBalancer Services, from a provider.

Source: cloud-provider/controllers/service/controller.go. A provider is two methods; the built-in one has a pool of
addresses that are routed to the node, so an address is all there is to make. What a Service's status says is the
memory: after a restart every Service keeps its address. A finalizer, put before anything is made, keeps a Service until
that is released, whatever happened meanwhile (KEP-980). Services with a loadBalancerClass belong to somebody else.

Without a provider nothing is made. What an earlier one of ours had made is handed over, known by the name under which
the finalizer was written: a Service must not wait for somebody who will not come.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final, Protocol

from switchboard.client.resources import SERVICES
from switchboard.controllers.base import Context, Controller
from switchboard.objects.errors import NotFound

Object = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FINALIZER: Final = "service.kubernetes.io/load-balancer-cleanup"
_OURS: Final = "load balancers"
MANAGER: Final = "switchboard-service-controller"  # under this name of a field manager we write it


class LoadBalancerError(Exception):
    """No load balancer for this Service; the message is what its Event says."""


class Provider(Protocol):
    """Makes load balancers."""

    async def ensure(self, service: Object, others: Iterable[Object]) -> list[Object]:
        """The ingress entries of a Service's load balancer, made or brought up to date. LoadBalancerError if it cannot
        be. `others`: all other Services that have, or want, one. May be called again at any time."""
        ...

    async def release(self, service: Object) -> None:
        """The Service goes, or wants no load balancer any more; it stays until this has succeeded. LoadBalancerError
        when it cannot be done yet: it is tried again."""
        ...


def wants(service: Object) -> bool:
    """Whether a Service wants a load balancer of ours."""
    spec = service["spec"]
    return (
        spec.get("type") == "LoadBalancer"
        and not spec.get("loadBalancerClass")
        and not service["metadata"].get("deletionTimestamp")
    )


def holds(service: Object) -> bool:
    """Whether something of ours may still stand for a Service: it carries our finalizer, and is nobody else's."""
    return FINALIZER in _finalizers(service) and not service["spec"].get("loadBalancerClass")


def _ours(service: Object) -> list[str]:
    """Index function: Services that have, or want, a load balancer of ours."""
    return [""] if wants(service) or holds(service) else []


def addresses(service: Object) -> list[str]:
    """Addresses that stand in a Service's status."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [entry["ip"] for entry in ingress if entry.get("ip")]


def told_changes(old: Object, new: Object) -> Iterator[tuple[str, str]]:
    """Reason and message of the Event about what a change means for a load balancer (needsUpdate of the source)."""
    if not wants(old) and not wants(new):
        return
    before, after = old["spec"], new["spec"]
    if before.get("type") != after.get("type"):
        yield "Type", f"{before.get('type')} -> {after.get('type')}"
        return
    for reason, field, empty in _TOLD:
        was, now = before.get(field) or empty, after.get(field) or empty
        if was != now:
            yield reason, f"{_go(was)} -> {_go(now)}"
            return


_TOLD: Final[tuple[tuple[str, str, Any], ...]] = (
    ("LoadBalancerSourceRanges", "loadBalancerSourceRanges", []),
    ("LoadbalancerIP", "loadBalancerIP", ""),
    ("ExternalTrafficPolicy", "externalTrafficPolicy", ""),
    ("HealthCheckNodePort", "healthCheckNodePort", 0),
)


def _go(value: Any) -> str:
    """As Go prints a list of words, or a word."""
    return f"[{' '.join(value)}]" if isinstance(value, list) else str(value)


class AddressPool:
    """The built-in provider: an address for each Service, in each family of the Service that there is a network of."""

    def __init__(self, *cidrs: str) -> None:
        self.networks = {f"IPv{net.version}": net for net in map(ipaddress.ip_network, cidrs)}

    def choose(self, service: Object, others: Iterable[Object]) -> list[str]:
        """The Service's addresses: those it has, the one it asks for, or the lowest free ones."""
        taken = {ip for other in others for ip in addresses(other)}
        families = [f for f in service["spec"].get("ipFamilies") or ["IPv4"] if f in self.networks]
        wish = service["spec"].get("loadBalancerIP")
        if not families:
            raise LoadBalancerError("there is no address pool of the Service's IP families")
        if wish and not any(_inside(wish, self.networks[family]) for family in families):
            pools = " or ".join(str(self.networks[family]) for family in families)
            raise LoadBalancerError(f"requested address {wish} is not in the pool {pools}")
        if wish and str(ipaddress.ip_address(wish)) in taken:
            raise LoadBalancerError(f"requested address {wish} is in use by another Service")
        return [self._one(self.networks[family], [wish, *addresses(service)], taken) for family in families]

    def _one(self, network: Network, favoured: list[str | None], taken: set[str]) -> str:
        for ip in favoured:
            if ip and _inside(ip, network) and ip not in taken:
                return str(ipaddress.ip_address(ip))
        free = next((str(ip) for ip in network.hosts() if str(ip) not in taken), None)
        if free is None:
            raise LoadBalancerError(f"the address pool {network} is spent: all of its addresses are in use")
        return free

    async def ensure(self, service: Object, others: Iterable[Object]) -> list[Object]:
        """An entry for each address, as a virtual one, with the Service's ports."""
        ports = [
            {"port": p["port"], "protocol": p.get("protocol") or "TCP"} for p in service["spec"].get("ports") or ()
        ]
        more = {"ports": ports} if ports else {}
        return [{"ip": ip, "ipMode": "VIP"} | more for ip in self.choose(service, others)]

    async def release(self, service: Object) -> None:
        """Nothing: an address is free when no status names it."""


def _inside(ip: str, network: Network) -> bool:
    try:
        return ipaddress.ip_address(ip) in network
    except ValueError:
        return False


class LoadBalancerController(Controller):
    """Keys are Services. One worker: two Services must not choose the same address."""

    name = "service-lb"
    component = "service-controller"
    main = SERVICES
    workers: ClassVar[int] = 1

    def __init__(self, context: Context, provider: Provider | None = None) -> None:
        super().__init__(context)
        self.of(SERVICES).index(_OURS, _ours)
        pools = context.settings.load_balancer_pools
        self._provider = provider or (AddressPool(*pools) if pools else None)
        self._waiting: set[str] = set()  # Services that got no address
        self._said: dict[str, str] = {}

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and self._provider is not None:
            for reason, message in told_changes(old, new):
                self.say(new, "Normal", reason, message)
        if new is not None and (holds(new) or (wants(new) and self._provider is not None)):
            super()._main_changed(old, new)
        if old is not None and addresses(old) and (new is None or addresses(new) != addresses(old)):
            for key in self._waiting:  # an address became free
                self.loop.add(key)

    async def run(self) -> None:
        """As every controller. Services that have an address are first, so that they keep it."""
        await self.cache.synced(SERVICES)
        for service in sorted(self.of(SERVICES).by(_OURS, ""), key=lambda s: not addresses(s)):
            self._main_changed(None, service)
        await self.loop.run()

    async def reconcile(self, key: str) -> float | None:
        """The load balancer of one Service."""
        service = self.of(SERVICES).get_key(key)
        try:
            if self._provider is None:
                if service is not None and holds(service):
                    await self._hand_over(service)
                return None
            if service is not None and wants(service):
                return await self._ensure(key, service, self._provider)
            self._waiting.discard(key)
            self._said.pop(key, None)
            if service is not None and holds(service):
                await self._release(service, self._provider)
        except NotFound:
            pass
        return None

    async def _ensure(self, key: str, service: Object, provider: Provider) -> float | None:
        uid = service["metadata"]["uid"]
        others = [s for s in self.of(SERVICES).by(_OURS, "") if s["metadata"]["uid"] != uid]
        had = addresses(service)
        if not had and key not in self._said:
            self.say(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
        if FINALIZER not in _finalizers(service):  # before anything is made
            service = await self._keep(service, [*_finalizers(service), FINALIZER])
        try:
            ingress = await provider.ensure(service, others)
        except LoadBalancerError as error:
            return self._failed(key, service, str(error))
        self._waiting.discard(key)
        self._said.pop(key, None)
        status = service.get("status") or {}
        if ((status.get("loadBalancer") or {}).get("ingress") or []) != ingress:
            new = {**service, "status": {**status, "loadBalancer": {"ingress": ingress}}}
            await self.cache.update_status(SERVICES, new)
            if not had:
                self.say(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        return None

    def _failed(self, key: str, service: Object, why: str) -> float:
        self._waiting.add(key)
        if self._said.get(key) != why:
            self._said[key] = why
            text = f"Error syncing load balancer: failed to ensure load balancer: {why}"
            self.say(service, "Warning", "SyncLoadBalancerFailed", text)
        return 60.0

    async def _release(self, service: Object, provider: Provider) -> None:
        """The Service goes, or is of another type now. Its status was cleared by the change of type."""
        leaving = bool(service["metadata"].get("deletionTimestamp"))
        if not leaving:
            self.say(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        try:
            await provider.release(service)
        except LoadBalancerError as error:
            text = f"Error syncing load balancer: failed to delete load balancer: {error}"
            self.say(service, "Warning", "SyncLoadBalancerFailed", text)
            raise
        if not leaving:
            self.say(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")
        await self._keep(service, [name for name in _finalizers(service) if name != FINALIZER])

    async def _hand_over(self, service: Object) -> None:
        """Take back what we had made before our provider was turned off; whose the finalizer is, copies do not say."""
        meta = service["metadata"]
        known = await self.cache.client.get(SERVICES, meta["name"], meta["namespace"])
        if known["metadata"]["uid"] == meta["uid"] and FINALIZER in _finalizers(known) and _is_ours(known):
            self.say(known, "Normal", "DeletedLoadBalancer", "Deleted load balancer")
            left = [name for name in _finalizers(known) if name != FINALIZER]
            await self._keep(known, left, status={"loadBalancer": None})

    async def _keep(self, service: Object, finalizers: list[str], **more: Any) -> Object:
        meta = service["metadata"]
        change = {"metadata": {"finalizers": finalizers, "resourceVersion": meta["resourceVersion"]}} | more
        how = {"subresource": "status", "fieldManager": MANAGER}
        return await self.cache.patch(SERVICES, meta["name"], change, meta["namespace"], **how)


def _is_ours(service: Object) -> bool:
    """Whether it was us who put the finalizer."""
    fields = [entry.get("fieldsV1") or {} for entry in service["metadata"].get("managedFields") or () if _by_us(entry)]
    return any(f'v:"{FINALIZER}"' in ((one.get("f:metadata") or {}).get("f:finalizers") or ()) for one in fields)


def _by_us(entry: Object) -> bool:
    return bool(entry.get("manager") == MANAGER)


def _finalizers(service: Object) -> list[str]:
    return service["metadata"].get("finalizers") or []
