"""What the proxy is told by whoever starts it; everything else it reads from the API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """`node_name`: the Node this proxy serves. CIDRs are strings of either family; unknown ones are empty.

    `node_ips`: addresses of the node (empty: whatever the namespace has). `pod_cidrs`: pods of *this* node (empty:
    taken from `Node.spec.podCIDRs`, then `cluster_cidrs`). `cluster_cidrs`: pods of all nodes. `service_cidrs`:
    ClusterIPs; packets to those of them that nobody has are refused, and get a route when the node has no default
    route. `mark`: the one bit of the packet mark that means "masquerade" (kube-proxy's default bit). `faithful`:
    upstream's choices where ours are kinder (drop instead of refuse under a Local policy without local endpoints;
    masquerade of every packet to a node port). `health_address`: `host:port` of /healthz, empty for none.
    `flush_seconds`: how often a foreign change is looked for besides the kernel's own notifications.
    """

    node_name: str
    node_ips: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    table: str = "switchboard"
    mark: int = 0x4000
    masquerade_egress: bool = True
    localhost_node_ports: bool = True
    set_sysctls: bool = True
    host_ports: bool = True
    health_address: str = "127.0.0.1:10256"
    zone: str = ""
    faithful: bool = False
    ipv6: bool | None = None  # None: when the kernel has it
