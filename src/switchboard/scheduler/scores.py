"""Which of several nodes is best for a pod (pure).

The default plugins and weights: taints to avoid 3, node affinity 2, topology spread 2, pod affinity 2, free resources
1, balance 1 (pkg/scheduler/apis/config/v1/default_plugins.go). Each gives 0..100.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from switchboard.objects.placement import preference, untolerated
from switchboard.scheduler.podinfo import PodInfo
from switchboard.scheduler.snapshot import NodeInfo, Snapshot
from switchboard.scheduler.topology import constraints, nearness

Object = dict[str, Any]
_BEST = 100.0


def choose(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> NodeInfo:
    """The best of the feasible nodes; of equal ones any."""
    if len(nodes) == 1:
        return nodes[0]
    total = scores(pod, nodes, snapshot)
    best = max(total.values())
    return random.choice([node for node in nodes if total[node.name] >= best - 1e-9])


def scores(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> dict[str, float]:
    """Node name -> weighted sum."""
    names = [node.name for node in nodes]
    avoid = {n.name: -float(len(untolerated(pod.spec, n.taints, ("PreferNoSchedule",)))) for n in nodes}
    like = {n.name: float(preference(pod.spec, n.name, n.labels)) for n in nodes}
    near = nearness(pod, list(nodes), snapshot)
    parts: list[tuple[float, Mapping[str, float]]] = [
        (3, _spread_out(avoid)),
        (2, _to_best(like)),
        (2, _spread_out({name: float(near.get(name, 0)) for name in names}) if near else {}),
        (2, _spread_out(_evenness(pod, nodes, snapshot))),
        (1, {node.name: _free(pod, node) for node in nodes}),
        (1, {node.name: _balance(pod, node) for node in nodes}),
    ]
    return {name: sum(weight * part.get(name, 0.0) for weight, part in parts) for name in names}


def _to_best(raw: Mapping[str, float]) -> dict[str, float]:
    most = max(raw.values(), default=0)
    return {name: value * _BEST / most for name, value in raw.items()} if most > 0 else {}


def _spread_out(raw: Mapping[str, float]) -> dict[str, float]:
    low, high = min(raw.values(), default=0), max(raw.values(), default=0)
    return {name: (value - low) * _BEST / (high - low) for name, value in raw.items()} if high > low else {}


def _fractions(pod: PodInfo, node: NodeInfo) -> list[float]:
    """Used parts of cpu and memory with the pod on the node."""
    cpu, memory = pod.scoring
    out = []
    for name, used in (("cpu", node.scored[0] + cpu), ("memory", node.scored[1] + memory)):
        room = node.allocatable.get(name, 0)
        out.append(min(1.0, used / room) if room else 1.0)
    return out


def _free(pod: PodInfo, node: NodeInfo) -> float:
    used = _fractions(pod, node)
    return sum((1 - part) * _BEST for part in used) / len(used)


def _balance(pod: PodInfo, node: NodeInfo) -> float:
    cpu, memory = _fractions(pod, node)
    return (1 - abs(cpu - memory) / 2) * _BEST


def _evenness(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> dict[str, float]:
    """Fewer of the same kind is better: by the pod's soft constraints, else by its owner over nodes and zones."""
    given = constraints(pod, snapshot, "ScheduleAnyway")
    if given:
        return {n.name: -float(sum(c.counts[n.labels[c.key]] for c in given if c.key in n.labels)) for n in nodes}
    owner = pod.controller
    if not owner:
        return {}
    zones: Counter[str] = Counter()
    here: Counter[str] = Counter()
    for node in snapshot:
        number = sum(other.controller == owner for other in node.pods.values())
        here[node.name] += number
        zones[node.labels.get("topology.kubernetes.io/zone", "")] += number
    return {
        n.name: -(here[n.name] + zones[n.labels.get("topology.kubernetes.io/zone", "")] / max(1, len(nodes)))
        for n in nodes
    }
