"""The kernel's nf_tables through one netlink socket: whole transactions, reading back, and word of foreign changes.

No tool is spawned and no library keeps a cache of the ruleset: what a change costs depends on the change alone.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from itertools import islice

from switchboard.proxy import messages as m
from switchboard.proxy.expressions import chain_message, rule_messages
from switchboard.proxy.maps import State, Tables, empty_tables
from switchboard.proxy.rules import MAPS, REMEMBERED, Chain, Family, Layout, counted, fixed

NETLINK_NETFILTER = 12
_GROUP_NFTABLES = 7
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SOL_NETLINK = 32, 33, 270
_ERROR, _DONE = 2, 3
_PIECE = 8192  # elements in one transaction when a table is made: bounds memory
_head = struct.Struct("=IHHII")


class NftError(OSError):
    """The kernel refused a transaction; nothing of it happened. `errno` says why, `message` which of its messages (from
    0).
    """

    def __init__(self, code: int, message: int) -> None:
        super().__init__(code, f"{os.strerror(code)} (message {message} of the transaction)")
        self.message = message


class Nft:
    """One socket to nf_tables in the network namespace of the thread that opens it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._room = 0
        self._sequence = 1
        self.port: int = self._socket.getsockname()[0]

    def close(self) -> None:
        """Done with it."""
        self._socket.close()

    def transact(self, messages: list[bytes]) -> None:
        """All of it at once, or NftError and nothing."""
        if not messages:
            return
        start = self._sequence
        self._sequence = (start + len(messages) + 2) & 0x7FFFFFFF
        data = m.batch(messages, start)
        if len(data) > self._room:
            self._room = max(2 * len(data), 1 << 20)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, self._room)
        self._socket.send(data)
        self._answers(start, len(messages))

    def _answers(self, start: int, count: int) -> None:
        failed: NftError | None = None
        while True:
            reply = self._socket.recv(1 << 17)
            at = 0
            while at + 16 <= len(reply):
                size, kind, _, sequence, _ = _head.unpack_from(reply, at)
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", reply, at + 16)[0]
                    if code and failed is None:
                        failed = NftError(code, sequence - start - 1)
                    # an answer to the envelope comes alone; otherwise the last message is always answered
                    if sequence in (start, start + count, start + count + 1):
                        if failed is not None:
                            raise failed
                        return
                at += size + 3 & ~3

    def dump(self, kind: int, family: Family, *attributes: bytes) -> list[tuple[bytes, int, int]]:
        """Messages of a dump as (buffer, start behind nfgenmsg, end); OSError when the table or set is not there."""
        while True:
            found = self._dump(kind, family, attributes)
            if found is not None:
                return found

    def _dump(self, kind: int, family: Family, attributes: tuple[bytes, ...]) -> list[tuple[bytes, int, int]] | None:
        request = bytearray(m.message(kind, family, m.DUMP, *attributes))
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        struct.pack_into("=I", request, 8, self._sequence)
        self._socket.send(request)
        out: list[tuple[bytes, int, int]] = []
        interrupted = False
        while True:
            reply = self._socket.recv(1 << 17)
            at = 0
            while at + 16 <= len(reply):
                size, type_, flags, _, _ = _head.unpack_from(reply, at)
                interrupted |= bool(flags & 0x10)  # NLM_F_DUMP_INTR: the ruleset changed meanwhile
                if type_ in (_DONE, _ERROR):
                    code = -struct.unpack_from("=i", reply, at + 16)[0]
                    if code > 0 and code != errno.EINTR:
                        raise OSError(code, os.strerror(code))
                    return None if interrupted or code == errno.EINTR else out
                out.append((reply, at + 20, at + size))
                at += size + 3 & ~3

    def chains(self, family: Family, table: str) -> list[str]:
        """Names of a table's chains; empty when there is no such table."""
        out = []
        for data, start, end in self.dump(m.GETCHAIN, family):
            found = {kind: data[at:stop] for kind, at, stop in m.attributes(data, start, end) if kind in (1, 3)}
            if found.get(1) == table.encode() + b"\0":
                out.append(found[3][:-1].decode())
        return out

    def read(self, family: Family, table: str) -> Tables | None:
        """Every element of every map we manage, or None when one of the maps is missing."""
        out = empty_tables()
        for at, item in enumerate(MAPS):
            if item.kind == "packets":
                continue
            try:
                answer = self.dump(m.GETSETELEM, family, m.name(1, table), m.name(2, item.name))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return None
                raise
            for data, start, end in answer:
                out[at].update(m.dumped_elements(data, start, end, item))
        return out

    def clients(self, family: Family, table: str) -> dict[bytes, bytes]:
        """Who is remembered by affinity: number and address -> number of an endpoint."""
        out: dict[bytes, bytes] = {}
        for data, start, end in self.dump(m.GETSETELEM, family, m.name(1, table), m.name(2, "clients")):
            out.update(m.dumped_elements(data, start, end, MAPS[-1]))
        return out


