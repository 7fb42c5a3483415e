"""The StatefulSet controller (pure part in `stateful.py`, history in `history.py`)."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from switchboard.client.resources import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from switchboard.client.transport import namespace_ends
from switchboard.controllers import history, stateful
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.podcontrol import PodControl
from switchboard.controllers.pods import soonest_available
from switchboard.objects import selectors
from switchboard.objects.errors import AlreadyExists, NotFound, StatusError

Object = dict[str, Any]


class StatefulSetController(Controller):
    """Keys are StatefulSets."""

    name = "statefulset"
    main = STATEFULSETS
    needs = (PODS, CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS)
    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._control = PodControl(context.cache, self.recorder)
        self.follow_children(PODS)
        self.follow_children(CONTROLLERREVISIONS)

    def selects(self, owner: Object, labels: Object) -> bool:
        """For orphans that appear."""
        return selectors.from_object(owner["spec"].get("selector")).matches(labels)

    async def reconcile(self, key: str) -> float | None:
        """The next step of one StatefulSet, then its status."""
        sts = self.of(STATEFULSETS).get_key(key)
        if sts is None:
            return None
        selector = selectors.from_object(sts["spec"].get("selector"))
        revisions = await self._control.claim(CONTROLLERREVISIONS, sts, selector)
        owned = await self._control.claim(PODS, sts, selector, lambda pod: stateful.ordinal(sts, pod) is not None)
        if sts["metadata"].get("deletionTimestamp"):
            return None
        update, revisions = await history.current(self.cache, sts, revisions)
        current = self._current(sts, revisions) or update
        marks = current["metadata"]["name"], update["metadata"]["name"]
        todo = stateful.plan(sts, owned, *marks, self.clock())
        failed: StatusError | None = None
        try:
            await self._carry_out(sts, todo, {r["metadata"]["name"]: r for r in (update, current)})
        except StatusError as error:
            if not namespace_ends(error):
                failed = error
        again = await self._write_status(key, marks)
        if failed is not None:
            raise failed
        in_use = {*marks, *(stateful.revision_of(pod) for pod in owned)}
        await history.trim(self.cache, sts, [r for r in revisions if r["metadata"]["name"] not in in_use])
        return again

    @staticmethod
    def _current(sts: Object, revisions: list[Object]) -> Object | None:
        name = (sts.get("status") or {}).get("currentRevision")
        return next((r for r in revisions if r["metadata"]["name"] == name), None)

    async def _carry_out(self, sts: Object, todo: stateful.Plan, revisions: dict[str, Object]) -> None:
        jobs = [self._create(sts, number, revisions[name]) for number, name in todo.create]
        jobs += [self._delete(sts, pod) for pod in todo.delete]
        for result in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _create(self, sts: Object, number: int, revision: Object) -> None:
        data = (revision.get("data") or {}).get("spec", {}).get("template") or sts["spec"]["template"]
        template = {key: value for key, value in data.items() if key != "$patch"}
        pod = stateful.pod_for(sts, number, template, revision["metadata"]["name"])
        name = pod["metadata"]["name"]
        for claim in stateful.claims_for(sts, name):
            await self._claim(sts, claim, name)
        what = f"Pod {name} in StatefulSet {sts['metadata']['name']}"
        try:
            await self.cache.create(PODS, pod)
        except AlreadyExists:
            raise
        except StatusError as error:
            if not namespace_ends(error):
                self.say(sts, "Warning", "FailedCreate", f"create {what} failed error: {error.message}")
            raise
        self.say(sts, "Normal", "SuccessfulCreate", f"create {what} successful")

    async def _claim(self, sts: Object, claim: Object, pod: str) -> None:
        meta = claim["metadata"]
        if self.cache.get(PERSISTENTVOLUMECLAIMS, meta["namespace"], meta["name"]) is not None:
            return
        what = f"Claim {meta['name']} Pod {pod} in StatefulSet {sts['metadata']['name']}"
        try:
            await self.cache.create(PERSISTENTVOLUMECLAIMS, claim)
        except AlreadyExists:
            return
        except StatusError as error:
            if not namespace_ends(error):
                self.say(sts, "Warning", "FailedCreate", f"create {what} failed error: {error.message}")
            raise
        self.say(sts, "Normal", "SuccessfulCreate", f"create {what} success")

    async def _delete(self, sts: Object, pod: Object) -> None:
        meta = pod["metadata"]
        what = f"Pod {meta['name']} in StatefulSet {sts['metadata']['name']}"
        options = {"preconditions": {"uid": meta["uid"]}}
        try:
            await self.cache.delete(PODS, meta["name"], meta["namespace"], options=options)
        except NotFound:
            return
        except StatusError as error:
            self.say(sts, "Warning", "FailedDelete", f"delete {what} failed error: {error.message}")
            raise
        self.say(sts, "Normal", "SuccessfulDelete", f"delete {what} successful")
        await self._release_claims(sts, pod)

    async def _release_claims(self, sts: Object, pod: Object) -> None:
        """whenScaled Delete: the claims of a pod that is scaled away go with it."""
        policy = sts["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        number = stateful.ordinal(sts, pod)
        if policy.get("whenScaled") != "Delete" or number is None:
            return
        if number < stateful.start(sts) + stateful.replicas(sts):
            return
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        for claim in stateful.claims_for(sts, pod["metadata"]["name"]):
            meta = claim["metadata"]
            try:
                patch = {"metadata": {"ownerReferences": [owner]}}
                await self.cache.patch(PERSISTENTVOLUMECLAIMS, meta["name"], patch, meta["namespace"])
            except NotFound:
                continue

    async def _write_status(self, key: str, marks: tuple[str, str]) -> float | None:
        sts = self.of(STATEFULSETS).get_key(key)
        if sts is None:
            return None
        now = self.clock()
        pods = list(self.of(PODS).by("controller", sts["metadata"]["uid"]))
        new = stateful.status(sts, pods, *marks, now)
        if new != (sts.get("status") or {}):
            try:
                await self.cache.update_status(STATEFULSETS, {**sts, "status": new})
            except NotFound:
                return None
        least = sts["spec"].get("minReadySeconds") or 0
        return soonest_available(pods, least, now) if least else None
