"""The shape that all controllers share: a work queue fed by shared informers, a recorder, a clock.

A controller's constructor says which changes lead to which keys; `run` waits for the copies it needs, queues everything
once, then works. It may be run again after a failure.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from switchboard.client import Cache, EventRecorder, Informer, Loop, Resource, key_of
from switchboard.client.indexes import PLACES, places
from switchboard.controllers.owners import controller_of, controller_uid
from switchboard.controllers.service_pods import Selection

Object = dict[str, Any]
Signer = Callable[[bytes, list[str], float], bytes]  # request, usages, seconds of validity -> certificate


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """What an operator chooses.

    `root_ca`: PEM published as kube-root-ca.crt ("" publishes none). `load_balancer_pools`: CIDRs, one of each family,
    of addresses given to LoadBalancer Services; none leaves them to somebody else. `host_path`: folder under which
    "standard" volumes are made, None provisions none. `signer` makes certificates of requests (PEM), usages and
    seconds; None leaves them to somebody else. Times in seconds: `node_grace` without a sign of life until a node
    counts as lost.
    """

    root_ca: str = ""
    load_balancer_pools: tuple[str, ...] = ()
    host_path: str | None = None
    signer: Signer | None = None
    node_grace: float = 50.0
    node_period: float = 5.0
    finished_pods: int = 12500
    endpoints_per_slice: int = 100
    without: frozenset[str] = frozenset()  # names of controllers not to run


@dataclass
class Context:
    """What controllers are given."""

    cache: Cache
    settings: ControllerSettings = field(default_factory=ControllerSettings)
    clock: Callable[[], float] = time.time

    @cached_property
    def selection(self) -> Selection:
        """Which Services select which pods: one for all who ask."""
        return Selection(self.cache)

    def recorder(self, component: str) -> EventRecorder:
        """A recorder of Events that says them as `component`."""
        return EventRecorder(self.cache.client, component, clock=self.clock)


class Controller:
    """One controller; subclasses set `name`, `main` (whose objects are the keys), `needs`, and write `reconcile`."""

    name: ClassVar[str]
    component: ClassVar[str] = ""
    main: ClassVar[Resource]
    needs: ClassVar[tuple[Resource, ...]] = ()
    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        self.context = context
        self.cache = context.cache
        self.clock = context.clock
        self.settings = context.settings
        self.log = logging.getLogger(f"switchboard.controllers.{self.name}")
        self.recorder = context.recorder(self.component or f"{self.name}-controller")
        self.loop = Loop(self.name, self.reconcile, workers=self.workers)
        self.of(self.main).on_change(self._main_changed)

    async def reconcile(self, key: str) -> float | None:
        """Bring one object's world in order; seconds until the next look, or None."""
        raise NotImplementedError

    async def run(self) -> None:
        """Work for ever."""
        await self.cache.synced(self.main, *self.needs)
        for key in list(self.first()):
            self.loop.add(key)
        await self.loop.run()

    def first(self) -> Iterable[str]:
        """The keys to begin with: all, if a controller does not know better."""
        return self.of(self.main).keys()

    def of(self, res: Resource) -> Informer[Object]:
        """The shared informer of a resource."""
        return self.cache.informer(res)

    def say(self, obj: Object, type_: str, reason: str, message: str) -> None:
        """An Event about `obj`."""
        self.recorder.event(obj, type_, reason, message)

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        meta = (new or old or {})["metadata"]
        self.loop.add(key_of(meta.get("namespace"), meta["name"]))

    def follow_children(self, res: Resource) -> None:
        """Queue the owner of every child that changes, and keep children findable by owner and by labels."""
        informer = self.of(res)
        informer.index("controller", controller_uid)
        informer.index(PLACES, places)
        informer.on_change(self._child_changed)

    def _child_changed(self, old: Object | None, new: Object | None) -> None:
        before = self._owner_key(old) if old else None
        after = self._owner_key(new) if new else None
        if before and before != after:
            self.loop.add(before)
        if after:
            self.loop.add(after)
        elif new is not None and controller_of(new) is None:
            self.orphan_changed(old, new)

    def _owner_key(self, obj: Object) -> str | None:
        ref = controller_of(obj)
        if ref is None or ref.get("kind") != self.main.kind:
            return None
        if ref.get("apiVersion", "").rpartition("/")[0] != self.main.group:
            return None
        return key_of(obj["metadata"].get("namespace"), ref["name"])

    def orphan_changed(self, old: Object | None, new: Object) -> None:
        """An object without controller appeared or changed: queue owners whose selector may match it."""
        meta = new["metadata"]
        labels = meta.get("labels")
        if not labels or (old is not None and old["metadata"].get("labels") == labels and not controller_of(old)):
            return
        for owner in self.of(self.main).items():
            if owner["metadata"].get("namespace") == meta.get("namespace") and self.selects(owner, labels):
                self.loop.add(key_of(meta.get("namespace"), owner["metadata"]["name"]))

    def selects(self, owner: Object, labels: Object) -> bool:
        """Whether an owner's selector matches these labels; controllers that adopt override it."""
        return False
