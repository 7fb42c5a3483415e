"""The DaemonSet controller (pure part in `daemons.py`, history in `history.py`)."""

from __future__ import annotations

from typing import Any, ClassVar

from switchboard.client.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from switchboard.controllers import daemons, history
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.podcontrol import PodControl
from switchboard.controllers.pods import soonest_available
from switchboard.objects import selectors
from switchboard.objects.errors import NotFound, StatusError

Object = dict[str, Any]

_FAILED_PAUSE = 1.0  # seconds until a failed daemon pod is made again; doubles with each failure on that node
_LONGEST = 900.0


class DaemonSetController(Controller):
    """Keys are DaemonSets."""

    name = "daemonset"
    main = DAEMONSETS
    needs = (PODS, NODES, CONTROLLERREVISIONS)
    workers: ClassVar[int] = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._control = PodControl(context.cache, self.recorder)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}  # (daemon uid, node) -> failures, not before
        self.follow_children(PODS)
        self.follow_children(CONTROLLERREVISIONS)
        self.of(NODES).on_change(self._node_changed)

    def selects(self, owner: Object, labels: Object) -> bool:
        """For orphans that appear."""
        return selectors.from_object(owner["spec"].get("selector")).matches(labels)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _essence(old) == _essence(new):
            return
        for key in list(self.of(DAEMONSETS).keys()):
            self.loop.add(key)

    async def reconcile(self, key: str) -> float | None:
        """Pods of one DaemonSet, then its status."""
        daemon = self.of(DAEMONSETS).get_key(key)
        if daemon is None:
            return None
        selector = selectors.from_object(daemon["spec"].get("selector"))
        revisions = await self._control.claim(CONTROLLERREVISIONS, daemon, selector)
        pods = await self._control.claim(PODS, daemon, selector)
        nodes = list(self.of(NODES).items())
        failed: StatusError | None = None
        again: float | None = None
        if daemon["metadata"].get("deletionTimestamp"):
            newest = max(revisions, key=lambda r: r.get("revision") or 0, default=None)
            digest = history.digest(newest) if newest else ""
        else:
            newest, revisions = await history.current(self.cache, daemon, revisions)
            digest = history.digest(newest)
            try:
                again = await self._manage(daemon, nodes, pods, digest)
            except StatusError as error:
                failed = error
            in_use = {digest, *((p["metadata"].get("labels") or {}).get(history.HASH_LABEL, "") for p in pods)}
            await history.trim(self.cache, daemon, [r for r in revisions if history.digest(r) not in in_use])
        soon = await self._write_status(key, digest)
        if failed is not None:
            raise failed
        waits = [seconds for seconds in (again, soon) if seconds is not None]
        return min(waits, default=None)

    async def _manage(self, daemon: Object, nodes: list[Object], pods: list[Object], digest: str) -> float | None:
        now = self.clock()
        todo = daemons.plan(daemon, nodes, pods, digest, now)
        uid = daemon["metadata"]["uid"]
        for pod in todo.failed:
            node = daemons.target(pod)
            number = self._failures.get((uid, node), (0, 0.0))[0] + 1
            pause = min(_LONGEST, _FAILED_PAUSE * 2.0 ** (number - 1))
            self._failures[uid, node] = (number, now + pause)
            name = pod["metadata"]["name"]
            text = f"Found failed daemon pod {pod['metadata']['namespace']}/{name} on node {node}, will try to kill it"
            self.say(daemon, "Warning", "FailedDaemonPod", text)
        held = {n: self._failures.get((uid, n), (0, 0.0))[1] for n in todo.create}
        create = [n for n in todo.create if held[n] <= now]
        await self._control.delete(daemon, todo.delete)
        await self._control.create(daemon, [daemons.pod_for(daemon, node, digest) for node in create])
        if not todo.create and not todo.delete:
            delete, surge = daemons.update(daemon, nodes, pods, digest, now)
            await self._control.delete(daemon, delete)
            await self._control.create(daemon, [daemons.pod_for(daemon, node, digest) for node in surge])
        return min((until - now for until in held.values() if until > now), default=None)

    async def _write_status(self, key: str, digest: str) -> float | None:
        daemon = self.of(DAEMONSETS).get_key(key)
        if daemon is None:
            return None
        now = self.clock()
        pods = list(self.of(PODS).by("controller", daemon["metadata"]["uid"]))
        new = daemons.status(daemon, list(self.of(NODES).items()), pods, digest, now)
        if new != (daemon.get("status") or {}):
            try:
                await self.cache.update_status(DAEMONSETS, {**daemon, "status": new})
            except NotFound:
                return None
        least = daemon["spec"].get("minReadySeconds") or 0
        return soonest_available(pods, least, now) if least else None


def _essence(node: Object) -> Any:
    spec = node.get("spec") or {}
    return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable")
