"""Why a Service has no endpoints, whatever the cause: no pod matches (`check.py`), or those that match give none. Pure.

Pods that match give no endpoint when they have no port of the wanted name, have ended, or cannot become ready. A pod
that is merely young is never spoken of: only what Kubernetes itself calls a failure counts, and a readiness probe only
after it had the time that its own settings ask for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from switchboard.why.check import LATER, NOW, Evidence, Finding, Object, explain, owner_of, selects_nothing
from switchboard.why.kinship import matches, pairs

_STUCK = {
    "CrashLoopBackOff": "keeps ending (CrashLoopBackOff)",
    "ErrImagePull": "cannot pull its image {image}",
    "ImagePullBackOff": "cannot pull its image {image}",
    "ErrImageNeverPull": "may not pull its image {image}, which is not on the node",
    "InvalidImageName": "has an image name that is none: {image}",
    "CreateContainerConfigError": "cannot be configured: {message}",
    "CreateContainerError": "cannot be created: {message}",
}


def why(service: Object, evidence: Evidence) -> Finding | None:
    """Why `service` (or one of its ports) has no endpoints; None when it has, or when its pods are on their way."""
    spec = service.get("spec", {})
    if not spec.get("selector") or spec.get("type") == "ExternalName":
        return None
    if selects_nothing(service, evidence.pods):
        return explain(service, evidence)
    found = _unnamed(service, evidence) or _ended(service, evidence) or _unready(service, evidence)
    return found or _undeclared(service, evidence)


def names_ports(service: Object) -> bool:
    """Whether a port of the Service goes to a port that its pods have to name."""
    return any(isinstance(port.get("targetPort"), str) for port in service.get("spec", {}).get("ports") or ())


def ailment(pod: Object) -> tuple[str, float]:
    """What keeps a pod from being ready, as a phrase ("" for nothing known), and how long to wait before saying it."""
    status: Object = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return f"has ended ({status['phase']})", 0.0
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    if (conditions.get("Ready") or {}).get("status") == "True":
        return "", 0.0
    if (conditions.get("PodScheduled") or {}).get("reason") == "Unschedulable":
        return f"finds no node: {conditions['PodScheduled'].get('message', '')}", 0.0
    for entry in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (entry.get("state") or {}).get("waiting") or {}
        if text := _STUCK.get(waiting.get("reason", "")):
            said = text.format(image=entry.get("image", ""), message=waiting.get("message", ""))
            return f"is not ready: container {entry['name']} {said}", 0.0
    return _failing_probe(pod, status)


def _failing_probe(pod: Object, status: Object) -> tuple[str, float]:
    """A container that runs, is started and not ready although its probe had the time to fail as often as it may."""
    statuses = {entry["name"]: entry for entry in status.get("containerStatuses") or ()}
    for container in pod.get("spec", {}).get("containers") or ():
        probe, entry = container.get("readinessProbe"), statuses.get(container["name"], {})
        if probe and entry.get("started") and not entry.get("ready") and "running" in (entry.get("state") or {}):
            patience = probe.get("initialDelaySeconds") or 0
            patience += (probe.get("periodSeconds") or 10) * (probe.get("failureThreshold") or 3)
            patience += probe.get("timeoutSeconds") or 1
            return f"is not ready: the readiness probe of container {container['name']} fails", float(patience)
    return "", 0.0


def _matching(service: Object, evidence: Evidence) -> Iterator[Object]:
    """The pods that the Service selects and that are not on their way out."""
    selector: dict[str, str] = service["spec"]["selector"]
    for pod in evidence.pods:
        meta = pod["metadata"]
        if not meta.get("deletionTimestamp") and matches(selector, meta.get("labels") or {}):
            yield pod


def _unnamed(service: Object, evidence: Evidence) -> Finding | None:
    """A port whose targetPort is a name that no selected pod has for a port of its own."""
    if not names_ports(service):
        return None
    for port in service["spec"].get("ports") or ():
        target, protocol = port.get("targetPort"), port.get("protocol") or "TCP"
        if not isinstance(target, str):
            continue
        named: dict[str, Any] = {}
        pod = None
        for pod in _matching(service, evidence):  # without a break, the last one stands for all
            ports = _named_ports(pod, protocol)
            if target in ports:
                break
            named |= ports
        else:
            if pod is None:
                return None
            kind, name = owner_of(pod, evidence.workloads)
            there = ", ".join(f"{n} ({number})" for n, number in sorted(named.items())) or "no port at all"
            message = f"targetPort {target} is no port of the pods of {kind} {name}, which name {there}"
            if kind == "Pod":
                message = f"targetPort {target} is no port of pod {name}, which names {there}"
            several = len(service["spec"]["ports"]) > 1
            return Finding("NoSuchTargetPort", message, NOW, f" for port {port['port']}" if several else "")
    return None


def _undeclared(service: Object, evidence: Evidence) -> Finding | None:
    """A port whose targetPort is none of those that the selected pods declare, although they declare some.

    Declaring is a courtesy: something may listen there all the same, so this is said as a doubt.
    """
    ports: list[Object] = service["spec"].get("ports") or []
    if service["spec"].get("clusterIP") == "None":
        return None  # clients come to the pods' own ports
    for port in ports:
        target, protocol = port.get("targetPort") or port["port"], port.get("protocol") or "TCP"
        if isinstance(target, str):
            continue
        declared: set[int] = set()
        pod = None
        for pod in _matching(service, evidence):
            numbers = {number for _, number, spoken in _declared(pod) if spoken == protocol}
            if not numbers or target in numbers:
                break
            declared |= numbers
        else:
            if pod is None:
                return None
            kind, name = owner_of(pod, evidence.workloads)
            who = f"pod {name} declares" if kind == "Pod" else f"the pods of {kind} {name} declare"
            message = (
                f"targetPort {target} is no port that {who} ({', '.join(map(str, sorted(declared)))}): "
                "connections are refused unless something listens there all the same"
            )
            scope = f" for port {port['port']}" if len(ports) > 1 else ""
            return Finding("UndeclaredTargetPort", message, NOW, scope, claim="may not answer")
    return None


def _named_ports(pod: Object, protocol: str) -> dict[str, int]:
    return {name: number for name, number, spoken in _declared(pod) if name and spoken == protocol}


def _declared(pod: Object) -> Iterator[tuple[str, int, str]]:
    """Name, number and protocol of every port that the pod's containers declare."""
    spec = pod.get("spec", {})
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            yield port.get("name", ""), port["containerPort"], port.get("protocol") or "TCP"


