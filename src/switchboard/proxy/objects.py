"""Services and EndpointSlices as the proxy sees them: only the fields that are read, because thousands are kept.

msgspec decodes one in 2-3 us. What is the same in many of them is held once: at 10,000 Services with two endpoints each
that is a quarter of their memory.
"""

from __future__ import annotations

from sys import intern
from typing import Any, Literal, TypeVar

from msgspec import Struct

T = TypeVar("T")
_MOST = 1024  # parts remembered; forgetting them all now and then costs a few that are held twice
_parts: dict[Any, Any] = {}


def shared(part: T) -> T:
    """The equal part of another object, if one was seen lately. Parts are frozen, so nobody can tell."""
    if len(_parts) >= _MOST:
        _parts.clear()
    return _parts.setdefault(part, part)  # type: ignore[no-any-return]  # of the type of its key


# words of a closed set are decoded as Literal: every object then shares one string
Protocol = Literal["TCP", "UDP", "SCTP"]
Policy = Literal["Cluster", "Local"]


class Labels(
    Struct,
    gc=False,
    rename={
        "service": "kubernetes.io/service-name",
        "proxy": "service.kubernetes.io/service-proxy-name",
        "headless": "service.kubernetes.io/headless",
    },
):
    """The three labels that matter: of which Service a slice is, and whether somebody else's proxy cares for it."""

    service: str = ""
    proxy: str | None = None
    headless: str | None = None


class Meta(Struct, gc=False):
    """Of ObjectMeta who it is; without its version, an update that changes nothing we read is no change."""

    name: str = ""
    namespace: str = ""
    labels: Labels | None = None

    def __post_init__(self) -> None:
        self.namespace = intern(self.namespace)


class ServicePort(Struct, gc=False, frozen=True):
    """core/v1 ServicePort without what only the EndpointSlice controller needs."""

    port: int = 0
    name: str | None = None
    protocol: Protocol | None = "TCP"
    nodePort: int | None = None


class ClientIP(Struct, gc=False, frozen=True):
    """core/v1 ClientIPConfig."""

    timeoutSeconds: int | None = None


class Affinity(Struct, gc=False, frozen=True):
    """core/v1 SessionAffinityConfig."""

    clientIP: ClientIP | None = None


class ServiceSpec(Struct, gc=False):
    """Of core/v1 ServiceSpec what moves packets."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] | None = "ClusterIP"
    clusterIP: str | None = None
    clusterIPs: tuple[str, ...] | None = None
    ports: tuple[ServicePort, ...] | None = None
    externalIPs: tuple[str, ...] | None = None
    externalTrafficPolicy: Policy | None = None
    internalTrafficPolicy: Policy | None = None
    healthCheckNodePort: int | None = None
    sessionAffinity: Literal["None", "ClientIP"] | None = None
    sessionAffinityConfig: Affinity | None = None
    loadBalancerSourceRanges: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.ports = shared(self.ports)
        if self.clusterIPs and self.clusterIPs[0] == self.clusterIP:
            self.clusterIP = self.clusterIPs[0]


class Ingress(Struct, gc=False, frozen=True):
    """core/v1 LoadBalancerIngress: `ipMode` Proxy means that packets come to the nodePort instead (KEP-1860)."""

    ip: str | None = None
    ipMode: str | None = None


class LoadBalancer(Struct, gc=False, frozen=True):
    """core/v1 LoadBalancerStatus."""

    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(Struct, gc=False, frozen=True):
    """core/v1 ServiceStatus."""

    loadBalancer: LoadBalancer | None = None


class Service(Struct, gc=False):
    """core/v1 Service."""

    metadata: Meta
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None

    def __post_init__(self) -> None:
        self.status = shared(self.status)


class Conditions(Struct, gc=False, frozen=True):
    """discovery/v1 EndpointConditions; absent `ready` means ready, absent `serving` means as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Struct, gc=False, frozen=True):
    """discovery/v1 ForZone and ForNode."""

    name: str = ""


class Hints(Struct, gc=False, frozen=True):
    """discovery/v1 EndpointHints."""

    forZones: tuple[Hint, ...] | None = None
    forNodes: tuple[Hint, ...] | None = None


class Endpoint(Struct, gc=False):
    """discovery/v1 Endpoint: only its first address is used, as upstream does."""

    addresses: tuple[str, ...] | None = None
    conditions: Conditions | None = None
    nodeName: str | None = None
    hints: Hints | None = None

    def __post_init__(self) -> None:
        self.conditions = shared(self.conditions)
        self.hints = shared(self.hints)
        self.nodeName = shared(self.nodeName)


class EndpointPort(Struct, gc=False, frozen=True):
    """discovery/v1 EndpointPort."""

    name: str | None = None
    port: int | None = None
    protocol: Protocol | None = "TCP"


class EndpointSlice(Struct, gc=False):
    """discovery/v1 EndpointSlice."""

    metadata: Meta
    addressType: Literal["IPv4", "IPv6", "FQDN", ""] = ""
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    def __post_init__(self) -> None:
        self.ports = shared(self.ports)
