"""The scheduler's loop: take a pod, choose a node, bind; or say why not, and wait for a change.

Choosing is synchronous and counts what was just decided at once, so binding needs no waiting in between.
Source: pkg/scheduler/schedule_one.go, eventhandlers.go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from switchboard.client import Cache, Client, Disconnected, EventRecorder
from switchboard.client.resources import (
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    RESOURCECLAIMS,
    STORAGECLASSES,
)
from switchboard.objects import selectors
from switchboard.objects.errors import Conflict, NotFound, StatusError
from switchboard.objects.podresources import settled
from switchboard.scheduler import messages, preemption
from switchboard.scheduler.claims import ClaimCheck
from switchboard.scheduler.filters import Filter
from switchboard.scheduler.podinfo import PodInfo
from switchboard.scheduler.queue import Queue
from switchboard.scheduler.scores import choose
from switchboard.scheduler.snapshot import NodeInfo, Snapshot
from switchboard.scheduler.volumes import SELECTED_NODE, VolumeCheck

Object = dict[str, Any]
log = logging.getLogger(__name__)

NAME: Final = "default-scheduler"
_MOST_STALE = 256  # so many changed pods are kept as they came
_NEEDS = (
    PODS,
    NODES,
    NAMESPACES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
    PODDISRUPTIONBUDGETS,
    RESOURCECLAIMS,
)


async def run_scheduler(client: Client, *, cache: Cache | None = None, name: str = NAME) -> None:
    """Place pods whose spec.schedulerName is `name`, for ever. A cache that somebody else runs may be shared."""
    if cache is not None:
        await Scheduler(client, cache, name).run()
        return
    own = Cache(client)
    scheduler = Scheduler(client, own, name)
    async with asyncio.TaskGroup() as group:
        group.create_task(own.run())
        group.create_task(scheduler.run())


class Scheduler:
    """Keeps the snapshot and the queue true, and works the queue off."""

    def __init__(self, client: Client, cache: Cache, name: str = NAME) -> None:
        self._cache, self._client, self._name = cache, client, name
        self._recorder = EventRecorder(client, name)
        self._snapshot = Snapshot()
        self._queue = Queue()
        self._nominated: dict[str, tuple[PodInfo, str]] = {}
        self._stale: dict[str, Object] = {}  # pods that changed where they are: read when a node is looked for
        self._jobs: set[asyncio.Task[None]] = set()
        self._volumes = VolumeCheck(
            cache.informer(PERSISTENTVOLUMECLAIMS).get_key,
            cache.informer(PERSISTENTVOLUMES).get_key,
            cache.informer(STORAGECLASSES).get_key,
        )
        self._claims = ClaimCheck(cache.informer(RESOURCECLAIMS).get_key)
        cache.informer(NODES).on_change(self._node_changed)
        cache.informer(NAMESPACES).on_change(self._namespace_changed)
        cache.informer(PODS).on_change(self._pod_changed)
        for res in (PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES, RESOURCECLAIMS):
            cache.informer(res).on_change(lambda old, new: self._queue.changed())

    # The world as it changes

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        self._snapshot.set_node((new or old or {})["metadata"]["name"], new)
        if new is not None and (old is None or _node_essence(old) != _node_essence(new)):
            self._queue.changed()

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        meta = (new or old or {})["metadata"]
        if new is None:
            self._snapshot.namespaces = {k: v for k, v in self._snapshot.namespaces.items() if k != meta["name"]}
        elif old is None or old["metadata"].get("labels") != meta.get("labels"):
            self._snapshot.namespaces[meta["name"]] = meta.get("labels") or {}
            self._queue.changed()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            key = _key(new or old or {})
            freed = self._snapshot.node_of(key) is not None
            self._stale.pop(key, None)
            self._snapshot.remove(key)
            self._queue.drop(key)
            if self._nominated.pop(key, None) or freed:
                self._queue.changed()
        elif new["spec"].get("nodeName"):
            self._assigned(old, new)
        elif self._ours(new):
            self._waiting(old, new)

    def _assigned(self, old: Object | None, new: Object) -> None:
        key, node = _key(new), new["spec"]["nodeName"]
        self._queue.drop(key)
        self._nominated.pop(key, None)
        before = self._snapshot.node_of(key)
        same = old is not None and _pod_essence(old) == _pod_essence(new)
        if before == node and (same or len(self._stale) < _MOST_STALE):
            if not same or key in self._stale:
                self._stale[key] = new
        else:
            self._stale.pop(key, None)
            self._snapshot.place(PodInfo(new).lighten(), node)
        if before is None or not same:
            self._queue.changed()

    def _read_stale(self) -> None:
        """What waited until somebody needs it: a packet may wait for who else is told of a pod's change."""
        for pod in self._stale.values():
            self._snapshot.place(PodInfo(pod).lighten(), pod["spec"]["nodeName"])
        self._stale.clear()

    def _ours(self, pod: Object) -> bool:
        return (pod["spec"].get("schedulerName") or NAME) == self._name

    def _waiting(self, old: Object | None, new: Object) -> None:
        key = _key(new)
        if new["metadata"].get("deletionTimestamp") or new["spec"].get("schedulingGates"):
            self._queue.drop(key)
            return
        if self._snapshot.node_of(key) is not None:
            return  # decided already, its binding is on the way
        if old is None or _wishes(old) != _wishes(new):
            self._queue.put(PodInfo(new))

    # The work

    async def run(self) -> None:
        """Work for ever."""
        await self._cache.synced(*_NEEDS)
        for obj in list(self._cache.informer(NODES).items()):
            self._snapshot.set_node(obj["metadata"]["name"], obj)
        self._queue.changed()
        while True:
            pod = await self._queue.get()
            try:
                self._one(pod)
            except Exception:
                log.exception("scheduling %s failed", pod.key)
                self._queue.retry(pod)
            await asyncio.sleep(0)

    def _one(self, pod: PodInfo) -> None:
        self._read_stale()
        current = self._cache.informer(PODS).get_key(pod.key)
        if current is None or current["metadata"].get("uid") != pod.uid or current["spec"].get("nodeName"):
            return
        pod = PodInfo(current)
        blocked = self._volumes.blocked(pod) or self._claims.blocked(pod)
        if blocked is not None:
            self._refused(pod, _blocked(len(self._snapshot), blocked))
            return
        found, refusals = self._feasible(pod)
        if found:
            node = choose(pod, found, self._snapshot)
            self._snapshot.place(pod, node.name)
            self._nominated.pop(pod.key, None)
            self._spawn(self._bind(pod, node.name))
        else:
            self._no_node(pod, refusals)

    def _feasible(self, pod: PodInfo) -> tuple[list[NodeInfo], dict[str, list[str]]]:
        check = Filter(pod, self._snapshot, self._binds)
        found, refusals = [], {}
        for node in self._snapshot:
            reasons = check.refuse(node)
            if not reasons:
                reasons = self._refused_for_nominated(pod, node, check)
            if reasons:
                refusals[node.name] = reasons
            else:
                found.append(node)
        return found, refusals

    def _binds(self, pod: PodInfo, node: NodeInfo) -> str | None:
        """Why what the pod refers to keeps it off a node."""
        return self._volumes.refuse(pod, node) or self._claims.refuse(pod, node)

    def _refused_for_nominated(self, pod: PodInfo, node: NodeInfo, check: Filter) -> list[str]:
        """Room that was made for a more important pod is not given to another."""
        guests = [
            other
            for other, where in self._nominated.values()
            if where == node.name and other.key != pod.key and other.priority >= pod.priority
        ]
        if not guests:
            return []
        trial = node.copy()
        for other in guests:
            trial.add(other)
        return check.refuse(trial)

    def _no_node(self, pod: PodInfo, refusals: dict[str, list[str]]) -> None:
        total = len(self._snapshot)
        text = ""
        if total:
            text = self._preempt(pod, refusals)
        self._refused(pod, messages.unschedulable(total, refusals, text))

    def _preempt(self, pod: PodInfo, refusals: dict[str, list[str]]) -> str:
        """Make room if that helps; what to say about it."""
        if pod.spec.get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        nominated = self._nominated.get(pod.key)
        if nominated is not None:
            node = self._snapshot.nodes.get(nominated[1])
            if node is not None and any(o.terminating and o.priority < pod.priority for o in node.pods.values()):
                return "not eligible due to a terminating pod on the nominated node."
        candidate, reasons = preemption.find(pod, self._snapshot, refusals, self._protected)
        if candidate is None:
            return messages.preemption_text(len(self._snapshot), reasons)
        self._nominated[pod.key] = (pod, candidate.node)
        self._spawn(self._evict(pod, candidate))
        return ""

    def _protected(self, pod: PodInfo) -> bool:
        for budget in self._cache.informer(PODDISRUPTIONBUDGETS).items():
            if budget["metadata"].get("namespace") != pod.namespace:
                continue
            if not selectors.from_object(budget["spec"].get("selector")).matches(pod.labels):
                continue
            if not (budget.get("status") or {}).get("disruptionsAllowed"):
                return True
        return False

    # Writes

    def _spawn(self, job: Any) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _bind(self, pod: PodInfo, node: str) -> None:
        meta = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": meta}
        body["target"] = {"apiVersion": "v1", "kind": "Node", "name": node}
        try:
            for claim in self._volumes.to_select(pod):
                patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                await self._client.patch(PERSISTENTVOLUMECLAIMS, claim, patch, pod.namespace)
            await self._client.create(PODS, body, pod.namespace, name=pod.name, subresource="binding")
        except (StatusError, Disconnected) as error:
            self._unassume(pod)
            if not isinstance(error, NotFound):
                log.log(
                    logging.DEBUG if isinstance(error, Conflict) else logging.WARNING, "bind %s: %s", pod.key, error
                )
                self._queue.retry(pod)
            return
        text = f"Successfully assigned {pod.key} to {node}"
        self._recorder.event(pod.raw, "Normal", "Scheduled", text, action="Binding")
        pod.lighten()

    def _unassume(self, pod: PodInfo) -> None:
        current = self._cache.informer(PODS).get_key(pod.key)
        if current is None or not current["spec"].get("nodeName"):
            self._snapshot.remove(pod.key)

    def _refused(self, pod: PodInfo, message: str) -> None:
        self._queue.park(pod)
        self._recorder.event(pod.raw, "Warning", "FailedScheduling", message, action="Scheduling")
        self._spawn(self._tell(pod, message))

    async def _tell(self, pod: PodInfo, message: str) -> None:
        """The PodScheduled condition and the nominated node, if they are not said already."""
        status = pod.raw.get("status") or {}
        held: Object = next((c for c in status.get("conditions") or () if c.get("type") == "PodScheduled"), {})
        new: Object = {}
        if (held.get("status"), held.get("reason"), held.get("message")) != ("False", "Unschedulable", message):
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            same = held.get("status") == "False"
            condition["lastTransitionTime"] = (same and held.get("lastTransitionTime")) or _now()
            new["conditions"] = [condition]
        nominated = self._nominated.get(pod.key)
        if nominated is not None and status.get("nominatedNodeName") != nominated[1]:
            new["nominatedNodeName"] = nominated[1]
        if not new:
            return
        body = {"metadata": {"uid": pod.uid}, "status": new}
        try:
            await self._client.patch(PODS, pod.name, body, pod.namespace, kind="strategic", subresource="status")
        except (StatusError, Disconnected) as error:
            log.debug("condition of %s: %s", pod.key, error)

    async def _evict(self, pod: PodInfo, candidate: preemption.Candidate) -> None:
        for victim in candidate.victims:
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "PreemptionByScheduler",
                "message": f"{self._name}: preempting to accommodate a higher priority pod",
                "lastTransitionTime": _now(),
            }
            body = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
            try:
                await self._client.patch(
                    PODS, victim.name, body, victim.namespace, kind="strategic", subresource="status"
                )
                await self._client.delete(
                    PODS, victim.name, victim.namespace, options={"preconditions": {"uid": victim.uid}}
                )
            except (NotFound, Conflict):
                continue
            except (StatusError, Disconnected) as error:
                log.warning("preempting %s for %s: %s", victim.key, pod.key, error)
                self._nominated.pop(pod.key, None)
                self._queue.retry(pod)
                return
            text = f"Preempted by pod {pod.uid} on node {candidate.node}"
            self._recorder.event(victim.reference, "Normal", "Preempted", text, action="Preempting")


def _blocked(total: int, reason: str) -> str:
    return f"0/{total} nodes are available: {reason}." if total else "no nodes available to schedule pods"


def _key(pod: Object) -> str:
    return f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"


def _node_essence(node: Object) -> Any:
    """What of a node may let a pod in; heartbeats are not."""
    status = node.get("status") or {}
    ready = [c.get("status") for c in status.get("conditions") or () if c.get("type") == "Ready"]
    return node["metadata"].get("labels"), node.get("spec"), status.get("allocatable"), ready


def _wishes(pod: Object) -> Any:
    """What of a pod matters to where it may go."""
    claims = (pod.get("status") or {}).get("resourceClaimStatuses")
    return pod["metadata"].get("uid"), pod["metadata"].get("labels"), pod["spec"], claims


def _pod_essence(pod: Object) -> Any:
    """What of a pod matters to others."""
    meta, spec = pod["metadata"], settled(pod)
    counted = spec.get("containers"), spec.get("initContainers")
    return meta.get("labels"), meta.get("deletionTimestamp"), counted, meta.get("uid")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
