"""RBAC from the stored Role, ClusterRole, RoleBinding and ClusterRoleBinding objects.

Decoded roles and bindings and every decision are kept until one of these objects changes (the store's feed says so).
Rules: `plugin/pkg/auth/authorizer/rbac`, `pkg/apis/rbac/v1/evaluation_helpers.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from switchboard.api.authz import Attributes, Decision
from switchboard.api.identity import Identity
from switchboard.api.keyspace import decode, split_key
from switchboard.store.record import Event
from switchboard.store.store import Store

Rule = dict[str, Any]
_GROUP = "/rbac.authorization.k8s.io/"
_KINDS = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
_KEPT = 20_000
_IDENTITIES = 2_000


def _has(values: list[str] | None, wanted: str) -> bool:
    return bool(values) and ("*" in values or wanted in values)  # type: ignore[operator]


def resource_matches(rule: Rule, resource: str, subresource: str) -> bool:
    """Whether a rule's `resources` cover `resource[/subresource]` (`*`, exact, or `*/subresource`)."""
    combined = f"{resource}/{subresource}" if subresource else resource
    resources = rule.get("resources") or ()
    return "*" in resources or combined in resources or (bool(subresource) and f"*/{subresource}" in resources)


def path_matches(rule: Rule, path: str) -> bool:
    """Whether a rule's nonResourceURLs cover a path (`*`, exact, or a trailing `*`)."""
    for url in rule.get("nonResourceURLs") or ():
        if url in ("*", path) or (url.endswith("*") and path.startswith(url.rstrip("*"))):
            return True
    return False


def allows(rule: Rule, a: Attributes) -> bool:
    """Whether one PolicyRule covers the request."""
    if not _has(rule.get("verbs"), a.verb):
        return False
    if a.path:
        return path_matches(rule, a.path)
    names = rule.get("resourceNames")
    return (
        _has(rule.get("apiGroups"), a.group)
        and resource_matches(rule, a.resource, a.subresource)
        and (not names or a.name in names)
    )


def applies(subject: Rule, identity: Identity, namespace: str) -> bool:
    """Whether a binding's subject is this identity; `namespace` is the binding's, for service accounts without one."""
    kind, name = subject.get("kind"), subject.get("name", "")
    if kind == "User":
        return bool(identity.user == name)
    if kind == "Group":
        return name in identity.groups
    if kind == "ServiceAccount":
        return identity.user == f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return False


@dataclass(slots=True)
class Granted:
    """Everything bound to one identity: rules with the words for why, and roles that are bound but do not exist."""

    rules: list[tuple[Rule, str]]
    missing: list[str]


class Rbac:
    """The RBAC authorizer over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: dict[str, dict[tuple[str, str], Rule]] | None = None
        self._decisions: dict[Attributes, tuple[Decision, str]] = {}
        self._granted: dict[tuple[Identity, str], Granted] = {}
        self._subscriptions = [store.subscribe(f"{_GROUP}{p}/", store.revision, self._changed) for p in _KINDS]

    def _changed(self, _: list[Event]) -> None:
        self._tables = None
        self._decisions.clear()
        self._granted.clear()

    def _load(self) -> dict[str, dict[tuple[str, str], Rule]]:
        if self._tables is None:
            self._tables = {}
            for plural in _KINDS:
                table = self._tables[plural] = {}
                for record in self._store.scan(f"{_GROUP}{plural}/"):
                    _, _, namespace, name = split_key(record.key)
                    table[namespace, name] = _policy(record.value)
        return self._tables

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """ALLOW where some rule bound to the identity covers the request."""
        found = self._decisions.get(attributes)
        if found is None:
            found = self._decide(attributes)
            if len(self._decisions) >= _KEPT:
                self._decisions.clear()
            self._decisions[attributes] = found
        return found

    def _decide(self, a: Attributes) -> tuple[Decision, str]:
        granted = self.granted(a.identity, a.namespace)
        for rule, why in granted.rules:
            if allows(rule, a):
                return Decision.ALLOW, f"RBAC: allowed by {why}"
        if not granted.missing:
            return Decision.NO_OPINION, ""
        texts = granted.missing
        return Decision.NO_OPINION, f"RBAC: {texts[0]}" if len(texts) == 1 else f"RBAC: [{', '.join(texts)}]"

    def granted(self, identity: Identity, namespace: str) -> Granted:
        """What an identity has in a namespace ("": at the cluster's scope)."""
        key = (identity, namespace)
        found = self._granted.get(key)
        if found is None:
            if len(self._granted) >= _IDENTITIES:
                self._granted.clear()
            found = self._granted[key] = self._collect(identity, namespace)
        return found

    def _collect(self, identity: Identity, namespace: str) -> Granted:
        tables, granted = self._load(), Granted([], [])
        for (_, name), binding in tables["clusterrolebindings"].items():
            self._add(granted, binding, identity, "", f'ClusterRoleBinding "{name}"')
        if namespace:
            for (bound, name), binding in tables["rolebindings"].items():
                if bound == namespace:
                    self._add(granted, binding, identity, bound, f'RoleBinding "{name}/{bound}"')
        return granted

    def _add(self, granted: Granted, binding: Rule, identity: Identity, namespace: str, title: str) -> None:
        subject = next((s for s in binding.get("subjects") or () if applies(s, identity, namespace)), None)
        if subject is None:
            return
        reference = binding["roleRef"]
        kind, name = reference.get("kind", ""), reference.get("name", "")
        rules = self.find_role(reference, namespace)
        if rules is None:
            granted.missing.append(f'{kind.lower()}.rbac.authorization.k8s.io "{name}" not found')
            return
        why = f'{title} of {kind} "{name}" to {_described(subject, namespace)}'
        granted.rules += [(rule, why) for rule in rules]

    def rules_of(self, identity: Identity, namespace: str) -> Iterator[Rule]:
        """Every rule that an identity has: cluster-wide ones, then those of a namespace (if one is given)."""
        return (rule for rule, _ in self.granted(identity, namespace).rules)

    def find_role(self, reference: Rule, namespace: str) -> list[Rule] | None:
        """The rules of the Role or ClusterRole that a roleRef names; None when it does not exist."""
        tables = self._load()
        if reference.get("kind") == "ClusterRole":
            role = tables["clusterroles"].get(("", reference.get("name", "")))
        else:
            role = tables["roles"].get((namespace, reference.get("name", "")))
        return None if role is None else list(role.get("rules") or ())


def _described(subject: Rule, namespace: str) -> str:
    kind, name = subject.get("kind", ""), subject.get("name", "")
    if kind == "ServiceAccount":
        return f'ServiceAccount "{name}/{subject.get("namespace") or namespace}"'
    return f'{kind} "{name}"'


def _policy(value: bytes) -> Rule:
    """What decides, of a stored role or binding: the rest need not be kept."""
    obj = decode(value)
    return {name: obj[name] for name in ("rules", "subjects", "roleRef") if name in obj}
