"""Finished Jobs go after their ttlSecondsAfterFinished. Source: pkg/controller/ttlafterfinished."""

from __future__ import annotations

from typing import Any

from switchboard.client.resources import JOBS
from switchboard.controllers import conditions
from switchboard.controllers.base import Controller
from switchboard.controllers.times import seconds
from switchboard.objects.errors import Conflict, NotFound

Object = dict[str, Any]


def expires_in(job: Object, now: float) -> float | None:
    """Seconds until a finished Job should go (0 or less: now); None when it should not."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or job["metadata"].get("deletionTimestamp"):
        return None
    known = (job.get("status") or {}).get("conditions")
    for type_ in ("Complete", "Failed"):
        found = conditions.find(known, type_)
        if found is not None and found.get("status") == "True" and found.get("lastTransitionTime"):
            return float(seconds(found["lastTransitionTime"]) + ttl - now)
    return None


class TtlAfterFinishedController(Controller):
    """Keys are Jobs."""

    name = "ttl-after-finished"
    main = JOBS

    async def reconcile(self, key: str) -> float | None:
        """One Job."""
        job = self.of(JOBS).get_key(key)
        left = expires_in(job, self.clock()) if job is not None else None
        if job is None or left is None:
            return None
        if left > 0:
            return left + 0.05
        meta = job["metadata"]
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": meta["uid"]}}
        try:
            await self.cache.delete(JOBS, meta["name"], meta["namespace"], options=options)
        except (NotFound, Conflict):
            return None
        return None
