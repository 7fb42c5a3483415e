"""What stands where: nodes with the pods on them, kept true by events and by what the scheduler just decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from switchboard.objects.podresources import Amounts, amounts
from switchboard.scheduler.podinfo import PodInfo

Object = dict[str, Any]


class NodeInfo:
    """One node: its object (None while only pods are known), its pods, and the sums that filters need."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.raw: Object | None = None
        self.allocatable: Amounts = {}
        self.pods: dict[str, PodInfo] = {}
        self.requested: Amounts = {}
        self.scored = [0, 0]
        self.ports: dict[tuple[str, str, int], int] = {}
        self.with_terms: dict[str, PodInfo] = {}  # pods that have an opinion on who may be near

    def set(self, raw: Object | None) -> None:
        """Take a new state of the node object."""
        self.raw = raw
        status = (raw or {}).get("status") or {}
        self.allocatable = amounts(status.get("allocatable") or status.get("capacity"))

    @property
    def labels(self) -> Mapping[str, str]:
        """The node's labels."""
        return ((self.raw or {}).get("metadata") or {}).get("labels") or {}

    @property
    def taints(self) -> list[Object]:
        """The node's taints, with one for a Ready condition that is not True (until its controller adds it)."""
        raw = self.raw or {}
        taints = list((raw.get("spec") or {}).get("taints") or ())
        for condition in (raw.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "Ready" and condition.get("status") != "True":
                key = "node.kubernetes.io/" + ("not-ready" if condition.get("status") == "False" else "unreachable")
                taints.append({"key": key, "effect": "NoSchedule"})
        return taints

    def add(self, pod: PodInfo) -> None:
        """A pod is (to be) here."""
        self.remove(pod.key)
        self.pods[pod.key] = pod
        self._count(pod, 1)
        if pod.affinity or pod.anti_affinity or pod.preferred:
            self.with_terms[pod.key] = pod

    def remove(self, key: str) -> PodInfo | None:
        """A pod is here no more."""
        pod = self.pods.pop(key, None)
        if pod is not None:
            self._count(pod, -1)
            self.with_terms.pop(key, None)
        return pod

    def _count(self, pod: PodInfo, sign: int) -> None:
        for name, amount in pod.requests.items():
            self.requested[name] = self.requested.get(name, 0) + sign * amount
        cpu, memory = pod.scoring
        self.scored[0] += sign * cpu
        self.scored[1] += sign * memory
        for port in pod.ports:
            self.ports[port] = self.ports.get(port, 0) + sign
            if not self.ports[port]:
                del self.ports[port]

    def copy(self) -> NodeInfo:
        """The same, to try things on."""
        new = NodeInfo(self.name)
        new.raw, new.allocatable = self.raw, self.allocatable
        new.pods, new.requested = dict(self.pods), dict(self.requested)
        new.scored, new.ports, new.with_terms = list(self.scored), dict(self.ports), dict(self.with_terms)
        return new


class Snapshot:
    """All nodes, and labels of namespaces for affinity terms."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self._where: dict[str, str] = {}  # pod key -> node name

    def __iter__(self) -> Iterator[NodeInfo]:
        """Nodes that exist (pods may be known of others)."""
        return (node for node in self.nodes.values() if node.raw is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def set_node(self, name: str, raw: Object | None) -> None:
        """A node appeared, changed or is gone."""
        node = self.nodes.get(name)
        if node is None:
            if raw is None:
                return
            node = self.nodes[name] = NodeInfo(name)
        node.set(raw)
        if raw is None and not node.pods:
            del self.nodes[name]

    def place(self, pod: PodInfo, name: str) -> None:
        """A pod is on this node."""
        self.remove(pod.key)
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = NodeInfo(name)
        node.add(pod)
        self._where[pod.key] = node.name  # the one text of all its pods

    def remove(self, key: str) -> None:
        """A pod is on no node."""
        name = self._where.pop(key, None)
        node = self.nodes.get(name) if name is not None else None
        if node is not None:
            node.remove(key)
            if node.raw is None and not node.pods:
                del self.nodes[node.name]

    def node_of(self, key: str) -> str | None:
        """Where a pod is."""
        return self._where.get(key)

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """A namespace's labels."""
        return self.namespaces.get(namespace, {})
