"""What an update may do to a Pod, through the main resource and through its subresources (ValidatePodUpdate and
relatives)."""

from __future__ import annotations

import copy
from typing import Any

from switchboard.objects import names
from switchboard.objects.podresources import qos_class
from switchboard.objects.validate import containers, pods
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]
_FROZEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_TIGHTENED = ("nodeSelector", "affinity")


def pod_update(obj: Object, old: Object, errs: Errors) -> None:
    """PUT or PATCH of the pod itself."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    _whole(obj, old, errs)
    for name in ("containers", "initContainers"):
        if len(spec.get(name) or ()) != len(before.get(name) or ()):
            errs.forbidden(f"spec.{name}", "pod updates may not add or remove containers")
            return
    if (spec.get("ephemeralContainers") or []) != (before.get("ephemeralContainers") or []):
        errs.forbidden("spec.ephemeralContainers", "pod updates may not change ephemeral containers")
        return
    for name in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(name) or ()):
            image = container.get("image") or ""
            if not image:
                errs.required(f"spec.{name}[{i}].image")
            elif image != image.strip():
                errs.invalid(f"spec.{name}[{i}].image", image, "must not have leading or trailing whitespace")
    _deadline(spec, before, errs)
    _tolerations(spec, before, errs)
    gated = bool(before.get("schedulingGates"))
    _gates(spec, before, errs)
    if gated:
        _tightened(spec, before, errs)
    if _frozen(spec, gated) != _frozen(before, gated) or not _grace_kept(spec, before):
        errs.forbidden("spec", _FROZEN)


def _whole(obj: Object, old: Object, errs: Errors) -> None:
    """What holds of any pod is asked again when the spec changed, and of annotations which may come and go."""
    now, then = ((each.get("metadata") or {}).get("annotations") or {} for each in (obj, old))
    if (obj.get("spec") or {}) != (old.get("spec") or {}):
        pods.any_pod(obj, errs)
    elif now != then:
        pods.known_annotations(now, obj.get("spec") or {}, errs)
    if now == then:
        return
    path = f"metadata.annotations[{pods.MIRROR}]"
    if pods.MIRROR in then and now.get(pods.MIRROR) != then[pods.MIRROR]:
        errs.forbidden(path, "may not remove or update mirror pod annotation")
    elif pods.MIRROR in now and pods.MIRROR not in then:
        errs.forbidden(path, "may not add mirror pod annotation")


def _frozen(spec: Object, gated: bool) -> Object:
    """What is left of a spec without the fields that may change."""
    rest = {
        key: value
        for key, value in spec.items()
        if key not in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "terminationGracePeriodSeconds")
        and not (gated and key in _TIGHTENED)
    }
    if gated:  # of the affinity only the nodes' may change
        others = {key: value for key, value in (spec.get("affinity") or {}).items() if key != "nodeAffinity" and value}
        rest |= {"affinity": others} if others else {}
    for name in ("containers", "initContainers"):
        if name in rest:
            rest[name] = [{k: v for k, v in container.items() if k != "image"} for container in rest[name] or ()]
    return rest


def _tightened(spec: Object, before: Object, errs: Errors) -> None:
    """A gated pod may be restricted to fewer nodes, never allowed more (KEP-3838)."""
    chosen, earlier = spec.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if any(chosen.get(label) != value for label, value in earlier.items()):
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        errs.invalid("spec.nodeSelector", spec.get("nodeSelector"), why)
    terms, then = _required_terms(spec), _required_terms(before)
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    if not then:
        return
    if len(terms) != len(then):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        errs.invalid(path, [_internal_term(term) for term in terms] or None, why)
        return
    for i, (term, old) in enumerate(zip(terms, then, strict=True)):
        if not _only_adds(term, old):
            why = "only additions are allowed (no mutations or deletions)"
            errs.invalid(f"{path}[{i}]", _internal_term(term), why)


def _required_terms(spec: Object) -> list[Object]:
    nodes = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return (nodes.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or []


def _only_adds(term: Object, old: Object) -> bool:
    fields = ("matchExpressions", "matchFields")
    if not any(old.get(field) for field in fields):  # it matches nothing, and must go on so
        return not any(term.get(field) for field in fields)
    return all((term.get(field) or [])[: len(old.get(field) or ())] == (old.get(field) or []) for field in fields)


def _internal_term(term: Object) -> Object:
    """A term as upstream's internal type is printed."""

    def requirements(field: str) -> list[Object] | None:
        given = [
            {"Key": each.get("key", ""), "Operator": each.get("operator", ""), "Values": each.get("values")}
            for each in term.get(field) or ()
        ]
        return given or None

    return {"MatchExpressions": requirements("matchExpressions"), "MatchFields": requirements("matchFields")}


