"""Addresses as names: `10-244-0-7` of pod records, `7.0.244.10.in-addr.arpa` of PTR records. Pure."""

from __future__ import annotations

import ipaddress


def undashed(label: str) -> str | None:
    """`10-244-0-7` -> `10.244.0.7`, `fd00--7` -> `fd00::7`; None when it is no address."""
    for separator in (".", ":"):
        try:
            return str(ipaddress.ip_address(label.replace("-", separator)))
        except ValueError:
            continue
    return None


def reversed_address(parts: list[bytes]) -> bytes | None:
    """The packed address of a full reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5), None for other names."""
    try:
        if parts[-2:] == [b"in-addr", b"arpa"] and len(parts) == 6:
            return ipaddress.IPv4Address(".".join(p.decode() for p in reversed(parts[:4]))).packed
        if parts[-2:] == [b"ip6", b"arpa"] and len(parts) == 34 and all(len(p) == 1 for p in parts[:32]):
            return bytes.fromhex("".join(p.decode() for p in reversed(parts[:32])))
    except (ValueError, UnicodeDecodeError):
        pass
    return None
