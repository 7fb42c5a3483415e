"""What the pods of a node have been allocated, and whether there is room for more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard.objects.placement import host_ports
from switchboard.objects.podresources import Amounts, amounts, of_pod, qos_class

Object = dict[str, Any]

RESIZED: Final = ("cpu", "memory")  # what a pod may have more or less of while it runs


@dataclass(frozen=True, slots=True)
class Given:
    """What one pod has of its node, counted once: whoever comes after is measured against all of them."""

    needs: Amounts
    ports: tuple[tuple[str, str, int], ...]
    burstable: bool = False

    @classmethod
    def of(cls, spec: Object) -> Given:
        """By a pod's spec."""
        return cls(of_pod(spec), host_ports(spec), qos_class(spec) == "Burstable")


@dataclass(slots=True)
class Room:
    """What the pods of a node have been allocated, against what it can give."""

    allocatable: Mapping[str, str] = field(default_factory=dict)
    _given: dict[str, Given] = field(default_factory=dict)  # by the pods' UIDs
    _waiting: dict[str, Callable[[], None]] = field(default_factory=dict)  # by UID: those for whom there was none

    def give(self, uid: str, spec: Object) -> None:
        """A pod has the resources of this spec from now on."""
        self._given[uid] = Given.of(spec)
        self._waiting.pop(uid, None)
        self._try_again()

    def leave(self, uid: str) -> None:
        """A pod needs nothing any more."""
        self._waiting.pop(uid, None)
        if self._given.pop(uid, None) is not None:
            self._try_again()

    def wait(self, uid: str, wake: Callable[[], None]) -> None:
        """Have a pod woken when others need less."""
        self._waiting[uid] = wake

    def _try_again(self) -> None:
        for wake in self._waiting.values():
            wake()

    def burstable(self) -> int:
        """Thousandths of a processor that all Burstable pods ask for together."""
        return sum(given.needs.get("cpu", 0) for given in self._given.values() if given.burstable)

    def others(self, uid: str) -> list[Given]:
        """What all other pods have."""
        return [given for who, given in self._given.items() if who != uid]

    def shortage(self, uid: str, spec: Object) -> tuple[str, str] | None:
        """Why a pod cannot have the resources of this spec now (reason, message); None when it can."""
        before = self._given[uid].needs if uid in self._given else {}
        others = [other.needs for other in self.others(uid)]
        return shortage(before, of_pod(spec), others, amounts(self.allocatable))


def shortage(before: Amounts, wanted: Amounts, others: Collection[Amounts], whole: Amounts) -> tuple[str, str] | None:
    """Why `wanted` instead of `before` does not fit beside `others`: never (Infeasible) or not now (Deferred). Pure."""
    for name in RESIZED:
        need, capacity = wanted.get(name, 0), whole.get(name, 0)
        if need > before.get(name, 0) and need > capacity:
            return "Infeasible", f"Node didn't have enough capacity: {name}, requested: {need}, capacity: {capacity}"
    for name in RESIZED:
        need, capacity = wanted.get(name, 0), whole.get(name, 0)
        used = sum(other.get(name, 0) for other in others)
        if need > before.get(name, 0) and need > capacity - used:
            numbers = f"requested: {need}, used: {used}, capacity: {capacity}"
            return "Deferred", f"Node didn't have enough resource: {name}, {numbers}"
    return None
