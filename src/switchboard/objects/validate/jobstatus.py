"""Rules for the status of a Job, which controllers other than the built-in one write too (`spec.managedBy`).

What was there before is not asked again: most rules look at what a write changes (pkg/registry/batch/job/strategy.go
getStatusValidationOptions, pkg/apis/batch/validation).
"""

from __future__ import annotations

from typing import Any

from switchboard.objects.validate.fields import Errors
from switchboard.objects.validate.jobindexes import WrongIndexes, count_of, intervals, overlap

Object = dict[str, Any]

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_TERMINAL = ("Failed", "Complete", "FailureTarget")


class _State:
    """The conditions of a status that are true, and its counts."""

    def __init__(self, status: Object) -> None:
        true = {c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"}
        self.true = true
        self.complete, self.failed = "Complete" in true, "Failed" in true
        self.failing, self.met = "FailureTarget" in true, "SuccessCriteriaMet" in true
        self.finished = self.complete or self.failed
        uncounted = status.get("uncountedTerminatedPods") or {}
        self.uncounted = [*(uncounted.get("succeeded") or ()), *(uncounted.get("failed") or ())]


def job_status(obj: Object, old: Object, errs: Errors) -> None:
    """A write of a Job's status."""
    spec, status, before = obj.get("spec") or {}, obj.get("status") or {}, old.get("status") or {}
    now, then = _State(status), _State(before)
    _numbers(status, errs)
    _conditions(spec, now, then, errs)
    _completion_time(status, before, now, then, errs)
    _finished(spec, status, before, now, then, errs)
    _indexes(spec, status, before, errs)
    ready = status.get("ready")
    if _changed(status, before, "ready", "active") and ready is not None and ready > (status.get("active") or 0):
        errs.invalid("status.ready", ready, "cannot set more ready pods than active")
    _steps(spec, status, before, now, then, errs)
    _steps_of_conditions(now, then, errs)


def _changed(status: Object, before: Object, *fields: str) -> bool:
    return any(status.get(name) != before.get(name) for name in fields)


def _numbers(status: Object, errs: Errors) -> None:
    for name in _COUNTS:
        errs.not_negative(f"status.{name}", status.get(name))
    seen: set[str] = set()
    uncounted = status.get("uncountedTerminatedPods") or {}
    for name in ("succeeded", "failed"):
        for i, uid in enumerate(uncounted.get(name) or ()):
            path = f"status.uncountedTerminatedPods.{name}[{i}]"
            if not uid:
                errs.invalid(path, uid, "must not be empty")
            elif uid in seen:
                errs.duplicate(path, uid)
            seen.add(uid)


def _conditions(spec: Object, now: _State, then: _State, errs: Errors) -> None:
    path = "status.conditions"
    completes, fails = now.complete != then.complete, now.failed != then.failed
    if (completes or fails) and now.complete and now.failed:
        errs.wrong(path, "cannot set Complete=True and Failed=true conditions")
    if (completes or now.failing != then.failing) and now.complete and now.failing:
        errs.wrong(path, "cannot set Complete=True and FailureTarget=true conditions")
    if fails and now.failed and not now.failing:
        errs.wrong(path, "cannot set Failed=True condition without the FailureTarget=true condition")
    if (completes or now.met != then.met) and now.complete and not now.met:
        errs.wrong(path, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if now.met and now.failed:
        errs.wrong(path, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if now.met and now.failing:
        errs.wrong(path, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if spec.get("successPolicy") is not None and now.complete and not now.met:
        errs.wrong(path, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")


def _completion_time(status: Object, before: Object, now: _State, then: _State, errs: Errors) -> None:
    path, started, ended = "status.completionTime", status.get("startTime"), status.get("completionTime")
    if now.complete != then.complete or _changed(status, before, "completionTime"):
        if ended and not now.complete:
            errs.invalid(path, ended, "cannot set completionTime when there is no Complete=True condition")
        if now.complete and not ended:
            errs.required(path, "completionTime is required for Complete jobs")
    if _changed(status, before, "startTime", "completionTime") and started and ended and ended < started:
        errs.invalid(path, ended, "completionTime cannot be set before startTime")
    if ended and before.get("completionTime") and ended != before["completionTime"]:
        errs.invalid(path, ended, "completionTime cannot be mutated")


def _finished(spec: Object, status: Object, before: Object, now: _State, then: _State, errs: Errors) -> None:
    if not now.finished:
        return
    ends = not then.finished
    active, terminating = status.get("active") or 0, status.get("terminating") or 0
    if (ends or _changed(status, before, "active")) and active > 0:
        errs.invalid("status.active", active, "active>0 is invalid for finished job")
    never_ran = spec.get("suspend") is True and spec.get("completions") == 0
    if (ends or _changed(status, before, "startTime")) and not status.get("startTime") and not never_ran:
        errs.required("status.startTime", "startTime is required for finished job")
    if (ends or now.uncounted != then.uncounted) and now.uncounted:
        path, text = "status.uncountedTerminatedPods", "uncountedTerminatedPods needs to be empty for finished job"
        errs.invalid(path, status["uncountedTerminatedPods"], text)
    if (ends or _changed(status, before, "terminating")) and terminating > 0:
        errs.invalid("status.terminating", terminating, "terminating>0 is invalid for finished job")


def _indexes(spec: Object, status: Object, before: Object, errs: Errors) -> None:
    completions = spec.get("completions")
    done, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    if _changed(status, before, "completedIndexes"):
        _parsable("completedIndexes", done, completions, errs)
        if done and spec.get("completionMode") != "Indexed":
            text = "cannot set non-empty completedIndexes when non-indexed completion mode"
            errs.invalid("status.completedIndexes", done, text)
    if _changed(status, before, "failedIndexes") and failed is not None:
        if spec.get("backoffLimitPerIndex") is None:
            text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            errs.invalid("status.failedIndexes", failed, text)
        else:
            _parsable("failedIndexes", failed, completions, errs)
    if _changed(status, before, "completedIndexes", "failedIndexes") and done and failed and completions is not None:
        try:
            both = overlap(intervals(done, completions), intervals(failed, completions))
        except WrongIndexes:
            return  # said already
        if both is not None:
            errs.invalid("status.failedIndexes", failed, f"failedIndexes and completedIndexes overlap at index: {both}")


def _parsable(name: str, text: str, completions: int | None, errs: Errors) -> None:
    if completions is None:
        return
    try:
        count_of(text, completions)
    except WrongIndexes as e:
        errs.invalid(f"status.{name}", text, f"error parsing {name}: {e}")


def _steps(spec: Object, status: Object, before: Object, now: _State, then: _State, errs: Errors) -> None:
    """Counts do not go back, and a start is not taken back while the Job is to run."""
    if (status.get("failed") or 0) < (before.get("failed") or 0):
        errs.invalid("status.failed", status.get("failed") or 0, "cannot decrease the failed counter")
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if not elastic and (status.get("succeeded") or 0) < (before.get("succeeded") or 0):
        errs.invalid("status.succeeded", status.get("succeeded") or 0, "cannot decrease the succeeded counter")
    resumed = "Suspended" in then.true and "Suspended" not in now.true
    if before.get("startTime") and _changed(status, before, "startTime") and not spec.get("suspend") and not resumed:
        errs.required("status.startTime", "startTime cannot be removed for unsuspended job")


def _steps_of_conditions(now: _State, then: _State, errs: Errors) -> None:
    path = "status.conditions"
    for name in _TERMINAL:
        if name in then.true and name not in now.true:
            errs.wrong(path, f"cannot disable the terminal {name}=True condition")
    if then.met and not now.met:
        errs.wrong(path, "cannot disable the SuccessCriteriaMet=True condition")
    if then.complete and not then.met and now.met:
        errs.wrong(path, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
