"""Addresses as names: `10-244-0-7` of pod records, `7.0.244.10.in-addr.arpa` of PTR records. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_DASHED = re.compile(r"[0-9a-f-]+\Z")
_OCTET = re.compile(rb"(?:0|[1-9][0-9]{0,2})\Z")
_NIBBLE = re.compile(rb"[0-9a-f]\Z")


def undashed(label: str) -> str | None:
    """`10-244-0-7` -> `10.244.0.7`, `fd00--7` -> `fd00::7`; None when it is no address."""
    if not _DASHED.match(label):  # a label may hold any byte, dots and colons too
        return None
    for separator in (".", ":"):
        try:
            return str(ipaddress.ip_address(label.replace("-", separator)))
        except ValueError:
            continue
    return None


class Place(NamedTuple):
    """Where a reverse name stands: the first `bits` of an address, and whether labels follow that no address has."""

    packed: bytes  # the whole address, zeros behind `bits`
    bits: int
    beyond: bool

    @property
    def full(self) -> bool:
        """Whether it names one address."""
        return self.bits == len(self.packed) * 8 and not self.beyond


def place(parts: list[bytes]) -> Place | None:
    """A name below in-addr.arpa or ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5); None for other names."""
    labels = parts[-3::-1]  # nearest to the root first
    if parts[-2:] == [b"in-addr", b"arpa"]:
        octets: list[int] = []
        for label in labels[:4]:
            if not _OCTET.match(label) or int(label) > 255:
                break
            octets.append(int(label))
        return Place(bytes(octets).ljust(4, b"\0"), len(octets) * 8, len(octets) < len(labels))
    if parts[-2:] == [b"ip6", b"arpa"]:
        nibbles = b""
        for label in labels[:32]:
            if not _NIBBLE.match(label):
                break
            nibbles += label
        return Place(bytes.fromhex(nibbles.decode().ljust(32, "0")), len(nibbles) * 4, len(nibbles) < len(labels))
    return None


def reverse_name(packed: bytes, bits: int) -> str:
    """The reverse name of the first `bits` of an address, rounded up to whole labels."""
    if len(packed) == 4:
        labels, count, top = [str(octet) for octet in packed], -(-bits // 8), "in-addr.arpa"
    else:
        labels, count, top = list(packed.hex()), -(-bits // 4), "ip6.arpa"
    return ".".join([*reversed(labels[:count]), top])
