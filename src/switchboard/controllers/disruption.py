"""The disruption controller: how many pods of each PodDisruptionBudget may be evicted now.

Source: pkg/controller/disruption/disruption.go. The eviction API takes one from status.disruptionsAllowed and notes the
pod in disruptedPods; this counts anew when pods change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final

from switchboard.client import key_of
from switchboard.client.indexes import PLACES, labelled, places
from switchboard.client.resources import (
    DEPLOYMENTS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from switchboard.controllers import conditions
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.owners import controller_of
from switchboard.controllers.pods import is_finished, is_ready
from switchboard.controllers.rollout import resolve
from switchboard.controllers.times import seconds
from switchboard.objects import selectors
from switchboard.objects.errors import NotFound

Object = dict[str, Any]

_FORGET: Final = 120.0  # seconds after which an eviction that did not happen is forgotten


def status(
    budget: Object, pods: Sequence[Object], scale: Callable[[Object], tuple[str, int] | None], now: float
) -> Object:
    """The budget's status. `scale` gives (uid, replicas) of the workload that a pod belongs to."""
    spec, old = budget["spec"], budget.get("status") or {}
    alive = [pod for pod in pods if not is_finished(pod)]
    expected, desired, unmanaged = _expected(spec, alive, scale)
    disrupted = _disrupted(old.get("disruptedPods") or {}, alive, now)
    healthy = sum(
        is_ready(pod) and not pod["metadata"].get("deletionTimestamp") and pod["metadata"]["name"] not in disrupted
        for pod in alive
    )
    allowed = max(0, healthy - desired) if expected > 0 and not unmanaged else 0
    if unmanaged:
        text = ("False", "SyncFailed", unmanaged)
    elif allowed > 0:
        text = ("True", "SufficientPods", "")
    else:
        text = ("False", "InsufficientPods", "")
    known = conditions.put(old.get("conditions") or [], "DisruptionAllowed", *text, now)
    generation = budget["metadata"].get("generation", 0)
    known = [
        {"message": "", **c, "observedGeneration": generation} if c["type"] == "DisruptionAllowed" else c for c in known
    ]
    out: Object = {
        "conditions": known,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": generation,
    }
    return out | ({"disruptedPods": disrupted} if disrupted else {})


def _expected(
    spec: Object, pods: Sequence[Object], scale: Callable[[Object], tuple[str, int] | None]
) -> tuple[int, int, str]:
    """(expected pods, healthy ones wanted, why it cannot be told)."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if most is None and not isinstance(least, str):
        return len(pods), int(1 if least is None else least), ""
    scales: dict[str, int] = {}
    for pod in pods:
        found = scale(pod)
        if found is None:
            name = pod["metadata"]["name"]
            return len(pods), len(pods), f'found no controllers for pod "{name}"'
        scales[found[0]] = found[1]
    expected = sum(scales.values())
    if most is not None:
        return expected, max(0, expected - resolve(most, expected, up=True)), ""
    return expected, resolve(least, expected, up=True), ""


def _disrupted(known: Object, pods: Iterable[Object], now: float) -> Object:
    waiting = {p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp")}
    return {name: at for name, at in known.items() if name in waiting and now - seconds(at) < _FORGET}


class DisruptionController(Controller):
    """Keys are PodDisruptionBudgets."""

    name = "disruption"
    component = "controllermanager"
    main = PODDISRUPTIONBUDGETS
    needs = (PODS, REPLICASETS, DEPLOYMENTS, STATEFULSETS, REPLICATIONCONTROLLERS)
    workers: ClassVar[int] = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.of(PODS).index(PLACES, places)
        self.of(PODS).on_change(self._changed, late=True)
        for res in (REPLICASETS, DEPLOYMENTS, STATEFULSETS, REPLICATIONCONTROLLERS):
            self.of(res).on_change(self._scaled)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        self._add_matching(pod["metadata"].get("namespace"), pod["metadata"].get("labels"))

    def _scaled(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and old["spec"].get("replicas") == new["spec"].get("replicas"):
            return
        owner = new or old or {}
        template = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels")
        self._add_matching(owner["metadata"].get("namespace"), template)

    def _add_matching(self, space: str | None, labels: Object | None) -> None:
        for budget in self.of(PODDISRUPTIONBUDGETS).items():
            meta = budget["metadata"]
            if meta.get("namespace") == space and _selector(budget).matches(labels):
                self.loop.add(key_of(space, meta["name"]))

    async def reconcile(self, key: str) -> float | None:
        """One budget."""
        budget = self.of(PODDISRUPTIONBUDGETS).get_key(key)
        if budget is None:
            return None
        selector, space = _selector(budget), budget["metadata"].get("namespace")
        pods = [
            pod
            for pod in labelled(self.of(PODS), space or "", selector.pairs)
            if selector.matches(pod["metadata"].get("labels"))
        ]
        if not pods:
            self.say(budget, "Normal", "NoPods", "No matching pods found")
        new = status(budget, pods, self._scale, self.clock())
        if new != (budget.get("status") or {}):
            try:
                await self.cache.update_status(PODDISRUPTIONBUDGETS, {**budget, "status": new})
            except NotFound:
                return None
        return _FORGET / 2 if new.get("disruptedPods") else None

    def _scale(self, pod: Object) -> tuple[str, int] | None:
        """Up to the top: pod, ReplicaSet, Deployment."""
        ref = controller_of(pod)
        space = pod["metadata"].get("namespace")
        found: tuple[str, int] | None = None
        kinds = {res.kind: res for res in (REPLICASETS, DEPLOYMENTS, STATEFULSETS, REPLICATIONCONTROLLERS)}
        while ref is not None and ref.get("kind") in kinds:
            owner = self.of(kinds[ref["kind"]]).get(space, ref["name"])
            if owner is None or owner["metadata"].get("uid") != ref.get("uid"):
                return found
            replicas = owner["spec"].get("replicas")
            found = (owner["metadata"]["uid"], 1 if replicas is None else int(replicas))
            ref = controller_of(owner)
        return found


def _selector(budget: Object) -> selectors.LabelSelector:
    return selectors.from_object(budget["spec"].get("selector"))
