"""Rows of pods: one word for what a pod is doing, out of phase, conditions and container states."""

from __future__ import annotations

from typing import Any

from switchboard.objects.tables import human

_ENDED = {
    "Succeeded": {
        "type": "Completed",
        "status": "True",
        "reason": "Succeeded",
        "message": "The pod has completed successfully.",
    },
    "Failed": {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."},
}


def row_conditions(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Conditions of the row: a pod that has ended is marked Completed (kubectl once hid those)."""
    ended = _ENDED.get((pod.get("status") or {}).get("phase", ""))
    return [ended] if ended else []


def _condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next((c for c in status.get("conditions") or () if c.get("type") == type_), {})


def _ended_as(terminated: dict[str, Any], prefix: str = "") -> str:
    if terminated.get("reason"):
        return f"{prefix}{terminated['reason']}"
    if terminated.get("signal"):
        return f"{prefix}Signal:{terminated['signal']}"
    return f"{prefix}ExitCode:{terminated.get('exitCode', 0)}"


class _Restarts:
    """A count of restarts and when the last one was."""

    def __init__(self) -> None:
        self.count, self.last = 0, ""

    def add(self, container: dict[str, Any]) -> None:
        self.count += container.get("restartCount", 0)
        finished = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last = max(self.last, finished)

    def text(self, now: float) -> str:
        if self.count and self.last:
            return f"{self.count} ({human.since(self.last, now)} ago)"
        return str(self.count)


def _initial_reason(status: dict[str, Any]) -> str:
    if _condition(status, "PodScheduled").get("reason") == "SchedulingGated":
        return "SchedulingGated"
    return str(status.get("reason") or status.get("phase") or "")


def _initialisation(pod: dict[str, Any], every: _Restarts, sidecars: _Restarts) -> tuple[str | None, int]:
    """What init containers say: the reason while they are at work (None when they are through), and ready sidecars."""
    declared = {c.get("name"): c for c in pod["spec"].get("initContainers") or ()}
    ready = 0
    for position, container in enumerate(pod["status"].get("initContainerStatuses") or ()):
        sidecar = (declared.get(container.get("name")) or {}).get("restartPolicy") == "Always"
        every.add(container)
        if sidecar:
            sidecars.add(container)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            return _ended_as(terminated, "Init:"), ready
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}", ready
        return f"Init:{position}/{len(declared)}", ready
    return None, ready


def _main_containers(status: dict[str, Any], reason: str, restarts: _Restarts) -> tuple[str, int]:
    ready, running = 0, False
    for container in reversed(status.get("containerStatuses") or ()):
        restarts.add(container)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = _ended_as(terminated)
        elif container.get("ready") and state.get("running") is not None:
            running, ready = True, ready + 1
    if reason == "Completed" and running:
        reason = "Running" if _condition(status, "Ready").get("status") == "True" else "NotReady"
    return reason, ready


def status_of(pod: dict[str, Any]) -> tuple[str, int, _Restarts]:
    """The STATUS word, how many containers are ready, and the restarts."""
    pod = {"spec": {}, "status": {}} | pod
    status = pod["status"]
    reason, restarts, sidecars = _initial_reason(status), _Restarts(), _Restarts()
    initialising, ready = _initialisation(pod, restarts, sidecars)
    if initialising is not None:
        reason = initialising
    if initialising is None or _condition(status, "Initialized").get("status") == "True":
        restarts = sidecars
        reason, more = _main_containers(status, reason, restarts)
        ready += more
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in _ENDED:
            reason = "Terminating"
    return reason, ready, restarts


def _gates(pod: dict[str, Any]) -> str:
    gates = pod.get("spec", {}).get("readinessGates") or ()
    if not gates:
        return human.NONE
    met = sum(_condition(pod.get("status", {}), g.get("conditionType", "")).get("status") == "True" for g in gates)
    return f"{met}/{len(gates)}"


def _pod(pod: dict[str, Any], now: float) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    reason, ready, restarts = status_of(pod)
    sidecars = sum(c.get("restartPolicy") == "Always" for c in spec.get("initContainers") or ())
    total = len(spec.get("containers") or ()) + sidecars
    addresses = status.get("podIPs") or ()
    return [
        human.name(pod),
        f"{ready}/{total}",
        reason,
        restarts.text(now),
        human.age(pod, now),
        (addresses[0].get("ip") if addresses else "") or human.NONE,
        spec.get("nodeName") or human.NONE,
        status.get("nominatedNodeName") or human.NONE,
        _gates(pod),
    ]


def _pod_template(obj: dict[str, Any], now: float) -> list[Any]:
    template = obj.get("template") or {}
    return [human.name(obj), *human.containers(template), human.labels((template.get("metadata") or {}).get("labels"))]


ROWS = {"pods": _pod, "podtemplates": _pod_template}
