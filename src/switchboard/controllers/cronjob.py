"""The CronJob controller: a Job for each time of a schedule.

Source: pkg/controller/cronjob/cronjob_controllerv2.go, utils.go. Which times a schedule has is in `cron_times.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from switchboard.client.resources import CRONJOBS, JOBS
from switchboard.controllers import conditions, jobs
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.cron_times import after
from switchboard.controllers.owners import reference_to
from switchboard.controllers.times import seconds, stamp
from switchboard.objects import cron
from switchboard.objects.errors import AlreadyExists, NotFound, StatusError

Object = dict[str, Any]

_SCHEDULED: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_TOO_MANY: Final = 100


def due(
    schedule: cron.Schedule, zone: ZoneInfo | None, earliest: float, now: float
) -> tuple[float | None, float | None, bool]:
    """(the latest time in (`earliest`, `now`], the next one after `now`, whether too many were missed)."""
    latest: float | None = None
    number = 0
    moment = after(schedule, zone, earliest)
    while moment is not None and moment <= now:
        latest, number = moment, number + 1
        if number > _TOO_MANY:
            # Do not walk through years minute by minute: start close before now.
            moment = after(schedule, zone, max(moment, now - 3600))
            number = _TOO_MANY + 1 if latest is not None else 0
            while moment is not None and moment <= now:
                latest = moment
                moment = after(schedule, zone, moment)
            break
        moment = after(schedule, zone, moment)
    return latest, after(schedule, zone, now), number > _TOO_MANY


def job_for(cronjob: Object, moment: float) -> Object:
    """The Job of one scheduled time; its name tells the minute, so that it is made only once."""
    template = cronjob["spec"].get("jobTemplate") or {}
    meta = template.get("metadata") or {}
    annotations = {**(meta.get("annotations") or {}), _SCHEDULED: stamp(moment)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{cronjob['metadata']['name']}-{int(moment) // 60}",
            "namespace": cronjob["metadata"].get("namespace"),
            "labels": dict(meta.get("labels") or {}),
            "annotations": annotations,
            "ownerReferences": [reference_to(cronjob)],
        },
        "spec": template.get("spec") or {},
    }


def surplus(cronjob: Object, owned: Sequence[Object]) -> list[Object]:
    """Finished Jobs beyond the history limits, oldest first."""
    out: list[Object] = []
    for type_, part, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = cronjob["spec"].get(part, default)
        done = [j for j in owned if conditions.is_true((j.get("status") or {}).get("conditions"), type_)]
        done.sort(key=lambda j: (j.get("status") or {}).get("startTime") or "")
        if limit is not None:
            out += done[: max(0, len(done) - limit)]
    return out


class CronJobController(Controller):
    """Keys are CronJobs."""

    name = "cronjob"
    main = CRONJOBS
    needs = (JOBS,)
    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.follow_children(JOBS)

    async def reconcile(self, key: str) -> float | None:
        """One CronJob: clean up, note what ran, start what is due."""
        cronjob = self.of(CRONJOBS).get_key(key)
        if cronjob is None:
            return None
        owned = list(self.of(JOBS).by("controller", cronjob["metadata"]["uid"]))
        status = dict(cronjob.get("status") or {})
        self._note(cronjob, owned, status)
        again: float | None = None
        if not cronjob["metadata"].get("deletionTimestamp"):
            await self._clean(cronjob, owned)
            again = await self._start(cronjob, status)
        status = {k: v for k, v in status.items() if v not in (None, [])}
        if status != (cronjob.get("status") or {}):
            try:
                await self.cache.update_status(CRONJOBS, {**cronjob, "status": status})
            except NotFound:
                return None
        return again

    def _note(self, cronjob: Object, owned: Sequence[Object], status: Object) -> None:
        """status.active, and Events for what ended or vanished."""
        active = list(status.get("active") or ())
        by_uid = {job["metadata"]["uid"]: job for job in owned}
        for job in owned:
            listed = next((ref for ref in active if ref.get("uid") == job["metadata"]["uid"]), None)
            if listed is None and not jobs.finished(job):
                if (job["metadata"].get("annotations") or {}).get(_SCHEDULED) is None:
                    text = f"Saw a job that the controller did not create or forgot: {job['metadata']['name']}"
                    self.say(cronjob, "Warning", "UnexpectedJob", text)
                active.append(_reference(job))
            elif listed is not None and jobs.finished(job):
                known = (job.get("status") or {}).get("conditions")
                how = "Complete" if conditions.is_true(known, "Complete") else "Failed"
                text = f"Saw completed job: {job['metadata']['name']}, condition: {how}"
                self.say(cronjob, "Normal", "SawCompletedJob", text)
                active.remove(listed)
                ended = (job.get("status") or {}).get("completionTime")
                if how == "Complete" and ended and ended > (status.get("lastSuccessfulTime") or ""):
                    status["lastSuccessfulTime"] = ended
        for ref in [ref for ref in active if ref.get("uid") not in by_uid]:
            self.say(cronjob, "Normal", "MissingJob", f"Active job went missing: {ref.get('name')}")
            active.remove(ref)
        status["active"] = active

    async def _clean(self, cronjob: Object, owned: Sequence[Object]) -> None:
        for job in surplus(cronjob, owned):
            await self._delete(cronjob, job)

    async def _delete(self, cronjob: Object, job: Object) -> None:
        meta = job["metadata"]
        try:
            await self.cache.delete(JOBS, meta["name"], meta["namespace"], options={"propagationPolicy": "Background"})
        except NotFound:
            return
        self.say(cronjob, "Normal", "SuccessfulDelete", f"Deleted job {meta['name']}")

    async def _start(self, cronjob: Object, status: Object) -> float | None:
        spec, now = cronjob["spec"], self.clock()
        if spec.get("suspend"):
            return None
        try:
            schedule = cron.parse(spec.get("schedule") or "")
            zone = ZoneInfo(spec["timeZone"]) if spec.get("timeZone") else None
        except cron.CronError as error:
            self.say(
                cronjob, "Warning", "UnparseableSchedule", f"unparseable schedule: {spec.get('schedule')!r}: {error}"
            )
            return None
        except (ZoneInfoNotFoundError, ValueError):
            self.say(cronjob, "Warning", "UnknownTimeZone", f'invalid timeZone: "{spec["timeZone"]}"')
            return None
        earliest = seconds(status.get("lastScheduleTime") or cronjob["metadata"].get("creationTimestamp") or stamp(now))
        window = spec.get("startingDeadlineSeconds")
        if window is not None:
            earliest = max(earliest, now - window)
        moment, following, missed = due(schedule, zone, earliest, now)
        wait = max(0.05, following - now) if following is not None else None
        if missed:
            text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self.say(cronjob, "Warning", "TooManyMissedTimes", text)
        if moment is not None:
            await self._run(cronjob, status, moment, now)
        return wait

    async def _run(self, cronjob: Object, status: Object, moment: float, now: float) -> None:
        spec = cronjob["spec"]
        window = spec.get("startingDeadlineSeconds")
        if window is not None and moment + window < now:
            when = f"{datetime.fromtimestamp(moment, UTC):%a, %d %b %Y %H:%M:%S} +0000"
            text = f"Missed scheduled time to start a job: {when}"
            self.say(cronjob, "Warning", "MissSchedule", text)
            return
        policy = spec.get("concurrencyPolicy", "Allow")
        if status["active"] and policy == "Forbid":
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.say(cronjob, "Normal", "JobAlreadyActive", text)
            return
        if policy == "Replace":
            for ref in list(status["active"]):
                job = self.of(JOBS).get(cronjob["metadata"]["namespace"], ref.get("name", ""))
                if job is not None:
                    await self._delete(cronjob, job)
                status["active"].remove(ref)
        try:
            made = await self.cache.create(JOBS, job_for(cronjob, moment))
        except AlreadyExists:
            status["lastScheduleTime"] = stamp(moment)
            return
        except StatusError as error:
            self.say(cronjob, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise
        self.say(cronjob, "Normal", "SuccessfulCreate", f"Created job {made['metadata']['name']}")
        status["active"] = [*status["active"], _reference(made)]
        status["lastScheduleTime"] = stamp(moment)


def _reference(job: Object) -> Object:
    meta = job["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": meta["name"],
        "namespace": meta.get("namespace"),
        "resourceVersion": meta.get("resourceVersion"),
        "uid": meta.get("uid"),
    }