def skeleton(layout: Layout, table: str, chains: list[Chain], *, fresh: bool) -> list[bytes]:
    """Messages that make the table with maps and chains, or mend one that is there: its elements stay, its rules are
    written anew.
    """
    family = layout.family
    # without flags, so that one that somebody made dormant wakes
    out = [m.message(m.NEWTABLE, family, m.CREATE, m.name(1, table), m.be32(2, 0))]
    if fresh:
        out += [m.message(m.DELTABLE, family, 0, m.name(1, table)), out[0]]
    for at, item in enumerate(MAPS):
        out.append(m.set_message(table, item, family, at + 1, REMEMBERED if item.kind == "packets" else 0))
    out += [chain_message(table, chain, family) for chain in chains]
    for chain in chains:
        out += rule_messages(table, chain, family, flush=True)
    return out


def mend(
    layout: Layout, table: str, state: State, kernel: Tables, there: list[str]
) -> tuple[list[bytes], list[m.Change]]:
    """One transaction from what the kernel has (`kernel` read back, `there` its chains) to exactly this state, and the
    elements that differ.
    """
    chains = _chains(layout, state)
    changes = state.difference(kernel)
    names = {chain.name for chain in chains}
    out = skeleton(layout, table, chains, fresh=False)
    out += m.element_messages(table, changes, layout.family)
    return out + remove_chains(table, [name for name in there if name not in names], layout.family), changes


def build(layout: Layout, table: str, state: State) -> Iterator[list[bytes]]:
    """Transactions that make the whole table anew: its frame, then its elements in pieces of bounded size."""
    chains = _chains(layout, state)
    yield skeleton(layout, table, chains, fresh=True) + m.element_messages(table, state.kinds(), layout.family)
    rest = state.everything()
    while piece := list(islice(rest, _PIECE)):
        yield m.element_messages(table, piece, layout.family)


def _chains(layout: Layout, state: State) -> list[Chain]:
    return [*fixed(layout), *(counted(name) for name in sorted(state.chains()))]


def remove_chains(table: str, names: list[str], family: Family) -> list[bytes]:
    """Empty chains and take them out."""
    out = [m.message(m.DELRULE, family, 0, m.name(1, table), m.name(2, name)) for name in names]
    return out + [m.message(m.DELCHAIN, family, 0, m.name(1, table), m.name(3, name)) for name in names]


def delete_table(table: str, family: Family) -> list[bytes]:
    """Take the whole table out, whether it is there or not."""
    at = m.name(1, table)
    return [m.message(m.NEWTABLE, family, m.CREATE, at), m.message(m.DELTABLE, family, 0, at)]


def cleanup(table: str = "switchboard") -> None:
    """Take everything of ours out of the kernel's rules in this namespace (`--cleanup`); nothing there is no error."""
    nft = Nft()
    try:
        for family in (4, 6):
            nft.transact(delete_table(table, 4 if family == 4 else 6))
    finally:
        nft.close()


class Monitor:
    """Hears of every change of rules in the namespace; tells those that touch our table and that we did not make."""

    def __init__(self, table: str, own_port: int) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
        )
        self.socket.bind((0, 0))
        self.socket.setsockopt(_SOL_NETLINK, 1, _GROUP_NFTABLES)  # NETLINK_ADD_MEMBERSHIP
        self._name = b"\1\0" + table.encode() + b"\0"
        self._own = own_port

    def fileno(self) -> int:
        """For the event loop."""
        return self.socket.fileno()

    def touched(self) -> bool:
        """Take in everything that came; True when our table may have been changed by somebody else."""
        ours = False
        while True:
            try:
                data = self.socket.recv(1 << 17)
            except BlockingIOError:
                return ours
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                ours = True  # too much came at once: look
                continue
            # one datagram holds messages of one transaction; elements touched by packets themselves carry no port
            if len(data) >= 16 and _head.unpack_from(data)[4] != self._own and self._name in data:
                ours = True

    def close(self) -> None:
        """Done with it."""
        self.socket.close()
