"""The EndpointSlice controller: slices of every Service with a selector follow its pods.

Source: pkg/controller/endpointslice/endpointslice_controller.go. Nothing is batched by time: a change of a pod leads to
a write as soon as the event is read; what queued meanwhile goes into the same write.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from switchboard.client import key_of
from switchboard.client.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from switchboard.controllers import topology
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.nodelifecycle import node_name
from switchboard.controllers.pods import ready_condition
from switchboard.controllers.slice_endpoints import ZONE_LABEL, Memo, asks_for_topology, desired, families
from switchboard.controllers.slice_packing import HEADLESS, MANAGED_BY, SERVICE_NAME, TRIGGER, Frame, Writes, pack
from switchboard.objects.errors import NotFound

Object = dict[str, Any]

MANAGER = "endpointslice-controller.k8s.io"
_LARGE = 200  # pods from which on what was made of them is remembered
_NODE_RETRY = 1.0  # seconds until a Service is looked at again whose pod stands on an unknown node


class EndpointSliceController(Controller):
    """Keys are Services."""

    name = "endpointslice"
    component = "endpoint-slice-controller"
    main = SERVICES
    needs = (PODS, ENDPOINTSLICES, NODES)
    workers: ClassVar[int] = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._selection = context.selection
        self._memos: dict[str, tuple[Object, Memo]] = {}
        self._told: dict[str, dict[str, str]] = {}  # Services with topology aware hints: address type -> why not, or ""
        self._shares: dict[str, float] | None = None  # of the zones, once asked for
        slices = self.of(ENDPOINTSLICES)
        slices.index("managed", _managed_for)
        self.of(PODS).index("node", node_name)
        self.of(PODS).on_change(self._pod_changed)
        slices.on_change(self._slice_changed)
        self.of(NODES).on_change(self._node_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        for key in self._selection.concerned(old, new):
            self.loop.add(key)

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for piece in (old, new):
            if piece is not None:
                for key in _managed_for(piece):
                    self.loop.add(key)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        """A node came, or its zone changed: endpoints on it may look otherwise; hints, when the zones' shares do."""
        if (topology.capacity(old) if old else None) != (topology.capacity(new) if new else None):
            self._shares = None
            for key in self._told:
                self.loop.add(key)
        if new is None or (old is not None and _zone(old) == _zone(new)):
            return
        for pod in self.of(PODS).by("node", new["metadata"]["name"]):
            for key in self._selection.services(pod):
                self.loop.add(key)

    async def reconcile(self, key: str) -> float | None:
        """Slices of one Service."""
        service = self.of(SERVICES).get_key(key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._memos.pop(key, None)
            self._told.pop(key, None)
            return None  # its slices are collected by their owner reference
        spec = service["spec"]
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            return None
        pods = list(self._selection.pods(service))
        existing = list(self.of(ENDPOINTSLICES).by("managed", key))
        wanted, missing = desired(
            service, pods, lambda name: self.of(NODES).get(None, name), self._memo(key, service, pods)
        )
        hinted = self._hinted(key, service, wanted, existing)
        frame = frame_of(service, trigger_time(service, pods, existing), self.settings.endpoints_per_slice)
        await self._write(pack(frame, families(service), existing, hinted))
        return _NODE_RETRY if missing else None

    def _hinted(self, key: str, service: Object, wanted: topology.Wanted, existing: list[Object]) -> topology.Wanted:
        """Hints by the zones' shares, where the Service asks for them; Events when they come, go or cannot be."""
        if not asks_for_topology(service):
            if any(not reason for reason in self._told.pop(key, {}).values()):
                for family in families(service):
                    text = f"{topology.DISABLED}, addressType: {family}"
                    self.say(service, "Warning", "TopologyAwareHintsDisabled", text)
            return wanted
        before = self._told.get(key, {})
        if self._shares is None:
            self._shares = topology.shares(self.of(NODES).items())
        wanted, reasons = topology.apply(wanted, existing, self._shares)
        now = self._told[key] = {family: reasons.get(family, "") for family, _ in wanted}
        for family, reason in now.items():
            if reason and reason != before.get(family):
                self.say(service, "Warning", "TopologyAwareHintsDisabled", reason)
            elif not reason and before.get(family) != "":
                self.say(service, "Normal", "TopologyAwareHintsEnabled", f"{topology.ENABLED}, addressType: {family}")
        return wanted

    def _memo(self, key: str, service: Object, pods: list[Object]) -> Memo | None:
        """What is remembered of the endpoints of a large Service, as long as the Service itself stays as it is."""
        if len(pods) < _LARGE:
            self._memos.pop(key, None)
            return None
        held = self._memos.get(key)
        if held is None or held[0] is not service or len(held[1]) > 2 * len(pods):
            held = self._memos[key] = (service, {})
        return held[1]

    async def _write(self, writes: Writes) -> None:
        jobs = [self.cache.update(ENDPOINTSLICES, piece) for piece in writes.update]
        jobs += [self.cache.create(ENDPOINTSLICES, piece) for piece in writes.create]
        if len(jobs) == 1:  # the ordinary case needs no tasks
            await jobs[0]
        elif jobs:
            await asyncio.gather(*jobs)
        for piece in writes.delete:
            meta = piece["metadata"]
            try:
                await self.cache.delete(ENDPOINTSLICES, meta["name"], meta.get("namespace"))
            except NotFound:
                pass


def _zone(node: Object) -> str | None:
    return (node["metadata"].get("labels") or {}).get(ZONE_LABEL)


def _managed_for(piece: Object) -> list[str]:
    """Index: the Service whose slice it is, if this controller manages it."""
    meta = piece["metadata"]
    labels = meta.get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(SERVICE_NAME):
        return []
    return [key_of(meta.get("namespace"), labels[SERVICE_NAME])]


def frame_of(service: Object, trigger: str | None, most: int) -> Frame:
    """What all slices of a Service carry: its labels, its name, who manages them."""
    meta = service["metadata"]
    reserved = (MANAGED_BY, SERVICE_NAME, HEADLESS)
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key not in reserved}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    labels |= {MANAGED_BY: MANAGER, SERVICE_NAME: meta["name"]}
    prefix = f"{meta['name']}-"
    return Frame(service, prefix, labels, {TRIGGER: trigger} if trigger else {}, most)


def trigger_time(service: Object, pods: list[Object], existing: list[Object]) -> str | None:
    """When the first change happened that the slices do not show yet (for measuring how long it took): the earliest
    readiness change later than the time they carry; the Service's creation for the first slices."""
    last = max(((p["metadata"].get("annotations") or {}).get(TRIGGER, "") for p in existing), default="")
    moments = []
    if not existing:
        moments.append(service["metadata"].get("creationTimestamp") or "")
    for pod in pods:
        ready = ready_condition(pod)
        moment = (ready or {}).get("lastTransitionTime")
        if moment and (existing or not moments or moment > moments[0]):
            moments.append(moment)
    later = [moment for moment in moments if moment and moment > last]
    return min(later, default=last or None)
