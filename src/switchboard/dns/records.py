"""What the zone keeps of a Service and of its EndpointSlices: structs that name only the fields that names need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

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


@dataclass(slots=True)
class Entry:
    """A Service with its slices, whichever of them is known so far."""

    service: Service | None = None
    slices: dict[str, EndpointSlice] = field(default_factory=dict)

    def endpoints(self) -> Iterator[tuple[str, str, EndpointSlice]]:
        """(address, hostname label, slice) of each endpoint that may be answered with."""
        for piece in self.slices.values():
            if piece.addressType == "FQDN":
                continue
            for endpoint in piece.endpoints or ():
                if endpoint.conditions is None or endpoint.conditions.ready is not False or self._publishes():
                    for address in endpoint.addresses:
                        yield address, (endpoint.hostname or dashed(address)).lower(), piece

    def _publishes(self) -> bool:
        return self.service is not None and self.service.spec.publishNotReadyAddresses


class PodStatus(msgspec.Struct, frozen=True, gc=False):
    """Where a pod is."""

    podIP: str = ""


class PodSpec(msgspec.Struct, frozen=True, gc=False):
    """Whether the pod's address is its own."""

    hostNetwork: bool = False


class PodAddress(msgspec.Struct, gc=False):
    """core/v1 Pod: its address and namespace, for the search path of whoever asks."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def address(self) -> str:
        """The pod's own address, "" while it has none or shares the node's."""
        return "" if self.spec.hostNetwork else self.status.podIP
