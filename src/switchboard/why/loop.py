"""What the cluster says in its own time: Events on a Service whose selector matches nothing, and when it is mended.

A Service is looked at whenever it, or a pod that it selects, changes; one without pods also when any pod or workload of
its namespace does. It is spoken of only after it has stood without pods for `GRACE` seconds: in one `kubectl apply` the
Service often comes before its Deployment.
"""

from __future__ import annotations

import asyncio
from typing import Any

from switchboard.client import Client, EventRecorder, Loop
from switchboard.client.resources import EVENTS
from switchboard.why.check import LATER, Object, selects_nothing
from switchboard.why.verdict import ailment, names_ports, why
from switchboard.why.world import World

GRACE = 1.0
LAG = 0.02  # seconds until a change of a pod is looked at: packets wait for what others make of it
_CROWD = 256  # pods of a namespace from which on it takes longer: a Service that selects none is compared with all
_WARNED = "SelectorMatchesNoPods"
_OTHERS = ("NoSuchTargetPort", "UndeclaredTargetPort", "NoReadyPods")  # pods match, and give no endpoint that answers
_MENDED = "SelectorMatchesPods"


class Watcher:
    """Keeps an eye on every Service of the cluster; `run()` never returns."""

    def __init__(self, client: Client, world: World, recorder: EventRecorder) -> None:
        self._client, self._world, self._recorder = client, world, recorder
        self._loop = Loop("service-advice", self._look)
        self._since: dict[str, float] = {}  # Service -> loop time since when it has nothing
        self._said: dict[str, str] = {}  # Service -> the message it was last warned with
        self._empty: dict[str, set[str]] = {}  # namespace -> Services whose selector matched no pod when last looked at

    async def run(self) -> None:
        """Take up what was said before this process, then follow changes."""
        for informer in (self._world.services, self._world.pods, self._world.slices, *self._world.workloads):
            await informer.synced.wait()
        await self._recall()
        self._world.services.on_change(self._service_changed)
        self._world.pods.on_change(self._pod_changed, late=True)
        for informer in self._world.workloads:
            informer.on_change(self._neighbour_changed)
        self._world.slices.on_change(self._slice_changed, late=True)
        for key in list(self._world.services.keys()):
            self._loop.add(key)
        await self._loop.run()

    async def _recall(self) -> None:
        """Warnings that stand as Events already: they are not repeated, and their mending is still to be told."""
        told = await self._client.list(EVENTS, field_selector="involvedObject.kind=Service")
        for event in sorted(told.get("items", ()), key=lambda e: e.get("lastTimestamp") or ""):
            ref = event["involvedObject"]
            key = f"{ref.get('namespace', '')}/{ref['name']}"
            if event.get("reason") in (_WARNED, *_OTHERS):
                self._said[key] = event.get("message", "")
            elif event.get("reason") == _MENDED:
                self._said.pop(key, None)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._loop.add(_key(new))
        elif old is not None:
            self._since.pop(_key(old), None)
            self._said.pop(_key(old), None)
            self._fill(_key(old))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or old["metadata"].get("labels") != new["metadata"].get("labels")):
            for service in self._world.selecting(old):
                self._loop.add_after(_key(service), LAG)
        if new is not None:
            self._health_changed(old, new)
        self._neighbour_changed(old, new)

    def _health_changed(self, old: Object | None, new: Object) -> None:
        """A pod that has come may lack a port's name; one that fails may be the last of its Service."""
        now = ailment(new)
        failed = now[0] and (old is None or ailment(old) != now)
        shaped = old is None or old["metadata"].get("labels") != new["metadata"].get("labels")
        if failed or shaped:
            for service in self._world.selecting(new):
                if failed or names_ports(service):
                    self._loop.add_after(_key(service), LAG)

    def _neighbour_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _shape(old) == _shape(new):
            return  # a status update changes nothing that a selector sees
        space = (new or old or {})["metadata"].get("namespace", "")
        crowd = self._world.crowd(space)
        lag = LAG if crowd <= _CROWD else crowd / 2000
        for key in self._empty.get(space, ()):
            self._loop.add_after(key, lag)

    def _fill(self, key: str, *, empty: bool = False) -> None:
        """Remember whether a Service is without pods."""
        space = key.partition("/")[0]
        if empty:
            self._empty.setdefault(space, set()).add(key)
        elif space in self._empty:
            self._empty[space].discard(key)
            if not self._empty[space]:
                del self._empty[space]

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        meta = (new or old or {})["metadata"]
        key = f"{meta.get('namespace', '')}/{(meta.get('labels') or {}).get('kubernetes.io/service-name', '')}"
        if key in self._said:
            self._loop.add(key)

    async def _look(self, key: str) -> float | None:
        """One Service: nothing to say, wait a little longer, or speak. Returns seconds until the next look, or None."""
        space, _, name = key.partition("/")
        service = self._world.services.get(space, name)
        if service is None:
            return None
        evidence = self._world.evidence(service)
        self._fill(key, empty=selects_nothing(service, evidence.pods))
        finding = why(service, evidence)
        if finding is None or finding.weight < LATER:
            self._since.pop(key, None)
            self._tell_mended(key, service)
            return None
        now = asyncio.get_running_loop().time()
        waited = now - self._since.setdefault(key, now)
        patience = max(GRACE, finding.patience)
        if waited < patience:
            return patience - waited
        if self._said.get(key) != finding.message:
            self._said[key] = finding.message
            reason = finding.reason if finding.reason in _OTHERS else _WARNED
            self._recorder.event(service, "Warning", reason, finding.message)
        return None

    def _tell_mended(self, key: str, service: Object) -> None:
        addresses = self._world.ready_addresses(service) if key in self._said else []
        if addresses:
            del self._said[key]
            shown = ", ".join(addresses[:3]) + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else "")
            count = "1 ready endpoint" if len(addresses) == 1 else f"{len(addresses)} ready endpoints"
            self._recorder.event(service, "Normal", _MENDED, f"the Service has {count} now: {shown}")


def _key(service: Object) -> str:
    meta = service["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def _shape(obj: Object) -> tuple[Any, Any, Any]:
    """What a check reads of a neighbour: its labels, its template and number, whether it goes."""
    spec = obj.get("spec", {})
    meta = obj["metadata"]
    return meta.get("labels"), (spec.get("template"), spec.get("replicas")), meta.get("deletionTimestamp")
