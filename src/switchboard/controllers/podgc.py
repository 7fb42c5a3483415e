"""Pods that nobody will take care of: on nodes that are gone, deleted before they had a node, finished by thousands.

Source: pkg/controller/podgc/gc_controller.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Final

from switchboard.client.resources import NODES, PODS
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.nodelifecycle import node_name
from switchboard.controllers.pods import is_finished, phase
from switchboard.controllers.times import stamp
from switchboard.objects.errors import Conflict, NotFound

Object = dict[str, Any]

_PERIOD: Final = 20.0
_QUARANTINE: Final = 40.0  # seconds for which a node must have been gone
_ENDING, _FINISHED, _DELETED = "ending", "finished", "deleted"
_OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"


def unplaced(pods: Iterable[Object]) -> list[Object]:
    """Being deleted without ever having had a node: no kubelet will finish that."""
    return [p for p in pods if p["metadata"].get("deletionTimestamp") and not p["spec"].get("nodeName")]


def surplus(pods: Collection[Object], limit: int) -> list[Object]:
    """Finished pods beyond the limit, oldest first."""
    if not 0 < limit < len(pods):
        return []  # without looking at them, which may be packed
    done = [p for p in pods if is_finished(p)]
    done.sort(key=lambda p: (p["metadata"].get("creationTimestamp") or "", p["metadata"]["name"]))
    return done[: max(0, len(done) - limit)]


class PodGarbageCollector(Controller):
    """One key, looked at every 20 s and when a node goes."""

    name = "podgc"
    component = "pod-garbage-collector-controller"
    main = NODES
    needs = (PODS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.of(PODS).index("node", node_name)
        self.of(PODS).index(_ENDING, _ending)
        self._missing: dict[str, float] = {}  # node -> since when it is known to be gone

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or _out_of_service(new):
            self.loop.add("all")

    async def run(self) -> None:
        """As every controller, with its one key."""
        await self.cache.synced(NODES, PODS)
        self.loop.add("all")
        await self.loop.run()

    async def reconcile(self, key: str) -> float | None:
        """One round."""
        now, pods = self.clock(), self.of(PODS)
        for pod in surplus(pods.by(_ENDING, _FINISHED), self.settings.finished_pods):
            await self._delete(pod, "")
        deleted = list(pods.by(_ENDING, _DELETED))
        for pod in unplaced(deleted):
            await self._delete(pod, "")
        await self._orphans(now)
        for pod in deleted:
            node = self.of(NODES).get(None, pod["spec"].get("nodeName") or "")
            if node is not None and _out_of_service(node):
                await self._delete(pod, "PodGC: node is out of service")
        return min(_PERIOD, _QUARANTINE + 0.1 if self._missing else _PERIOD)

    async def _orphans(self, now: float) -> None:
        names = self.of(PODS).values("node") - set(self.of(NODES).keys())
        self._missing = {name: self._missing.get(name, now) for name in names}
        ripe = {name for name, since in self._missing.items() if now - since >= _QUARANTINE}
        for name in ripe:
            try:
                await self.cache.client.get(NODES, name)
            except NotFound:
                for pod in list(self.of(PODS).by("node", name)):
                    await self._delete(pod, "PodGC: node no longer exists")

    async def _delete(self, pod: Object, why: str) -> None:
        """Delete at once; what had not finished is marked as failed first, so that its owner knows."""
        meta = pod["metadata"]
        try:
            if phase(pod) not in ("Succeeded", "Failed") and why:
                condition = {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": why,
                    "lastTransitionTime": stamp(self.clock()),
                }
                body = {"metadata": {"uid": meta["uid"]}, "status": {"phase": "Failed", "conditions": [condition]}}
                await self.cache.client.patch(
                    PODS, meta["name"], body, meta["namespace"], kind="strategic", subresource="status"
                )
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            await self.cache.client.delete(PODS, meta["name"], meta["namespace"], options=options)
        except (NotFound, Conflict):
            await asyncio.sleep(0)


def _ending(pod: Object) -> list[str]:
    """Index function: pods that have finished, and pods that are being deleted."""
    deleted = bool(pod["metadata"].get("deletionTimestamp"))
    return [_FINISHED] * is_finished(pod) + [_DELETED] * deleted


def _out_of_service(node: Object) -> bool:
    return any(t.get("key") == _OUT_OF_SERVICE for t in (node.get("spec") or {}).get("taints") or ())
