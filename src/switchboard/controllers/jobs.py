"""What a Job has done and what it does next (pure).

Source: pkg/controller/job/job_controller.go, indexed_job_utils.go, pod_failure_policy.go, backoff_utils.go. A finished
pod is counted exactly once: it carries a finalizer; its uid is written into status.uncountedTerminatedPods first, then
the finalizer goes, then the uid becomes a number (KEP-2307).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard.controllers import indexes
from switchboard.controllers.conditions import is_true
from switchboard.controllers.pods import is_finished, is_ready, phase
from switchboard.controllers.times import seconds

Object = dict[str, Any]

FINALIZER: Final = "batch.kubernetes.io/job-tracking"
INDEX: Final = "batch.kubernetes.io/job-completion-index"
_FIRST_BACKOFF, _LAST_BACKOFF = 10.0, 600.0


def finished(job: Object) -> bool:
    """Complete or Failed."""
    known = (job.get("status") or {}).get("conditions")
    return is_true(known, "Complete") or is_true(known, "Failed")


def indexed(job: Object) -> bool:
    """completionMode Indexed."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def index_of(pod: Object) -> int:
    """A pod's completion index, -1 without one."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else -1


def tracked(pod: Object) -> bool:
    """Whether the finalizer is still on it."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def failed(job: Object, pod: Object) -> bool:
    """Whether a pod counts as failed: so it ended, or it is being deleted (unless only ended ones are replaced)."""
    if phase(pod) == "Failed":
        return True
    if job["spec"].get("podReplacementPolicy") == "Failed":
        return False
    return bool(pod["metadata"].get("deletionTimestamp")) and phase(pod) != "Succeeded"


@dataclass(slots=True)
class Tally:
    """What has happened so far, uncounted pods included."""

    succeeded: int = 0
    failed: int = 0
    active: list[Object] = field(default_factory=list)
    terminating: int = 0
    done_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    uncounted: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))  # succeeded, failed
    counted: tuple[int, int] = (0, 0)
    release: list[Object] = field(default_factory=list)  # pods whose finalizer may go after the status is written
    last_failure: float | None = None
    fail_job: str = ""  # message of a podFailurePolicy rule that ends the Job


def tally(job: Object, pods: Sequence[Object]) -> Tally:
    """Count pods, move what is safe from uid lists to numbers."""
    status = job.get("status") or {}
    before = status.get("uncountedTerminatedPods") or {}
    by_uid = {pod["metadata"]["uid"]: pod for pod in pods}
    out = Tally(done_indexes=indexes.parse(status.get("completedIndexes")))
    out.failed_indexes = indexes.parse(status.get("failedIndexes"))
    numbers = [int(status.get("succeeded") or 0), int(status.get("failed") or 0)]
    for which, part in enumerate(("succeeded", "failed")):
        for uid in before.get(part) or ():
            pod = by_uid.get(uid)
            if pod is not None and tracked(pod):
                out.uncounted[which].append(uid)
                out.release.append(pod)
            else:
                numbers[which] += 1
    for pod in pods:
        _count(job, pod, out)
    if indexed(job):
        numbers[0] = len(out.done_indexes)
        out.succeeded = numbers[0]
    else:
        out.succeeded = numbers[0] + len(out.uncounted[0])
    out.failed = numbers[1] + len(out.uncounted[1])
    out.counted = (numbers[0], numbers[1])
    return out


def _count(job: Object, pod: Object, out: Tally) -> None:
    uid = pod["metadata"]["uid"]
    going = bool(pod["metadata"].get("deletionTimestamp")) and not is_finished(pod)
    out.terminating += going
    if phase(pod) == "Succeeded":
        if tracked(pod) and uid not in out.uncounted[0]:
            new = True
            if indexed(job):
                index = index_of(pod)
                new = 0 <= index < int(job["spec"].get("completions") or 0) and index not in out.done_indexes
                if new:
                    out.done_indexes.add(index)
            if new:
                out.uncounted[0].append(uid)
            out.release.append(pod)
    elif failed(job, pod):
        out.last_failure = max(out.last_failure or 0.0, _ended(pod))
        if tracked(pod) and uid not in out.uncounted[1]:
            if not going or job["spec"].get("podReplacementPolicy") != "Failed":
                _count_failure(job, pod, out)
            out.release.append(pod)
    elif not going:
        out.active.append(pod)


def _count_failure(job: Object, pod: Object, out: Tally) -> None:
    action, message = failure_action(job, pod)
    if action == "Ignore":
        return
    if action == "FailJob":
        out.fail_job = out.fail_job or message
    out.uncounted[1].append(pod["metadata"]["uid"])
    limit = job["spec"].get("backoffLimitPerIndex")
    if indexed(job) and limit is not None:
        before = int((pod["metadata"].get("annotations") or {}).get("batch.kubernetes.io/job-index-failure-count", "0"))
        if action == "FailIndex" or before >= limit:
            out.failed_indexes.add(index_of(pod))


def _ended(pod: Object) -> float:
    """When a pod ended: its last container, or its deletion."""
    moments = []
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        at = ((container.get("state") or {}).get("terminated") or {}).get("finishedAt")
        if at:
            moments.append(seconds(at))
    if not moments and pod["metadata"].get("deletionTimestamp"):
        moments.append(seconds(pod["metadata"]["deletionTimestamp"]))
    if not moments and pod["metadata"].get("creationTimestamp"):
        moments.append(seconds(pod["metadata"]["creationTimestamp"]))
    return max(moments, default=0.0)


