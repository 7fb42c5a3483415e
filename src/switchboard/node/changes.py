"""Which changes of a Pod object a node has to look at. Pure."""

from __future__ import annotations

from typing import Any

from switchboard.node.status import OWN

Object = dict[str, Any]

_IDLE = ("labels", "annotations")  # no container changes by them


def matters(pod: Object) -> Object:
    """What of a pod is worth a look: not the status that we told ourselves."""
    meta, status = pod["metadata"], pod.get("status") or {}
    keys = ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations")
    others = {c["type"]: c["status"] for c in status.get("conditions") or () if c["type"] not in OWN}
    ended = status.get("phase") in ("Succeeded", "Failed")
    # Without generations (an API that does not count them) the spec itself has to be compared.
    spec = None if meta.get("generation") else pod["spec"]
    return {**{key: meta.get(key) for key in keys}, "conditions": others, "ended": ended, "spec": spec}


def urgent(before: Object, after: Object) -> bool:
    """Whether the difference of two answers of `matters` is more than labels and annotations: a look at those can
    wait until Services, which packets wait for, have followed them.
    """
    return any(before[key] != value for key, value in after.items() if key not in _IDLE)
