"""Pods become endpoints: who is in, with which addresses, conditions, hints, and under which port numbers.

Source: staging/src/k8s.io/endpointslice/utils.go, util/controller_utils.go, trafficdist/trafficdist.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from switchboard.controllers.pods import is_finished, is_ready

Object = dict[str, Any]
Ports = tuple[tuple[tuple[str, Any], ...], ...]  # hashable form of a slice's ports

ZONE_LABEL: Final = "topology.kubernetes.io/zone"
_CLOSE: Final = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})


@lru_cache(maxsize=4096)
def family_of(ip: str) -> str | None:
    """`IPv4` or `IPv6`; None for what is no address."""
    try:
        return f"IPv{ipaddress.ip_address(ip).version}"
    except ValueError:
        return None


def pod_addresses(pod: Object) -> list[str]:
    """All addresses of a pod, the primary first."""
    status = pod.get("status") or {}
    found = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    if not found and status.get("podIP"):
        found = [status["podIP"]]
    return found


def belongs(pod: Object, *, terminating: bool) -> bool:
    """Whether a selected pod is an endpoint at all: it has an address and runs (or, if wanted, terminates)."""
    if is_finished(pod) or not pod_addresses(pod):
        return False
    return terminating or not pod["metadata"].get("deletionTimestamp")


def relevant(pod: Object) -> tuple[Any, ...]:
    """What of a pod endpoints are made of: a change in anything else needs no work."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    return (
        meta.get("labels"),
        meta.get("deletionTimestamp"),
        meta.get("uid"),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
        status.get("phase"),
        status.get("podIP"),
        status.get("podIPs"),
        is_ready(pod),
    )


def families(service: Object) -> list[str]:
    """Address types a Service has endpoints of."""
    spec = service.get("spec") or {}
    found = list(spec.get("ipFamilies") or ())
    if not found:
        ip = spec.get("clusterIP")
        found = [family_of(ip) or "IPv4" if ip and ip != "None" else "IPv4"]
    return found


def port_number(pod: Object, port: Object) -> int | None:
    """The number behind a Service port's targetPort in this pod; None when the pod has no such named port."""
    target = port.get("targetPort", port.get("port"))
    if isinstance(target, int):
        return target or port.get("port")
    if isinstance(target, str) and target.isdigit():
        return int(target)
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for known in container.get("ports") or ():
            same_protocol = known.get("protocol", "TCP") == port.get("protocol", "TCP")
            if known.get("name") == target and same_protocol:
                return known["containerPort"]  # type: ignore[no-any-return]
    return None


def ports_of(service: Object, pod: Object) -> Ports:
    """The slice ports that this pod has of a Service; ports it lacks are left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = port_number(pod, port)
        if number is None:
            continue
        entry = [("name", port.get("name") or ""), ("port", number), ("protocol", port.get("protocol") or "TCP")]
        if port.get("appProtocol"):
            entry.append(("appProtocol", port["appProtocol"]))
        found.append(tuple(sorted(entry)))
    return tuple(sorted(found))


def ports_key(ports: Iterable[Object] | None) -> Ports:
    """A slice's ports in the form in which two slices with the same ports are equal."""
    return tuple(sorted(tuple(sorted((k, v) for k, v in port.items() if v is not None)) for port in ports or ()))


def endpoint_of(pod: Object, node: Object | None, service: Object, family: str) -> Object | None:
    """The endpoint that a pod is in a slice of this family; None when it has no such address."""
    address = next((ip for ip in pod_addresses(pod) if family_of(ip) == family), None)
    if address is None:
        return None
    meta, spec = pod["metadata"], pod["spec"]
    serving, terminating = is_ready(pod), bool(meta.get("deletionTimestamp"))
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    out: Object = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    }
    if spec.get("nodeName"):
        out["nodeName"] = spec["nodeName"]
    zone = ((node or {}).get("metadata", {}).get("labels") or {}).get(ZONE_LABEL)
    if zone:
        out["zone"] = zone
    out["targetRef"] = {
        "kind": "Pod",
        "namespace": meta.get("namespace"),
        "name": meta["name"],
        "uid": meta.get("uid"),
    }
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        out["hostname"] = spec["hostname"]
    hints = _hints(service, out) if ready else None
    return out | {"hints": hints} if hints else out


def asks_for_topology(service: Object) -> bool:
    """Whether hints are to follow the zones' capacities (topology.py)."""
    annotations = service["metadata"].get("annotations") or {}
    mode = annotations.get("service.kubernetes.io/topology-aware-hints")  # the older name comes first
    if mode is None:
        mode = annotations.get("service.kubernetes.io/topology-mode")
    return mode in ("Auto", "auto")


def _hints(service: Object, endpoint: Object) -> Object | None:
    """Where traffic should come from (KEP-4444, KEP-3015): the endpoint's own zone, and its node if asked for. The
    annotation of topology aware routing comes before the field.
    """
    wanted = service["spec"].get("trafficDistribution")
    if wanted not in _CLOSE or asks_for_topology(service):
        return None
    hints: Object = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wanted == "PreferSameNode" and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints or None


Memo = dict[int, tuple[Object, Object | None, Ports, list[tuple[str, Object]]]]


def desired(
    service: Object, pods: Iterable[Object], node: Callable[[str], Object | None], memo: Memo | None = None
) -> tuple[dict[tuple[str, Ports], list[Object]], bool]:
    """(address type, ports) -> endpoints; and whether a pod was left out because its node is unknown.

    `memo` remembers, for one state of the Service, what was made of a pod: of very many only one has changed."""
    spec = service["spec"]
    out: dict[tuple[str, Ports], list[Object]] = {}
    missing = False
    for pod in pods:
        if not belongs(pod, terminating=True):
            continue
        place = node(pod["spec"].get("nodeName") or "")
        if place is None and not spec.get("publishNotReadyAddresses"):
            missing = True
            continue
        known = memo.get(id(pod)) if memo is not None else None
        if known is not None and known[0] is pod and known[1] is place:
            _, _, ports, made = known
        else:
            ports, made = ports_of(service, pod), _each_family(service, pod, place)
            if memo is not None:
                memo[id(pod)] = (pod, place, ports, made)  # holding the pod keeps its id from being used again
        for family, endpoint in made:
            out.setdefault((family, ports), []).append(endpoint)
    return out, missing


def _each_family(service: Object, pod: Object, place: Object | None) -> list[tuple[str, Object]]:
    found = ((family, endpoint_of(pod, place, service, family)) for family in families(service))
    return [(family, endpoint) for family, endpoint in found if endpoint is not None]