def failure_action(job: Object, pod: Object) -> tuple[str, str]:
    """(Count, Ignore, FailJob or FailIndex; message) by the first rule of podFailurePolicy that a failed pod meets."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    meta = pod["metadata"]
    where = f"{meta.get('namespace')}/{meta['name']}"
    for number, rule in enumerate(rules):
        action = rule.get("action", "Count")
        if rule.get("onExitCodes"):
            hit = _exit_code(rule["onExitCodes"], pod)
            if hit is not None:
                name, code = hit
                text = f"Container {name} for pod {where} failed with exit code {code}"
                return action, f"{text} matching {action} rule at index {number}"
        for pattern in rule.get("onPodConditions") or ():
            for condition in (pod.get("status") or {}).get("conditions") or ():
                same = condition.get("type") == pattern.get("type")
                if same and condition.get("status") == (pattern.get("status") or "True"):
                    text = f"Pod {where} has condition {pattern.get('type')} matching {action} rule at index {number}"
                    return action, text
    return "Count", ""


def _exit_code(rule: Object, pod: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        if rule.get("containerName") and rule["containerName"] != container.get("name"):
            continue
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
        if not code:
            continue
        if (code in (rule.get("values") or ())) == (rule.get("operator", "In") == "In"):
            return container.get("name", ""), code
    return None


def restarts(pods: Sequence[Object]) -> int:
    """Container restarts of pods, which count as failures under restartPolicy OnFailure."""
    out = 0
    for pod in pods:
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            out += container.get("restartCount") or 0
    return out


def failure(job: Object, found: Tally, now: float) -> tuple[str, str] | None:
    """(reason, message) when the Job has failed."""
    spec = job["spec"]
    if found.fail_job:
        return "PodFailurePolicy", found.fail_job
    limit = 6 if spec.get("backoffLimit") is None else spec["backoffLimit"]
    on_failure = (spec["template"].get("spec") or {}).get("restartPolicy") == "OnFailure"
    tries = restarts(found.active) if on_failure else 0
    if found.failed > limit or (on_failure and tries and tries >= max(limit, 1)):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    started = (job.get("status") or {}).get("startTime")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and started and not spec.get("suspend") and now - seconds(started) >= deadline:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    if spec.get("maxFailedIndexes") is not None and len(found.failed_indexes) > spec["maxFailedIndexes"]:
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    completions = spec.get("completions")
    if found.failed_indexes and completions and len(found.failed_indexes | found.done_indexes) >= completions:
        return "FailedIndexes", "Job has failed indexes"
    return None


def success(job: Object, found: Tally) -> tuple[str, str] | None:
    """(reason, message) when the Job has succeeded."""
    spec = job["spec"]
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        wanted = indexes.parse(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
        have = found.done_indexes if wanted is None else found.done_indexes & wanted
        need = rule.get("succeededCount") or (len(wanted) if wanted is not None else None)
        if need is not None and len(have) >= need:
            return "SuccessPolicy", f"Matched rules at index {number}"
    text = ("CompletionsReached", "Reached expected number of succeeded pods")
    if spec.get("completions") is None:
        return text if found.succeeded and not found.active else None
    return text if found.succeeded >= spec["completions"] and (not found.failed_indexes) else None


def wanted_active(job: Object, found: Tally) -> int:
    """How many pods should run."""
    spec = job["spec"]
    parallel = 1 if spec.get("parallelism") is None else spec["parallelism"]
    if spec.get("suspend") or job["metadata"].get("deletionTimestamp"):
        return 0
    if spec.get("completions") is None:
        return min(parallel, len(found.active)) if found.succeeded else int(parallel)
    left = int(spec["completions"]) - found.succeeded - len(found.failed_indexes - found.done_indexes)
    return max(0, min(parallel, left))


def backoff(found: Tally, now: float) -> float:
    """Seconds until the next pod may be made after failures: 10 s, 20 s, ... up to 10 min after the last one."""
    if not found.failed or found.last_failure is None:
        return 0.0
    pause = min(_LAST_BACKOFF, _FIRST_BACKOFF * 2.0 ** (min(found.failed, 10) - 1))
    return max(0.0, found.last_failure + pause - now)


def free_indexes(job: Object, found: Tally, pods: Sequence[Object], number: int) -> list[int]:
    """Indexes to make pods for: the lowest without success, failure, or a pod at work."""
    busy = {index_of(pod) for pod in found.active}
    if job["spec"].get("podReplacementPolicy") == "Failed":
        busy |= {index_of(p) for p in pods if p["metadata"].get("deletionTimestamp") and not is_finished(p)}
    out: list[int] = []
    for index in range(int(job["spec"].get("completions") or 0)):
        if len(out) >= number:
            break
        if index not in busy and index not in found.done_indexes and index not in found.failed_indexes:
            out.append(index)
    return out


def surplus_order(pods: Sequence[Object]) -> list[Object]:
    """Active pods, those to delete first in front: not yet ready, then the younger; of one index all but one."""
    return sorted(pods, key=lambda p: (is_ready(p), _reversed(p["metadata"].get("creationTimestamp") or "")))


def _reversed(text: str) -> tuple[int, ...]:
    return tuple(-ord(c) for c in text)
