"""A pod's status from what was observed. Pure; rules as pkg/kubelet/kubelet_pods.go and status/generate.go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from switchboard.node import configs
from switchboard.node.lost import status_of_lost, told_of
from switchboard.node.observed import Container, Observed, parse_time, rfc3339
from switchboard.node.plan import finished, is_sidecar, restarts

Object = dict[str, Any]

# Conditions that we write; all others belong to somebody else and stay.
RESIZES = ("PodResizePending", "PodResizeInProgress")  # not there when there is nothing to say
OWN = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", *RESIZES)


@dataclass(slots=True)
class Circumstances:
    """What a status needs beyond spec and containers."""

    now: float
    host_ips: list[str]
    started: Mapping[str, bool]  # by container id
    ready: Mapping[str, bool]  # by container id: readiness probe passes (or there is none)
    errors: Mapping[str, tuple[str, str]]  # container name -> waiting (reason, message): pulls and starts that failed
    waiting: Callable[[str, Container], tuple[float, float]]  # seconds (left, whole) of a container's back-off
    pod_error: tuple[str, str] | None = None  # (reason, message) when the pod failed as a whole
    terminating: bool = False
    messages: Mapping[str, str] = field(default_factory=dict)  # termination messages by container id
    allocated: Callable[[Object], Object] = configs.asked  # resources of a container
    in_force: Callable[[Container], Object] | None = None  # resources of a running one
    whole: Object | None = None  # resources that the pod as a whole has been allocated
    resizes: Iterable[tuple[str, str, str]] = ()  # conditions: type, reason, message


def pod_status(pod: Object, seen: Observed, how: Circumstances) -> Object:
    """The whole of `status` as we want it to be."""
    old = pod.get("status") or {}
    spec = pod["spec"]
    inits = [_container(c, pod, seen, how, init=True) for c in spec.get("initContainers") or ()]
    mains = [_container(c, pod, seen, how, init=False) for c in spec.get("containers") or ()]
    extra = [_container(c, pod, seen, how, init=False) for c in spec.get("ephemeralContainers") or ()]
    phase = _phase(pod, seen, inits, mains)
    if how.pod_error is not None:
        phase = "Failed"
    # A phase that is final is shown when nothing runs any more (status_manager.go mergePodStatus); that the pod is not
    # ready is said at once.
    held = how.pod_error is not None and old.get("phase") not in ("Succeeded", "Failed") and any(seen.running())
    status: Object = {
        **{k: old[k] for k in ("qosClass", "nominatedNodeName", "resourceClaimStatuses", "resize") if k in old},
        "phase": old.get("phase") or "Pending" if held else phase,
        "conditions": _conditions(pod, seen, how, phase, inits, mains),
        "hostIP": how.host_ips[0],
        "hostIPs": [{"ip": ip} for ip in how.host_ips],
        "startTime": old.get("startTime") or rfc3339(how.now),
        "containerStatuses": mains,
    }
    if pod["metadata"].get("generation"):
        status["observedGeneration"] = pod["metadata"]["generation"]
    if how.whole:
        status["resources"] = {part: how.whole[part] for part in ("limits", "requests") if how.whole.get(part)}
        if how.whole.get("requests"):
            status["allocatedResources"] = how.whole["requests"]
    if inits:
        status["initContainerStatuses"] = inits
    if extra:
        status["ephemeralContainerStatuses"] = extra
    if how.pod_error is not None and not held:
        status["reason"], status["message"] = how.pod_error
    elif phase == "Failed" and old.get("reason"):
        status["reason"], status["message"] = old["reason"], old.get("message", "")
    ips = how.host_ips if spec.get("hostNetwork") and seen.sandbox else seen.ips
    if not ips and phase in ("Succeeded", "Failed"):
        ips = [entry["ip"] for entry in old.get("podIPs") or ()]  # what has ended keeps saying where it was
    if ips:
        status["podIP"], status["podIPs"] = ips[0], [{"ip": ip} for ip in ips]
    return status


def _container(spec: Object, pod: Object, seen: Observed, how: Circumstances, *, init: bool) -> Object:
    name = spec["name"]
    latest, before = seen.latest(name), seen.previous(name)
    told = told_of(pod, name) if latest is None else None
    if told is not None:
        over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        return status_of_lost(told, _waiting(pod, how.errors.get(name)), stays=over or how.terminating)
    state, last = _states(spec, pod, how, latest, before, init=init)
    running = latest is not None and latest.running
    started = running and latest is not None and how.started.get(latest.id, False)
    if init and not is_sidecar(spec):
        ready = "terminated" in state and state["terminated"]["exitCode"] == 0
    else:
        ready = bool(started and latest is not None and how.ready.get(latest.id, False))
    status: Object = {
        "name": name,
        "state": state,
        "lastState": last,
        "ready": ready,
        "restartCount": latest.attempt if latest is not None else 0,
        "image": spec.get("image", ""),
        "imageID": latest.image_ref if latest is not None else "",
        "started": bool(started) if not init or is_sidecar(spec) else False,
    }
    if latest is not None:
        status["containerID"] = f"containerd://{latest.id}"
    if stop := (spec.get("lifecycle") or {}).get("stopSignal"):
        status["stopSignal"] = stop
    if spec.get("volumeMounts"):
        status["volumeMounts"] = [_mounted(m) for m in spec["volumeMounts"]]
    allocated = how.allocated(spec)
    status["resources"] = how.in_force(latest) if running and how.in_force and latest is not None else allocated
    if allocated.get("requests"):
        status["allocatedResources"] = allocated["requests"]
    return status


def _mounted(mount: Object) -> Object:
    shown = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        shown |= {"readOnly": True, "recursiveReadOnly": "Disabled"}  # whatever was hoped for
    return shown


def _states(
    spec: Object, pod: Object, how: Circumstances, latest: Container | None, before: Container | None, *, init: bool
) -> tuple[Object, Object]:
    """(state, lastState) of a container."""
    name = spec["name"]
    error = how.errors.get(name)
    if latest is None:
        return {"waiting": _waiting(pod, error)}, {}
    last = {"terminated": _terminated(before, how)} if before is not None else {}
    if latest.running:
        return {"running": {"startedAt": rfc3339(latest.started)}}, last
    if not latest.exited:
        return {"waiting": _waiting(pod, error)}, last
    again = restarts(pod["spec"].get("restartPolicy", "Always"), spec, latest) and not (
        init and latest.exit_code == 0 and not is_sidecar(spec)
    )
    terminated = {"terminated": _terminated(latest, how)}
    if again and not how.terminating:
        if error is not None:
            return {"waiting": _reason(*error)}, terminated
        left, whole = how.waiting(name, latest)
        if left > 0:
            meta = pod["metadata"]
            where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
            message = f"back-off {_go_seconds(whole)} restarting failed container={name} pod={where}"
            return {"waiting": _reason("CrashLoopBackOff", message)}, terminated
    return terminated, last


def _waiting(pod: Object, error: tuple[str, str] | None) -> Object:
    if error is not None:
        return _reason(*error)
    return _reason("PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating", "")


def _reason(reason: str, message: str) -> Object:
    return {"reason": reason, **({"message": message} if message else {})}


def _terminated(ended: Container, how: Circumstances) -> Object:
    reason = ended.reason or ("Completed" if ended.exit_code == 0 else "Error")
    message = how.messages.get(ended.id) or ended.message
    return {
        "exitCode": ended.exit_code,
        "reason": reason,
        **({"message": message} if message else {}),
        **({"startedAt": rfc3339(ended.started)} if ended.started else {"startedAt": None}),
        "finishedAt": rfc3339(ended.finished),
        "containerID": f"containerd://{ended.id}",
    }


def _go_seconds(seconds: float) -> str:
    """10 -> `10s`, 80 -> `1m20s`, 300 -> `5m0s`, as Go prints durations."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _phase(pod: Object, seen: Observed, inits: list[Object], mains: list[Object]) -> str:
    before = (pod.get("status") or {}).get("phase")
    if before in ("Succeeded", "Failed"):
        return str(before)  # what has ended stays ended (pkg/kubelet/status/status_manager.go)
    if finished(pod, seen) and next(seen.running(), None) is not None:
        return "Running"  # sidecars are still to be stopped
    if finished(pod, seen):
        last = [seen.latest(s["name"]) for s in pod["spec"]["containers"]]
        return "Succeeded" if all(c is not None and c.exited and c.exit_code == 0 for c in last) else "Failed"
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if is_sidecar(c)}
    for status in inits:
        if status["name"] in sidecars:
            if not status["started"] and not any("running" in m["state"] for m in mains):
                return "Pending"
        elif not status["ready"]:
            return "Pending"
    if any("waiting" in s["state"] and not s["lastState"] for s in mains):
        return "Pending"
    return "Running" if mains else "Pending"


