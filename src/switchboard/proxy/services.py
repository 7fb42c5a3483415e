"""What each port of a Service should do: pure.

Which endpoints take part follows kube-proxy (`pkg/proxy/topology.go`, CategorizeEndpoints): ready ones, narrowed by
hints where every ready endpoint carries them; if none is ready, those that are serving while terminating (KEP-1669).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple, TypeGuard

from switchboard.proxy.objects import (
    Conditions,
    Endpoint,
    EndpointSlice,
    Hints,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from switchboard.proxy.packing import networks_of

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
LAST_RESORT = 10800  # sessionAffinityConfig.clientIP.timeoutSeconds when absent (core/v1 defaults)
LONGEST = 86400  # and at most (core/v1 validation)


class Node(NamedTuple):
    """The point of view: which endpoints are local, and which hints are meant for here."""

    name: str
    zone: str = ""
    faithful: bool = False


class Backend(NamedTuple):
    """One endpoint of one port: its packed target (see `target`), and what decides whether it takes part."""

    target: bytes
    ready: bool
    serving: bool
    terminating: bool
    local: bool
    near: bool  # may be on this node
    zones: frozenset[str]
    nodes: frozenset[str]


class Front(NamedTuple):
    """One address a port answers at. `address` is packed, or b"" for every address of the node.

    `view`: who sees it: `cluster` (everybody, through `inside`, and no other port of this address exists), `inside`
    (local pods and the node itself), `outside` (everybody else, source kept), `masked` (everybody else, masqueraded).
    `local`: whether it leads to local endpoints only. `gated`: whether loadBalancerSourceRanges guard it.
    """

    address: bytes
    port: int
    view: str
    local: bool = False
    gated: bool = False


class PortPlan(NamedTuple):
    """What one port of one Service should do in one address family."""

    name: str
    protocol: int
    fronts: tuple[Front, ...]
    cluster: tuple[bytes, ...]
    local: tuple[bytes, ...]
    sticky: int = 0
    when_empty: str = "refuse"
    no_local: str = "refuse"
    ranges: tuple[tuple[bytes, int], ...] = ()
    neighbours: tuple[
        bytes, ...
    ] = ()  # endpoints that may be on this node: they can meet themselves through the Service


def pack(address: str, family: int) -> bytes | None:
    """The address in network order, or None when it is not one of `family` (4 or 6)."""
    try:
        return inet_pton(AF_INET if family == 4 else AF_INET6, address)
    except (OSError, TypeError, ValueError):
        return None


def target(address: bytes, port: int) -> bytes:
    """Address and port as an nftables concatenation: each part padded to four bytes, network order."""
    return address + port.to_bytes(2, "big") + b"\0\0"


def is_port(number: int | None) -> TypeGuard[int]:
    """Whether packets can go to it; the API of others may hold any number."""
    return number is not None and 0 < number < 65536


def of_service(item: EndpointSlice) -> str:
    """`namespace/name` of the Service a slice belongs to, or '' when it is not ours to serve."""
    labels = item.metadata.labels
    if labels is None or not labels.service or labels.proxy is not None:
        return ""
    return f"{item.metadata.namespace}/{labels.service}"


def is_ours(service: Service) -> bool:
    """Whether this proxy serves it: it has an address of its own, and no other proxy is named for it."""
    spec, labels = service.spec, service.metadata.labels
    if spec is None or spec.type == "ExternalName" or (labels is not None and labels.proxy is not None):
        return False
    return spec.clusterIP not in (None, "", "None")


def backends(slices: Iterable[EndpointSlice], port: ServicePort, family: int, node: Node) -> list[Backend]:
    """All endpoints of one Service port in one family, each target once; a later, readier twin wins over an earlier
    one.
    """
    wanted, protocol = port.name or "", port.protocol or "TCP"
    kind = "IPv4" if family == 4 else "IPv6"
    found: dict[bytes, Backend] = {}
    for item in slices:
        if item.addressType != kind:
            continue
        for number in _numbers(item, wanted, protocol):
            for endpoint in item.endpoints or ():
                backend = _backend(endpoint, number, family, node)
                if backend is None:
                    continue
                twin = found.get(backend.target)
                if twin is None or _rank(backend) > _rank(twin):
                    found[backend.target] = backend
    return list(found.values())


def _numbers(item: EndpointSlice, name: str, protocol: str) -> Iterable[int]:
    for port in item.ports or ():
        number = port.port
        if (port.name or "") == name and (port.protocol or "TCP") == protocol and is_port(number):
            yield number


def _rank(backend: Backend) -> tuple[bool, bool]:
    return backend.ready, backend.serving


def _backend(endpoint: Endpoint, port: int, family: int, node: Node) -> Backend | None:
    address = pack(endpoint.addresses[0], family) if endpoint.addresses else None
    if address is None:
        return None
    conditions, hints = endpoint.conditions or _NO_CONDITIONS, endpoint.hints or _NO_HINTS
    ready = conditions.ready is not False
    serving = conditions.serving if conditions.serving is not None else ready
    local = endpoint.nodeName == node.name
    return Backend(
        target(address, port),
        ready,
        serving,
        conditions.terminating is True,
        local,
        local or endpoint.nodeName is None,
        frozenset(hint.name for hint in hints.forZones) if hints.forZones else _NONE,
        frozenset(hint.name for hint in hints.forNodes) if hints.forNodes else _NONE,
    )


_NO_CONDITIONS, _NO_HINTS, _NONE = Conditions(), Hints(), frozenset[str]()


def cluster_targets(all_: Sequence[Backend], node: Node) -> tuple[bytes, ...]:
    """Where a packet under the Cluster policy may go."""
    ready = [backend for backend in all_ if backend.ready]
    if not ready:
        return tuple(backend.target for backend in all_ if backend.serving and backend.terminating)
    if all(backend.nodes for backend in ready):
        here = [backend.target for backend in ready if node.name in backend.nodes]
        if here:
            return tuple(here)
    if node.zone and all(backend.zones for backend in ready):
        near = [backend.target for backend in ready if node.zone in backend.zones]
        if near:
            return tuple(near)
    return tuple(backend.target for backend in ready)


def local_targets(all_: Sequence[Backend]) -> tuple[bytes, ...]:
    """Where a packet under a Local policy may go: this node's endpoints, the ready ones or the last resort."""
    here = [backend for backend in all_ if backend.local]
    ready = tuple(backend.target for backend in here if backend.ready)
    return ready or tuple(backend.target for backend in here if backend.serving and backend.terminating)


