"""Flows without connections (UDP, SCTP) that conntrack still sends to an endpoint that is gone, or past a Service that
has come.

TCP is left alone: a connection to an endpoint that no longer takes part is let finish. Source: nfnetlink_conntrack.h;
filters in a flush exist since Linux 6.7, before that flows are dumped and deleted one by one. So are those of IPv6, for
there the kernel compares addresses the wrong way round (`ctnetlink_filter_match_tuple`, 5.8 to at least 6.18: what is
equal does not match). Upstream's story: kubernetes issue 126130.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from switchboard.proxy.messages import attr, attributes, nest
from switchboard.proxy.services import PortPlan

log = logging.getLogger(__name__)
_GET, _DELETE = 1, 2
_ERROR, _DONE = 2, 3
_SRC, _DST, _PROTOCOL, _SRC_PORT, _DST_PORT = 1, 2, 8, 16, 32  # CTA_FILTER_F_*
_head = struct.Struct("=IHHII")
TCP = 6
_ESTABLISHED = 3
_OPEN = frozenset((1, 2, _ESTABLISHED, 4, 5))  # TCP_CONNTRACK_*, from SYN_SENT to CLOSE_WAIT
_SILENT = 2  # seconds
_UNACKNOWLEDGED = 300  # seconds a flow has with data on their way (nf_conntrack_tcp_timeout_unacknowledged)
_ESTABLISHED_TIMEOUT = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"


class Flows(NamedTuple):
    """Flows of one protocol to an address (b"": any) and port, that are answered from `source` (and `source_port`
    unless 0).
    """

    protocol: int
    address: bytes
    port: int
    source: bytes
    source_port: int

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return socket.AF_INET if len(self.source) == 4 else socket.AF_INET6


Pair = tuple[int, bytes, int, bytes]  # protocol, front address, front port, target


def pairs(plans: Iterable[PortPlan]) -> set[Pair]:
    """Every (front, endpoint) along which packets of a connectionless protocol go; a front without endpoint has b"" as
    its own.
    """
    out: set[Pair] = set()
    for plan in plans:
        if plan.protocol == TCP:
            continue
        for front in plan.fronts:
            targets = {*plan.cluster, *plan.local}
            for target in targets or (b"",):
                out.add((plan.protocol, front.address, front.port, target))
    return out


def stale(before: set[Pair], after: set[Pair], local_addresses: Callable[[], Iterable[bytes]]) -> list[Flows]:
    """Which flows must go when a Service changes: those to endpoints that went, and those that passed a front that now
    has endpoints.
    """
    out = []
    for protocol, address, port, target in before - after:
        if target:
            out.append(Flows(protocol, address, port, target[:-4], int.from_bytes(target[-4:-2], "big")))
    served = {pair[:3] for pair in before if pair[3]}
    for protocol, address, port in {pair[:3] for pair in after if pair[3]} - served:
        for own in [address] if address else list(local_addresses()):
            out.append(Flows(protocol, own, port, own, port))
    return out


def _tuple(
    kind: int, protocol: int, family: int, *, src: bytes = b"", dst: bytes = b"", sport: int = 0, dport: int = 0
) -> tuple[bytes, int]:
    """CTA_TUPLE_ORIG or _REPLY with only what is given, and the filter flags that say what that is."""
    ip = 1 if family == socket.AF_INET else 3
    inner = (attr(ip, src) if src else b"") + (attr(ip + 1, dst) if dst else b"")
    ports = (attr(2, sport.to_bytes(2, "big")) if sport else b"") + (
        attr(3, dport.to_bytes(2, "big")) if dport else b""
    )
    parts = [nest(1, inner)] if inner else []
    parts.append(nest(2, attr(1, bytes([protocol])), ports))
    flags = _PROTOCOL | bool(src) * _SRC | bool(dst) * _DST | bool(sport) * _SRC_PORT | bool(dport) * _DST_PORT
    return nest(kind, *parts), flags


def _selection(flows: Flows) -> bytes:
    """What the kernel is to look for; of IPv6 without addresses, which it cannot compare."""
    family = flows.family
    whole = family == socket.AF_INET
    original, original_flags = _tuple(1, flows.protocol, family, dst=flows.address if whole else b"", dport=flows.port)
    reply, reply_flags = _tuple(2, flows.protocol, family, src=flows.source if whole else b"", sport=flows.source_port)
    flags = nest(25, attr(1, struct.pack("=I", original_flags)), attr(2, struct.pack("=I", reply_flags)))
    return original + reply + flags


class Conntrack:
    """One socket to the connection table of the thread's network namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 12)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._flush = True

    def close(self) -> None:
        """Done with it."""
        self._socket.close()

    def delete(self, flows: Iterable[Flows]) -> None:
        """Forget such flows; the next packet of each is looked at as the first of a new one."""
        rest: dict[tuple[int, int], set[Flows]] = {}
        for one in flows:
            if one.family == socket.AF_INET6 or not self._flushed(one):
                rest.setdefault((one.family, one.protocol), set()).add(one)
        for (family, protocol), some in rest.items():
            self.remove((family, original) for original, ends in self._ends(protocol, family) if _among(ends, some))

    def _flushed(self, flows: Flows) -> bool:
        """Have the kernel find and delete them; False where it cannot."""
        if self._flush:
            try:
                self._request(_DELETE, 0x5, flows.family, _selection(flows), version=1)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    log.debug("no filtered flush (%s): deleting flows one by one", error)
                    self._flush = False
        return self._flush

    def remove(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Delete flows given as (family, attributes of the original tuple)."""
        for family, original in list(entries):
            try:
                self._request(_DELETE, 0x5, family, nest(1, original))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise

    def dump(self, protocol: int, family: int) -> Iterator[tuple[bytes, Pair]]:
        """Every flow of a protocol: its original tuple's attributes, and where it was sent and is answered from."""
        for original, (_, address, port, source, source_port) in self._ends(protocol, family):
            yield original, (protocol, address, port, source + source_port.to_bytes(2, "big") + b"\0\0")

    def _ends(self, protocol: int, family: int) -> Iterator[tuple[bytes, Flows]]:
        """The same with its two ends apart."""
        selection, flags = _tuple(1, protocol, family)
        for data, start, end in self._messages(family, selection + nest(25, attr(1, struct.pack("=I", flags)))):
            found = {kind: (at, stop) for kind, at, stop in attributes(data, start, end) if kind in (1, 2)}
            if 1 not in found or 2 not in found:
                continue
            original, reply = _fields(data, *found[1]), _fields(data, *found[2])
            if original[2] == protocol:
                yield data[slice(*found[1])], Flows(protocol, original[1], original[4], reply[0], reply[3])

    def talking(self, address: bytes, near: Callable[[bytes], bool] = lambda _: True) -> int:
        """How many TCP connections through a Service to this address are open and not silent for `_SILENT` seconds.

        Connections straight to it are nobody's business where they come from `near`, this node (probes, say); others
        may have come through the Service on another node, whose proxy has sent them here. Silence
        shows in the time a flow has left.
        """
        flows = Flows(TCP, b"", 0, address, 0)
        allowed = established_timeout()
        found = 0
        for data, start, end in self._messages(flows.family, _selection(flows)):
            parts = {kind: (at, stop) for kind, at, stop in attributes(data, start, end)}
            if not {1, 2, 4, 7} <= parts.keys():
                continue
            original, reply = _fields(data, *parts[1]), _fields(data, *parts[2])
            if reply[0] != address or original[2] != TCP or (original[1] == address and near(original[0])):
                continue
            state, left = _tcp_state(data, *parts[4]), int.from_bytes(data[slice(*parts[7])], "big")
            limit = _UNACKNOWLEDGED if left <= _UNACKNOWLEDGED else allowed
            found += state in _OPEN and (state != _ESTABLISHED or limit - left <= _SILENT)
        return found

    def _messages(self, family: int, body: bytes) -> list[tuple[bytes, int, int]]:
        self._send(_GET, 0x301, family, body, 0)
        out: list[tuple[bytes, int, int]] = []
        while True:
            reply, at = self._socket.recv(1 << 17), 0
            while at + 16 <= len(reply):
                size, kind, _, sequence, _ = _head.unpack_from(reply, at)
                if sequence == self._sequence:
                    if kind in (_ERROR, _DONE):
                        self._raise(reply, at)
                        return out
                    out.append((reply, at + 20, at + size))
                at += size + 3 & ~3

    def _request(self, kind: int, flags: int, family: int, body: bytes, version: int = 0) -> None:
        self._send(kind, flags, family, body, version)
        while True:
            reply = self._socket.recv(1 << 16)
            _, type_, _, sequence, _ = _head.unpack_from(reply)
            if sequence == self._sequence and type_ == _ERROR:
                self._raise(reply, 0)
                return

    def _send(self, kind: int, flags: int, family: int, body: bytes, version: int) -> None:
        self._sequence += 1
        head = _head.pack(20 + len(body), 1 << 8 | kind, flags, self._sequence, 0)
        self._socket.send(head + struct.pack(">BBH", family, version, 0) + body)

    @staticmethod
    def _raise(reply: bytes, at: int) -> None:
        code = -struct.unpack_from("=i", reply, at + 16)[0]
        if code > 0:
            raise OSError(code, os.strerror(code))


def _among(ends: Flows, wanted: set[Flows]) -> bool:
    """Whether a flow is one of these, of which some say nothing of an address or a port."""
    return any(
        ends._replace(address=address, source_port=port) in wanted
        for address in (ends.address, b"")
        for port in (ends.source_port, 0)
    )


def established_timeout() -> int:
    """Seconds that this namespace gives a connection without packets."""
    with open(_ESTABLISHED_TIMEOUT) as file:
        return int(file.read())


def _tcp_state(data: bytes, start: int, end: int) -> int:
    """The state inside CTA_PROTOINFO, 0 without one."""
    for kind, at, stop in attributes(data, start, end):
        if kind == 1:
            return next((data[first] for inner, first, _ in attributes(data, at, stop) if inner == 1), 0)
    return 0


def _fields(data: bytes, start: int, end: int) -> tuple[bytes, bytes, int, int, int]:
    """(source, destination, protocol, source port, destination port) of a tuple."""
    src = dst = b""
    protocol = sport = dport = 0
    for kind, at, stop in attributes(data, start, end):
        for inner, first, last in attributes(data, at, stop):
            value = data[first:last]
            if kind == 1:
                src, dst = (value, dst) if inner in (1, 3) else (src, value)
            elif inner == 1:
                protocol = value[0]
            elif inner == 2:
                sport = int.from_bytes(value, "big")
            elif inner == 3:
                dport = int.from_bytes(value, "big")
    return src, dst, protocol, sport, dport
