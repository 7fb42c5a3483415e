"""Rules for FlowSchemas and PriorityLevelConfigurations (pkg/apis/flowcontrol/validation)."""

from __future__ import annotations

import math
from typing import Any

from switchboard.objects import names
from switchboard.objects.flowobjects import MANDATORY, level_specs, schema_specs
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
_MOST_PRECEDENCE, _MOST_QUEUES, _HASH_BITS = 10_000, 10_000_000, 60
_NAMESPACE = "each member of this list must be '*' or a DNS-1123 label; "
_NOT_NEGATIVE = "must be a non-negative integer"


def flow_schema(obj: Object, errs: Errors) -> None:
    """A FlowSchema."""
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name")
    precedence, path = spec.get("matchingPrecedence") or 0, "spec.matchingPrecedence"
    if precedence <= 0:
        errs.invalid(path, precedence, "must be a positive value")
    if precedence > _MOST_PRECEDENCE:
        errs.invalid(path, precedence, f"must not be greater than {_MOST_PRECEDENCE}")
    if precedence == 1 and name != "exempt":
        errs.invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        errs.unsupported("spec.distinguisherMethod.type", method, ("ByNamespace", "ByUser"))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name")
    if level:
        errs.check("spec.priorityLevelConfiguration.name", level, names.dns_subdomain)
    else:
        errs.required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    for i, rule in enumerate(spec.get("rules") or ()):
        _rule(rule, f"spec.rules[{i}]", errs)
    if name in MANDATORY and spec != schema_specs()[name]:
        errs.invalid("spec", spec, f"spec of '{name}' must equal the fixed value")
    status(obj, obj, errs)


def status(obj: Object, old: Object, errs: Errors) -> None:
    """The conditions of both kinds."""
    seen: set[str] = set()
    for i, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        path, type_ = f"status.conditions[{i}].type", condition.get("type") or ""
        if type_ in seen:
            errs.duplicate(path, type_)
        seen.add(type_)
        if not type_:
            errs.required(path, "must not be empty")


def _rule(rule: Object, path: str, errs: Errors) -> None:
    subjects, resources, urls = (rule.get(n) or [] for n in ("subjects", "resourceRules", "nonResourceRules"))
    if not subjects:
        errs.required(f"{path}.subjects", "subjects must contain at least one value")
    for i, subject in enumerate(subjects):
        _subject(subject, f"{path}.subjects[{i}]", errs)
    if not resources and not urls:
        errs.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for i, each in enumerate(resources):
        _resources(each, f"{path}.resourceRules[{i}]", errs)
    for i, each in enumerate(urls):
        here = f"{path}.nonResourceRules[{i}]"
        _verbs(each, here, errs)
        _one_star(
            each, "nonResourceURLs", "nonResourceURLs must contain at least one value", "non-resource URLs", here, errs
        )
        if "*" not in (each.get("nonResourceURLs") or ()):
            for n, url in enumerate(each.get("nonResourceURLs") or ()):
                _url(url, f"{here}.nonResourceURLs[{n}]", errs)


def _subject(subject: Object, path: str, errs: Errors) -> None:
    kind = subject.get("kind") or ""
    field = _SUBJECTS.get(kind)
    if field is None:
        errs.unsupported(f"{path}.kind", kind, tuple(_SUBJECTS))
        return
    for other, its in _SUBJECTS.items():
        if other != kind and subject.get(its) is not None:
            errs.forbidden(f"{path}.{its}", f"{its} is forbidden when subject kind is not '{other}'")
    named, here = subject.get(field), f"{path}.{field}"
    if named is None:
        errs.required(here, f"{field} is required when subject kind is '{kind}'")
        return
    name = named.get("name") or ""
    if not name:
        errs.required(f"{here}.name")
    elif kind == "ServiceAccount" and name != "*":
        errs.check(f"{here}.name", name, names.dns_subdomain)
    if kind == "ServiceAccount":
        if named.get("namespace"):
            errs.check(f"{here}.namespace", named["namespace"], names.dns_label)
        else:
            errs.required(f"{here}.namespace", "must specify namespace for service account")


def _one_star(rule: Object, field: str, missing: str, what: str, path: str, errs: Errors) -> None:
    values = rule.get(field) or []
    if not values:
        errs.required(f"{path}.{field}", missing)
    elif "*" in values and len(values) > 1:
        errs.invalid(f"{path}.{field}", values, f"if '*' is present, must not specify other {what}")


def _verbs(rule: Object, path: str, errs: Errors) -> None:
    verbs = rule.get("verbs") or []
    _one_star(rule, "verbs", "verbs must contain at least one value", "verbs", path, errs)
    if verbs and "*" not in verbs and not set(verbs) <= set(_VERBS):
        errs.unsupported(f"{path}.verbs", verbs, _VERBS)


