"""On which nodes a DaemonSet has pods, and which of them go when (pure).

Source: pkg/controller/daemon/daemon_controller.go, update.go, pkg/controller/daemon/util/daemonset_util.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard.controllers.history import HASH_LABEL
from switchboard.controllers.pods import from_template, is_available, is_finished, is_ready, phase
from switchboard.controllers.rollout import resolve
from switchboard.objects.placement import suits, untolerated

Object = dict[str, Any]

GENERATION: Final = "pod-template-generation"
_ALWAYS: Final = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK: Final = ("node.kubernetes.io/network-unavailable", "NoSchedule")


def tolerations(spec: Object) -> list[Object]:
    """A daemon pod's tolerations: its own, and those that let it stay on a node in trouble."""
    held = list(spec.get("tolerations") or ())
    wanted = [*_ALWAYS, _HOST_NETWORK] if spec.get("hostNetwork") else list(_ALWAYS)
    for key, effect in wanted:
        new = {"key": key, "operator": "Exists", "effect": effect}
        if new not in held:
            held.append(new)
    return held


def pod_for(daemon: Object, node: str, digest: str) -> Object:
    """The pod of a DaemonSet for one node: it can be scheduled there only."""
    pod = from_template(daemon["spec"]["template"], daemon)
    labels = {**(pod["metadata"].get("labels") or {}), HASH_LABEL: digest}
    generation = (daemon["metadata"].get("annotations") or {}).get("deprecated.daemonset.template.generation")
    if generation:
        labels[GENERATION] = str(generation)
    pod["metadata"]["labels"] = labels
    spec = dict(pod["spec"])
    spec["tolerations"] = tolerations(spec)
    spec["affinity"] = _pinned(spec.get("affinity") or {}, node)
    return {**pod, "spec": spec}


def _pinned(affinity: Object, node: str) -> Object:
    """Required node affinity by the node's name in place of any other."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    rules = dict(affinity.get("nodeAffinity") or {})
    rules["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term]}
    return {**affinity, "nodeAffinity": rules}


def target(pod: Object) -> str:
    """The node that a daemon pod is on, or is meant for."""
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for entry in term.get("matchFields") or ():
            if entry.get("key") == "metadata.name" and entry.get("values"):
                return str(entry["values"][0])
    return ""


def fits(daemon: Object, node: Object) -> tuple[bool, bool]:
    """(should a pod be made there, may one that is there stay)."""
    spec = daemon["spec"]["template"].get("spec") or {}
    meta = node["metadata"]
    if spec.get("nodeName") and spec["nodeName"] != meta["name"]:
        return False, False
    if not suits(spec, meta["name"], meta.get("labels") or {}):
        return False, False
    tolerant = {**spec, "tolerations": tolerations(spec)}
    node_taints = (node.get("spec") or {}).get("taints") or ()
    if untolerated(tolerant, node_taints, ("NoExecute",)):
        return False, False
    return not untolerated(tolerant, node_taints, ("NoSchedule",)), True


@dataclass(slots=True)
class Plan:
    """Nodes that get a pod; pods to delete; finished ones among them with the reason for an Event."""

    create: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    failed: list[Object] = field(default_factory=list)  # deleted because they failed: made again later


def by_node(pods: Sequence[Object]) -> dict[str, list[Object]]:
    """Daemon pods by the node they are (meant to be) on."""
    out: dict[str, list[Object]] = {}
    for pod in pods:
        out.setdefault(target(pod), []).append(pod)
    return out


def plan(daemon: Object, nodes: Sequence[Object], pods: Sequence[Object], digest: str, now: float) -> Plan:
    """What to create and delete so that every node that should has one pod."""
    out = Plan()
    placed = by_node(pods)
    surge = _limits(daemon, len(nodes))[1]
    least = daemon["spec"].get("minReadySeconds") or 0
    for node in nodes:
        here = placed.pop(node["metadata"]["name"], [])
        should, may = fits(daemon, node)
        alive = [p for p in here if not p["metadata"].get("deletionTimestamp")]
        if not may:
            out.delete += alive
            continue
        for pod in [p for p in alive if is_finished(p)]:
            out.delete.append(pod)
            if phase(pod) == "Failed":
                out.failed.append(pod)
            alive.remove(pod)
        waits = any(p["metadata"].get("deletionTimestamp") for p in here) and not surge
        if should and not alive and not waits:
            out.create.append(node["metadata"]["name"])
        elif len(alive) > 1:
            out.delete += _redundant(alive, digest, surge > 0, least, now)
    for pods_elsewhere in placed.values():  # nodes that are gone
        out.delete += [p for p in pods_elsewhere if not p["metadata"].get("deletionTimestamp")]
    return out


def _redundant(alive: list[Object], digest: str, surging: bool, least: int, now: float) -> list[Object]:
    """All but one of a node's pods; during a surge an old one and its successor until that is available."""
    ordered = sorted(
        alive, key=lambda p: (not is_ready(p), p["metadata"].get("creationTimestamp") or "", p["metadata"]["name"])
    )
    if not surging:
        return ordered[1:]
    new = [p for p in ordered if is_current(p, digest)]
    old = [p for p in ordered if not is_current(p, digest)]
    if new and old and not is_available(new[0], least, now):
        return new[1:] + old[1:]
    return (old + new[1:]) if new else old[1:]


