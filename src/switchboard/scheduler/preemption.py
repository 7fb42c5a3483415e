"""Room for a pod of higher priority: which node, and which pods have to leave it (pure).

Source: pkg/scheduler/framework/plugins/defaultpreemption, framework/preemption: as few victims as possible, the least
important ones, none that a disruption budget protects if that can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from switchboard.scheduler.filters import LASTING, Filter
from switchboard.scheduler.podinfo import PodInfo
from switchboard.scheduler.snapshot import NodeInfo, Snapshot

Object = dict[str, Any]

NOT_HELPFUL: Final = "Preemption is not helpful for scheduling"
NO_VICTIMS: Final = "No preemption victims found for incoming pod"
_CANDIDATES: Final = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that would do, and the pods that would have to go."""

    node: str
    victims: tuple[PodInfo, ...]
    protected: int  # victims that a disruption budget wants to keep


def _without(snapshot: Snapshot, node: NodeInfo) -> Snapshot:
    """The snapshot with one node replaced."""
    copy = Snapshot()
    copy.nodes = {**snapshot.nodes, node.name: node}
    copy.namespaces = snapshot.namespaces
    return copy


def _importance(pod: PodInfo) -> tuple[int, str]:
    """Sort key: more important first; of equal priority the one that runs longer."""
    return (-pod.priority, pod.started or "~")


def _victims(
    pod: PodInfo, node: NodeInfo, snapshot: Snapshot, protects: Callable[[PodInfo], bool]
) -> tuple[list[PodInfo], int] | None:
    trial = node.copy()
    lesser = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lesser:
        return None
    for other in lesser:
        trial.remove(other.key)
    world = _without(snapshot, trial)
    if Filter(pod, world).refuse(trial):
        return None
    victims: list[PodInfo] = []
    guarded = [other for other in lesser if protects(other)]
    plain = [other for other in lesser if other not in guarded]
    protected = 0
    for group in (guarded, plain):
        for other in sorted(group, key=_importance):
            trial.add(other)
            if Filter(pod, world).refuse(trial):
                trial.remove(other.key)
                victims.append(other)
                protected += group is guarded
    return victims, protected


def find(
    pod: PodInfo,
    snapshot: Snapshot,
    refusals: Mapping[str, Iterable[str]],
    protects: Callable[[PodInfo], bool] = lambda pod: False,
) -> tuple[Candidate | None, dict[str, str]]:
    """The best candidate, or None and why not for each node. `refusals`: node -> reasons of the filters."""
    reasons: dict[str, str] = {}
    found: list[Candidate] = []
    for node in snapshot:
        if LASTING & set(refusals.get(node.name, ())):
            reasons[node.name] = NOT_HELPFUL
            continue
        chosen = _victims(pod, node, snapshot, protects) if len(found) < _CANDIDATES else None
        if chosen is None or not chosen[0]:
            reasons[node.name] = NO_VICTIMS
        else:
            found.append(Candidate(node.name, tuple(chosen[0]), chosen[1]))
    if not found:
        return None, reasons
    return min(found, key=_cost), {}


def _cost(candidate: Candidate) -> tuple[Any, ...]:
    priorities = [victim.priority for victim in candidate.victims]
    starts = [victim.started for victim in candidate.victims]
    highest = [s for s, p in zip(starts, priorities, strict=True) if p == max(priorities)]
    # The latest of the earliest starts is best: turned around character by character for `min`.
    late = tuple(-ord(c) for c in min(highest, default=""))
    return candidate.protected, max(priorities), sum(p + 2**31 for p in priorities), len(priorities), late
