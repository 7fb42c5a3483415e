"""The node's network namespace, the link to it, and what the host adds for the cluster: routes, and a way out when
asked for.

The host gets one link and one table of our own. Addresses and routes hang on the link, so taking the link away takes
them away; the only setting of the host that may change is `ip_forward`, remembered and restored. Scripts are made by
pure functions and run as one `ip -batch` / `nft -f` each, because a spawned process costs more than what it does here.

`ip netns exec` is not used: it mounts another /sys, which hides the control groups; `nsenter --net` changes nothing
else.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Collection
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from . import cni, firewall, resolvers
from .command import attempt, run
from .config import ClusterConfig, write_file
from .errors import ClusterError

_STAMP = "network.json"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_SIX = Path("/proc/sys/net/ipv6")
_NETNS = Path("/run/netns")  # a mount that `ip netns` makes when it is not there
_MADE_NETNS = "netns-made"  # in the folder of all clusters: it was not there before the first one


# Inside the node's namespace. Loose return-path filtering, because answers of a Service leave by another way than
# strict filtering expects; route_localnet, so that a node port on the node's loopback can be sent on to a pod.
NODE_SYSCTLS = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/route_localnet", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/neigh/default/gc_thresh3", "16384"),
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/bridge/bridge-nf-call-ip6tables", "1"),
)
# Addresses are unique by construction: pods need not wait a second to find that out.
DUAL_STACK_SYSCTLS = (
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
)


def host_batch(config: ClusterConfig) -> str:
    """`ip -batch` on the host: the link, its address, and the route to the LoadBalancer pool."""
    link = config.host_link
    lines = [
        f"link add {link} type veth peer name eth0 netns {config.netns}",
        f"addr add {config.gateway}/{config.prefix_length} dev {link}",
        f"link set {link} up",
        f"route add {config.load_balancer_cidr} via {config.node_ip} dev {link}",
    ]
    return "\n".join(lines) + "\n"


def host_batch_six(config: ClusterConfig) -> str:
    """The same for IPv6, which the link must be allowed to have first."""
    return (
        f"addr add {config.gateways[1]}/64 dev {config.host_link} nodad\n"
        f"route add {config.load_balancer_cidrs[1]} via {config.node_ips[1]} dev {config.host_link}\n"
    )


def node_batch(config: ClusterConfig) -> str:
    """`ip -batch` inside the node's namespace."""
    six = f"addr add {config.node_ips[1]}/64 dev eth0 nodad\n" if config.dual_stack else ""
    return f"link set lo up\naddr add {config.node_ip}/{config.prefix_length} dev eth0\n{six}link set eth0 up\n"


def node_script(config: ClusterConfig, *, bridged: bool) -> str:
    """The shell script that sets up the node's namespace from inside: settings first, then addresses and the pods'
    bridge, then masquerading.
    """
    sysctls = NODE_SYSCTLS + (DUAL_STACK_SYSCTLS if config.dual_stack else ())
    settings = [f"[ ! -e /proc/sys/{path} ] || echo {value} >/proc/sys/{path}" for path, value in sysctls]
    return "\n".join(
        [
            "set -e",
            *settings,
            "ip -batch - <<'EOF'",
            node_batch(config) + (cni.bridge_batch(config) if bridged else "") + "EOF",
            "nft -f - <<'EOF'",
            node_table(config) + "EOF",
        ]
    )


def node_table(config: ClusterConfig, stubs: list[tuple[str, str]] | None = None) -> str:
    """The node's own table: pods leave the node with the node's address, and a resolver of the host's loopback is
    found elsewhere.

    `stubs` are pairs of (loopback address in the host's resolv.conf, server behind it): containerd reads that
    file and asks from inside the namespace, where the loopback is another one.
    """
    pods = config.pod_cidr
    rules = [
        "table ip switchboard-node",
        "delete table ip switchboard-node",
        "table ip switchboard-node {",
        "  chain postrouting {",
        "    type nat hook postrouting priority srcnat; policy accept;",
        f'    ip saddr {pods} ip daddr != {pods} oifname "eth0" masquerade',
        '    ip saddr 127.0.0.0/8 oifname "eth0" masquerade',
        # the host asked a Service that is the host's own (the API): the answer must come back this way
        f'    ip saddr {config.node_subnet} ct status dnat oifname "eth0" masquerade',
        "  }",
    ]
    if stubs:
        rules += [
            "  chain output {",
            "    type nat hook output priority -100; policy accept;",
        ]  # no name for it before nft 1.0.8
        for stub, server in stubs:
            rules += [f"    ip daddr {stub} {protocol} dport 53 dnat to {server}" for protocol in ("udp", "tcp")]
        rules += ["  }"]
    return "\n".join([*rules, "}"]) + "\n"


