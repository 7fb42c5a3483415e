"""What the proxy needs of the network namespace besides its rules: sysctls, addresses, and a route towards ClusterIPs.

Source: include/uapi/linux/rtnetlink.h. Everything here acts on the namespace of the calling thread.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from switchboard.proxy.messages import attr, attributes

log = logging.getLogger(__name__)
_NEWROUTE, _DELROUTE, _GETROUTE, _GETADDR = 24, 25, 26, 22
_OURS = 77  # rtm_protocol of routes we make, so that they can be told from everybody else's
_ERROR, _DONE = 2, 3
_head = struct.Struct("=IHHII")

# path below /proc/sys -> value; those of modules that are not loaded, or of families that are off, are left out
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    # node ports and host ports on 127.0.0.1 lead to pods
    "net/ipv4/conf/all/route_localnet": "1",
    # answers of a pod to a pod on the same bridge must pass conntrack to be translated back
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
    # a segment outside the window would reach the client untranslated and be answered with a reset
    "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
}


def set_sysctls(*, localhost: bool) -> None:
    """Write what differs of SYSCTLS; `localhost` False leaves route_localnet alone."""
    for name, value in SYSCTLS.items():
        if name.endswith("route_localnet") and not localhost:
            continue
        path = Path("/proc/sys", name)
        try:
            if path.read_text().strip() != value:
                path.write_text(value)
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("cannot set %s to %s: %s", name, value, error)


def _ask(kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Answers to one rtnetlink request as (type, payload); OSError when it is refused."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as link:
        link.bind((0, 0))
        link.send(_head.pack(16 + len(body), kind, flags, 1, 0) + body)
        while True:
            reply, at = link.recv(1 << 16), 0
            while at + 16 <= len(reply):
                size, type_, reply_flags, _, _ = _head.unpack_from(reply, at)
                if type_ in (_ERROR, _DONE):
                    code = -struct.unpack_from("=i", reply, at + 16)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield type_, reply[at + 16 : at + size]
                if not reply_flags & 2:  # not part of a dump
                    return
                at += size + 3 & ~3


def addresses() -> list[tuple[bytes, int]]:
    """(packed address, interface index) of every address of the namespace."""
    out = []
    for _, data in _ask(_GETADDR, 0x301, bytes(8)):
        found = {kind: data[at:end] for kind, at, end in attributes(data, 8, len(data))}
        packed = found.get(2) or found.get(1)  # IFA_LOCAL, IFA_ADDRESS
        if packed:
            out.append((packed, struct.unpack_from("=I", data, 4)[0]))
    return out


def has_route(address: bytes) -> bool:
    """Whether the kernel would send a packet there at all."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    try:
        for _, data in _ask(
            _GETROUTE, 0x1, struct.pack("=BBBBBBBBI", family, len(address) * 8, *bytes(6), 0) + attr(1, address)
        ):
            return data[7] == 1  # RTN_UNICAST
    except OSError as error:
        if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
            raise
    return False


def add_route(net: IPv4Network | IPv6Network, interface: int, source: bytes) -> None:
    """`ip route replace NET dev INTERFACE src SOURCE proto 77`."""
    family = socket.AF_INET if net.version == 4 else socket.AF_INET6
    # table main, scope link (IPv6 knows none), type unicast
    head = struct.pack("=BBBBBBBBI", family, net.prefixlen, 0, 0, 254, _OURS, 253 if net.version == 4 else 0, 1, 0)
    body = head + attr(1, net.network_address.packed) + attr(4, struct.pack("=I", interface)) + attr(7, source)
    for _ in _ask(_NEWROUTE, 0x1 | 0x4 | 0x100 | 0x400, body):
        pass


def remove_routes() -> None:
    """Take out every route that `add_route` ever made in this namespace."""
    for family in (socket.AF_INET, socket.AF_INET6):
        ask = struct.pack("=BBBBBBBBI", family, *bytes(7), 0)
        for route in [data for _, data in _ask(_GETROUTE, 0x301, ask) if data[5] == _OURS]:
            for _ in _ask(_DELROUTE, 0x1 | 0x4, route):
                pass


def reach_services(networks: Iterable[str], node_ips: Iterable[bytes]) -> None:
    """Processes of the node can only send to a ClusterIP (which our rules then translate) when some route covers it.
    Where no default route does, the link with the node's address gets one; what the rules do not know is refused and
    never leaves.
    """
    have = addresses()
    wanted = list(node_ips)
    for text in networks:
        net = ip_network(text, strict=False)
        size = len(net.network_address.packed)
        if has_route((net.network_address + (1 if net.num_addresses > 1 else 0)).packed):
            continue
        mine = [one for one in have if len(one[0]) == size and not _private_to_link(one[0])]
        mine.sort(key=lambda one: wanted.index(one[0]) if one[0] in wanted else len(wanted))
        if not mine:
            log.info("no address to send to %s from", text)
            continue
        try:
            add_route(net, mine[0][1], mine[0][0])
        except OSError as error:
            log.warning("cannot add a route to %s: %s", text, error)


def _private_to_link(address: bytes) -> bool:
    if len(address) == 4:
        return address[0] == 127
    return address == bytes(15) + b"\1" or address[:2] == b"\xfe\x80"
