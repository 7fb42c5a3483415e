"""What a namespace uses of what a ResourceQuota limits (pure): for the controller that counts, and for admission.

Source: pkg/quota/v1/evaluator/core/{pods,services,persistent_volume_claims}.go, pkg/quota/v1/resources.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from switchboard.objects import quantity
from switchboard.objects.podresources import of_pod

Object = dict[str, Any]
_CLAIMS = ("", "persistentvolumeclaims")

# Plain names of counts -> plural of the core group.
PLAIN: Final = frozenset(
    "pods services configmaps secrets persistentvolumeclaims replicationcontrollers resourcequotas".split()
)
_STORAGE_CLASS: Final = ".storageclass.storage.k8s.io/"


def _is_finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def counted(hard: Iterable[str]) -> set[tuple[str, str]]:
    """(group, plural) of the resources whose objects must be looked at for these limits."""
    out: set[tuple[str, str]] = set()
    for name in hard:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            out.add((group, plural))
        elif name in PLAIN:
            out.add(("", name))
        elif name.startswith("services."):
            out.add(("", "services"))
        elif name == "requests.storage" or _STORAGE_CLASS in name:
            out.add(_CLAIMS)
        else:
            out.add(("", "pods"))
    return out


def usage(quota: Object, objects: Mapping[tuple[str, str], Sequence[Object]]) -> dict[str, str]:
    """Used amounts of every limit of the quota, as quantities in text."""
    spec = quota["spec"]
    pods = [p for p in objects.get(("", "pods"), ()) if not _is_finished(p) and in_scope(spec, p)]
    if _rules(spec):
        claims = [c for c in objects.get(_CLAIMS, ()) if claim_in_scope(spec, c)]
        objects = {**objects, _CLAIMS: claims}
    out: dict[str, str] = {}
    for name in spec.get("hard") or {}:
        out[name] = _one(name, pods, objects)
    return out


def _one(name: str, pods: Sequence[Object], objects: Mapping[tuple[str, str], Sequence[Object]]) -> str:
    if name == "pods":
        return str(len(pods))
    if name.startswith("count/"):
        plural, _, group = name.removeprefix("count/").partition(".")
        return str(len(objects.get((group, plural), ())))
    if name in PLAIN:
        return str(len(objects.get(("", name), ())))
    if name.startswith("services."):
        return str(_services(name.removeprefix("services."), objects.get(("", "services"), ())))
    if name == "requests.storage" or _STORAGE_CLASS in name:
        return _claims(name, objects.get(_CLAIMS, ()))
    return _compute(name, pods)


def _services(what: str, services: Sequence[Object]) -> int:
    balanced = [s for s in services if s["spec"].get("type") == "LoadBalancer"]
    if what == "loadbalancers":
        return len(balanced)
    number = 0
    for service in services:
        ports = service["spec"].get("ports") or ()
        if service["spec"].get("type") == "NodePort":
            number += len(ports)
        elif service["spec"].get("type") == "LoadBalancer":
            number += sum(bool(p.get("nodePort")) for p in ports)
    return number


def _claims(name: str, claims: Sequence[Object]) -> str:
    class_name, _, what = name.rpartition(_STORAGE_CLASS)
    mine = [c for c in claims if not class_name or c["spec"].get("storageClassName") == class_name]
    if what == "persistentvolumeclaims":
        return str(len(mine))
    found = [((c["spec"].get("resources") or {}).get("requests") or {}).get("storage") for c in mine]
    return str(quantity.total([quantity.of(size) for size in found if size is not None]))


def _compute(name: str, pods: Sequence[Object]) -> str:
    part, _, resource = name.partition(".")
    if part not in ("requests", "limits"):
        part, resource = "requests", name
    total = sum(of_pod(pod["spec"], part).get(resource, 0) for pod in pods)
    if resource == "cpu":
        return quantity.canonical(f"{total}m")
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        return str(quantity.Quantity(total * quantity.NANO, "BinarySI"))
    return str(total)


def _rules(spec: Object) -> list[Object]:
    rules: list[Object] = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return rules + ((spec.get("scopeSelector") or {}).get("matchExpressions") or [])


def in_scope(spec: Object, pod: Object) -> bool:
    """Whether a quota's scopes speak of this pod."""
    return all(rule.get("scopeName") != "VolumeAttributesClass" and _scope(rule, pod) for rule in _rules(spec))


def claim_in_scope(spec: Object, claim: Object) -> bool:
    """Whether a quota's scopes speak of this PersistentVolumeClaim."""
    return all(_claim_scope(rule, claim) for rule in _rules(spec))


def _claim_scope(rule: Object, claim: Object) -> bool:
    """A claim counts for the class it has, the one it asks for and the one it is on its way to."""
    if rule.get("scopeName") != "VolumeAttributesClass":
        return False
    status = claim.get("status") or {}
    given = (
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    names = {str(name) for name in given if name}
    if rule.get("operator") in ("In", "Exists"):
        return any(_expression(rule, name) for name in names)
    return all(_expression(rule, name) for name in names or {""})


def _scope(rule: Object, pod: Object) -> bool:
    name, spec = rule.get("scopeName"), pod["spec"]
    if name == "PriorityClass":
        return _expression(rule, spec.get("priorityClassName") or "")
    ends = spec.get("activeDeadlineSeconds") is not None
    best_effort = not any(
        (c.get("resources") or {}).get(k) for c in spec.get("containers") or () for k in ("requests", "limits")
    )
    affinity = spec.get("affinity") or {}
    terms = [t for kind in ("podAffinity", "podAntiAffinity") for t in _terms(affinity.get(kind) or {})]
    holds = {
        "Terminating": ends,
        "NotTerminating": not ends,
        "BestEffort": best_effort,
        "NotBestEffort": not best_effort,
        "CrossNamespacePodAffinity": any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms),
    }.get(name or "", False)
    return not holds if rule.get("operator") == "DoesNotExist" else holds


def _terms(rules: Object) -> list[Object]:
    required = rules.get("requiredDuringSchedulingIgnoredDuringExecution") or []
    preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    return [*required, *(entry.get("podAffinityTerm") or {} for entry in preferred)]


def _expression(rule: Object, value: str) -> bool:
    operator, values = rule.get("operator"), rule.get("values") or ()
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    return bool(value) == (operator == "Exists")