def _resources(rule: Object, path: str, errs: Errors) -> None:
    _verbs(rule, path, errs)
    _one_star(rule, "apiGroups", "resource rules must supply at least one api group", "api groups", path, errs)
    _one_star(rule, "resources", "resource rules must supply at least one resource", "resources", path, errs)
    namespaces = rule.get("namespaces") or []
    if not namespaces and not rule.get("clusterScope"):
        missing = "resource rules that are not cluster scoped must supply at least one namespace"
        errs.required(f"{path}.namespaces", missing)
    elif "*" in namespaces:
        if len(namespaces) > 1:
            errs.invalid(f"{path}.namespaces", namespaces, "if '*' is present, must not specify other namespaces")
    else:
        for i, namespace in enumerate(namespaces):
            for message in names.dns_label(namespace):
                errs.invalid(f"{path}.namespaces[{i}]", namespace, _NAMESPACE + message)


def _url(url: str, path: str, errs: Errors) -> None:
    stars = url.count("*")
    if not url:
        errs.invalid(path, url, "must not be empty")
    elif not url.startswith("/"):
        errs.invalid(path, url, "must start with slash")
    elif " " in url:
        errs.invalid(path, url, "must not contain white-space")
    elif "//" in url:
        errs.invalid(path, url, "must not contain double slash")
    elif stars > 1 or (stars == 1 and not url.endswith("/*")):
        errs.invalid(path, url, "wildcard can only do suffix matching")


def priority_level(obj: Object, errs: Errors) -> None:
    """A PriorityLevelConfiguration."""
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name")
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    if (name == "exempt") != (kind == "Exempt"):
        errs.invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'")
    if kind == "Exempt":
        if limited is not None:
            errs.forbidden("spec.limited", "must be nil if the type is not Limited")
        if exempt is not None:
            _shares(exempt, "spec.exempt", errs)
    elif kind == "Limited":
        if exempt is not None:
            errs.forbidden("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            errs.required("spec.limited", "must not be empty when type is Limited")
        else:
            _shares(limited, "spec.limited", errs)
            borrowing = limited.get("borrowingLimitPercent")
            if borrowing is not None and borrowing < 0:
                errs.invalid("spec.limited.borrowingLimitPercent", borrowing, f"if specified, {_NOT_NEGATIVE}")
            _response(limited.get("limitResponse") or {}, "spec.limited.limitResponse", errs)
    else:
        errs.unsupported("spec.type", kind, ("Exempt", "Limited"))
    if name in MANDATORY and spec != level_specs()[name] | ({"exempt": exempt} if name == "exempt" else {}):
        but = " except the 'spec.exempt' field" if name == "exempt" else ""
        errs.invalid("spec", spec, f"spec of '{name}'{but} must equal the fixed value")
    status(obj, obj, errs)


def _shares(level: Object, path: str, errs: Errors) -> None:
    shares, percent = level.get("nominalConcurrencyShares") or 0, level.get("lendablePercent") or 0
    if shares < 0:
        errs.invalid(f"{path}.nominalConcurrencyShares", shares, _NOT_NEGATIVE)
    if not 0 <= percent <= 100:
        errs.invalid(f"{path}.lendablePercent", percent, "must be between 0 and 100, inclusive")


def _response(response: Object, path: str, errs: Errors) -> None:
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            errs.forbidden(f"{path}.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif kind == "Queue":
        if queuing is None:
            errs.required(f"{path}.queuing", "must not be empty if limited.limitResponse.type is Limited")
        else:
            _queuing(queuing, f"{path}.queuing", errs)
    else:
        errs.unsupported(f"{path}.type", kind, ("Queue", "Reject"))


def _queuing(queuing: Object, path: str, errs: Errors) -> None:
    queues, hand, longest = (queuing.get(n) or 0 for n in ("queues", "handSize", "queueLengthLimit"))
    if longest <= 0:
        errs.invalid(f"{path}.queueLengthLimit", longest, "must be positive")
    if queues <= 0:
        errs.invalid(f"{path}.queues", queues, "must be positive")
    elif queues > _MOST_QUEUES:
        errs.invalid(f"{path}.queues", queues, f"must not be greater than {_MOST_QUEUES}")
    if hand <= 0:
        errs.invalid(f"{path}.handSize", hand, "must be positive")
    elif hand > queues:
        errs.invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})")
    elif math.ceil(math.log2(queues) * hand) > _HASH_BITS:
        text = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {_HASH_BITS}"
        errs.invalid(f"{path}.handSize", hand, text)
