"""Names given by hand, in the format of /etc/hosts: asked before the upstreams, after the cluster's own zone. Pure."""

from __future__ import annotations

import ipaddress

from switchboard.dns import message as m
from switchboard.dns.message import Record

TTL = 60  # seconds


class Hosts:
    """The lines `address name [name ...]`; anything that is not one is passed over, as the C library does."""

    def __init__(self, text: str) -> None:
        self._addresses: dict[bytes, list[tuple[int, bytes]]] = {}
        self._names: dict[bytes, list[bytes]] = {}
        for line in text.splitlines():
            address, *names = line.partition("#")[0].split() or [""]
            try:
                ip = ipaddress.ip_address(address)
                wires = [m.encode_name(name) for name in names]
            except (ValueError, UnicodeEncodeError):
                continue
            for wire in wires:
                self._addresses.setdefault(wire, []).append((m.AAAA if ip.version == 6 else m.A, ip.packed))
            self._names.setdefault(m.encode_name(ip.reverse_pointer), []).extend(wires)

    def __len__(self) -> int:
        return sum(map(len, self._addresses.values()))

    def lookup(self, name: bytes, qtype: int) -> list[Record] | None:
        """The records of a name (none of that type: an empty list), or None when no line has it."""
        if qtype == m.PTR and name in self._names:
            return [Record(name, m.PTR, TTL, target) for target in self._names[name]]
        known = self._addresses.get(name)
        if known is None:
            return None
        return [Record(name, rtype, TTL, rdata) for rtype, rdata in known if qtype in (rtype, m.ANY)]
