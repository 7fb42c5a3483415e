"""Rows of what this project is about: Services, Endpoints, EndpointSlices, and the kinds around them."""

from __future__ import annotations

from typing import Any

from switchboard.objects.tables import human
from switchboard.objects.tables.human import NONE, UNSET, age, name

_SHOWN = 3  # addresses, ports and hosts before "+ N more..."


def _load_balancer(obj: dict[str, Any]) -> list[str]:
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return sorted({text for i in ingress if (text := i.get("ip") or i.get("hostname"))})


def _external_ip(obj: dict[str, Any]) -> str:
    spec = obj.get("spec") or {}
    given = list(spec.get("externalIPs") or ())
    match spec.get("type", "ClusterIP"):
        case "ClusterIP" | "NodePort":
            return ",".join(given) or NONE
        case "LoadBalancer":
            return ",".join(_load_balancer(obj) + given) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return human.UNKNOWN


def _port(port: dict[str, Any]) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', 'TCP')}"


def _service(obj: dict[str, Any], now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [
        name(obj),
        spec.get("type", "ClusterIP"),
        addresses[0] if addresses else NONE,
        _external_ip(obj),
        ",".join(map(_port, spec.get("ports") or ())) or NONE,
        age(obj, now),
        human.labels(spec.get("selector")),
    ]


def _endpoints(obj: dict[str, Any], now: float) -> list[Any]:
    subsets = obj.get("subsets") or ()
    every: list[str] = []
    for subset in subsets:
        addresses = [a.get("ip", "") for a in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:  # a headless Service may have none
            every += addresses
        for port in ports:
            every += [human.address_and_port(a, port.get("port", 0)) for a in addresses]
    return [name(obj), human.some(every, _SHOWN)[0] if subsets else NONE, age(obj, now)]


def _endpoint_slice(obj: dict[str, Any], now: float) -> list[Any]:
    ports = [str(p["port"]) if p.get("port") is not None else "*" for p in obj.get("ports") or ()]
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return [
        name(obj),
        obj.get("addressType", ""),
        human.some(ports, _SHOWN)[0] or UNSET,
        human.some(addresses, _SHOWN)[0] or UNSET,
        age(obj, now),
    ]


def _hosts(rules: list[dict[str, Any]]) -> str:
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    if len(hosts) > _SHOWN or (len(hosts) == _SHOWN and len(rules) > _SHOWN):
        return f"{','.join(hosts[:_SHOWN])} + {len(rules) - _SHOWN} more..."
    return ",".join(hosts) or "*"


def _ingress(obj: dict[str, Any], now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        name(obj),
        spec.get("ingressClassName") or NONE,
        _hosts(spec.get("rules") or []),
        ",".join(_load_balancer(obj)),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def _ingress_class(obj: dict[str, Any], now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    given = spec.get("parameters")
    text = NONE
    if given:
        group = f".{given['apiGroup']}" if given.get("apiGroup") is not None else ""
        text = f"{given.get('kind', '')}{group}/{given.get('name', '')}"
    return [name(obj), spec.get("controller", ""), text, age(obj, now)]


def _network_policy(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), human.selector_or_none((obj.get("spec") or {}).get("podSelector")), age(obj, now)]


def _service_cidr(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), age(obj, now)]


def _ip_address(obj: dict[str, Any], now: float) -> list[Any]:
    parent = (obj.get("spec") or {}).get("parentRef")
    if not parent:
        return [name(obj), NONE]
    resource = parent.get("resource", "") + (f".{parent['group']}" if parent.get("group") else "")
    return [name(obj), "/".join(part for part in (resource, parent.get("namespace"), parent.get("name")) if part)]


ROWS = {
    "services": _service,
    "endpoints": _endpoints,
    "discovery.k8s.io/v1/endpointslices": _endpoint_slice,
    "networking.k8s.io/v1/ingresses": _ingress,
    "networking.k8s.io/v1/ingressclasses": _ingress_class,
    "networking.k8s.io/v1/networkpolicies": _network_policy,
    "networking.k8s.io/v1/servicecidrs": _service_cidr,
    "networking.k8s.io/v1/ipaddresses": _ip_address,
}
