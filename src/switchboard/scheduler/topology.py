"""Rules about who is near: pod affinity, anti-affinity and topology spread (pure).

Each is counted once for a pod over all nodes; asking about one node is then a few lookups. Source:
pkg/scheduler/framework/plugins/{interpodaffinity,podtopologyspread}.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from switchboard.objects import selectors
from switchboard.objects.placement import suits, untolerated
from switchboard.scheduler.podinfo import PodInfo
from switchboard.scheduler.snapshot import NodeInfo, Snapshot

Object = dict[str, Any]
Domain = tuple[str, str]  # topology key, value

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
OTHERS_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = f"{SPREAD} (missing required label)"


@dataclass(slots=True)
class Neighbours:
    """Pod affinity as it stands for one pod."""

    pod: PodInfo
    near: Counter[tuple[int, Domain]] = field(default_factory=Counter)  # affinity term, domain -> matching pods
    far: Counter[tuple[int, Domain]] = field(default_factory=Counter)
    refused: set[Domain] = field(default_factory=set)  # where running pods do not want this one
    alone: bool = False  # no pod at all matches, and it matches its own terms: the first of its kind may go anywhere

    @classmethod
    def of(cls, pod: PodInfo, snapshot: Snapshot) -> Neighbours:
        """Count over all nodes."""
        out = cls(pod)
        for node in snapshot:
            out._count(node, snapshot)
        if pod.affinity and not out.near:
            out.alone = all(term.matches(pod, snapshot.labels_of) for term in pod.affinity)
        return out

    def _count(self, node: NodeInfo, snapshot: Snapshot) -> None:
        pod, labels_of = self.pod, snapshot.labels_of
        for other in node.with_terms.values():
            for term in other.anti_affinity:
                if term.topology in node.labels and term.matches(pod, labels_of):
                    self.refused.add((term.topology, node.labels[term.topology]))
        if not pod.affinity and not pod.anti_affinity:
            return
        for other in node.pods.values():
            # All affinity terms must speak of the same pods (upstream: podMatchesAllAffinityTerms).
            if pod.affinity and all(term.matches(other, labels_of) for term in pod.affinity):
                for i, term in enumerate(pod.affinity):
                    if term.topology in node.labels:
                        self.near[i, (term.topology, node.labels[term.topology])] += 1
            for i, term in enumerate(pod.anti_affinity):
                if term.topology in node.labels and term.matches(other, labels_of):
                    self.far[i, (term.topology, node.labels[term.topology])] += 1

    def refuse(self, node: NodeInfo) -> str | None:
        """Why the pod may not be on this node."""
        labels = node.labels
        for i, term in enumerate(self.pod.affinity):
            if term.topology not in labels:
                return AFFINITY
            if not self.near[i, (term.topology, labels[term.topology])] and not self.alone:
                return AFFINITY
        for i, term in enumerate(self.pod.anti_affinity):
            if term.topology in labels and self.far[i, (term.topology, labels[term.topology])]:
                return ANTI_AFFINITY
        if any((key, labels.get(key, "")) in self.refused for key in {key for key, _ in self.refused}):
            return OTHERS_ANTI_AFFINITY
        return None


def nearness(pod: PodInfo, nodes: list[NodeInfo], snapshot: Snapshot) -> dict[str, int]:
    """Node name -> score of preferred (anti-)affinity, in both directions, and required affinity of running pods."""
    if not pod.preferred and not any(node.with_terms for node in snapshot):
        return {}
    weight: Counter[Domain] = Counter()
    labels_of = snapshot.labels_of
    for node in snapshot:
        for other in node.pods.values() if pod.preferred else ():
            for term in pod.preferred:
                if term.topology in node.labels and term.matches(other, labels_of):
                    weight[term.topology, node.labels[term.topology]] += term.weight
        for other in node.with_terms.values():
            for term in (*other.preferred, *other.affinity):
                if term.topology in node.labels and term.matches(pod, labels_of):
                    weight[term.topology, node.labels[term.topology]] += term.weight or 1
    keys = {key for key, _ in weight}
    return {node.name: sum(weight[key, node.labels[key]] for key in keys if key in node.labels) for node in nodes}


@dataclass(slots=True)
class Constraint:
    """One topology spread constraint, counted."""

    key: str
    skew: int
    least: int  # minDomains
    own: bool  # whether the pod itself is counted
    counts: Counter[str] = field(default_factory=Counter)  # domain -> matching pods

    def over(self, value: str) -> bool:
        """Whether one more pod there is more than the skew allows."""
        lowest = 0 if len(self.counts) < self.least else min(self.counts.values(), default=0)
        return self.counts[value] + int(self.own) - lowest > self.skew


def constraints(pod: PodInfo, snapshot: Snapshot, action: str) -> list[Constraint]:
    """The pod's constraints of one kind (`DoNotSchedule`, `ScheduleAnyway`), counted over eligible nodes."""
    given = [c for c in pod.spec.get("topologySpreadConstraints") or () if c.get("whenUnsatisfiable") == action]
    keys = [c.get("topologyKey", "") for c in given]
    out = []
    for entry in given:
        raw = dict(entry.get("labelSelector") or {})
        same = [
            {"key": k, "operator": "In", "values": [pod.labels[k]]}
            for k in entry.get("matchLabelKeys") or ()
            if k in pod.labels
        ]
        raw["matchExpressions"] = [*(raw.get("matchExpressions") or ()), *same]
        selector = selectors.from_object(raw) if entry.get("labelSelector") is not None else selectors.NOTHING
        made = Constraint(
            entry.get("topologyKey", ""),
            int(entry.get("maxSkew") or 1),
            int(entry.get("minDomains") or 1),
            selector.matches(pod.labels),
        )
        for node in snapshot:
            if _eligible(pod, node, entry, keys):
                made.counts[node.labels[made.key]] += sum(
                    other.namespace == pod.namespace and not other.terminating and selector.matches(other.labels)
                    for other in node.pods.values()
                )
        out.append(made)
    return out


def _eligible(pod: PodInfo, node: NodeInfo, entry: Object, keys: list[str]) -> bool:
    if any(key not in node.labels for key in keys):
        return False
    if entry.get("nodeAffinityPolicy", "Honor") == "Honor" and not suits(pod.spec, node.name, node.labels):
        return False
    if entry.get("nodeTaintsPolicy", "Ignore") != "Honor":
        return True
    return not untolerated(pod.spec, node.taints, ("NoSchedule", "NoExecute"))


def spread_refuses(found: list[Constraint], node: NodeInfo) -> str | None:
    """Why the pod may not be on this node, as far as hard constraints go."""
    for constraint in found:
        value = node.labels.get(constraint.key)
        if value is None:
            return SPREAD_LABEL
        if constraint.over(value):
            return SPREAD
    return None