def _conditions(
    pod: Object, seen: Observed, how: Circumstances, phase: str, inits: list[Object], mains: list[Object]
) -> list[Object]:
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if is_sidecar(c)}
    generation = pod["metadata"].get("generation")
    found: list[Object] = []

    def add(kind: str, true: bool, reason: str = "", message: str = "") -> None:
        value = "True" if true else "False"
        before = old.get(kind, {})
        since = before.get("lastTransitionTime") if before.get("status") == value else None
        entry = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since or rfc3339(how.now)}
        entry |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
        if generation:
            entry["observedGeneration"] = generation
        found.append(entry)

    done = phase == "Succeeded"
    add("PodReadyToStartContainers", seen.sandbox is not None)
    missing = [s["name"] for s in inits if not (s["started"] if s["name"] in sidecars else s["ready"])]
    begun = any("running" in s["state"] or s["lastState"] or "terminated" in s["state"] for s in mains)
    if missing and not begun and not done:
        add("Initialized", False, "ContainersNotInitialized", _names("incomplete", missing))
    else:
        add("Initialized", True, "PodCompleted" if done else "")
    unready = [s["name"] for s in [*(i for i in inits if i["name"] in sidecars), *mains] if not s["ready"]]
    reason, message = ("PodCompleted", "") if done else ("ContainersNotReady", _names("unready", unready))
    if phase == "Failed":
        reason, message = "PodFailed", ""
    if done or phase == "Failed" or unready:
        add("Ready", False, reason, message)
        add("ContainersReady", False, reason, message)
    else:
        closed = _closed_gates(pod, old)
        add("Ready", not closed, "ReadinessGatesNotReady" if closed else "", closed)
        add("ContainersReady", True)
    scheduled = old.get("PodScheduled", {})
    add("PodScheduled", True, scheduled.get("reason", "") if scheduled.get("status") == "True" else "")
    for kind, reason, message in how.resizes:
        add(kind, True, reason, message)
    return found + [c for kind, c in old.items() if kind not in OWN]


def _closed_gates(pod: Object, conditions: Mapping[str, Object]) -> str:
    """Which of the pod's readiness gates are not open."""
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or ()]
    return ", ".join(
        f'the status of pod readiness gate "{g}" is not "True", but {conditions[g].get("status", "False")}'
        if g in conditions
        else f'corresponding condition of pod readiness gate "{g}" does not exist.'
        for g in gates
        if conditions.get(g, {}).get("status") != "True"
    )


def _names(what: str, names: list[str]) -> str:
    return f"containers with {what} status: [{' '.join(names)}]"


def same(one: Object, other: Object) -> bool:
    """Whether two statuses say the same; JSON's nulls and absent fields do."""
    return bool(_bare(one) == _bare(other))


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if v is not None and k != "lastProbeTime" and v != {}}
    if isinstance(value, list):
        return [_bare(v) for v in value]
    return value


def started_at(pod: Object) -> float:
    """When the pod was taken up, seconds since 1970; 0 when it was not yet."""
    text = (pod.get("status") or {}).get("startTime")
    return parse_time(text) if text else 0.0