def fronts(spec: ServiceSpec, status: ServiceStatus | None, port: ServicePort, family: int, node: Node) -> list[Front]:
    """Every address at which one port answers."""
    inner = spec.internalTrafficPolicy == "Local"
    out = [Front(ip, port.port, "cluster", inner) for ip in _packed(_cluster_ips(spec), family)]
    if spec.type == "ClusterIP" and not spec.externalIPs:
        return out
    external = [(ip, False) for ip in _packed(spec.externalIPs, family)]
    if spec.type == "LoadBalancer":
        gated = bool(spec.loadBalancerSourceRanges)
        balancer = status.loadBalancer if status else None
        ingress = (balancer.ingress if balancer else None) or ()
        external += [(ip, gated) for ip in _packed([i.ip for i in ingress if i.ip and i.ipMode != "Proxy"], family)]
    outer = spec.externalTrafficPolicy == "Local"
    view = "outside" if outer else "masked"
    for ip, gated in external:
        out.append(Front(ip, port.port, "inside", False, gated))
        out.append(Front(ip, port.port, view, outer, gated))
    if is_port(port.nodePort) and spec.type in ("NodePort", "LoadBalancer"):
        out.append(Front(b"", port.nodePort, "inside"))
        out.append(Front(b"", port.nodePort, view, outer))
    return out


def _cluster_ips(spec: ServiceSpec) -> tuple[str, ...]:
    return spec.clusterIPs or ((spec.clusterIP,) if spec.clusterIP else ())


def _packed(addresses: Iterable[str] | None, family: int) -> Iterable[bytes]:
    packed = [ip for address in addresses or () if (ip := pack(address, family)) is not None]
    return packed if len(packed) < 2 else dict.fromkeys(packed)


def sticky_seconds(spec: ServiceSpec) -> int:
    """0 for no affinity, else how long a client is remembered after its last connection."""
    if spec.sessionAffinity != "ClientIP":
        return 0
    config = spec.sessionAffinityConfig.clientIP if spec.sessionAffinityConfig else None
    return min(max((config.timeoutSeconds if config else None) or LAST_RESORT, 1), LONGEST)


def source_ranges(spec: ServiceSpec, family: int) -> tuple[tuple[bytes, int], ...]:
    """loadBalancerSourceRanges of one family as (packed network, prefix length); unreadable ones are left out.

    None overlaps another: the kernel refuses a set, and with it the whole transaction, where one does.
    """
    nets = networks_of((text.strip() for text in spec.loadBalancerSourceRanges or ()), family)
    return tuple((net.network_address.packed, net.prefixlen) for net in nets)


def plan(service: Service, slices: Collection[EndpointSlice], family: int, node: Node) -> list[PortPlan]:
    """What every port of a Service should do in one family; nothing for a Service that is not ours."""
    spec = service.spec
    # a Service is of the families of its ClusterIPs, whatever its other addresses are
    colon = family == 6
    if spec is None or not is_ours(service) or not any((":" in ip) is colon for ip in _cluster_ips(spec)):
        return []
    out = []
    ranges = source_ranges(spec, family) if spec.loadBalancerSourceRanges else ()
    for port in spec.ports or ():
        protocol = PROTOCOLS.get(port.protocol or "TCP")
        if protocol is None or not is_port(port.port):
            continue
        at = fronts(spec, service.status, port, family, node)
        if not at:
            continue
        all_ = backends(slices, port, family, node)
        here = any(front.local for front in at)
        cluster = cluster_targets(all_, node)
        local = local_targets(all_) if here else ()
        used = dict.fromkeys(cluster + local)
        near = tuple(b.target for b in all_ if b.near and b.target in used)
        out.append(
            PortPlan(
                f"{port.name or ''}/{port.protocol or 'TCP'}",
                protocol,
                tuple(at),
                cluster,
                local,
                sticky_seconds(spec),
                "refuse",
                "deny" if node.faithful and used else "refuse",
                ranges,
                near,
            )
        )
    return out