def is_current(pod: Object, digest: str) -> bool:
    """Whether a pod is of the present template."""
    return (pod["metadata"].get("labels") or {}).get(HASH_LABEL) == digest


def _limits(daemon: Object, total: int) -> tuple[int, int]:
    """(maxUnavailable, maxSurge) of a rolling update; (0, 0) for OnDelete."""
    strategy = daemon["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return 0, 0
    rolling = strategy.get("rollingUpdate") or {}
    surge = resolve(rolling.get("maxSurge", 0), total, up=True)
    unavailable = resolve(rolling.get("maxUnavailable", 1), total, up=True)
    return (unavailable if unavailable or surge else 1), surge


def update(
    daemon: Object, nodes: Sequence[Object], pods: Sequence[Object], digest: str, now: float
) -> tuple[list[Object], list[str]]:
    """Old pods to delete now, and nodes to get a pod beside the old one, within the limits of the rolling update."""
    if (daemon["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        return [], []
    wanted = [n["metadata"]["name"] for n in nodes if fits(daemon, n)[0]]
    most_unavailable, most_surge = _limits(daemon, len(wanted))
    placed = by_node(pods)
    least = daemon["spec"].get("minReadySeconds") or 0
    if most_surge:
        return _surge(wanted, placed, digest, most_surge, least, now)
    unavailable, broken, candidates = 0, [], []
    for name in wanted:
        alive = [p for p in placed.get(name, ()) if not p["metadata"].get("deletionTimestamp")]
        if not any(is_available(p, least, now) for p in alive):
            unavailable += 1
            broken += [p for p in alive if not is_current(p, digest)]
        else:
            candidates += [p for p in alive if not is_current(p, digest)]
    return broken + candidates[: max(0, most_unavailable - unavailable)], []


def _surge(
    wanted: Sequence[str], placed: Mapping[str, list[Object]], digest: str, most: int, least: int, now: float
) -> tuple[list[Object], list[str]]:
    delete: list[Object] = []
    create: list[str] = []
    surging = 0
    for name in wanted:
        alive = [p for p in placed.get(name, ()) if not p["metadata"].get("deletionTimestamp")]
        old = [p for p in alive if not is_current(p, digest)]
        new = [p for p in alive if is_current(p, digest)]
        if old and new:
            if any(is_available(p, least, now) for p in new):
                delete += old
            else:
                surging += 1
        elif old:
            create.append(name)
    return delete, create[: max(0, most - surging)]


def status(daemon: Object, nodes: Sequence[Object], pods: Sequence[Object], digest: str, now: float) -> Object:
    """The DaemonSet's status."""
    placed = by_node(pods)
    least = daemon["spec"].get("minReadySeconds") or 0
    numbers = dict.fromkeys(("desired", "current", "misscheduled", "ready", "available", "updated"), 0)
    for node in nodes:
        here = sorted(placed.get(node["metadata"]["name"], ()), key=lambda p: not is_current(p, digest))
        should, _ = fits(daemon, node)
        if not should:
            numbers["misscheduled"] += bool(here)
            continue
        numbers["desired"] += 1
        if not here:
            continue
        numbers["current"] += 1
        ready = next((p for p in here if is_ready(p)), None)
        numbers["ready"] += ready is not None
        numbers["available"] += any(is_available(p, least, now) for p in here)
        numbers["updated"] += any(is_current(p, digest) for p in here)
    old = daemon.get("status") or {}
    out: Object = {
        "currentNumberScheduled": numbers["current"],
        "numberMisscheduled": numbers["misscheduled"],
        "desiredNumberScheduled": numbers["desired"],
        "numberReady": numbers["ready"],
        "observedGeneration": daemon["metadata"].get("generation", 0),
    }
    optional = {
        "updatedNumberScheduled": numbers["updated"],
        "numberAvailable": numbers["available"],
        "numberUnavailable": numbers["desired"] - numbers["available"],
    }
    out |= {key: value for key, value in optional.items() if value}
    return out | {key: old[key] for key in ("collisionCount", "conditions") if old.get(key) is not None}
