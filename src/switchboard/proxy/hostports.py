"""Host ports of this node's pods, as plans beside those of Services: pure. Source: core/v1 ContainerPort; CNI portmap's
behaviour.

A host port answers at `hostIP` (or every address of the node) and leads to one pod, with the client's address kept. One
on a loopback address is for the node itself only.
"""

from __future__ import annotations

from ipaddress import ip_address

from msgspec import Struct

from switchboard.proxy.objects import Meta, Protocol
from switchboard.proxy.rules import Family
from switchboard.proxy.services import PROTOCOLS, Front, PortPlan, is_port, pack, target


class ContainerPort(Struct, gc=False):
    """core/v1 ContainerPort."""

    containerPort: int = 0
    hostPort: int | None = None
    hostIP: str | None = None
    protocol: Protocol | None = "TCP"


class Container(Struct, gc=False):
    """Of core/v1 Container its ports."""

    ports: tuple[ContainerPort, ...] | None = None
    restartPolicy: str | None = None


class PodSpec(Struct, gc=False):
    """Of core/v1 PodSpec what has ports."""

    containers: tuple[Container, ...] | None = None
    initContainers: tuple[Container, ...] | None = None
    hostNetwork: bool | None = None


class PodIP(Struct, gc=False):
    """core/v1 PodIP."""

    ip: str = ""


class PodStatus(Struct, gc=False):
    """Of core/v1 PodStatus whether it runs, and where."""

    phase: str | None = None
    podIPs: tuple[PodIP, ...] | None = None


class Pod(Struct, gc=False):
    """core/v1 Pod."""

    metadata: Meta
    spec: PodSpec | None = None
    status: PodStatus | None = None


def matters(old: Pod | None, new: Pod | None) -> bool:
    """Whether a change of a pod can change its host ports: most pods have none, and most changes touch none."""
    if old is not None and new is not None and old.spec == new.spec and old.status == new.status:
        return False
    return _has_any(old) or _has_any(new)


def _has_any(pod: Pod | None) -> bool:
    spec = pod.spec if pod is not None else None
    if spec is None:
        return False
    containers = (*(spec.containers or ()), *(spec.initContainers or ()))
    return any(port.hostPort for container in containers for port in container.ports or ())


def plan_pod(pod: Pod, family: Family) -> list[PortPlan]:
    """What the host ports of a pod should do in one family."""
    spec, status = pod.spec, pod.status
    if spec is None or status is None or spec.hostNetwork or status.phase in ("Succeeded", "Failed"):
        return []
    address = next((ip for ip in (pack(one.ip, family) for one in status.podIPs or ()) if ip is not None), None)
    if address is None:
        return []
    sidecars = [one for one in spec.initContainers or () if one.restartPolicy == "Always"]
    out = []
    for container in [*(spec.containers or ()), *sidecars]:
        for port in container.ports or ():
            protocol = PROTOCOLS.get(port.protocol or "TCP")
            valid = is_port(port.hostPort) and is_port(port.containerPort)
            at = _fronts(port, family) if valid and protocol else ()
            if at and protocol:
                goal = (target(address, port.containerPort),)
                name = f"{port.hostIP or ''}:{port.hostPort}/{port.protocol or 'TCP'}"
                out.append(PortPlan(name, protocol, at, goal, (), neighbours=goal))
    return out


def _fronts(port: ContainerPort, family: Family) -> tuple[Front, ...]:
    number = port.hostPort or 0
    host = (pack(port.hostIP, 4) or pack(port.hostIP, 6)) if port.hostIP else b""
    if host is None:
        return ()
    if not any(host):
        return (Front(b"", number, "inside"), Front(b"", number, "outside"))
    if len(host) != (4 if family == 4 else 16):
        return ()
    if ip_address(host).is_loopback:
        return (Front(host, number, "inside"),)
    return (Front(host, number, "inside"), Front(host, number, "outside"))
