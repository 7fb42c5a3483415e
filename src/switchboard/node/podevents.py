"""Events about one pod and its containers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from switchboard.client import EventRecorder
from switchboard.client.events import reference
from switchboard.node.plan import Plan

Object = dict[str, Any]

_CONTAINER_FIELDS = ("containers", "initContainers", "ephemeralContainers")


class PodEvents:
    """Says Events about the pod that `pod` gives, as it is at that time."""

    def __init__(self, recorder: EventRecorder, pod: Callable[[], Object]) -> None:
        self._recorder, self._pod = recorder, pod

    def say(self, kind: str, reason: str, message: str, container: Object | None = None) -> None:
        """About the pod, or one of its containers."""
        pod = self._pod()
        about = reference(pod)
        if container is not None and container.get("name"):
            found = ((f, c["name"]) for f in _CONTAINER_FIELDS for c in pod["spec"].get(f) or ())
            field = next((f for f, name in found if name == container["name"]), "containers")
            about["fieldPath"] = f"spec.{field}{{{container['name']}}}"
        self._recorder.event(about, kind, reason, message)

    def of_probe(self, container: Object, kind: str, reason: str, message: str) -> None:
        """What a probe of a container found."""
        self.say(kind, reason, message, container)

    def held(self, plan: Plan, failed: Collection[str]) -> None:
        """The containers that wait for their next try; `failed` could not even be started, which was said."""
        meta = self._pod()["metadata"]
        where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        for held in plan.held:
            if held.name not in failed:
                message = f"Back-off restarting failed container {held.name} in pod {where}"
                self.say("Warning", "BackOff", message, {"name": held.name})
