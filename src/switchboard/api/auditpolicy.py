"""An audit policy: which requests are written down, and how much of them. The first rule that matches decides.

Source: `apiserver/pkg/apis/audit/v1`, `apiserver/pkg/audit/policy`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from switchboard.api.rbac import path_matches

if TYPE_CHECKING:
    from switchboard.api.identity import Identity
    from switchboard.api.paths import Target

Object = dict[str, Any]
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_VERSION = "audit.k8s.io/v1"


class PolicyError(Exception):
    """A policy that cannot be used; says why."""


class Wanted(NamedTuple):
    """What is to be written about one request."""

    level: int  # index into LEVELS
    omitted: frozenset[str]  # stages
    without_managed_fields: bool


_NOTHING = Wanted(0, frozenset(), False)


class Policy:
    """The rules of one file."""

    def __init__(self, obj: Object) -> None:
        self._stages: list[str] = obj.get("omitStages") or []
        self._without = bool(obj.get("omitManagedFields"))
        self._rules: list[Object] = obj.get("rules") or []
        self._results = [self._result(rule) for rule in self._rules]

    def _result(self, rule: Object) -> Wanted:
        own = rule.get("omitManagedFields")
        stages = frozenset((*self._stages, *(rule.get("omitStages") or ())))
        return Wanted(LEVELS.index(rule["level"]), stages, self._without if own is None else bool(own))

    def wanted(self, identity: Identity | None, verb: str, target: Target) -> Wanted:
        """What the policy says of a request."""
        for rule, result in zip(self._rules, self._results, strict=True):
            if _matches(rule, identity, verb, target):
                return result
        return _NOTHING


def load(path: Path) -> Policy:
    """Read a policy file. Raises PolicyError."""
    import yaml  # only who has a policy pays for it

    try:
        obj = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise PolicyError(f"the audit policy {path} cannot be read: {e}") from None
    wrong = _wrong(obj)
    if wrong:
        raise PolicyError(f"the audit policy {path} is wrong: {wrong}")
    return Policy(obj)


def _wrong(obj: Any) -> str:
    if not isinstance(obj, dict) or (obj.get("apiVersion"), obj.get("kind")) != (_VERSION, "Policy"):
        return f"it is no {_VERSION} Policy"
    rules = obj.get("rules")
    if not isinstance(rules, list) or not rules:
        return "it has no rules"
    for i, rule in enumerate(rules):
        wrong = _wrong_rule(rule)
        if wrong:
            return f"rules[{i}]: {wrong}"
    stages = obj.get("omitStages") or []
    return "" if _are_stages(stages) else f"omitStages: must be of {', '.join(STAGES)}"


def _wrong_rule(rule: Any) -> str:
    if not isinstance(rule, dict):
        return "it is no object"
    if rule.get("level") not in LEVELS:
        return f"level: must be one of {', '.join(LEVELS)}"
    if not _are_stages(rule.get("omitStages") or []):
        return f"omitStages: must be of {', '.join(STAGES)}"
    for name in ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs"):
        if not _texts(rule.get(name)):
            return f"{name}: must be a list of strings"
    if rule.get("nonResourceURLs") and (rule.get("resources") or rule.get("namespaces")):
        return "nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
    for url in rule.get("nonResourceURLs") or ():
        if url != "*" and (not url.startswith("/") or "*" in url.rstrip("*")):
            return f'nonResourceURLs: "{url}" must begin with "/" and may end with one "*"'
    resources = rule.get("resources") or []
    if not isinstance(resources, list) or not all(isinstance(each, dict) for each in resources):
        return "resources: must be a list of objects"
    return "" if all(_texts(r.get("resources")) and _texts(r.get("resourceNames")) for r in resources) else "resources"


def _are_stages(given: Any) -> bool:
    return isinstance(given, list) and all(stage in STAGES for stage in given)


def _texts(given: Any) -> bool:
    return given is None or (isinstance(given, list) and all(isinstance(each, str) for each in given))


def _matches(rule: Object, identity: Identity | None, verb: str, target: Target) -> bool:
    users, groups = rule.get("users"), rule.get("userGroups")
    if users and (identity is None or identity.user not in users):
        return False
    if groups and (identity is None or not any(group in groups for group in identity.groups)):
        return False
    if rule.get("verbs") and verb not in rule["verbs"]:
        return False
    if rule.get("namespaces") or rule.get("resources"):
        return target.is_resource and _resource(rule, target)
    if rule.get("nonResourceURLs"):
        return not target.is_resource and path_matches(rule, target.path)
    return True


def _resource(rule: Object, target: Target) -> bool:
    if rule.get("namespaces") and target.namespace not in rule["namespaces"]:
        return False
    about = rule.get("resources")
    return not about or any(_names(each, target) for each in about)


def _names(each: Object, target: Target) -> bool:
    if each.get("group", "") not in (target.group, "*"):
        return False
    if not each.get("resources"):
        return True
    if each.get("resourceNames") and target.name not in each["resourceNames"]:
        return False
    whole = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
    known = {"*", whole, f"{target.plural}/*"} | ({f"*/{target.subresource}"} if target.subresource else set())
    return not known.isdisjoint(each["resources"])
