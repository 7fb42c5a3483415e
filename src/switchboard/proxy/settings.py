"""What the proxy is told by whoever starts it; everything else it reads from the API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """`node_name`: the Node this proxy serves. CIDRs are strings of either family; unknown ones are empty.

    - `node_ips`: addresses of the node, the first choice for packets to Services (empty: whatever the namespace has).
    - `pod_cidrs`: pods of *this* node (empty: taken from `Node.spec.podCIDRs`, then `cluster_cidrs`).
    - `cluster_cidrs`: pods of all nodes; without them nothing is masqueraded on its way out of the cluster.
    - `service_cidrs`: ClusterIPs, besides what ServiceCIDR objects say. Packets to those that nobody has are refused,
      and they get a route when the node has no default route.
    - `mark`: the one bit of the packet mark that means "masquerade" (kube-proxy's default bit).
    - `faithful`: upstream's choice where ours is kinder: drop instead of refuse, for ClusterIPs that nobody has and for
      Local policies without local endpoints.
    - `health_address`: `host:port` of /healthz, empty for none. `zone`: overrides the Node's label.
    """

    node_name: str
    node_ips: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    cluster_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    table: str = "switchboard"
    mark: int = 0x4000
    masquerade_egress: bool = True
    localhost_node_ports: bool = True
    set_sysctls: bool = True
    host_ports: bool = True
    health_address: str = "0.0.0.0:10256"
    zone: str = ""
    faithful: bool = False
    ipv6: bool | None = None  # None: when the kernel has it
