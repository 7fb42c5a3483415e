"""Rules for where pods may be placed: affinities and topology spread (pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names
from switchboard.objects.validate import labels
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]


def affinity(value: Object, path: str, errs: Errors) -> None:
    """`spec.affinity`."""
    node = value.get("nodeAffinity") or {}
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    if required in node:
        labels.node_selector(node[required], f"{path}.nodeAffinity.{required}", errs)
    for i, term in enumerate(node.get(preferred) or ()):
        here = f"{path}.nodeAffinity.{preferred}[{i}]"
        _weight(term, here, errs)
        labels.node_selector_term(term.get("preference") or {}, f"{here}.preference", errs)
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = value.get(kind) or {}
        for i, term in enumerate(terms.get(required) or ()):
            _pod_term(term, f"{path}.{kind}.{required}[{i}]", errs)
        for i, term in enumerate(terms.get(preferred) or ()):
            here = f"{path}.{kind}.{preferred}[{i}]"
            _weight(term, here, errs)
            _pod_term(term.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm", errs)


def _weight(term: Object, path: str, errs: Errors) -> None:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        errs.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _pod_term(term: Object, path: str, errs: Errors) -> None:
    labels.selector(term.get("labelSelector"), f"{path}.labelSelector", errs)
    labels.selector(term.get("namespaceSelector"), f"{path}.namespaceSelector", errs)
    for namespace in term.get("namespaces") or ():
        errs.check(f"{path}.namespace", namespace, names.dns_label)
    _label_keys(term, path, errs)
    key = term.get("topologyKey") or ""
    if not key:
        errs.required(f"{path}.topologyKey", "can not be empty")
    errs.check(f"{path}.topologyKey", key, names.qualified_name)


def _label_keys(term: Object, path: str, errs: Errors) -> None:
    """Labels whose values are taken from the pod itself."""
    for name in ("matchLabelKeys", "mismatchLabelKeys"):
        keys = term.get(name) or []
        if keys and term.get("labelSelector") is None:
            errs.forbidden(f"{path}.{name}", "must not be specified when labelSelector is not set")
            continue
        for i, key in enumerate(keys):
            errs.check(f"{path}.{name}[{i}]", key, names.qualified_name)
    for i, key in enumerate(term.get("mismatchLabelKeys") or ()):
        if key in (term.get("matchLabelKeys") or ()):
            errs.invalid(f"{path}.mismatchLabelKeys[{i}]", key, "exists in both matchLabelKeys and mismatchLabelKeys")


def spread(values: list[Object], path: str, errs: Errors) -> None:
    """`spec.topologySpreadConstraints`."""
    for i, value in enumerate(values):
        pair = (value.get("topologyKey") or "", value.get("whenUnsatisfiable") or "")
        later = [(each.get("topologyKey") or "", each.get("whenUnsatisfiable") or "") for each in values[i + 1 :]]
        _spread(value, f"{path}[{i}]", pair in later, errs)


def _spread(value: Object, path: str, repeated: bool, errs: Errors) -> None:
    skew = value.get("maxSkew") or 0
    if skew <= 0:
        errs.invalid(f"{path}.maxSkew", skew, "must be greater than zero")
    key = value.get("topologyKey") or ""
    if not key:
        errs.required(f"{path}.topologyKey", "can not be empty")
    else:
        errs.check(f"{path}.topologyKey", key, names.qualified_name)
    when = value.get("whenUnsatisfiable") or ""
    if when not in ("DoNotSchedule", "ScheduleAnyway"):
        errs.unsupported(f"{path}.whenUnsatisfiable", when, ("DoNotSchedule", "ScheduleAnyway"))
    if repeated:
        errs.duplicate(f"{path}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {when}}}")
    domains = value.get("minDomains")
    if domains is not None:
        if domains <= 0:
            errs.invalid(f"{path}.minDomains", domains, "must be greater than zero")
        if when != "DoNotSchedule":
            errs.invalid(
                f"{path}.minDomains", domains, f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
            )
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = value.get(name)
        if policy is not None and policy not in ("Honor", "Ignore"):
            errs.unsupported(f"{path}.{name}", policy, ("Honor", "Ignore"))
    keys = value.get("matchLabelKeys") or []
    if keys and value.get("labelSelector") is None:
        errs.forbidden(f"{path}.matchLabelKeys", "must not be specified when labelSelector is not set")
    else:
        for i, key in enumerate(keys):
            errs.check(f"{path}.matchLabelKeys[{i}]", key, names.qualified_name)
    labels.selector(value.get("labelSelector"), f"{path}.labelSelector", errs)
