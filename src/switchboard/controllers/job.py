"""The Job controller (pure part in `jobs.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from switchboard.client.resources import JOBS, PODS
from switchboard.controllers import conditions, indexes, jobs
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.podcontrol import PodControl
from switchboard.controllers.pods import from_template, is_finished, is_ready
from switchboard.controllers.times import seconds, stamp
from switchboard.objects import selectors
from switchboard.objects.errors import NotFound, StatusError

Object = dict[str, Any]

_TRACKED = "tracked"
_MANAGER = "kubernetes.io/job-controller"


def pod_for(job: Object, index: int | None, failures: int | None = None) -> Object:
    """The pod for an index (None: no indexes), with the tracking finalizer."""
    name = job["metadata"]["name"]
    prefix = f"{name}-" if index is None else f"{name}-{index}-"
    pod = from_template(job["spec"]["template"], job, prefix=prefix)
    meta = pod["metadata"]
    meta["finalizers"] = [*(meta.get("finalizers") or ()), jobs.FINALIZER]
    if index is None:
        return pod
    meta["annotations"] = {**(meta.get("annotations") or {}), jobs.INDEX: str(index)}
    if failures is not None:
        meta["annotations"]["batch.kubernetes.io/job-index-failure-count"] = str(failures)
    meta["labels"] = {**(meta.get("labels") or {}), jobs.INDEX: str(index)}
    spec = {**pod["spec"], "hostname": f"{name}-{index}"}
    env = {
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{jobs.INDEX}']"}},
    }
    for part in ("containers", "initContainers"):
        if spec.get(part):
            spec[part] = [_with_env(container, env) for container in spec[part]]
    return {**pod, "spec": spec}


def _with_env(container: Object, env: Object) -> Object:
    held = container.get("env") or []
    if any(e.get("name") == env["name"] for e in held):
        return container
    return {**container, "env": [*held, env]}


class JobController(Controller):
    """Keys are Jobs."""

    name = "job"
    main = JOBS
    needs = (PODS,)
    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._control = PodControl(context.cache, self.recorder)
        self.follow_children(PODS)
        self.of(PODS).index(_TRACKED, self._tracked)

    def selects(self, owner: Object, labels: Object) -> bool:
        """For orphans that appear."""
        return selectors.from_object(owner["spec"].get("selector")).matches(labels)

    def _child_changed(self, old: Object | None, new: Object | None) -> None:
        super()._child_changed(old, new)
        if new is not None and jobs.tracked(new) and self._owner_key(new) is None:
            self._stray(new)

    def _stray(self, pod: Object) -> None:
        """A pod with our finalizer whose Job is gone, or that was released: nobody else takes the finalizer off."""
        self.loop.add(f"pod:{pod['metadata']['namespace']}/{pod['metadata']['name']}")

    async def reconcile(self, key: str) -> float | None:
        """One Job."""
        if key.startswith("pod:"):
            pod = self.of(PODS).get_key(key[4:])
            if pod is not None and jobs.tracked(pod) and self._owner_key(pod) is None:
                await self._release(pod)
            return None
        job = self.of(JOBS).get_key(key)
        if job is None:
            await self._job_gone(key)
            return None
        if (job["spec"].get("managedBy") or _MANAGER) != _MANAGER:
            return None
        pods = await self._control.claim(PODS, job, selectors.from_object(job["spec"].get("selector")))
        if jobs.finished(job):
            await asyncio.gather(*(self._release(pod) for pod in pods if jobs.tracked(pod)))
            return None
        return await self._sync(job, pods)

    async def _job_gone(self, key: str) -> None:
        for pod in list(self.of(PODS).by(_TRACKED, key)):
            await self._release(pod)

    def _tracked(self, pod: Object) -> list[str]:
        """Index function: the Job whose finalizer a pod has."""
        key = self._owner_key(pod) if jobs.tracked(pod) else None
        return [key] if key else []

    async def _sync(self, job: Object, pods: list[Object]) -> float | None:
        now = self.clock()
        found = jobs.tally(job, pods)
        started = await self._start(job, now)
        if started is not job:
            job = started
        lost = self._pending_failure(job) or jobs.failure(job, found, now)
        won = None if lost else self._pending_success(job) or jobs.success(job, found)
        again: float | None = None
        problem: StatusError | None = None
        if not job["metadata"].get("deletionTimestamp"):
            try:
                if lost or won:
                    await self._control.delete(job, found.active)
                else:
                    again = await self._manage(job, found, pods, now)
            except StatusError as error:
                problem = error
        await self._write_status(job, found, lost, won, now)
        await asyncio.gather(*(self._release(pod) for pod in found.release))
        if problem is not None:
            raise problem
        deadline = self._deadline(job, now)
        waits = [w for w in (again, deadline) if w is not None]
        return min(waits, default=None)

    async def _start(self, job: Object, now: float) -> Object:
        """startTime when it first runs, and again when it is resumed."""
        status = job.get("status") or {}
        suspended = bool(job["spec"].get("suspend"))
        known = status.get("conditions") or []
        new = dict(status)
        if suspended:
            if conditions.is_true(known, "Suspended"):
                return job
            new["conditions"] = conditions.put(
                known, "Suspended", "True", "JobSuspended", "Job suspended", now, also="lastProbeTime"
            )
            new.pop("startTime", None)
            self.say(job, "Normal", "Suspended", "Job suspended")
        elif conditions.is_true(known, "Suspended"):
            new["conditions"] = conditions.put(
                known, "Suspended", "False", "JobResumed", "Job resumed", now, also="lastProbeTime"
            )
            new["startTime"] = stamp(now)
            self.say(job, "Normal", "Resumed", "Job resumed")
        elif not status.get("startTime"):
            new["startTime"] = stamp(now)
        else:
            return job
        return {**job, "status": new}

    @staticmethod
    def _pending_failure(job: Object) -> tuple[str, str] | None:
        target = conditions.find((job.get("status") or {}).get("conditions"), "FailureTarget")
        return (target.get("reason", ""), target.get("message", "")) if target else None

    @staticmethod
    def _pending_success(job: Object) -> tuple[str, str] | None:
        met = conditions.find((job.get("status") or {}).get("conditions"), "SuccessCriteriaMet")
        return (met.get("reason", ""), met.get("message", "")) if met else None

    def _deadline(self, job: Object, now: float) -> float | None:
        limit, started = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
        if limit is None or not started or job["spec"].get("suspend"):
            return None
        return max(0.01, seconds(started) + float(limit) - now)

    async def _manage(self, job: Object, found: jobs.Tally, pods: Sequence[Object], now: float) -> float | None:
        """Create or delete pods; seconds until a pod that has to wait may be made."""
        wanted, active = jobs.wanted_active(job, found), len(found.active)
        if job["spec"].get("podReplacementPolicy") == "Failed":
            active += found.terminating
        if active > wanted:
            number = min(active - wanted, len(found.active))
            await self._control.delete(job, jobs.surplus_order(found.active)[:number])
            return None
        missing = min(wanted - active, 500)
        if missing <= 0:
            return None
        pause = jobs.backoff(found, now) if job["spec"].get("backoffLimitPerIndex") is None else 0.0
        if pause > 0:
            return pause
        if jobs.indexed(job):
            chosen = jobs.free_indexes(job, found, pods, missing)
            bodies = [pod_for(job, index, self._index_failures(job, pods, index)) for index in chosen]
        else:
            bodies = [pod_for(job, None)] * missing
        await self._control.create(job, bodies)
        return None

    @staticmethod
    def _index_failures(job: Object, pods: Sequence[Object], index: int) -> int | None:
        if job["spec"].get("backoffLimitPerIndex") is None:
            return None
        name = "batch.kubernetes.io/job-index-failure-count"
        counts = [
            int((p["metadata"].get("annotations") or {}).get(name, "0")) + 1
            for p in pods
            if jobs.index_of(p) == index and is_finished(p)
        ]
        return max(counts, default=0)

    async def _write_status(
        self,
        job: Object,
        found: jobs.Tally,
        lost: tuple[str, str] | None,
        won: tuple[str, str] | None,
        now: float,
    ) -> None:
        stored = self.of(JOBS).get_key(f"{job['metadata']['namespace']}/{job['metadata']['name']}")
        if stored is None:
            return
        pods = list(self.of(PODS).by("controller", job["metadata"]["uid"]))
        active = [p for p in pods if not is_finished(p) and not p["metadata"].get("deletionTimestamp")]
        going = [p for p in pods if not is_finished(p) and p["metadata"].get("deletionTimestamp")]
        old = job.get("status") or {}
        new: Object = {k: old[k] for k in ("startTime", "completionTime", "conditions") if old.get(k)}
        numbers = {"active": len(active), "succeeded": found.counted[0], "failed": found.counted[1]}
        new |= {key: value for key, value in numbers.items() if value}
        new |= {"ready": sum(map(is_ready, active)), "terminating": len(going)}
        new["uncountedTerminatedPods"] = {
            key: uids for key, uids in zip(("succeeded", "failed"), found.uncounted, strict=True) if uids
        }
        if found.done_indexes:
            new["completedIndexes"] = indexes.text(found.done_indexes)
        if job["spec"].get("backoffLimitPerIndex") is not None:
            new["failedIndexes"] = indexes.text(found.failed_indexes)
        settled = not active and not going and not any(found.uncounted)
        self._conclude(job, new, lost, won, settled, now)
        if new != (stored.get("status") or {}):
            try:
                await self.cache.update_status(JOBS, {**stored, "status": new})
            except NotFound:
                return

    def _conclude(
        self,
        job: Object,
        new: Object,
        lost: tuple[str, str] | None,
        won: tuple[str, str] | None,
        settled: bool,
        now: float,
    ) -> None:
        """First the verdict (FailureTarget, SuccessCriteriaMet), and when no pod is left the end (Failed, Complete)."""
        known = new.get("conditions") or []
        verdict = lost or won
        if verdict is None:
            return
        first, last = ("FailureTarget", "Failed") if lost else ("SuccessCriteriaMet", "Complete")
        if conditions.find(known, first) is None:
            known = conditions.put(known, first, "True", *verdict, now, also="lastProbeTime")
        if settled:
            known = conditions.put(known, last, "True", *verdict, now, also="lastProbeTime")
            if lost:
                self.say(job, "Warning", lost[0], lost[1])
            else:
                new["completionTime"] = stamp(now)
                self.say(job, "Normal", "Completed", "Job completed")
        new["conditions"] = known

    async def _release(self, pod: Object) -> None:
        """Take the tracking finalizer off."""
        meta = pod["metadata"]
        left = [name for name in meta.get("finalizers") or () if name != jobs.FINALIZER]
        patch = {
            "metadata": {"finalizers": left or None, "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        }
        try:
            await self.cache.patch(PODS, meta["name"], patch, meta["namespace"])
        except NotFound:
            return
