"""How pods are connected: the CNI configuration containerd reads, after github.com/containernetworking/cni SPEC.md.

Pods hang on one bridge inside the node's namespace. An answer from one pod to another must pass connection tracking
to be translated back when it was a Service that was asked; on a bridge only `br_netfilter` sees to that. Where the
kernel does not have it, each pod gets a link of its own (`ptp`), and everything is routed.

The bridge is made with the node, not left to the plugin, for the sake of its routes: what the node's own processes send
to pods has the node's address. With the bridge's, which the plugin's routes give, a datagram's answer from a socket
bound to no address (a pod with `hostNetwork` behind a Service, say) would come from where nobody asked.
"""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Interface, ip_network
from typing import Any

from .command import attempt
from .config import ClusterConfig, write_file

BRIDGE = "cni0"
_BRIDGE_FILTER = "/proc/sys/net/bridge"


def configuration(config: ClusterConfig, *, bridged: bool) -> dict[str, Any]:
    """The network list. Leases of addresses lie in the run folder: they end with the pods."""
    addresses = {
        "type": "host-local",
        "dataDir": f"{config.run}/cni/leases",
        "ranges": [[{"subnet": text}] for text in config.node_pod_cidrs],
        "routes": [{"dst": text} for text in ("0.0.0.0/0", "::/0")[: len(config.node_pod_cidrs)]],
    }
    plugin: dict[str, Any] = {"type": "ptp", "ipMasq": False, "ipam": addresses}
    if bridged:
        # hairpin: a pod may reach itself through its Service; masquerading is the node's own table
        plugin = {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": addresses,
        }
    return {"cniVersion": "0.4.0", "name": "switchboard", "plugins": [plugin]}


def bridge_batch(config: ClusterConfig) -> str:
    """`ip -batch` inside the node's namespace, once it has its addresses: the bridge, as the plugin will find it."""
    lines: list[str] = []
    for text, source in zip(config.node_pod_cidrs, config.node_ips, strict=False):
        net = ip_network(text)
        gateway = f"{net.network_address + 1}/{net.prefixlen}"
        if not lines:
            # an address of its own, or it would have its lowest port's and change with the pods
            own = IPv4Interface(gateway).packed
            lines += [f"link add {BRIDGE} address 0a:58:{own.hex(':')} type bridge", f"link set {BRIDGE} up"]
        lines += [
            f"addr add {gateway} dev {BRIDGE} noprefixroute{' nodad' if net.version == 6 else ''}",
            f"route add {net} dev {BRIDGE} src {source}",
        ]
    return "".join(f"{line}\n" for line in lines)


def write(config: ClusterConfig) -> None:
    """Write the configuration. Raises OSError."""
    folder = config.run / "cni" / "net.d"
    folder.mkdir(parents=True, exist_ok=True)
    content = configuration(config, bridged=have_bridge_filter())
    write_file(folder / "10-switchboard.conflist", json.dumps(content, indent=1))


def have_bridge_filter() -> bool:
    """Make sure of `br_netfilter`. When it had to be loaded, the host's own bridges are told to go on as before."""
    if os.path.isdir(_BRIDGE_FILTER):
        return True
    if not attempt(["modprobe", "br_netfilter"]) or not os.path.isdir(_BRIDGE_FILTER):
        return False
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"):
        with open(f"{_BRIDGE_FILTER}/{name}", "w") as setting:
            setting.write("0")
    return True