def _ended(service: Object, evidence: Evidence) -> Finding | None:
    """All selected pods have ended, and nothing makes others: those of a Job, or bare ones."""
    phases: dict[str, int] = {}
    for pod in _matching(service, evidence):
        phase = (pod.get("status") or {}).get("phase")
        if phase not in ("Succeeded", "Failed"):
            return None
        phases[phase] = phases.get(phase, 0) + 1
    selector: Mapping[str, str] = service["spec"]["selector"]
    if not phases or any(_makes(workload, selector) for workload in evidence.workloads):
        return None
    count = sum(phases.values())
    noun = "the only pod that matches has" if count == 1 else f"all {count} pods that match have"
    said = ", ".join(f"{number} {phase}" if len(phases) > 1 else phase for phase, number in sorted(phases.items()))
    return Finding("NoReadyPods", f"selector {pairs(selector)}: {noun} ended ({said})", LATER)


def _makes(workload: Object, selector: Mapping[str, str]) -> bool:
    if workload.get("kind") in ("Job", "CronJob"):
        return False
    template = (workload.get("spec") or {}).get("template") or {}
    return matches(selector, (template.get("metadata") or {}).get("labels") or {})


def _unready(service: Object, evidence: Evidence) -> Finding | None:
    """Pods are selected, none is ready, and at least one of them will not become so by itself."""
    if service["spec"].get("publishNotReadyAddresses"):
        return None
    ill: list[tuple[str, str, float]] = []
    count = 0
    for pod in _matching(service, evidence):
        status = pod.get("status") or {}
        if any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()):
            return None
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        count += 1
        said, patience = ailment(pod)
        if said:
            ill.append((pod["metadata"]["name"], said, patience))
    if not ill:
        return None
    name, said, _ = min(ill)
    selector = pairs(service["spec"]["selector"])
    message = f"none of the {count} pods that selector {selector} matches is ready: {name} {said}"
    if count == 1:
        message = f"{name}, the pod that selector {selector} matches, {said}"
    return Finding("NoReadyPods", message, LATER, "", max(patience for *_, patience in ill))
