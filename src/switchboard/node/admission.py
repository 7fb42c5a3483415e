"""Whether this node takes a pod that was bound to it: what the scheduler looked at is looked at once more, since
whoever names a node in `spec.nodeName` asked no scheduler. Pure.

Source: pkg/kubelet/lifecycle/predicate.go (generalFilter), pkg/kubelet/sysctl.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from switchboard.node import configs
from switchboard.node.room import Given
from switchboard.objects.placement import host_ports, ports_clash, suits, untolerated
from switchboard.objects.podresources import amounts, of_pod

Object = dict[str, Any]
Refusal = tuple[str, str]  # reason and message of a pod that has failed by it

_DEFAULT_PODS = 110


def refusal(pod: Object, node: Object, others: Collection[Given], allocatable: Mapping[str, str]) -> Refusal | None:
    """Why a pod may not be on this node beside the `others`; None when it may."""
    spec, meta = pod["spec"], node.get("metadata") or {}
    if (spec.get("os") or {}).get("name") not in (None, "", "linux"):
        return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
    if (spec.get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict":
        return "SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node"
    if forbidden := configs.forbidden_sysctl(pod):
        return "SysctlForbidden", f'forbidden sysctl: "{forbidden}" not allowlisted'
    if lacking := shortage(spec, others, allocatable):
        return lacking
    if not suits(spec, meta.get("name", ""), meta.get("labels") or {}):
        return _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    wanted = host_ports(spec)
    if wanted and any(ports_clash(wanted, other.ports) for other in others):
        return _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if untolerated(spec, (node.get("spec") or {}).get("taints") or (), ("NoExecute",)):
        return _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _predicate(name: str, why: str) -> Refusal:
    return name, f"Pod was rejected: Predicate {name} failed: {why}"


def shortage(spec: Object, others: Collection[Given], allocatable: Mapping[str, str]) -> Refusal | None:
    """What the node has too little of for one more pod."""
    whole = amounts(allocatable)
    if len(others) + 1 > (capacity := whole.get("pods", _DEFAULT_PODS)):
        return _out_of("pods", 1, len(others), capacity)
    for name, need in of_pod(spec).items():
        if need and name in whole:  # what the node does not count is left to whoever does
            used = sum(other.needs.get(name, 0) for other in others)
            if need > whole[name] - used:
                return _out_of(name, need, used, whole[name])
    return None


def _out_of(name: str, need: int, used: int, capacity: int) -> Refusal:
    numbers = f"requested: {need}, used: {used}, capacity: {capacity}"
    return f"OutOf{name}", f"Pod was rejected: Node didn't have enough resource: {name}, {numbers}"
