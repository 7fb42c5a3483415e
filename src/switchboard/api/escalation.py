"""Nobody grants by RBAC what they do not have: rules compared, and the admission step that refuses.

Upstream: `pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased`, comparison in
`pkg/registry/rbac/validation/{rule,policy_comparator,policy_compact}.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.authz import Attributes, Authorizer, Decision, forbidden
from switchboard.api.identity import Identity
from switchboard.objects.errors import NotFound

if TYPE_CHECKING:
    from switchboard.api.rbac import Rbac

Rule = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"
_EVERYTHING: list[Rule] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]


def breakdown(rule: Rule) -> list[Rule]:
    """A rule as rules of one group, resource, verb and name each."""
    single: list[Rule] = []
    verbs = rule.get("verbs") or ()
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                base = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                names = rule.get("resourceNames") or ()
                single += [{**base, "resourceNames": [name]} for name in names] if names else [base]
    for url in rule.get("nonResourceURLs") or ():
        single += [{"verbs": [verb], "nonResourceURLs": [url]} for verb in verbs]
    return single


def _all(owned: Iterable[str], wanted: Iterable[str]) -> bool:
    have = set(owned)
    return "*" in have or have.issuperset(wanted)


def _resources(owned: list[str], wanted: list[str]) -> bool:
    have = set(owned)
    if "*" in have:
        return True
    return all(r in have or ("/" in r and f"*/{r.split('/', 1)[1]}" in have) for r in wanted)


def _urls(owned: list[str], wanted: list[str]) -> bool:
    def covered(url: str) -> bool:
        return any(u in ("*", url) or (u.endswith("*") and url.startswith(u.rstrip("*"))) for u in owned)

    return all(covered(url) for url in wanted)


def covers(owner: Rule, wanted: Rule) -> bool:
    """Whether one rule allows everything that another (a single one) does."""
    names, owned_names = wanted.get("resourceNames") or (), owner.get("resourceNames") or ()
    return (
        _all(owner.get("verbs") or (), wanted.get("verbs") or ())
        and _all(owner.get("apiGroups") or (), wanted.get("apiGroups") or ())
        and _resources(owner.get("resources") or [], wanted.get("resources") or [])
        and _urls(owner.get("nonResourceURLs") or [], wanted.get("nonResourceURLs") or [])
        and (not owned_names or (bool(names) and set(owned_names).issuperset(names)))
    )


def uncovered(owned: list[Rule], wanted: list[Rule]) -> list[Rule]:
    """The parts of the wanted rules that no owned rule covers, as single rules."""
    singles = [single for rule in wanted for single in breakdown(rule)]
    return [single for single in singles if not any(covers(rule, single) for rule in owned)]


def compact(rules: list[Rule]) -> list[Rule]:
    """Rules of one resource each, joined where they differ in verbs alone."""
    others: list[Rule] = []
    simple: dict[tuple[str, str, str | None], Rule] = {}
    for rule in rules:
        if rule.get("nonResourceURLs"):
            others.append(rule)
            continue
        key = (rule["apiGroups"][0], rule["resources"][0], (rule.get("resourceNames") or [None])[0])
        known = simple.setdefault(key, {**rule, "verbs": []})
        known["verbs"] = [*known["verbs"], *rule["verbs"]]
    return [*others, *simple.values()]


def _quoted(values: Iterable[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def describe(rule: Rule) -> str:
    """A rule as upstream's messages print it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`."""
    fields = (
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("ResourceNames", "resourceNames"),
        ("Verbs", "verbs"),
    )
    return "{" + ", ".join(f"{name}:{_quoted(rule[key])}" for name, key in fields if rule.get(key)) + "}"


class Escalation(Neutral):
    """Refuses roles and bindings that give more than their author has."""

    resources = frozenset(("roles", "clusterroles", "rolebindings", "clusterrolebindings"))

    def __init__(self, rbac: Rbac, authorizer: Authorizer) -> None:
        self._rbac, self._authorizer = rbac, authorizer

    def validate(self, op: Operation) -> None:
        """Look at the final role or binding."""
        if op.group != GROUP or op.obj is None or op.verb not in ("CREATE", "UPDATE") or op.call.identity.is_master:
            return
        if op.plural in ("roles", "clusterroles"):
            self._role(op, op.obj)
        else:
            self._binding(op, op.obj)

    def _may(self, op: Operation, verb: str, resource: str, name: str) -> bool:
        attributes = Attributes(op.call.identity, verb, GROUP, "v1", resource, "", op.namespace, name)
        return self._authorizer.authorize(attributes)[0] is Decision.ALLOW

    def _role(self, op: Operation, role: Rule) -> None:
        old = op.old or {}
        if op.old is not None and all(role.get(f) == old.get(f) for f in ("rules", "aggregationRule")):
            return
        name = role["metadata"].get("name", "")
        if self._may(op, "escalate", op.plural, name):
            return
        self._confirm(op, role.get("rules") or [])
        if role.get("aggregationRule") or old.get("aggregationRule"):
            held = list(self._rbac.rules_of(op.call.identity, op.namespace))
            if uncovered(held, _EVERYTHING):
                why = "must have cluster-admin privileges to use the aggregationRule"
                raise forbidden(op.plural, GROUP, name, why)

    def _binding(self, op: Operation, binding: Rule) -> None:
        old = op.old or {}
        if op.old is not None and all(binding.get(f) == old.get(f) for f in ("subjects", "roleRef")):
            return
        reference = binding["roleRef"]
        resource = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
        if self._may(op, "bind", resource, reference["name"]):
            return
        rules = self._rbac.find_role(reference, op.namespace)
        if rules is None:
            raise NotFound.of(resource, GROUP, reference["name"])
        self._confirm(op, rules)

    def _confirm(self, op: Operation, wanted: list[Rule]) -> None:
        identity: Identity = op.call.identity
        missing = uncovered(list(self._rbac.rules_of(identity, op.namespace)), wanted)
        if not missing:
            return
        lines = "\n".join(sorted({describe(rule) for rule in compact(missing)}))
        why = (
            f'user "{identity.user}" (groups={_quoted(identity.groups)}) is attempting to grant RBAC permissions not '
            f"currently held:\n{lines}"
        )
        raise forbidden(op.plural, GROUP, (op.obj or {})["metadata"].get("name", ""), why)
