"""Rules for ResourceQuotas and LimitRanges (pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names, quantity
from switchboard.objects.validate import containers
from switchboard.objects.validate.fields import IMMUTABLE, Errors

Object = dict[str, Any]
_STANDARD_QUOTA = {
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
}
_WHOLE = _STANDARD_QUOTA - {n for n in _STANDARD_QUOTA if n.endswith(("cpu", "memory", "storage"))}
_SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)


def resource_quota(obj: Object, errs: Errors) -> None:
    """Known resources, amounts not negative, known scopes."""
    spec = obj.get("spec") or {}
    for section, values in (("spec.hard", spec.get("hard")), ("status.hard", (obj.get("status") or {}).get("hard"))):
        for name, amount in (values or {}).items():
            path = f"{section}[{name}]"
            errs.check(path, name, names.qualified_name)
            standard = name in _STANDARD_QUOTA or name.startswith(("hugepages-", "requests.hugepages-"))
            if "/" not in name and not standard:
                errs.invalid(path, name, "must be a standard resource type or fully qualified")
                errs.invalid(path, name, "must be a standard resource for quota")
            _amount(name in _WHOLE, amount, path, errs)
    _scopes(spec, errs)
    _selector(spec, errs)


# What a quota with a scope may count; every other scope goes with any resource.
_OF_PODS = frozenset(
    ("pods", *(part + name for part in ("", "requests.", "limits.") for name in ("cpu", "memory", "ephemeral-storage")))
)
_COUNTED = {
    "BestEffort": frozenset({"pods"}),
    "NotBestEffort": _OF_PODS,
    "Terminating": _OF_PODS,
    "NotTerminating": _OF_PODS,
    "PriorityClass": _OF_PODS,
    "CrossNamespacePodAffinity": _OF_PODS,
}


def _scopes(spec: Object, errs: Errors) -> None:
    scopes: list[str] = spec.get("scopes") or []
    for scope in scopes:
        if scope not in _SCOPES:
            errs.invalid("spec.scopes", scopes, "unsupported scope")
        for name in sorted(spec.get("hard") or {}):
            if name in _STANDARD_QUOTA and name not in _COUNTED.get(scope, {name}):
                errs.invalid("spec.scopes", scopes, "unsupported scope applied to resource")
    for pair in ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"}):
        if pair <= set(scopes):
            errs.invalid("spec.scopes", scopes, "conflicting scopes")


_ALONE = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")


def _selector(spec: Object, errs: Errors) -> None:
    """`spec.scopeSelector`."""
    path, selector = "spec.scopeSelector.matchExpressions", spec.get("scopeSelector")
    expressions: list[Object] = (selector or {}).get("matchExpressions") or []
    for each in expressions:
        scope, operator, values = each.get("scopeName") or "", each.get("operator") or "", each.get("values") or []
        if scope not in _SCOPES:
            errs.invalid(f"{path}.scopeName", scope, "unsupported scope")
        for name in sorted(spec.get("hard") or {}):
            if name in _STANDARD_QUOTA and name not in _COUNTED.get(scope, {name}):
                errs.invalid(path, selector, "unsupported scope applied to resource")
        if scope in _ALONE and operator != "Exists":
            only = (
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
                "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                "ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            errs.invalid(f"{path}.operator", operator, only)
        if operator in ("In", "NotIn"):
            if not values:
                missing = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                errs.required(f"{path}.values", missing)
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                many = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                errs.invalid(f"{path}.values", values, many)
        else:
            errs.invalid(f"{path}.operator", operator, "not a valid selector operator")
    named = {each.get("scopeName") for each in expressions}
    for pair in ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"}):
        if pair <= named:
            errs.invalid(path, spec.get("scopes"), "conflicting scopes")


def _amount(whole: bool, amount: str, path: str, errs: Errors) -> None:
    value = quantity.of(amount)
    if value.nano < 0:
        errs.invalid(path, amount, "must be greater than or equal to 0")
    if whole and value.nano % quantity.NANO:
        errs.invalid(path, amount, "must be an integer")


def resource_quota_update(obj: Object, old: Object, errs: Errors) -> None:
    """Scopes do not change."""
    now, then = (obj.get("spec") or {}).get("scopes") or [], (old.get("spec") or {}).get("scopes") or []
    if sorted(now) != sorted(then):
        errs.invalid("spec.scopes", now, IMMUTABLE)


def limit_range(obj: Object, errs: Errors) -> None:
    """min <= defaultRequest <= default <= max for each resource of each item."""
    seen: set[str] = set()
    for i, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{i}]", item.get("type") or ""
        _limit_names(item, kind, path, errs)
        if kind in seen:
            errs.duplicate(f"{path}.type", kind)
        seen.add(kind)
        if kind == "Pod":
            for name in ("default", "defaultRequest"):
                if item.get(name):
                    errs.forbidden(f"{path}.{name}", "may not be specified when `type` is 'Pod'")
        if kind == "PersistentVolumeClaim" and not item.get("min") and not item.get("max"):
            errs.required(
                f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided"
            )
        parts = ("min", "defaultRequest", "default", "max")
        resources = sorted({name for part in parts for name in item.get(part) or {}})
        for resource in resources:
            _ordered(item, resource, path, errs)


def _limit_names(item: Object, kind: str, path: str, errs: Errors) -> None:
    """The type of an item and the names of its resources."""
    errs.check(f"{path}.type", kind, names.qualified_name)
    if "/" not in kind and kind not in ("Pod", "Container", "PersistentVolumeClaim"):
        errs.invalid(f"{path}.type", kind, "must be a standard limit type or fully qualified")
    plain = ("max", "min", "maxLimitRequestRatio")
    for part in plain if kind == "Pod" else ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
        for name in item.get(part) or {}:
            here = f"{path}.{part}[{name}]"
            if kind in ("Pod", "Container"):
                containers.resource_name(name, here, errs)
                continue
            wrong = names.qualified_name(name)
            for message in wrong:
                errs.invalid(here, name, message)
            if not wrong and "/" not in name and not containers.known(name):
                errs.invalid(here, name, "must be a standard resource type or fully qualified")


_ABOVE = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min value {} is greater than default value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
)


def _ordered(item: Object, resource: str, path: str, errs: Errors) -> None:
    amounts = {part: (item.get(part) or {}).get(resource) for part in ("min", "max", "default", "defaultRequest")}
    for low, high, where, words in _ABOVE:
        a, b = amounts[low], amounts[high]
        if a is not None and b is not None and quantity.of(a).nano > quantity.of(b).nano:
            errs.invalid(f"{path}.{where}[{resource}]", amounts[where], words.format(a, b))
    ratio = (item.get("maxLimitRequestRatio") or {}).get(resource)
    if ratio is not None and quantity.of(ratio).nano < quantity.NANO:
        errs.invalid(f"{path}.maxLimitRequestRatio[{resource}]", ratio, f"ratio {ratio} is less than 1")
