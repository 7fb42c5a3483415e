"""The Deployment controller: ReplicaSets for templates, grown and shrunk in steps.

Source: kubernetes/pkg/controller/deployment/deployment_controller.go. The arithmetic is in `rollout.py`, history in
`revisions.py`, the status in `rollout_status.py`; here is what a step consists of, and carrying it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from switchboard.client import key_of
from switchboard.client.resources import DEPLOYMENTS, PODS, REPLICASETS
from switchboard.client.transport import namespace_ends
from switchboard.controllers import conditions, revisions, rollout, rollout_status
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.owners import controller_of, controller_uid
from switchboard.controllers.podcontrol import PodControl
from switchboard.controllers.pods import is_finished
from switchboard.objects import selectors
from switchboard.objects.errors import AlreadyExists, NotFound, StatusError

Object = dict[str, Any]


@dataclass(slots=True)
class Step:
    """What to do now: a ReplicaSet to create; one to bring up to date; sizes by name; ReplicaSets to forget; the
    Deployment's revision; a remark for Progressing (status, reason, message). `scaling`: the status says nothing of
    progress this time."""

    create: Object | None = None
    refresh: Object | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    delete: list[Object] = field(default_factory=list)
    revision: int | None = None
    remark: tuple[str, str, str] | None = None
    scaling: bool = False


def step(deployment: Object, sets: Sequence[Object], *, old_pods_run: bool) -> Step:
    """The next step of a Deployment with these ReplicaSets. `old_pods_run` matters to Recreate only."""
    out = Step()
    if deployment["metadata"].get("deletionTimestamp"):
        out.scaling = True
        return out
    spec, limits = deployment["spec"], rollout.bounds(deployment)
    new, old = revisions.split(deployment, sets)
    number = max(map(revisions.revision, old), default=0) + 1
    if new is not None:
        out.refresh = revisions.refreshed(deployment, new, number)
        new = out.refresh or new
        _found(deployment, new, out)
    recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
    everyone = [*old, *([new] if new is not None else [])]
    if spec.get("paused"):
        _paused(deployment, True, out)
    else:
        _paused(deployment, False, out)
    if spec.get("paused") or rollout.is_scaling(limits, everyone):
        _scale(deployment, limits, new, old, recreate, out)
    elif recreate:
        _recreate(deployment, limits, new, old, number, old_pods_run, out)
    else:
        _roll(deployment, limits, new, old, number, out)
    if not out.sizes and not out.create and rollout_status.complete(deployment, deployment.get("status") or {}):
        out.delete = revisions.expendable(deployment, old)
    return out


def _found(deployment: Object, new: Object, out: Step) -> None:
    if revisions.revision(deployment) != revisions.revision(new):
        out.revision = revisions.revision(new)
    known = (deployment.get("status") or {}).get("conditions")
    if conditions.find(known, "Progressing") is None:
        out.remark = ("True", "FoundNewReplicaSet", f'Found new replica set "{new["metadata"]["name"]}"')


def _paused(deployment: Object, paused: bool, out: Step) -> None:
    condition = conditions.find((deployment.get("status") or {}).get("conditions"), "Progressing")
    reason = (condition or {}).get("reason")
    if reason == "ProgressDeadlineExceeded":
        return  # a failed rollout stays failed while it is paused
    if paused and reason != "DeploymentPaused":
        out.remark = ("Unknown", "DeploymentPaused", "Deployment is paused")
    elif not paused and reason == "DeploymentPaused":
        out.remark = ("Unknown", "DeploymentResumed", "Deployment is resumed")


def _scale(
    deployment: Object, limits: rollout.Bounds, new: Object | None, old: list[Object], recreate: bool, out: Step
) -> None:
    out.scaling = True
    before = int((deployment.get("status") or {}).get("replicas") or 0)

    def saturated(rs: Object) -> bool:
        text = (rs["metadata"].get("annotations") or {}).get(rollout.DESIRED)
        return rollout.size(rs) == limits.replicas == rollout.available(rs) and text == str(limits.replicas)

    out.sizes = rollout.scale(limits, new, old, before, recreate=recreate, saturated=saturated)


def _create(deployment: Object, limits: rollout.Bounds, number: int, replicas: int, out: Step) -> None:
    out.create = revisions.new_set(deployment, number, replicas, limits)
    out.revision = number
    out.remark = ("True", "NewReplicaSetCreated", f'Created new replica set "{out.create["metadata"]["name"]}"')


def _recreate(
    deployment: Object,
    limits: rollout.Bounds,
    new: Object | None,
    old: list[Object],
    number: int,
    old_pods_run: bool,
    out: Step,
) -> None:
    out.sizes = {rs["metadata"]["name"]: 0 for rs in old if rollout.size(rs)}
    if out.sizes or old_pods_run:
        return
    if new is None:
        _create(deployment, limits, number, limits.replicas, out)
    elif rollout.size(new) != limits.replicas:
        out.sizes = {new["metadata"]["name"]: limits.replicas}


def _roll(
    deployment: Object, limits: rollout.Bounds, new: Object | None, old: list[Object], number: int, out: Step
) -> None:
    if new is None:
        _create(deployment, limits, number, rollout.new_size(limits, old, 0, recreate=False), out)
        return
    grown = rollout.grow_new(limits, new, old)
    if grown != rollout.size(new):
        out.sizes = {new["metadata"]["name"]: grown}
    else:
        out.sizes = rollout.shrink_old(limits, new, old)


class DeploymentController(Controller):
    """Keys are Deployments."""

    name = "deployment"
    main = DEPLOYMENTS
    needs = (REPLICASETS, PODS)
    workers: ClassVar[int] = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._control = PodControl(context.cache, self.recorder)
        self.follow_children(REPLICASETS)
        self.of(PODS).index("controller", controller_uid)
        self.of(PODS).on_change(self._pod_changed)

    def selects(self, owner: Object, labels: Object) -> bool:
        """For orphaned ReplicaSets that appear."""
        return selectors.from_object(owner["spec"].get("selector")).matches(labels)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Recreate waits for the last old pod to be gone."""
        if old is None or new is not None:
            return
        ref = controller_of(old)
        if ref is None or ref.get("kind") != "ReplicaSet":
            return
        rs = self.of(REPLICASETS).get(old["metadata"].get("namespace"), ref["name"])
        owner = controller_of(rs) if rs else None
        if owner is not None and owner.get("kind") == "Deployment":
            self.loop.add(key_of(old["metadata"].get("namespace"), owner["name"]))

    async def reconcile(self, key: str) -> float | None:
        """One step, then the status."""
        deployment = self.of(DEPLOYMENTS).get_key(key)
        if deployment is None:
            return None
        selector = selectors.from_object(deployment["spec"].get("selector"))
        if selector.everything:
            self.say(
                deployment,
                "Warning",
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            )
            return None
        sets = await self._control.claim(REPLICASETS, deployment, selector)
        _, old = revisions.split(deployment, sets)
        todo = step(deployment, sets, old_pods_run=self._runs(old))
        remark = await self._carry_out(deployment, sets, todo)
        return await self._write_status(key, todo, remark)

    def _runs(self, sets: Sequence[Object]) -> bool:
        pods = self.of(PODS)
        return any(not is_finished(pod) for rs in sets for pod in pods.by("controller", rs["metadata"]["uid"]))

    async def _carry_out(self, deployment: Object, sets: Sequence[Object], todo: Step) -> tuple[str, str, str] | None:
        remark = todo.remark
        if todo.create is not None:
            try:
                await self._create(deployment, todo.create)
            except AlreadyExists:
                await self._collision(deployment, todo.create)
                raise
            except StatusError as error:
                if namespace_ends(error):
                    return remark
                await self._note_failure(deployment, error)
                raise
        by_name = {rs["metadata"]["name"]: rs for rs in sets}
        if todo.refresh is not None:
            by_name[todo.refresh["metadata"]["name"]] = await self.cache.update(REPLICASETS, todo.refresh)
        limits = rollout.bounds(deployment)
        for name, size in todo.sizes.items():
            await self._resize(deployment, by_name[name], size, limits)
        for rs in todo.delete:
            try:
                await self.cache.delete(REPLICASETS, rs["metadata"]["name"], rs["metadata"].get("namespace"))
            except NotFound:
                pass
        if todo.revision is not None:
            meta = deployment["metadata"]
            patch = {"metadata": {"annotations": {revisions.REVISION: str(todo.revision)}}}
            await self.cache.patch(DEPLOYMENTS, meta["name"], patch, meta.get("namespace"))
        return remark

    async def _create(self, deployment: Object, body: Object) -> None:
        made = await self.cache.create(REPLICASETS, body)
        size = rollout.size(body)
        if size:
            name = made["metadata"]["name"]
            self.say(deployment, "Normal", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}")

    async def _resize(self, deployment: Object, rs: Object, size: int, limits: rollout.Bounds) -> None:
        annotations = {**(rs["metadata"].get("annotations") or {}), **revisions.sizing(limits)}
        before = rollout.size(rs)
        if size == before and annotations == rs["metadata"].get("annotations"):
            return
        meta = {**rs["metadata"], "annotations": annotations}
        await self.cache.update(REPLICASETS, {**rs, "metadata": meta, "spec": {**rs["spec"], "replicas": size}})
        if size != before:
            way = "up" if size > before else "down"
            text = f"Scaled {way} replica set {meta['name']} from {before} to {size}"
            self.say(deployment, "Normal", "ScalingReplicaSet", text)

    async def _collision(self, deployment: Object, body: Object) -> None:
        """The name is taken by a ReplicaSet of another template: another hash next time."""
        meta = body["metadata"]
        held = await self.cache.client.get(REPLICASETS, meta["name"], meta["namespace"])
        ref = controller_of(held)
        ours = ref is not None and ref.get("uid") == deployment["metadata"]["uid"]
        if ours and revisions.same_template(held["spec"]["template"], deployment["spec"]["template"]):
            self.of(REPLICASETS).observe(held)
            return
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        await self.cache.update_status(DEPLOYMENTS, {**deployment, "status": status})

    async def _note_failure(self, deployment: Object, error: StatusError) -> None:
        known = rollout_status.noted(
            deployment,
            "False",
            "ReplicaSetCreateError",
            f"Failed to create new replica set: {error.message}",
            self.clock(),
        )
        status = {**(deployment.get("status") or {}), "conditions": known}
        self.say(deployment, "Warning", "ReplicaSetCreateError", f"Failed to create new replica set: {error.message}")
        if status != deployment.get("status"):
            await self.cache.update_status(DEPLOYMENTS, {**deployment, "status": status})

    async def _write_status(self, key: str, todo: Step, remark: tuple[str, str, str] | None) -> float | None:
        """From the copies as they are after the writes."""
        deployment = self.of(DEPLOYMENTS).get_key(key)
        if deployment is None:
            return None
        now = self.clock()
        sets = list(self.of(REPLICASETS).by("controller", deployment["metadata"]["uid"]))
        new, _ = revisions.split(deployment, sets)
        limits = rollout.bounds(deployment)
        seen = deployment
        if remark is not None:
            known = rollout_status.noted(deployment, *remark, now)
            seen = {**deployment, "status": {**(deployment.get("status") or {}), "conditions": known}}
        again: float | None = None
        if todo.scaling:
            status = rollout_status.counts(seen, new, sets, limits, now)
        else:
            status, again = rollout_status.rollout(seen, new, sets, limits, now)
        if status != (deployment.get("status") or {}):
            try:
                await self.cache.update_status(DEPLOYMENTS, {**deployment, "status": status})
            except NotFound:
                return None
        return again
