"""One line for each query, in the shape of CoreDNS's `log` plugin, so that what reads its logs reads ours."""

from __future__ import annotations

import logging

from switchboard.dns import message as m

log = logging.getLogger("switchboard.dns.queries")

TYPES = {
    m.A: "A",
    m.NS: "NS",
    m.CNAME: "CNAME",
    m.SOA: "SOA",
    m.PTR: "PTR",
    13: "HINFO",
    15: "MX",
    m.TXT: "TXT",
    m.AAAA: "AAAA",
    m.SRV: "SRV",
    35: "NAPTR",
    43: "DS",
    48: "DNSKEY",
    64: "SVCB",
    65: "HTTPS",
    m.ANY: "ANY",
}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_CLASSES = {1: "IN", 3: "CH", 4: "HS", 255: "ANY"}
_FLAGS = ((m.QR, "qr"), (m.AA, "aa"), (m.TC, "tc"), (m.RD, "rd"), (m.RA, "ra"), (m.AD, "ad"), (m.CD, "cd"))


def note(data: bytes, peer: tuple[str, int], proto: str, out: bytes | None, seconds: float) -> None:
    """Write down a query and what it got (None: nothing)."""
    log.info("%s", line(data, peer, proto, out, seconds))


def line(data: bytes, peer: tuple[str, int], proto: str, out: bytes | None, seconds: float) -> str:
    """`<client> - <id> "<type> <class> <name> <proto> <size> <DO> <udp size>" <code> <flags> <size> <duration>`."""
    host = f"[{peer[0]}]" if ":" in peer[0] else peer[0]
    answer = "- - 0"
    if out is not None:
        bits = int.from_bytes(out[2:4], "big")
        flags = ",".join(name for bit, name in _FLAGS if bits & bit)
        answer = f"{CODES.get(bits & 15, str(bits & 15))} {flags} {len(out)}"
    try:
        query = m.parse_query(data)
    except m.FormError as why:
        return f'{host}:{peer[1]} - "{why}" {answer} {seconds:.9f}s'
    kind = TYPES.get(query.qtype, f"TYPE{query.qtype}")
    space = _CLASSES.get(query.qclass, f"CLASS{query.qclass}")
    asked = f"{kind} {space} {m.text(query.name)} {proto} {len(data)} {str(query.do).lower()} {query.udp_size}"
    return f'{host}:{peer[1]} - {query.id} "{asked}" {answer} {seconds:.9f}s'
