"""The pools that Services draw from: cluster IPs out of ServiceCIDRs, node ports out of one range.

An IP is taken exactly when its IPAddress object exists (or is reserved by a write under way), so what is durable is the
truth, as upstream's MultiCIDRServiceAllocator has it (KEP-1880). Ports are counted in memory, filled from the Services
at start. Automatic picks come from the upper, dynamic band first, which leaves the lower one to people (KEP-3070,
KEP-3668).
"""

from __future__ import annotations

import ipaddress
import random
import socket
from functools import cached_property
from typing import TYPE_CHECKING, Any

from switchboard.api.claims import Claims
from switchboard.api.keyspace import decode, encode
from switchboard.api.metadata import new_uid, now
from switchboard.objects.errors import InternalError
from switchboard.store.errors import Changed, StoreError
from switchboard.store.record import Event

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Record

Object = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ADDRESSES = "/networking.k8s.io/ipaddresses/"
CIDRS = "/networking.k8s.io/servicecidrs/"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
NODE_PORT_TYPES = ("NodePort", "LoadBalancer")
_DEFAULT = "kubernetes"  # name of the ServiceCIDR of the settings
_TRIES = 64


class PoolError(Exception):
    """An address or port cannot be had; the message is upstream's."""


def band(size: int, low: int, high: int, part: int) -> int:
    """Size of the static band at the bottom of a range (`calculateRangeOffset` of the allocators)."""
    return 0 if size <= low else min(max(low, size // part), high)


class Band:
    """A part of a range, how many of its addresses are taken, and where the last look for a free one ended."""

    __slots__ = ("high", "low", "next", "taken")

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.taken, self.next = 0, low

    @property
    def size(self) -> int:
        """All addresses of it."""
        return self.high - self.low + 1


class Cidr:
    """One range of cluster IPs: the addresses between its ends that may be given out."""

    def __init__(self, text: str) -> None:
        self.network: Network = ipaddress.ip_network(text)
        self.family = f"IPv{self.network.version}"
        first = int(self.network.network_address) + 1
        last = int(self.network.broadcast_address)
        # IPv4 keeps its broadcast address back; an IPv6 range is used in its first 2^64 only.
        self.first = first
        self.last = min(last - 1 if self.network.version == 4 else last, first + 2**64)
        self.static = band(self.last - self.first + 1, 16, 256, 16)
        self.bands = [Band(self.first + self.static, self.last)]  # the dynamic one first
        if self.static:
            self.bands.append(Band(self.first, self.first + self.static - 1))

    def note(self, number: int, change: int) -> None:
        """An address was taken (1) or given back (-1)."""
        for part in self.bands:
            if part.low <= number <= part.high:
                part.taken += change

    def holds(self, number: int) -> bool:
        """Whether an address number may be given out."""
        return self.first <= number <= self.last

    def text(self, number: int) -> str:
        """An address number as text."""
        if self.network.version == 4:
            return socket.inet_ntoa(number.to_bytes(4, "big"))
        return str(ipaddress.IPv6Address(number))  # canonical form


class Pools:
    """Cluster IPs and node ports of one API server."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._cidrs: list[Cidr] | None = None
        self._counted = 0  # revision as of which the ranges' addresses were counted
        self._reserved: set[str] = set()  # addresses of writes under way
        self._ports: set[int] = set()
        self._random = random.Random()  # spreads picks; nobody's security rests on it
        app.store.subscribe(CIDRS, app.store.revision, self._cidrs_changed)
        app.store.subscribe(ADDRESSES, app.store.revision, self._addresses_changed)

    def _cidrs_changed(self, _: list[Event]) -> None:
        self._cidrs = None

    def _addresses_changed(self, events: list[Event]) -> None:
        for event in events:
            if self._cidrs is None or event.revision <= self._counted:
                continue
            if event.deleted or event.previous is None:
                _note(self._cidrs, event.record.key, -1 if event.deleted else 1)

    def load(self) -> None:
        """Count the node ports of all stored Services."""
        self._ports.clear()
        for record in self._app.store.scan("/core/services/"):
            if b'nodePort":' in record.value or b'healthCheckNodePort":' in record.value:
                self._ports.update(ports_of(decode(record.value)))

    # Addresses

    @cached_property
    def families(self) -> list[str]:
        """The families this cluster gives out, the default one first (fixed by the settings)."""
        return [f"IPv{ipaddress.ip_network(cidr).version}" for cidr in self._app.settings.service_cidrs]

    def _ranges(self, family: str) -> list[Cidr]:
        if self._cidrs is None:
            objects = {obj["metadata"]["name"]: obj for obj in map(_decoded, self._app.store.scan(CIDRS))}
            standing = [obj for obj in objects.values() if "deletionTimestamp" not in obj["metadata"]]
            found = [text for obj in standing for text in (obj.get("spec") or {}).get("cidrs") or ()]
            if _DEFAULT not in objects or objects[_DEFAULT] in standing:  # it is on its way in, or there
                found = [*self._app.settings.service_cidrs, *found]
            self._cidrs = [Cidr(text) for text in dict.fromkeys(found)]
            self._counted = self._app.store.revision
            for record in self._app.store.scan(ADDRESSES):
                _note(self._cidrs, record.key, 1)
        return [cidr for cidr in self._cidrs if cidr.family == family]

    def _taken(self, address: str) -> bool:
        return address in self._reserved or self._app.store.head(ADDRESSES + address) is not None

    def take_address(self, family: str, wanted: str, owner: Object, claims: Claims) -> str:
        """Reserve `wanted`, or any free address of the family where it is ""; raises PoolError.

        The IPAddress object is written together with the Service (`claims`).
        """
        if wanted:
            parsed = ipaddress.ip_address(wanted)
            address = str(parsed)
            if not any(cidr.holds(int(parsed)) for cidr in self._ranges(family)):
                raise PoolError("the provided network does not match the current range")
            if self._taken(address):
                raise PoolError("provided IP is already allocated")
        else:
            address = self._free_address(family)
        self._reserved.add(address)
        claims.on_failure(lambda: self._reserved.discard(address))
        meta = owner["metadata"]
        claims.before_store(lambda: self._write_address(address, meta["namespace"], meta["name"], claims))
        claims.on_success(lambda: self._reserved.discard(address))
        return address

    def _free_address(self, family: str) -> str:
        for cidr in self._ranges(family):
            for part in cidr.bands:
                if part.taken >= part.size:
                    continue  # full: looking would take long, and another range has room
                for _ in range(_TRIES):
                    address = cidr.text(part.low + self._random.getrandbits(80) % part.size)
                    if not self._taken(address):
                        return address
                for offset in range(min(part.size, 2**20)):  # nearly full: on from where the last look ended
                    number = part.low + (part.next - part.low + offset) % part.size
                    address = cidr.text(number)
                    if not self._taken(address):
                        part.next = number + 1
                        return address
        raise InternalError("Internal error occurred: failed to allocate a serviceIP: range is full")

    def _write_address(self, address: str, namespace: str, name: str, claims: Claims) -> None:
        claims.waits.append(self.put_address(address, namespace, name))
        claims.on_failure(lambda: self.drop_address(address))

    def put_address(self, address: str, namespace: str, name: str, *, instead: Record | None = None) -> Any:
        """Queue the IPAddress object of a Service's address; returns the store's awaitable."""
        family = f"IPv{ipaddress.ip_address(address).version}"
        obj: Object = {
            "kind": "IPAddress",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {
                "name": address,
                "uid": new_uid(),
                "resourceVersion": "",
                "creationTimestamp": now(),
                "labels": {"ipaddress.kubernetes.io/ip-family": family, MANAGED_BY: MANAGER},
            },
            "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
        }

        def seal(revision: int) -> bytes:
            obj["metadata"]["resourceVersion"] = str(revision)
            return encode(obj)

        return self._app.store.put(ADDRESSES + address, seal, expect=instead)

    def drop_address(self, address: str) -> None:
        """Queue the removal of an address that a Service gave up; an absent one is fine."""
        self._reserved.discard(address)
        drop(self._app, ADDRESSES + address)

    # Ports

    def take_port(self, wanted: int, claims: Claims) -> int:
        """Reserve a node port, any free one where `wanted` is 0; raises PoolError."""
        low, high = self._app.settings.node_ports
        if wanted:
            if not low <= wanted <= high:
                text = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
                raise PoolError(text)
            if wanted in self._ports:
                raise PoolError("provided port is already allocated")
            port = wanted
        else:
            port = self._free_port(low, high)
        self._ports.add(port)
        claims.on_failure(lambda: self._ports.discard(port))
        return port

    def _free_port(self, low: int, high: int) -> int:
        static = band(high - low + 1, 16, 128, 32)
        for first, last in ((low + static, high), (low, low + static - 1)):
            free = [p for p in range(first, last + 1) if p not in self._ports]
            if free:
                return self._random.choice(free)
        raise PoolError("range is full")

    def free_ports(self, ports: set[int]) -> None:
        """Give ports back."""
        self._ports -= ports


def _decoded(record: Record) -> Object:
    return decode(record.value)


def drop(app: App, key: str) -> None:
    """Queue the removal of what goes with a Service; an absent one is fine."""
    head = app.store.head(key)
    if head is None:
        return
    obj = decode(head.value)

    def seal(revision: int) -> bytes:
        obj["metadata"]["resourceVersion"] = str(revision)
        return encode(obj)

    try:
        app.background(app.store.delete(head.key, seal, expect=head))
    except (Changed, StoreError):
        pass  # somebody else removed it meanwhile


def _note(cidrs: list[Cidr], key: str, change: int) -> None:
    address = ipaddress.ip_address(key.removeprefix(ADDRESSES))
    number, version = int(address), address.version
    for cidr in cidrs:
        if cidr.network.version == version:
            cidr.note(number, change)


def node_ports_of(spec: Object) -> set[int]:
    """The node ports that a Service holds (what an ExternalName names there is nobody's)."""
    if spec.get("type") not in NODE_PORT_TYPES:
        return set()
    return {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}


def ports_of(service: Object) -> set[int]:
    """Every node port that a Service holds, its health check port included."""
    spec = service.get("spec") or {}
    found = node_ports_of(spec)
    if spec.get("healthCheckNodePort"):
        found.add(spec["healthCheckNodePort"])
    return found


def addresses_of(service: Object) -> list[str]:
    """The cluster IPs that a Service holds (none for headless and ExternalName)."""
    spec = service.get("spec") or {}
    return [ip for ip in spec.get("clusterIPs") or () if ip not in ("", "None")]
