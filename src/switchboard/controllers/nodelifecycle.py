"""The node lifecycle controller: nodes without a sign of life, their taints, and the pods those drive away.

A sign of life is a change of the node's Lease or of its Ready heartbeat, timed by our own clock when we see it: clocks
of nodes may be wrong. While no node at all is ready nothing is evicted: then it is more likely that we are cut off.
Source: pkg/controller/nodelifecycle, pkg/controller/tainteviction.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from switchboard.client import Informer
from switchboard.client.resources import LEASES, NODES, PODS
from switchboard.controllers import conditions, taints
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.pods import is_finished, is_ready
from switchboard.controllers.times import stamp
from switchboard.objects.errors import Conflict, NotFound

Object = dict[str, Any]


def node_name(pod: Object) -> list[str]:
    """Index function: the node a pod is on."""
    name = pod["spec"].get("nodeName")
    return [name] if name else []


class NodeLifecycleController(Controller):
    """Keys are nodes."""

    name = "nodelifecycle"
    component = "node-controller"
    main = NODES
    needs = (PODS,)
    workers: ClassVar[int] = 4

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._leases = Informer[Object](context.cache.client, LEASES, namespace="kube-node-lease")
        self._alive: dict[str, tuple[Any, float]] = {}  # node -> (last sign, when we saw it)
        self._registered: set[str] = set()
        self._since = taints.Since()
        self.of(PODS).index("node", node_name)
        self.of(PODS).on_change(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod came to a node that may have NoExecute taints, or changed its tolerations."""
        if new is None or not new["spec"].get("nodeName"):
            return
        before, after = (old or new)["spec"], new["spec"]
        if old is None or not before.get("nodeName") or before.get("tolerations") != after.get("tolerations"):
            self.loop.add(new["spec"]["nodeName"])

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        super()._main_changed(old, new)
        if old is not None and new is not None and _ready(old) == _ready(new):
            return
        for key in list(self.of(NODES).keys()):  # whether anybody is ready decides on evictions everywhere
            self.loop.add(key)

    async def run(self) -> None:
        """As every controller, with leases of nodes only."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leases.run())
            await self._leases.synced.wait()
            group.create_task(super().run())

    async def reconcile(self, key: str) -> float | None:
        """One node."""
        node = self.of(NODES).get_key(key)
        if node is None:
            self._forget(key)
            return None
        if key not in self._registered:
            self._registered.add(key)
            text = f"Node {key} event: Registered Node {key} in Controller"
            self.recorder.event(_about(node), "Normal", "RegisteredNode", text)
        now = self.clock()
        try:
            node = await self._watch_life(node, now)
            node = await self._taint(node, now)
        except (Conflict, NotFound):
            return 0.02  # the node changed meanwhile: its event may have come before our read
        following = await self._evict(node, now)
        period = self.settings.node_period
        return min(period, following) if following is not None else period

    def _forget(self, key: str) -> None:
        self._alive.pop(key, None)
        self._since.forget(key)
        if key in self._registered:
            self._registered.discard(key)
            about = {"kind": "Node", "name": key, "uid": key, "apiVersion": "v1"}
            text = f"Node {key} event: Removing Node {key} from Controller"
            self.recorder.event(about, "Normal", "RemovingNode", text)

    async def _watch_life(self, node: Object, now: float) -> Object:
        """Mark a silent node; the node as it is then."""
        name = node["metadata"]["name"]
        lease = self._leases.get("kube-node-lease", name) or {}
        ready = conditions.find((node.get("status") or {}).get("conditions"), "Ready") or {}
        sign = ((lease.get("spec") or {}).get("renewTime"), ready.get("lastHeartbeatTime"))
        seen = self._alive.get(name)
        if seen is None or seen[0] != sign:
            self._alive[name] = (sign, now)
            return node
        if now - seen[1] <= self.settings.node_grace:
            return node
        known = taints.lost(node, now)
        status = node.get("status") or {}
        if known != (status.get("conditions") or []):
            was_ready = ready.get("status") == "True"
            node = await self.cache.update_status(NODES, {**node, "status": {**status, "conditions": known}})
            if was_ready:
                text = f"Node {name} status is now: NodeNotReady"
                self.recorder.event(_about(node), "Normal", "NodeNotReady", text)
            await self._pods_not_ready(name, now)
        return node

    async def _pods_not_ready(self, name: str, now: float) -> None:
        """Nobody else will say so: the pods of a lost node are not ready."""
        for pod in list(self.of(PODS).by("node", name)):
            if not is_ready(pod) or is_finished(pod):
                continue
            meta = pod["metadata"]
            condition = {"type": "Ready", "status": "False", "lastTransitionTime": stamp(now)}
            body = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": [condition]}}
            try:
                await self.cache.patch(
                    PODS, meta["name"], body, meta["namespace"], kind="strategic", subresource="status"
                )
            except (NotFound, Conflict):
                continue
            self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    async def _taint(self, node: Object, now: float) -> Object:
        anybody = any(_ready(other) for other in self.of(NODES).items())
        wanted = taints.wanted(node, now, evict=anybody)
        meta = node["metadata"]
        if wanted == ((node.get("spec") or {}).get("taints") or []):
            return node
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "spec": {"taints": wanted or None}}
        return await self.cache.patch(NODES, meta["name"], patch)

    async def _evict(self, node: Object, now: float) -> float | None:
        pods = self.of(PODS).by("node", node["metadata"]["name"])
        going, following = taints.evictions(self._since.dated(node, now), pods, now)
        for pod in going:
            meta = pod["metadata"]
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": stamp(now),
            }
            body = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": [condition]}}
            text = f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
            self.recorder.event(pod, "Normal", "TaintManagerEviction", text)
            try:
                await self.cache.client.patch(
                    PODS, meta["name"], body, meta["namespace"], kind="strategic", subresource="status"
                )
                await self.cache.delete(
                    PODS, meta["name"], meta["namespace"], options={"preconditions": {"uid": meta["uid"]}}
                )
            except (NotFound, Conflict):
                continue
        return following


def _ready(node: Object) -> bool:
    return conditions.is_true((node.get("status") or {}).get("conditions"), "Ready")


def _about(node: Object) -> Object:
    """Events about nodes name the node where other objects have a uid, as the kubelet's do."""
    name = node["metadata"]["name"]
    return {"kind": "Node", "name": name, "uid": node["metadata"].get("uid", name), "apiVersion": "v1"}
