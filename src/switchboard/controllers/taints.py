"""What a node's conditions say by taints, and which pods a taint drives away (pure).

Source: pkg/controller/nodelifecycle/node_lifecycle_controller.go, pkg/controller/tainteviction/taint_eviction.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, Final

from switchboard.controllers import conditions
from switchboard.controllers.times import seconds, stamp
from switchboard.objects.placement import tolerates

Object = dict[str, Any]

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
_PRESSURE: Final = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
}
_OURS: Final = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE.values()})


def wanted(node: Object, now: float, *, evict: bool) -> list[Object]:
    """The node's taints as they should be: foreign ones kept, ours by its conditions. `evict` adds NoExecute."""
    held = (node.get("spec") or {}).get("taints") or []
    ours: list[tuple[str, str]] = []
    known = (node.get("status") or {}).get("conditions")
    ready = (conditions.find(known, "Ready") or {}).get("status")
    if ready is not None and ready != "True":
        key = NOT_READY if ready == "False" else UNREACHABLE
        ours.append((key, "NoSchedule"))
        if evict:
            ours.append((key, "NoExecute"))
    ours += [(key, "NoSchedule") for type_, key in _PRESSURE.items() if conditions.is_true(known, type_)]
    if (node.get("spec") or {}).get("unschedulable"):
        ours.append((UNSCHEDULABLE, "NoSchedule"))
    have = {(t.get("key"), t.get("effect")): t for t in held}
    out = [t for t in held if t.get("key") not in _OURS or (t.get("key"), t.get("effect")) in ours]
    for key, effect in ours:
        if (key, effect) not in have:
            out.append({"key": key, "effect": effect, "timeAdded": stamp(now)})
    return out


def stay(pod: Object, taints: Sequence[Object]) -> float | None:
    """Seconds since the epoch until when a pod may stay under these NoExecute taints; infinity for ever, None: not. All
    taints have a `timeAdded`; a pod that came later has its whole time.
    """
    tolerations = pod["spec"].get("tolerations") or ()
    came = (pod.get("status") or {}).get("startTime") or pod["metadata"].get("creationTimestamp")
    earliest = seconds(came) if came else 0.0
    until = float("inf")
    for taint in taints:
        fitting = [t for t in tolerations if tolerates([t], taint)]
        if not fitting:
            return None
        limits = [t["tolerationSeconds"] for t in fitting if t.get("tolerationSeconds") is not None]
        if limits:
            since = max(earliest, seconds(taint["timeAdded"]))
            until = min(until, since + max(0, min(limits)))
    return until


def driving(node: Object) -> list[Object]:
    """The taints of a node that drive pods away."""
    return [t for t in (node.get("spec") or {}).get("taints") or () if t.get("effect") == "NoExecute"]


class Since:
    """Since when a node has each taint: few who add one say when, so it is from when it was first seen."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[tuple[str, str], str]] = {}  # node -> (key, value) -> time

    def dated(self, node: Object, now: float) -> list[Object]:
        """The taints that drive pods away, each with its time."""
        name, found = node["metadata"]["name"], driving(node)
        known = self._seen.get(name, {})
        fresh = stamp(ceil(now))  # whole seconds: rather too late than too early
        times = {(key := _identity(t)): t.get("timeAdded") or known.get(key) or fresh for t in found}
        if times:
            self._seen[name] = times
        else:
            self.forget(name)
        return [{**t, "timeAdded": times[_identity(t)]} for t in found]

    def forget(self, name: str) -> None:
        """The node is gone, or has no such taint any more."""
        self._seen.pop(name, None)


def _identity(taint: Object) -> tuple[str, str]:
    return taint.get("key", ""), taint.get("value") or ""


def evictions(taints: Sequence[Object], pods: Iterable[Object], now: float) -> tuple[list[Object], float | None]:
    """Pods that these NoExecute taints drive away now, and seconds until the next one."""
    if not taints:
        return [], None
    out, following = [], float("inf")
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        until = stay(pod, taints)
        if until is None or until <= now:
            out.append(pod)
        else:
            following = min(following, until - now)
    return out, None if following == float("inf") else following


_UNKNOWN: Final = (
    ("Ready", True),
    ("MemoryPressure", False),
    ("DiskPressure", False),
    ("PIDPressure", False),
)


def lost(node: Object, now: float) -> list[Object]:
    """The conditions of a node that has given no sign of life: all Unknown."""
    known = (node.get("status") or {}).get("conditions") or []
    created = (node["metadata"].get("creationTimestamp")) or stamp(now)
    for type_, _ in _UNKNOWN:
        held = conditions.find(known, type_)
        if held is None:
            text = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
            beat = created
        else:
            if held.get("status") == "Unknown":
                continue
            text = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
            beat = held.get("lastHeartbeatTime") or created
        known = conditions.put(known, type_, "Unknown", *text, now)
        known = [{**c, "lastHeartbeatTime": beat} if c.get("type") == type_ else c for c in known]
    return known