def _grace_kept(spec: Object, before: Object) -> bool:
    now, then = spec.get("terminationGracePeriodSeconds"), before.get("terminationGracePeriodSeconds")
    return now == then or (now == 1 and then is not None and then < 0)


def _deadline(spec: Object, before: Object, errs: Errors) -> None:
    now, then = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    path = "spec.activeDeadlineSeconds"
    if now is not None:
        if not 0 <= now <= 2**31 - 1:
            errs.invalid(path, now, "must be between 0 and 2147483647, inclusive")
        elif then is not None and then < now:
            errs.invalid(path, now, "must be less than or equal to previous value")
    elif then is not None:
        errs.invalid(path, now, "must not update from a positive integer to nil value")


def _without_seconds(toleration: Object) -> Object:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _tolerations(spec: Object, before: Object, errs: Errors) -> None:
    now = spec.get("tolerations") or []
    kept = [_without_seconds(each) for each in now]
    if any(_without_seconds(each) not in kept for each in before.get("tolerations") or ()):
        errs.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    elif now != (before.get("tolerations") or []):
        pods.tolerations(now, "spec.tolerations", errs)


def _gates(spec: Object, before: Object, errs: Errors) -> None:
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            errs.forbidden(
                f"spec.schedulingGates[{i}].name",
                f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
            )


_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")


def _all_may_restart(spec: Object) -> bool:
    """Whether one container's end may restart all of them (KEP-5532)."""
    every = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return any(r.get("action") == "RestartAllContainers" for c in every for r in c.get("restartPolicyRules") or ())


def _ended(obj: Object, old: Object, field: str, errs: Errors) -> None:
    """A container that ended does not run again where the pod's restart policy says so."""
    spec = obj.get("spec") or {}
    policy = spec.get("restartPolicy") if field != "ephemeralContainerStatuses" else "Never"
    if policy == "Always" or spec.get("restartPolicy") == "Always" or _all_may_restart(spec):
        return
    place = {"containerStatuses": "containers", "initContainerStatuses": "initContainers"}.get(field, "")
    own = {c.get("name"): c for c in spec.get(place) or ()}
    before = {s.get("name"): s for s in (old.get("status") or {}).get(field) or ()}
    for i, now in enumerate((obj.get("status") or {}).get(field) or ()):
        container = own.get(now.get("name")) or {}
        if container.get("restartPolicy") or container.get("restartPolicyRules"):
            continue  # the container has rules of its own
        ended = ((before.get(now.get("name")) or {}).get("state") or {}).get("terminated")
        if ended is None or (now.get("state") or {}).get("terminated") is not None:
            continue
        if policy != "OnFailure" or ended.get("exitCode") == 0:
            errs.forbidden(f"status.{field}[{i}].state", "may not be transitioned to non-terminated state")


def status_update(obj: Object, old: Object, errs: Errors) -> None:
    """The status subresource: addresses are addresses, ended containers stay ended."""
    status = obj.get("status") or {}
    for i, condition in enumerate(status.get("conditions") or ()):
        if condition.get("type") not in _SYSTEM_CONDITIONS:
            errs.check(f"status.conditions[{i}].Type", condition.get("type") or "", names.qualified_name)
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        _ended(obj, old, field, errs)
    for i, entry in enumerate(status.get("hostIPs") or ()):
        errs.check(f"status.hostIPs[{i}]", entry.get("ip") or "", names.ip)
    errs.not_negative("status.observedGeneration", status.get("observedGeneration"))
    seen: set[int] = set()
    for i, entry in enumerate(status.get("podIPs") or ()):
        address = entry.get("ip") or ""
        wrong = names.ip(address)
        errs.check(f"status.podIPs[{i}]", address, names.ip)
        if not wrong:
            parsed = names.parse_ip(address)
            if parsed is not None and parsed.version in seen:
                errs.invalid("status.podIPs", status["podIPs"], "may specify no more than one IP for each IP family")
            if parsed is not None:
                seen.add(parsed.version)
    node = status.get("nominatedNodeName")
    if node:
        errs.check("status.nominatedNodeName", node, names.dns_subdomain)


