"""Which nodes can take a pod, and in upstream's words why the others cannot (pure).

Order is that of the default plugins (pkg/scheduler/apis/config/v1/default_plugins.go): the first reason counts, except
that all resources that do not suffice are named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from switchboard.objects.placement import ports_clash, suits, untolerated
from switchboard.scheduler.podinfo import PodInfo
from switchboard.scheduler.snapshot import NodeInfo, Snapshot
from switchboard.scheduler.topology import Neighbours, constraints, spread_refuses

Object = dict[str, Any]

# Reasons that evicting pods cannot mend (UnschedulableAndUnresolvable).
_UNSCHEDULABLE: Final = "node(s) were unschedulable"
_NAME: Final = "node(s) didn't match the requested node name"
_TAINT: Final = "node(s) had untolerated taint(s)"
_AFFINITY: Final = "node(s) didn't match Pod's node affinity/selector"
_PORTS: Final = "node(s) didn't have free ports for the requested pod ports"
ELSEWHERE: Final = "resourceclaim not available on the node"
VOLUME: Final = "node(s) didn't match PersistentVolume's node affinity"
_POD_AFFINITY: Final = "node(s) didn't match pod affinity rules"
_LABEL: Final = "node(s) didn't match pod topology spread constraints (missing required label)"
LASTING: Final = frozenset({_UNSCHEDULABLE, _NAME, _TAINT, _AFFINITY, VOLUME, _POD_AFFINITY, _LABEL, ELSEWHERE})

_DEFAULT_PODS = 110


class Filter:
    """All filters for one pod over one snapshot; what has to be counted over all nodes is counted once."""

    def __init__(
        self, pod: PodInfo, snapshot: Snapshot, volumes: Callable[[PodInfo, NodeInfo], str | None] | None = None
    ) -> None:
        self._pod = pod
        self._neighbours = Neighbours.of(pod, snapshot)
        self._spread = constraints(pod, snapshot, "DoNotSchedule")
        self._volumes = volumes

    def refuse(self, node: NodeInfo) -> list[str]:
        """Why the pod cannot be on this node; empty when it can."""
        pod, spec = self._pod, self._pod.spec
        if (node.raw or {}).get("spec", {}).get("unschedulable") and not _tolerates_cordon(spec):
            return [_UNSCHEDULABLE]
        if spec.get("nodeName") and spec["nodeName"] != node.name:
            return [_NAME]
        if untolerated(spec, node.taints, ("NoSchedule", "NoExecute")):
            return [_TAINT]
        if not suits(spec, node.name, node.labels):
            return [_AFFINITY]
        if ports_clash(pod.ports, node.ports):
            return [_PORTS]
        lacking = insufficient(pod, node)
        if lacking:
            return lacking
        reason = self._volumes(pod, node) if self._volumes is not None else None
        reason = reason or spread_refuses(self._spread, node) or self._neighbours.refuse(node)
        return [reason] if reason else []


def _tolerates_cordon(spec: Object) -> bool:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    return not untolerated(spec, [taint], ("NoSchedule",))


def insufficient(pod: PodInfo, node: NodeInfo) -> list[str]:
    """`Too many pods`, `Insufficient cpu` ...: all that the node has too little of."""
    found = []
    if len(node.pods) + 1 > node.allocatable.get("pods", _DEFAULT_PODS):
        found.append("Too many pods")
    for name, amount in pod.requests.items():
        if amount and amount > node.allocatable.get(name, 0) - node.requested.get(name, 0):
            found.append(f"Insufficient {name}")
    return found
