"""Services and slices in a few words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from switchboard.proxy.objects import EndpointSlice, Service
from switchboard.proxy.settings import ProxySettings

SETTINGS = ProxySettings(
    "node-1",
    node_ips=("192.168.77.2",),
    pod_cidrs=("10.244.0.0/24", "fd00:244::/64"),
    cluster_cidrs=("10.244.0.0/16", "fd00:244::/56"),
    service_cidrs=("10.96.0.0/16", "fd00:96::/112"),
    health_address="",
)


def settings(**more: Any) -> ProxySettings:
    """Settings that fit `netns.World`, some changed."""
    return replace(SETTINGS, **more)


Object = dict[str, Any]


def service(name: str, ip: str | list[str] = "10.96.0.10", ports: list[Object] | None = None, **more: Any) -> Service:
    """A Service of namespace `t`; `ingress` are addresses of its load balancer, everything else is its spec."""
    ips = [ip] if isinstance(ip, str) else ip
    ingress = more.pop("ingress", None)
    spec = {"clusterIP": ips[0], "clusterIPs": ips, "ports": ports or [{"port": 80}], "type": "ClusterIP", **more}
    given = [one if isinstance(one, dict) else {"ip": one} for one in ingress or ()]
    status = {"loadBalancer": {"ingress": given}}
    return msgspec.convert({"metadata": {"name": name, "namespace": "t"}, "spec": spec, "status": status}, Service)


def endpoint(address: str, node: str | None = "node-1", **conditions: bool) -> Object:
    """One endpoint on a node, with conditions as given."""
    return {"addresses": [address], "nodeName": node, "conditions": conditions}


def slice_of(
    service_: str, *endpoints: str | Object, port: int = 8080, protocol: str = "TCP", name: str = ""
) -> EndpointSlice:
    """An EndpointSlice of a Service; plain addresses are ready endpoints on this node."""
    made = [endpoint(one) if isinstance(one, str) else one for one in endpoints]
    family = "IPv6" if made and ":" in made[0]["addresses"][0] else "IPv4"
    meta = {"name": f"{service_}-x", "namespace": "t", "labels": {"kubernetes.io/service-name": service_}}
    ports = [{"name": name, "port": port, "protocol": protocol}]
    return msgspec.convert({"metadata": meta, "addressType": family, "endpoints": made, "ports": ports}, EndpointSlice)