def ephemeral_update(obj: Object, old: Object, errs: Errors) -> None:
    """The ephemeralcontainers subresource: only additions."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    path = "spec.ephemeralContainers"
    around = containers.Pod(spec)
    around.names = {c.get("name", "") for name in ("containers", "initContainers") for c in spec.get(name) or ()}
    entries = spec.get("ephemeralContainers") or []
    containers.ephemeral_containers(entries, path, around, set(around.names), errs)
    now = {each.get("name"): each for each in entries}
    for each in before.get("ephemeralContainers") or ():
        found = now.get(each.get("name"))
        if found is None:
            errs.forbidden(path, f'existing ephemeral containers "{each.get("name")}" may not be removed\n')
        elif found != each:
            errs.forbidden(path, f'existing ephemeral containers "{each.get("name")}" may not be changed\n')


def resize(obj: Object, old: Object, errs: Errors) -> None:
    """The resize subresource: only cpu and memory of containers that are there, and of the pod as a whole
    (ValidatePodResize)."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if not _same_containers(spec, before, errs):
        return
    qos = (old.get("status") or {}).get("qosClass") or qos_class(before)
    if qos_class(spec) != qos:
        errs.invalid("metadata", qos, "Pod QOS Class may not change as a result of resizing")
    if not _pod_level(spec, before, errs):
        return
    _nothing_removed(spec, before, errs)
    if _without_resources(spec) != _without_resources(before):
        errs.forbidden("spec", "only cpu and memory resources are mutable")
    around = containers.Pod(spec)
    for name in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(name) or ()):
            if container.get("resources"):
                containers.resources(container["resources"], f"spec.{name}[{i}].resources", around.claims, errs)


def _pod_level(spec: Object, before: Object, errs: Errors) -> bool:
    """Resources of the pod as a whole: whether nothing is wrong with how they change."""
    now, then = spec.get("resources"), before.get("resources")
    if then and not now:
        errs.forbidden("spec.resources", "pod-level resources cannot be removed")
        return False
    known = len(errs)
    for part in ("requests", "limits"):
        if set((then or {}).get(part) or ()) - set((now or {}).get(part) or ()):
            errs.forbidden(f"spec.resources.{part}", f"pod-level resource {part} cannot be removed")
    if _uncomputed(now) != _uncomputed(then):
        errs.forbidden("spec", "only cpu and memory resources are mutable at pod-level")
    if now:
        pods.resources(spec, "spec.resources", errs)
    return len(errs) == known


def _uncomputed(resources: Object | None) -> Object:
    """What of resources is not cpu or memory."""
    rest = copy.deepcopy(resources or {})
    for part in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            (rest.get(part) or {}).pop(resource, None)
        if not rest.get(part):
            rest.pop(part, None)
    return rest


def _same_containers(spec: Object, before: Object, errs: Errors) -> bool:
    same = True
    for field in ("containers", "initContainers"):
        now, then = spec.get(field) or [], before.get(field) or []
        if len(now) != len(then):
            errs.forbidden(f"spec.{field}", f"{field} may not be added or removed on resize")
            same = False
            continue
        for i, (one, other) in enumerate(zip(now, then, strict=True)):
            if one.get("name") != other.get("name"):
                errs.forbidden(f"spec.{field}[{i}].name", f"{field} may not be renamed or reordered on resize")
                same = False
    return same


def _nothing_removed(spec: Object, before: Object, errs: Errors) -> None:
    for field in ("containers", "initContainers"):
        for i, (one, other) in enumerate(zip(spec.get(field) or (), before.get(field) or (), strict=True)):
            now, then = one.get("resources") or {}, other.get("resources") or {}
            for part in ("requests", "limits"):
                if set(then.get(part) or ()) - set(now.get(part) or ()):
                    errs.forbidden(f"spec.{field}[{i}].resources.{part}", f"resource {part} cannot be removed")


def _without_resources(spec: Object) -> Object:
    rest = copy.deepcopy({name: value for name, value in spec.items() if name != "resources"})
    for name in ("containers", "initContainers"):
        for container in rest.get(name) or ():
            container["resources"] = _uncomputed(container.get("resources"))
    return rest
