"""Warnings about addresses and CIDRs that are accepted still, but are written in forms to be given up.

Words from `apimachinery/pkg/util/validation/ip.go` (KEP-4858).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_network

from switchboard.objects import names


def of_address(path: str, value: str) -> Iterator[str]:
    """What is odd about an address that validation lets pass."""
    address = names.parse_ip(value)
    if address is None:
        return
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if mapped is not None or (address.version == 4 and str(address) != value):
        better = mapped or address
        why = f'non-standard IP address "{value}" will be considered invalid in a future Kubernetes release'
        yield f'{path}: {why}: use "{better}"'
    elif str(address) != value:
        yield f'{path}: IPv6 address "{value}" should be in RFC 5952 canonical format ("{address}")'


def of_cidr(path: str, value: str) -> Iterator[str]:
    """What is odd about a CIDR that validation lets pass."""
    text, _, bits = value.partition("/")
    address = names.parse_ip(text)
    if address is None or not bits.isdecimal() or int(bits) > address.max_prefixlen:
        return
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    network = ip_network(f"{address}/{int(bits)}", strict=False)
    plain, shown = str(network), str(address)
    if mapped is not None and int(bits) >= 96:
        plain, shown = str(ip_network(f"{mapped}/{int(bits) - 96}", strict=False)), str(mapped)
    if address != network.network_address:
        single = f"{shown}/{ip_address(shown).max_prefixlen}"
        yield f'{path}: CIDR value "{value}" is ambiguous in this context (should be "{plain}" or "{single}"?)'
    lenient = address.version == 4 and str(address) != text
    if mapped is not None or lenient or bits != str(int(bits)):
        why = f'non-standard CIDR value "{value}" will be considered invalid in a future Kubernetes release'
        yield f'{path}: {why}: use "{plain}"'
    elif address.version == 6 and f"{address}/{bits}" != value:
        yield f'{path}: IPv6 CIDR value "{value}" should be in RFC 5952 canonical format ("{plain}")'
