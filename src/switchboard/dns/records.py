"""What the zone keeps of a Service and of its EndpointSlices: structs that name only the fields that names need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from switchboard.dns.message import ip_rdata

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class Meta(msgspec.Struct, gc=False):
    """The part of ObjectMeta that a lookup needs; labels only where they are asked for."""

    name: str
    namespace: str = ""
    resourceVersion: str = ""


class SliceMeta(msgspec.Struct, gc=False):
    """ObjectMeta of a slice: its label names the Service."""

    name: str
    namespace: str = ""
    resourceVersion: str = ""
    labels: dict[str, str] = {}


class Port(msgspec.Struct, gc=False):
    """A port of a Service or of a slice; slices may leave any of these out."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class ServiceSpec(msgspec.Struct, gc=False):
    """What decides a Service's records."""

    type: str = "ClusterIP"
    clusterIP: str = ""
    clusterIPs: list[str] = []
    externalName: str = ""
    ports: list[Port] | None = None
    publishNotReadyAddresses: bool = False


class Service(msgspec.Struct, gc=False):
    """core/v1 Service."""

    metadata: Meta
    spec: ServiceSpec

    @property
    def headless(self) -> bool:
        """No virtual address: the name answers with the endpoints."""
        return self.spec.clusterIP == "None"

    @property
    def addresses(self) -> list[str]:
        """Cluster addresses, all families."""
        return [ip for ip in (self.spec.clusterIPs or [self.spec.clusterIP]) if ip and ip != "None"]


class Conditions(msgspec.Struct, gc=False):
    """EndpointConditions; absent `ready` counts as ready."""

    ready: bool | None = None


class SliceEndpoint(msgspec.Struct, gc=False):
    """One endpoint of a slice."""

    addresses: list[str]
    hostname: str | None = None
    conditions: Conditions | None = None


class EndpointSlice(msgspec.Struct, gc=False):
    """discovery.k8s.io/v1 EndpointSlice."""

    metadata: SliceMeta
    addressType: str = "IPv4"
    endpoints: list[SliceEndpoint] | None = None
    ports: list[Port] | None = None

    @property
    def service(self) -> str:
        """The Service's name, "" for a slice of nobody."""
        return self.metadata.labels.get(SERVICE_NAME_LABEL, "")


def dashed(address: str) -> str:
    """The name of an endpoint that has no hostname: `10-244-0-7`, as CoreDNS makes it."""
    return address.replace(".", "-").replace(":", "-")


class Endpoint(NamedTuple):
    """An endpoint that may be answered with: record type, packed address, its label below the Service, its slice."""

    type: int
    packed: bytes
    label: str
    piece: EndpointSlice


@dataclass(slots=True)
class Entry:
    """A Service with its slices, whichever of them is known so far."""

    key: tuple[str, str]  # namespace, name
    service: Service | None = None
    slices: dict[str, EndpointSlice] = field(default_factory=dict)
    _known: dict[str, list[Endpoint]] = field(default_factory=dict)  # of a headless Service's slices
    _addresses: list[tuple[int, bytes]] | None = None

    def changed(self, name: str | None = None) -> None:
        """Forget what was made of a slice, or of all."""
        if name is None:
            self._known.clear()
            self._addresses = None
        else:
            self._known.pop(name, None)

    def endpoints(self) -> list[Endpoint]:
        """All endpoints that may be answered with; kept for a headless Service, whose own name asks for them."""
        keep = self.service is not None and self.service.headless
        found: list[Endpoint] = []
        for name, piece in self.slices.items():
            made = self._known.get(name)
            if made is None:
                made = self.endpoints_of(piece)
                if keep:
                    self._known[name] = made
            found += made
        return found

    def endpoints_of(self, piece: EndpointSlice) -> list[Endpoint]:
        """Those of one slice: ready, or published though not ready; what is no address is passed over."""
        if piece.addressType == "FQDN":
            return []
        published = self.service is not None and self.service.spec.publishNotReadyAddresses
        found: list[Endpoint] = []
        for endpoint in piece.endpoints or ():
            if endpoint.conditions is not None and endpoint.conditions.ready is False and not published:
                continue
            for address in endpoint.addresses:
                try:
                    rtype, packed = ip_rdata(address)
                except ValueError:
                    continue
                label = (endpoint.hostname or dashed(address)).lower()
                found.append(Endpoint(rtype, packed, label, piece))
        return found

    def addresses(self) -> list[tuple[int, bytes]]:
        """The Service's own addresses as (record type, packed)."""
        if self._addresses is None:
            self._addresses = [ip_rdata(ip) for ip in self.service.addresses] if self.service is not None else []
        return self._addresses


class PodIP(msgspec.Struct, frozen=True, gc=False):
    """One address of a pod."""

    ip: str = ""


class PodStatus(msgspec.Struct, frozen=True, gc=False):
    """Where a pod is."""

    podIP: str = ""
    podIPs: list[PodIP] = []
    phase: str = ""


class PodDnsConfig(msgspec.Struct, frozen=True, gc=False):
    """What a pod adds to its resolv.conf."""

    searches: list[str] | None = None


class PodSpec(msgspec.Struct, frozen=True, gc=False):
    """Whether the pod's address is its own, and what its resolv.conf says."""

    hostNetwork: bool = False
    dnsPolicy: str = "ClusterFirst"
    dnsConfig: PodDnsConfig | None = None


class PodMeta(msgspec.Struct, gc=False):
    """ObjectMeta of a pod: also whether it is on its way out."""

    name: str
    namespace: str = ""
    resourceVersion: str = ""
    deletionTimestamp: str | None = None


class PodAddress(msgspec.Struct, gc=False):
    """core/v1 Pod: its address and namespace, for the search path of whoever asks and for names of pods."""

    metadata: PodMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def addresses(self) -> list[str]:
        """The pod's own addresses; none while it has none, shares the node's, or is over and gave them back."""
        return [] if self.spec.hostNetwork or self._over else self._all

    @property
    def named(self) -> list[bytes]:
        """The addresses, packed, that its namespace has names for when names of pods are verified: also those in the
        node's network, none of a pod on its way out (as CoreDNS)."""
        return [] if self._over or self.metadata.deletionTimestamp else [ip_rdata(a)[1] for a in self._all]

    @property
    def _over(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def _all(self) -> list[str]:
        return [p.ip for p in self.status.podIPs if p.ip] or ([self.status.podIP] if self.status.podIP else [])


class Namespace(msgspec.Struct, gc=False):
    """core/v1 Namespace: only that it is there."""

    metadata: Meta
