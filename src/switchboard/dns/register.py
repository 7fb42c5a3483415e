"""The DNS server in the cluster: Service `kube-system/kube-dns`, with this process as its endpoint while ready."""

from __future__ import annotations

import logging
from typing import Any

from switchboard.client import Client
from switchboard.client.resources import ENDPOINTS, SERVICES
from switchboard.objects.errors import AlreadyExists, NotFound

log = logging.getLogger(__name__)

NAMESPACE, NAME = "kube-system", "kube-dns"
_LABELS = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
_PORTS = [("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")]
_METRICS = ("metrics", 9153, "TCP")


def service(cluster_ip: str) -> dict[str, Any]:
    """The Service, without a selector: the server is a process of the node, not a pod."""
    ports = [{"name": n, "port": p, "targetPort": p, "protocol": t} for n, p, t in [*_PORTS, _METRICS]]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS},
        "spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ports": ports, "type": "ClusterIP"},
    }


def endpoints(address: str, port: int, metrics_port: int, node: str, *, ready: bool) -> dict[str, Any]:
    """Where the Service leads; the mirroring controller makes the EndpointSlice of it."""
    place = {"ip": address, **({"nodeName": node} if node else {})}
    ports = [{"name": n, "port": port, "protocol": t} for n, _, t in _PORTS]
    ports.append({"name": _METRICS[0], "port": metrics_port, "protocol": _METRICS[2]})
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS},
        "subsets": [{"addresses" if ready else "notReadyAddresses": [place], "ports": ports}],
    }


async def announce(client: Client, cluster_ip: str, wanted: dict[str, Any]) -> None:
    """Make the Service if it is missing, and its Endpoints what they should be. Raises StatusError, Disconnected."""
    try:
        await client.get(SERVICES, NAME, NAMESPACE)
    except NotFound:
        try:
            await client.create(SERVICES, service(cluster_ip), NAMESPACE)
            log.info("made Service %s/%s at %s", NAMESPACE, NAME, cluster_ip)
        except AlreadyExists:
            pass
    try:
        current = await client.get(ENDPOINTS, NAME, NAMESPACE)
    except NotFound:
        await client.create(ENDPOINTS, wanted, NAMESPACE)
        return
    if current.get("subsets") != wanted["subsets"]:
        await client.update(ENDPOINTS, {**current, "subsets": wanted["subsets"]})
