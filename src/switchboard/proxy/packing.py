"""Keys and data as bytes, as the kernel keeps them, and elements as flat tuples: the small change of `maps`. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from switchboard.proxy.messages import Change

Flat = tuple[int | bytes, ...]  # map, key, data, map, key, data ...

_number = struct.Struct("=I")
_front = struct.Struct(">BxxxHxx")


def number_key(number: int) -> bytes:
    """A number as key or data."""
    return _number.pack(number)


def front_key(address: bytes, protocol: int, port: int) -> bytes:
    """Key of the maps of addresses; with b"" that of the maps of node ports."""
    return address + _front.pack(protocol, port)


def arrange(before: Sequence[bytes], wanted: Sequence[bytes]) -> Sequence[bytes]:
    """The wanted ones in slots 0 .. n-1 with as few as possible in another slot than before."""
    if not before:
        return wanted
    out: list[bytes | None] = [None] * len(wanted)
    rest = dict.fromkeys(wanted)
    for slot, data in enumerate(before[: len(out)]):
        if data in rest:
            out[slot] = data
            del rest[data]
    free = iter(rest)
    return [data if data is not None else next(free) for data in out]


def map_of(change: Change) -> int:
    """What changes are sorted by: neighbours of one map go in one message."""
    return change.map


def triples(flat: Flat) -> Iterator[tuple[int, bytes, bytes]]:
    """(map, key, data) of each element."""
    walk = iter(flat)
    return zip(walk, walk, walk, strict=True)  # type: ignore[arg-type]  # by construction int, bytes, bytes in turn


def distinct(flat: list[int | bytes]) -> Flat:
    """The same with each (map, key) once: two ports of one Service share its address, the first claim counts."""
    seen: set[tuple[int, bytes]] = set()
    out: list[int | bytes] = []
    for at, key, data in triples(tuple(flat)):
        if (at, key) not in seen:
            seen.add((at, key))
            out += [at, key, data]
    return tuple(out)


def last_address(network: bytes, prefix: int) -> bytes:
    """The highest address of a network."""
    bits = len(network) * 8
    return (int.from_bytes(network, "big") | (1 << bits - prefix) - 1).to_bytes(len(network), "big")


def networks_of(texts: Iterable[str], family: int) -> Iterable[IPv4Network | IPv6Network]:
    """The networks of one family, none within another; what cannot be read is left out."""
    found = (readable(text) for text in texts)
    return collapse_addresses([net for net in found if net is not None and net.version == family])  # type: ignore[type-var]  # all of one version


def readable(text: str) -> IPv4Network | IPv6Network | None:
    """A network, or None for a text that is none."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def intervals(nets: Iterable[str], family: int) -> Iterator[tuple[bytes, bytes]]:
    """(first address, first address behind) of each network; b"" behind the end of all addresses."""
    for net in networks_of(nets, family):
        size = len(net.network_address.packed)
        behind = int(net.broadcast_address) + 1
        yield net.network_address.packed, behind.to_bytes(size, "big") if behind < 1 << size * 8 else b""
