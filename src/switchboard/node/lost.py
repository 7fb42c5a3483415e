"""Containers that the runtime knows nothing of any more, though the API was told of them: after its state was wiped.

What has ended stays as it was told; what ran has ended in a way that nobody saw (reason ContainerStatusUnknown in
pkg/kubelet/kubelet_pods.go convertToAPIContainerStatuses). Pure.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_FIELDS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def told_of(pod: Object, name: str) -> Object | None:
    """What the API was told of a container that was made once; None for one that never was."""
    status = pod.get("status") or {}
    found = (s for field in _FIELDS for s in status.get(field) or () if s["name"] == name)
    told = next(found, None)
    return told if told is not None and told.get("containerID") else None


def next_attempt(pod: Object, name: str) -> int:
    """The number of the next try of a container of which the runtime has none."""
    told = told_of(pod, name)
    return int(told.get("restartCount", 0)) + 1 if told is not None else 0


def status_of_lost(told: Object, waiting: Object, *, stays: bool) -> Object:
    """The status of such a container; `stays`: it is not started again, else it is `waiting` to be."""
    ended = (told.get("state") or {}).get("terminated")
    if ended and stays:
        return told
    ended = ended or {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated"
        if stays
        else "The container could not be located when the pod was deleted.  The container used to be Running",
        "startedAt": None,
        "finishedAt": None,
    }
    gone = {**told, "ready": False, "started": False}
    if stays:
        return {**gone, "state": {"terminated": ended}}
    return {**gone, "state": {"waiting": waiting}, "lastState": {"terminated": ended}}