def host_table(config: ClusterConfig) -> str:
    """The host's table for the way out: what comes from the node subnet and leaves the machine gets the machine's
    address.
    """
    subnet, link = config.node_subnet, config.host_link
    rule = f'ip saddr {subnet} ip daddr != {subnet} oifname != "{link}" masquerade'
    return "\n".join(
        [
            f"table ip {config.table}",
            f"delete table ip {config.table}",
            f"table ip {config.table} {{",
            "  chain postrouting {",
            "    type nat hook postrouting priority srcnat; policy accept;",
            f"    {rule}",
            "  }",
            "}",
            "",
        ]
    )


def exists(config: ClusterConfig) -> bool:
    """True when a finished start made the namespace and the link, and both are still there."""
    try:
        stamp = json.loads((config.run / _STAMP).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(
        stamp.get("netns") == _inode(config.netns_path)
        and stamp["netns"]
        and stamp.get("link") == _index(config.host_link)
    )


def is_there(config: ClusterConfig) -> bool:
    """Whether anything of a cluster of that name is; a namespace of that name alone may be somebody else's."""
    if _index(config.host_link):
        return True
    ours = ["nsenter", f"--net={config.netns_path}", "nft", "list", "table", "ip", "switchboard-node"]
    return os.path.lexists(config.netns_path) and attempt(ours)


def create(config: ClusterConfig) -> bool:
    """Make namespace, link, addresses and routes; False when a finished start already did. Raises ClusterError."""
    if exists(config):
        return False
    remove(config)
    why = f"making the node's network {config.node_subnet}"
    if not _NETNS.exists():
        (config.run.parent / _MADE_NETNS).touch()
    run(["ip", "netns", "add", config.netns], why=why)
    run(
        ["ip", "-batch", "-"],
        given=host_batch(config),
        why=why,
        advice=f"is {config.node_subnet} in use? see: ip route",
    )
    if config.dual_stack:  # also on a host that has switched it off for its links
        (_SIX / "conf" / config.host_link / "disable_ipv6").write_text("0")
        run(["ip", "-batch", "-"], given=host_batch_six(config), why=why)
    run(
        ["nsenter", f"--net={config.netns_path}", "sh"],
        given=node_script(config, bridged=cni.have_bridge_filter()),
        why=why,
    )
    stamp = {"netns": _inode(config.netns_path), "link": _index(config.host_link)}
    write_file(config.run / _STAMP, json.dumps(stamp))
    return True


def switch(config: ClusterConfig) -> list[str]:
    """Turn the way out, and the host's routes to Services and pods, on or off as the cluster says, and let the host's
    firewall know. Done again, it mends what somebody undid. Returns what of it is not as it should be, in words.
    Raises ClusterError.
    """
    _switch_host_access(config)
    record = config.run / "egress.json"
    if config.egress:
        if not record.exists():
            write_file(record, json.dumps(_before(config)))
        _FORWARD.write_text("1")
        route = f"route replace default via {config.gateway} dev eth0\n"
        run(["ip", "-n", config.netns, "-batch", "-"], given=route, why="giving the node a way out")
        run(["nft", "-f", "-"], given=host_table(config), why="giving the node a way out")
        tell_resolvers(config)
    elif record.exists():
        _close(config)
        attempt(["ip", "-n", config.netns, "route", "del", "default"])
        tell_resolvers(config)
    return firewall.settle(config)


def is_switched(config: ClusterConfig) -> bool:
    """Whether what `switch` did still holds: others, too, have forwarding and firewalls in their hands."""
    return (not config.egress or _FORWARD.read_text().strip() == "1") and firewall.stands(config)


def tell_resolvers(config: ClusterConfig) -> None:
    """Make the resolver of the host's loopback known to the node, when it has one and pods have a way out. Raises
    ClusterError.
    """
    argv = ["nsenter", f"--net={config.netns_path}", "nft", "-f", "-"]
    stubs = resolvers.stubs() if config.egress else []
    run(argv, given=node_table(config, stubs), why="making the host's resolver known to the node")


def remove(config: ClusterConfig) -> None:
    """Take away everything `create` and `switch` made; what is not there is no error."""
    _close(config)
    if _index(config.host_link):
        attempt(["ip", "link", "del", config.host_link])
    if os.path.lexists(config.netns_path):
        attempt(["ip", "netns", "del", config.netns])
    (config.run / _STAMP).unlink(missing_ok=True)
    _forget_netns(config)


def _forget_netns(config: ClusterConfig) -> None:
    """After the last cluster: take away the mount that namespaces have their names in, if it was made for ours."""
    made = config.run.parent / _MADE_NETNS
    if not made.exists() or any(config.run.parent.glob(f"*/{_STAMP}")):
        return
    if not (_NETNS.exists() and os.listdir(_NETNS)):
        attempt(["umount", str(_NETNS)])
        attempt(["rmdir", str(_NETNS)])
    made.unlink(missing_ok=True)


def taken_networks() -> list[IPv4Network]:
    """Every IPv4 network this machine has a route to, from /proc/net/route (addresses there are little-endian hex)."""
    networks = []
    with open("/proc/net/route") as table:
        for line in list(table)[1:]:
            words = line.split()
            address, mask = (int.from_bytes(bytes.fromhex(words[i])[::-1], "big") for i in (1, 7))
            networks.append(IPv4Network((address, mask.bit_count())))
    return networks


def check_six() -> None:
    """ClusterError when this machine's kernel has no IPv6."""
    if not _SIX.is_dir():
        raise ClusterError(
            "--dual-stack needs IPv6, which this machine's kernel does not have",
            "leave the option out, or start the machine without ipv6.disable=1",
        )


def check_unused(subnet: str) -> None:
    """ClusterError when this machine has a route into a range already, other than the default one."""
    wanted = IPv4Network(subnet)
    for taken in taken_networks():
        if taken.prefixlen and taken.overlaps(wanted):
            raise ClusterError(
                f"--node-subnet {subnet} overlaps {taken}, which this machine has a route to",
                "give another range, or leave the option out: a free one is chosen",
            )


def check_port(address: str, port: int) -> None:
    """ClusterError when somebody listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise ClusterError(
                f"the API server cannot have port {port} of {address}: {error.strerror}",
                f"stop what has it (ss -tlnp 'sport = :{port}'), or start a cluster of another name or --api-port",
            ) from error


def free_port(address: str, first: int, others: Collection[int] = (), *, tries: int = 50) -> int:
    """The first port from `first` on that can be bound at `address` and is none of `others`. Raises ClusterError."""
    for port in range(first, first + tries):
        if port in others:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise ClusterError(f"no free port at {address} from {first} to {first + tries - 1}", "give another with --api-port")


def _switch_host_access(config: ClusterConfig) -> None:
    record = config.run / "host-access"
    ranges = (config.service_cidr, config.pod_cidr)
    if config.host_access and not record.exists():
        taken = taken_networks()
        for text in ranges:
            if IPv4Network(text) in taken:
                raise ClusterError(f"this machine already has a route to {text}", "start without --host-access")
        batch = "".join(f"route add {text} via {config.node_ip} dev {config.host_link}\n" for text in ranges)
        run(["ip", "-batch", "-"], given=batch, why="making Services and pods reachable from this machine")
        record.touch()
    elif not config.host_access and record.exists():
        for text in ranges:
            attempt(["ip", "route", "del", text, "via", config.node_ip, "dev", config.host_link])
        record.unlink()


def _close(config: ClusterConfig) -> None:
    """Take the way out off the host: our rules, our table, and forwarding if it was off before and nobody else
    needs it by now: no other cluster, and no firewall with rules for forwarding that was not there then (docker's).
    """
    (config.run / "host-access").unlink(missing_ok=True) if not _index(config.host_link) else None
    firewall.close(config)
    record = config.run / "egress.json"
    try:
        before = json.loads(record.read_bytes())
    except (OSError, ValueError):
        if not config.run.exists():  # there was a record, perhaps
            attempt(["nft", "delete", "table", "ip", config.table])
        return
    attempt(["nft", "delete", "table", "ip", config.table])
    others = [path for path in config.run.parent.glob("*/egress.json") if path != record]
    if (
        before.get("ip_forward") == "0"
        and not others
        and set(before.get("forwarders", ())).issuperset(firewall.forwarders(config))
    ):
        _FORWARD.write_text("0")
    record.unlink(missing_ok=True)


def _before(config: ClusterConfig) -> dict[str, Any]:
    """The host's `ip_forward`, and who forwards, before any cluster changed it: another one may remember."""
    for path in config.run.parent.glob("*/egress.json"):
        try:
            known: dict[str, Any] = json.loads(path.read_bytes())
            return {"ip_forward": known["ip_forward"], "forwarders": known["forwarders"]}
        except (OSError, ValueError, KeyError):
            continue
    return {"ip_forward": _FORWARD.read_text().strip(), "forwarders": firewall.forwarders(config)}


def _inode(path: str) -> int:
    """Which namespace a file in /run/netns holds; 0 when it holds none (a leftover file has another device)."""
    try:
        found = os.stat(path)
        return found.st_ino if found.st_dev == os.stat("/proc/self/ns/net").st_dev else 0
    except OSError:
        return 0


def _index(link: str) -> int:
    # not /sys/class/net, which shows the namespace sysfs was mounted in
    return next((index for index, name in socket.if_nameindex() if name == link), 0)
