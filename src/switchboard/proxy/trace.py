"""What happens to a packet: the fixed table and a state's elements, executed as the kernel would. Pure.

The same `Op`s that `expressions` encodes are interpreted here, so an answer is about the rules as they are, not about
what they were meant to be. It is about the first packet of a connection; later ones go where the first went, by
conntrack.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from switchboard.proxy.maps import State
from switchboard.proxy.packing import number_key
from switchboard.proxy.rules import INDEX, MASK, Chain, Key, Layout, Op, Rule, counted, fixed, rule_text

_number = struct.Struct("=I")
_NETWORKS = ("pods", "cluster_nets", "service_nets")


class Packet(NamedTuple):
    """The first packet of a connection: packed addresses, protocol and port numbers; `from_node` when a process of the
    node sends it.
    """

    source: bytes
    destination: bytes
    protocol: int
    port: int
    from_node: bool = False


class Outcome(NamedTuple):
    """One thing that may happen: `pass` (not ours), `to` (an endpoint), `refuse`, `drop`. `path`: the rules that
    decided.
    """

    verdict: str
    target: bytes = b""
    masquerade: bool = False
    path: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        """`address:port` of where it goes, or ''."""
        if not self.target:
            return ""
        ip, port = ip_address(self.target[:-4]), int.from_bytes(self.target[-4:-2], "big")
        return f"{ip}:{port}" if ip.version == 4 else f"[{ip}]:{port}"


@dataclass(slots=True)
class _Walk:
    """One packet on its way, with one choice of slot."""

    source: bytes
    destination: bytes
    protocol: int
    port: int
    slot: int
    incoming_lo: bool = False
    outgoing_lo: bool = False
    translated: bool = False
    number: int = 0
    mark: int = 0
    slots: int = 1
    modulus: int = 1
    target: bytes = b""
    masquerade: bool = False
    path: list[str] = field(default_factory=list)


class Tracer:
    """Asks a ruleset. `local`: the node's own addresses; `clients`: who affinity remembers (balancer and address ->
    endpoint).
    """

    def __init__(
        self, layout: Layout, state: State, local: Iterable[bytes], clients: Mapping[bytes, bytes] | None = None
    ) -> None:
        self._layout, self._state = layout, state
        self._tables: list[Mapping[bytes, bytes]] = list(state.live)
        self._tables[INDEX["clients"]] = clients or {}
        self._local = set(local)
        self._chains = {chain.name: chain for chain in fixed(layout)}

    def outcomes(self, packet: Packet) -> list[Outcome]:
        """Everything that may happen to it, each possibility equally likely."""
        out: list[Outcome] = []
        slot, slots = 0, 1
        while slot < slots:
            walk = _Walk(packet.source, packet.destination, packet.protocol, packet.port, slot)
            out.append(self._one(walk, from_node=packet.from_node))
            slot, slots = slot + 1, walk.slots
        return out

    def _one(self, walk: _Walk, *, from_node: bool) -> Outcome:
        verdict = self._chain("out" if from_node else "pre", walk) or "pass"
        if verdict not in ("to", "pass"):
            return Outcome(verdict, path=tuple(walk.path))
        if verdict == "to":
            walk.translated, walk.destination = True, walk.target[:-4]
        here = walk.destination in self._local
        if from_node or not here:  # what is for the node itself does not pass postrouting
            walk.outgoing_lo = here
            self._chain("post", walk)
        return Outcome(verdict, walk.target, walk.masquerade, tuple(walk.path))

    def _chain(self, name: str, walk: _Walk) -> str | None:
        chain = self._chains.get(name)
        if chain is None:
            chain = self._chains[name] = counted(name)
        for rule in chain.rules:
            done = self._rule(chain, rule, walk)
            if done is not None:
                return None if done == "return" else done
        return None

    def _rule(self, chain: Chain, rule: Rule, walk: _Walk) -> str | None:
        """The verdict that ends the hook, `return`, or None for the next rule."""
        for op in rule:
            if op.do in ("goto", "jump", "dispatch"):
                to = op.name if op.do != "dispatch" else self._verdict(op, walk)
                if to is None:
                    return None
                self._note(chain, rule, walk)
                verdict = self._chain(to, walk)
                if verdict is None and op.do == "jump":
                    return None
                return verdict or "return"
            if op.do in _TERMINAL:
                if (
                    op.do == "dnat"
                    and (found := self._tables[INDEX[op.name]].get(self._key(op.key, op.value, walk))) is None
                ):
                    return None
                self._note(chain, rule, walk)
                if op.do == "dnat" and found is not None:
                    walk.target = found
                if op.do == "masquerade":
                    walk.masquerade = True
                return _TERMINAL[op.do]
            if not self._step(op, walk):
                return None
        return None

    def _note(self, chain: Chain, rule: Rule, walk: _Walk) -> None:
        walk.path.append(f"{chain.name}: {rule_text(rule, self._layout.family)}")

    def _verdict(self, op: Op, walk: _Walk) -> str | None:
        found = self._tables[INDEX[op.name]].get(self._key(op.key, 0, walk))
        return found.decode() if found is not None else None

    def _step(self, op: Op, walk: _Walk) -> bool:
        """A match (False ends the rule) or a statement that changes the packet."""
        if op.do == "take":
            found = self._tables[INDEX[op.name]].get(self._key(op.key, op.value, walk))
            if found is not None:
                walk.number = _number.unpack(found)[0]
            return found is not None
        if op.do == "member":
            return self._member(op, walk) != bool(op.value)
        if op.do == "local":
            return walk.destination in self._local or _loopback(walk.destination)
        if op.do in _MATCH:
            return _MATCH[op.do](op, walk)
        _SET[op.do](op, walk)
        return True

    def _member(self, op: Op, walk: _Walk) -> bool:
        table, key = self._tables[INDEX[op.name]], self._key(op.key, 0, walk)
        if op.name == "allowed":
            return any(start[:4] == key[:4] and start <= key <= end for start, end in table.items())
        if op.name not in _NETWORKS:
            return key in table
        return _inside(table, key)

    def _key(self, key: Key, n: int, walk: _Walk) -> bytes:
        if "slot" in key:
            walk.slots, walk.modulus = max(walk.slots, n), n
        return b"".join(_FIELD[part](walk) for part in key)


def _inside(table: Mapping[bytes, bytes], address: bytes) -> bool:
    """Whether the last boundary at or before the address opens a network."""
    before = [start for start in table if start <= address]
    return bool(before) and table[max(before)] != b"end"


_TERMINAL = {
    "dnat": "to",
    "drop": "drop",
    "reset": "refuse",
    "unreachable": "refuse",
    "return": "return",
    "masquerade": "accept",
}


def _loopback(address: bytes) -> bool:
    return len(address) == 4 and address[0] == 127


def _set_mark(op: Op, walk: _Walk) -> None:
    walk.mark |= op.value


def _unset_mark(op: Op, walk: _Walk) -> None:
    walk.mark &= ~op.value


def _base(_: Op, walk: _Walk) -> None:
    walk.number &= MASK


def _clear(_: Op, walk: _Walk) -> None:
    walk.number = 0


def _nothing(_: Op, __: _Walk) -> None:
    """What packets write is given to the tracer from outside."""


_MATCH: dict[str, Callable[[Op, _Walk], bool]] = {
    "loopback": lambda op, walk: _loopback(walk.source if op.name == "saddr" else walk.destination),
    "not_from_lo": lambda _, walk: not walk.incoming_lo,
    "to_lo": lambda _, walk: walk.outgoing_lo,
    "protocol": lambda op, walk: walk.protocol == op.value,
    "translated": lambda _, walk: walk.translated,
    "marked": lambda op, walk: bool(walk.mark & op.value),
}
_SET: dict[str, Callable[[Op, _Walk], None]] = {
    "mark": _set_mark,
    "unmark": _unset_mark,
    "base": _base,
    "clear": _clear,
    "forget": _nothing,
    "remember": _nothing,
}
_FIELD: dict[str, Callable[[_Walk], bytes]] = {
    "saddr": lambda walk: walk.source,
    "daddr": lambda walk: walk.destination,
    "protocol": lambda walk: bytes((walk.protocol, 0, 0, 0)),
    "port": lambda walk: walk.port.to_bytes(2, "big") + b"\0\0",
    "number": lambda walk: number_key(walk.number),
    "base": lambda walk: number_key(walk.number & MASK),
    "kind": lambda walk: number_key(walk.number & ~MASK),
    "slot": lambda walk: number_key(walk.slot % walk.modulus),
}


def explain(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Lines for people: what may happen, and by which rules (those of the first possibility)."""
    for at, outcome in enumerate(outcomes):
        words = {
            "to": f"to {outcome.endpoint}",
            "pass": "not a Service: passes",
            "refuse": "refused",
            "drop": "dropped",
        }
        yield words[outcome.verdict] + (" (masqueraded)" if outcome.masquerade else "")
        if at == 0:
            yield from (f"    {line}" for line in outcome.path)
