"""Plans become map elements, and changed plans become the fewest element changes: pure, one `State` per address family.

An element is (index into rules.MAPS, key, data), key and data packed as the kernel keeps them: fields in order, each
padded to four bytes, addresses and ports in network order, numbers in native order; the data of a verdict is a chain's
name. An *owner* (a Service or a pod with host ports) contributes elements; replacing its contribution touches only what
differs.

Two owners may claim one address (same externalIP and port): whose ClusterIP it is has it, then the smaller name; the
other takes over when it goes.
Elements of sets that several owners share are counted.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from sys import byteorder, intern
from typing import Any
from zlib import crc32

from switchboard.proxy.messages import Change
from switchboard.proxy.packing import (
    Flat,
    arrange,
    distinct,
    front_key,
    intervals,
    last_address,
    map_of,
    number_key,
    triples,
)
from switchboard.proxy.rules import INDEX, LOW_BITS, MAPS, MASK, Family, Layout
from switchboard.proxy.services import PortPlan

_ORDER = (
    "endpoints picks settled targets gated allowed hairpin pods cluster_nets "
    "inside outside masked node_inside node_outside node_masked cluster_ips service_nets"
).split()
Tables = list[dict[bytes, bytes]]

_number = struct.Struct("=I")
_slot = struct.Struct("=II")
MOST_STICKY = (1 << LOW_BITS) - 1
_MANAGED = [item.kind != "packets" for item in MAPS]
_SHARED = {INDEX["cluster_ips"], INDEX["hairpin"], INDEX["pods"], INDEX["cluster_nets"], INDEX["service_nets"]}
KINDS, OPEN_KINDS, ENDPOINTS, PICKS, TARGETS, SETTLED = (
    INDEX[n] for n in "kinds open_kinds endpoints picks targets settled".split()
)
GATED, ALLOWED, CLUSTER_IPS, HAIRPIN = (INDEX[n] for n in "gated allowed cluster_ips hairpin".split())
_LEADING = {
    INDEX[n] for n in "inside outside masked node_inside node_outside node_masked gated".split()
}  # data says a kind
_COUNTED = re.compile(rb"n[1-9]\d*|a[1-9]\d*_[1-9]\d*")
_MOST_KINDS = MOST_STICKY - 64
_MOST_NUMBERS = (1 << 32 - LOW_BITS) - 64
_IDLE_KINDS = 24  # kept after their last use
_FIXED_KINDS = {"refuse": 1, "deny": 2, "gate": 3}


def empty_tables() -> Tables:
    """One dict per map of the fixed table."""
    return [{} for _ in MAPS]


class State:
    """All elements of one family's table as they should be, what changed since the last `changes`, and who owns which
    number.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self.live = empty_tables()
        self.prior: Tables | None = None  # what the kernel had at start: numbers and slots are taken over from there
        self._prior_numbers: set[int] = set()
        self._kinds = dict(_FIXED_KINDS)  # chain -> its kind
        self._kind_names = {kind: name for name, kind in _FIXED_KINDS.items()}
        self._kind_uses: dict[int, int] = {}  # kinds of chains for counts -> elements that lead there
        self._idle: dict[int, int] = {}  # kinds without use -> when that began
        self._turn = 0
        self._next_kind = 16
        self._flat: dict[str, Flat] = {}
        self._numbers: dict[str, tuple[str | int, ...]] = {}  # name, number, name, number ... of an owner's balancers
        self._used: set[int] = set()
        self._next = 1
        self._counts: dict[tuple[int, bytes], int] = {}  # of shared elements that more than one owner has
        self._rivals: dict[tuple[int, bytes], dict[str, bytes]] = {}
        self._before: dict[tuple[int, bytes], bytes | None] = {}

    def adopt(self, kernel: Tables | None) -> None:
        """Numbers, kinds and slots in a table that was read back are kept where they fit, until `adopt(None)`."""
        self.prior = kernel
        self._prior_numbers = set()
        if kernel is None:
            return
        for at in _LEADING:
            self._prior_numbers.update(_number.unpack(data)[0] & MASK for data in kernel[at].values())
        for key, name in kernel[KINDS].items():
            kind = _number.unpack(key)[0]
            if kind >= 16 and _COUNTED.fullmatch(name) and name.decode() not in self._kinds:
                self._kinds[name.decode()] = kind
                self._kind_names[kind] = name.decode()
                for table in (KINDS, OPEN_KINDS):
                    self._put(table, key, name)

    # What is wanted

    def replace(self, owner: str, plans: Sequence[PortPlan]) -> None:
        """Make the owner's contribution exactly this; nothing for an owner that is gone."""
        old: Flat = self._flat.get(owner, ())
        if not plans and not old:
            return
        new = self._elements(owner, plans)
        self._swap(owner, old, new)

    def networks(self, layout: Layout) -> None:
        """What is there without any Service: who is a pod of this node, what is reached without masquerade, where
        ClusterIPs are.
        """
        out: list[int | bytes] = []
        for name, kind in _FIXED_KINDS.items():
            out += [KINDS, number_key(kind), name.encode()]
            if name != "gate":
                out += [OPEN_KINDS, number_key(kind), name.encode()]
        multicast = "224.0.0.0/4" if self.family == 4 else "ff00::/8"
        for name, nets in (
            ("pods", layout.pods),
            ("cluster_nets", (*layout.cluster, *layout.pods, multicast)),
            ("service_nets", layout.services),
        ):
            for first, behind in intervals(nets, self.family):
                out += [INDEX[name], first, b""]
                if behind:
                    out += [INDEX[name], behind, b"end"]
        self._swap("", self._flat.get("", ()), tuple(out))

    @property
    def contested(self) -> int:
        """How many addresses more than one owner claims."""
        return len(self._rivals)

    def chains(self) -> set[str]:
        """The chains for counts that are needed now, or were a moment ago."""
        self._settle()
        used = {self._kind_names[int.from_bytes(key, byteorder)] for key in self.live[KINDS]} - _FIXED_KINDS.keys()
        return used | {"s" + name.partition("_")[2] for name in used if name[0] == "a"}

    def changes(self) -> list[Change]:
        """What the kernel needs to be told since the last time: what goes first, then what comes."""
        self._settle()
        gone, come = [], []
        for (at, key), old in self._before.items():
            new = self.live[at].get(key)
            if new == old:
                continue
            if old is not None:
                gone.append(Change(False, at, key, old))
            if new is not None:
                come.append(Change(True, at, key, new))
        self._before = {}
        gone.sort(key=map_of)
        come.sort(key=map_of)
        return gone + come

    def everything(self) -> Iterator[Change]:
        """All elements but kinds, in an order that may be told in pieces: an address after the endpoints it leads to,
        and that the rest is refused last of all.
        """
        for name in _ORDER:
            yield from (Change(True, INDEX[name], key, data) for key, data in self.live[INDEX[name]].items())

    def kinds(self) -> list[Change]:
        """The elements that lead to chains."""
        return [Change(True, at, key, data) for at in (KINDS, OPEN_KINDS) for key, data in self.live[at].items()]

    def difference(self, kernel: Tables) -> list[Change]:
        """What turns a table that was read back into this one."""
        self._settle()
        gone, come = [], []
        for at, (want, have) in enumerate(zip(self.live, kernel, strict=True)):
            if not _MANAGED[at]:
                continue
            gone += [Change(False, at, key, data) for key, data in have.items() if want.get(key) != data]
            come += [Change(True, at, key, data) for key, data in want.items() if have.get(key) != data]
        return gone + come

    def told(self) -> None:
        """The kernel has everything as it is now."""
        self._before = {}

    # From plans to elements

    def _elements(self, owner: str, plans: Sequence[PortPlan]) -> Flat:
        out: list[int | bytes] = []
        pairs = iter(self._numbers.get(owner, ()))
        held: dict[Any, Any] = dict(zip(pairs, pairs, strict=True))
        numbers: dict[str, int] = {}

        def number(name: str, keys: Iterable[tuple[int, bytes]], gate: bool) -> int:
            name = intern(name)  # thousands of Services have ports of the same name
            found = numbers[name] = held.get(name) or self._new_number(keys, gate)
            return found

        for plan in plans:
            for local in (False, True):
                self._balancer(plan, local, number, out)
            for address in dict.fromkeys(front.address for front in plan.fronts if front.view == "cluster"):
                out += [CLUSTER_IPS, address, b""]
            size = 4 if self.family == 4 else 16
            for address in dict.fromkeys(target[:size] for target in plan.neighbours):
                out += [HAIRPIN, address + address, b""]
        self._used.difference_update(held[name] for name in held.keys() - numbers.keys())
        if numbers:
            self._numbers[owner] = tuple(part for pair in numbers.items() for part in pair)
        else:
            self._numbers.pop(owner, None)
        return distinct(out) if len(plans) > 1 or any(len(plan.fronts) > 1 for plan in plans) else tuple(out)

    def _balancer(self, plan: PortPlan, local: bool, number: Callable[..., int], out: list[int | bytes]) -> None:
        fronts = [front for front in plan.fronts if front.local == local]
        if not fronts:
            return
        policy = "local" if local else "cluster"
        keys = [
            (*_place(front.address, front.view), front_key(front.address, plan.protocol, front.port))
            for front in fronts
        ]

        own = number(f"{plan.name}/{policy}", keys, False)
        gate = number(f"{plan.name}/{policy}/gate", keys, True) if any(front.gated for front in fronts) else 0
        targets = plan.local if local else plan.cluster
        if not targets:
            whole = own | self._kind(plan.no_local if local else plan.when_empty)
        elif plan.sticky:
            whole = own | self._sticky(own, targets[:MOST_STICKY], plan.sticky, out)
        else:
            whole = own | self._kind(f"n{len(targets)}")
            for slot, target in enumerate(arrange(self._held(ENDPOINTS, own), targets)):
                out += [ENDPOINTS, _slot.pack(own, slot), target]
        if gate:
            out += [GATED, number_key(gate), number_key(whole)]
            for network, prefix in plan.ranges:
                out += [ALLOWED, number_key(gate) + network, number_key(gate) + last_address(network, prefix)]
        for front, (at, key) in zip(fronts, keys, strict=True):
            out += [at, key, number_key(gate | self._kind("gate") if front.gated else whole)]

    def _sticky(self, own: int, targets: Sequence[bytes], seconds: int, out: list[int | bytes]) -> int:
        """A balancer with affinity: every endpoint has a number of its own that stays its as long as it takes part.
        Returns the kind.
        """
        tables = self.live if self._held(PICKS, own) or self.prior is None else self.prior
        before = self._held(PICKS, own)
        names = {tables[TARGETS][pick]: pick for pick in before if pick in tables[TARGETS]}
        taken = {names[target] for target in targets if target in names}
        for target in targets:
            if target not in names:
                place = crc32(target) % MOST_STICKY
                while (pick := number_key(own + 1 + place)) in taken:
                    place = (place + 1) % MOST_STICKY
                names[target] = pick
                taken.add(pick)
        for slot, pick in enumerate(arrange(before, [names[target] for target in targets])):
            out += [PICKS, _slot.pack(own, slot), pick]
        for target in targets:
            out += [TARGETS, names[target], target, SETTLED, names[target], names[target]]
        return self._kind(f"a{len(targets)}_{seconds}")

    def _held(self, at: int, number: int) -> list[bytes]:
        """The data of a balancer's slots today, or in the kernel at start."""
        table = self.live[at]
        if self.prior is not None and _slot.pack(number, 0) not in table:
            table = self.prior[at]
        out: list[bytes] = []
        while (data := table.get(_slot.pack(number, len(out)))) is not None:
            out.append(data)
        return out

    def _new_number(self, keys: Iterable[tuple[int, bytes]], gate: bool) -> int:
        """A free number: the one the kernel's table has behind the same addresses, or the next."""
        for at, key in keys if self.prior is not None else ():
            old = self._prior_number(at, key, gate)
            if old and old not in self._used:
                self._used.add(old)
                return old
        if len(self._used) >= _MOST_NUMBERS:
            raise OverflowError("too many Service ports")
        while True:
            # round and round: a packet that read a number just before it was given up must not meet its next owner
            number = self._next << LOW_BITS
            self._next = self._next % ((1 << 32 - LOW_BITS) - 1) + 1
            if number not in self._used and number not in self._prior_numbers:
                self._used.add(number)
                return number

    def _prior_number(self, at: int, key: bytes, gate: bool) -> int:
        """The gate's or the balancer's number that the kernel's table has at an address, or 0."""
        prior = self.prior or []
        data = prior[at].get(key)
        gated = data is not None and _number.unpack(data)[0] & ~MASK == _FIXED_KINDS["gate"]
        if data is not None and gated and not gate:
            data = prior[GATED].get(number_key(_number.unpack(data)[0] & MASK))
        if data is None or (gate and not gated):
            return 0
        return int(_number.unpack(data)[0] & MASK)

    def _kind(self, name: str) -> int:
        """The kind that leads to a chain; one is made, or taken over from the kernel, for a new chain."""
        kind = self._kinds.get(name)
        if kind is None and len(self._kind_names) > _MOST_KINDS:
            raise OverflowError("too many different counts of endpoints")
        while kind is None:
            kind, self._next_kind = self._next_kind, max(16, self._next_kind + 1 & (1 << LOW_BITS) - 1)
            if kind in self._kind_names:
                kind = None
        if name not in self._kinds:
            self._kinds[name] = kind
            self._kind_names[kind] = name
        return kind

    # Elements come and go

    def _swap(self, owner: str, old: Flat, new: Flat) -> None:
        if new:
            self._flat[owner] = new
        else:
            self._flat.pop(owner, None)
        if not old and owner:
            for at, key, data in triples(new):
                self._claim(owner, at, key, data)
            return
        was, now = set(triples(old)), set(triples(new))
        for at, key, data in was - now:
            self._drop(owner, at, key, data)
        # the kernel wants the elements of an interval set from the lowest on
        for at, key, data in now - was if owner else sorted(now - was):
            self._claim(owner, at, key, data)

    def _claim(self, owner: str, at: int, key: bytes, data: bytes) -> None:
        place = (at, key)
        if at in _SHARED:
            if key in self.live[at]:
                self._counts[place] = self._counts.get(place, 1) + 1
                return
        elif key in self.live[at] or place in self._rivals:
            rivals = self._rivals.get(place)
            if rivals is None:
                rivals = self._rivals[place] = {self._owner(at, key, owner): self.live[at][key]}
            rivals[owner] = data
            data = self._winner(rivals, key)
        self._put(at, key, data)

    def _drop(self, owner: str, at: int, key: bytes, data: bytes) -> None:
        place = (at, key)
        if at in _SHARED:
            count = self._counts.pop(place, 1) - 1
            if count > 1:
                self._counts[place] = count
            if count:
                return
        elif (rivals := self._rivals.get(place)) is not None:
            if rivals.get(owner) == data:
                del rivals[owner]
            if len(rivals) == 1:
                del self._rivals[place]
            if rivals:
                self._put(at, key, self._winner(rivals, key))
                return
        self._put(at, key, None)

    def _winner(self, rivals: dict[str, bytes], key: bytes) -> bytes:
        """What the owner with the best right to an address has there."""
        address = key[: 4 if self.family == 4 else 16]

        def right(owner: str) -> tuple[bool, str]:
            own = (at == CLUSTER_IPS and held == address for at, held, _ in triples(self._flat.get(owner, ())))
            return not any(own), owner

        return rivals[min(rivals, key=right)]

    def _owner(self, at: int, key: bytes, besides: str) -> str:
        for owner, flat in self._flat.items():
            if owner != besides and any(one[0] == at and one[1] == key for one in triples(flat)):
                return owner
        return ""

    def _put(self, at: int, key: bytes, data: bytes | None) -> None:
        table = self.live[at]
        old = table.get(key)
        self._before.setdefault((at, key), old)
        if data is None:
            table.pop(key, None)
        else:
            table[key] = data
        if at in _LEADING:
            self._use_kind(data, 1)
            self._use_kind(old, -1)

    def _use_kind(self, data: bytes | None, step: int) -> None:
        kind = _number.unpack(data)[0] & ~MASK if data is not None else 0
        if kind < 16:
            return
        uses = self._kind_uses[kind] = self._kind_uses.get(kind, 0) + step
        if not uses:
            self._turn += 1
            self._idle[kind] = self._turn
        if uses == step == 1 and number_key(kind) not in self.live[KINDS]:
            for table in (KINDS, OPEN_KINDS):
                self._put(table, number_key(kind), self._kind_names[kind].encode())

    def _settle(self) -> None:
        """Give up kinds nobody leads to any more, but the latest: a packet on its way in may have read one just before
        the change, and the next change may lead there again.
        """
        idle = [kind for kind in self._kind_names if kind >= 16 and not self._kind_uses.get(kind)]
        idle.sort(key=lambda kind: self._idle.get(kind, 0))
        for kind in idle[: max(0, len(idle) - _IDLE_KINDS)]:
            self._kind_uses.pop(kind, None)
            self._idle.pop(kind, None)
            del self._kinds[self._kind_names.pop(kind)]
            for table in (KINDS, OPEN_KINDS):
                if number_key(kind) in self.live[table]:
                    self._put(table, number_key(kind), None)


def _place(address: bytes, view: str) -> tuple[int]:
    name = "inside" if view == "cluster" else view
    return (INDEX[name if address else f"node_{name}"],)
