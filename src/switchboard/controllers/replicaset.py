"""The ReplicaSet and ReplicationController controllers: the same work for two kinds (pure part in `replicas.py`)."""

from __future__ import annotations

from typing import Any, ClassVar

from switchboard.client import Resource
from switchboard.client.resources import PODS, REPLICASETS, REPLICATIONCONTROLLERS
from switchboard.controllers import pods as podlib
from switchboard.controllers import replicas
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.owners import controller_of
from switchboard.controllers.podcontrol import PodControl
from switchboard.objects import selectors
from switchboard.objects.errors import NotFound, StatusError

Object = dict[str, Any]


class ReplicaSetController(Controller):
    """Keys are ReplicaSets."""

    name = "replicaset"
    main: ClassVar[Resource] = REPLICASETS
    needs = (PODS,)
    workers: ClassVar[int] = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods = PodControl(context.cache, self.recorder)
        self.follow_children(PODS)
        self.of(self.main).index("controller", lambda rs: [ref["uid"]] if (ref := controller_of(rs)) else [])

    def selector(self, owner: Object) -> selectors.LabelSelector:
        """The compiled selector of an owner."""
        return selectors.from_object(owner["spec"].get("selector"))

    def selects(self, owner: Object, labels: Object) -> bool:
        """For orphans that appear."""
        return self.selector(owner).matches(labels)

    async def reconcile(self, key: str) -> float | None:
        """Pods of one owner, then its status."""
        owner = self.of(self.main).get_key(key)
        if owner is None:
            return None
        pods = await self.pods.claim(PODS, owner, self.selector(owner), lambda pod: not podlib.is_finished(pod))
        plan = replicas.plan(owner, pods, self._related(owner), self.clock())
        failed: StatusError | None = None
        try:
            if plan.create:
                template = owner["spec"].get("template") or {}
                await self.pods.create(owner, [podlib.from_template(template, owner)] * plan.create)
            elif plan.delete:
                await self.pods.delete(owner, plan.delete)
        except StatusError as error:
            failed = error
        reason = ("FailedDelete" if plan.delete else "FailedCreate", failed.message) if failed else None
        again = await self._write_status(key, reason)
        if failed is not None:
            raise failed
        return again

    async def _write_status(self, key: str, failure: tuple[str, str] | None) -> float | None:
        """From the copies as they are after the writes, so that one status write tells them all."""
        owner = self.of(self.main).get_key(key)
        if owner is None:
            return None
        now = self.clock()
        pods = list(self.of(PODS).by("controller", owner["metadata"]["uid"]))
        new = replicas.status(owner, pods, failure, now)
        if new != (owner.get("status") or {}):
            try:
                await self.cache.update_status(self.main, {**owner, "status": new})
            except NotFound:
                return None
        return replicas.again(owner, pods, now)

    def _related(self, owner: Object) -> list[Object]:
        """Active pods of all owners that share this one's controller (a Deployment's other ReplicaSets)."""
        ref = controller_of(owner)
        siblings = list(self.of(self.main).by("controller", ref["uid"])) if ref else [owner]
        return [pod for rs in siblings for pod in self.of(PODS).by("controller", rs["metadata"]["uid"])]


class ReplicationControllerController(ReplicaSetController):
    """Keys are ReplicationControllers: the same, with a selector that is a plain map."""

    name = "replicationcontroller"
    component = "replication-controller"
    main: ClassVar[Resource] = REPLICATIONCONTROLLERS

    def selector(self, owner: Object) -> selectors.LabelSelector:
        """The selector, or the template's labels where there is none."""
        return (
            selectors.from_labels(owner["spec"].get("selector")) if owner["spec"].get("selector") else selectors.NOTHING
        )
