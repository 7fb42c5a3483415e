"""RBAC from the stored Role, ClusterRole, RoleBinding and ClusterRoleBinding objects.

Decoded roles and bindings and every decision are kept until one of these objects changes (the store's feed says so).
Rules: `plugin/pkg/auth/authorizer/rbac`, `pkg/apis/rbac/v1/evaluation_helpers.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from switchboard.api.authz import Attributes, Decision
from switchboard.api.identity import Identity
from switchboard.api.keyspace import decode, split_key
from switchboard.store.record import Event
from switchboard.store.store import Store

Rule = dict[str, Any]
_GROUP = "/rbac.authorization.k8s.io/"
_KINDS = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
_KEPT = 50_000


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


class Rbac:
    """The RBAC authorizer over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: dict[str, dict[tuple[str, str], Rule]] | None = None
        self._decisions: dict[Attributes, tuple[Decision, str]] = {}
        self._subscriptions = [store.subscribe(f"{_GROUP}{p}/", store.revision, self._changed) for p in _KINDS]

    def _changed(self, _: list[Event]) -> None:
        self._tables = None
        self._decisions.clear()

    def _load(self) -> dict[str, dict[tuple[str, str], Rule]]:
        if self._tables is None:
            self._tables = {}
            for plural in _KINDS:
                table = self._tables[plural] = {}
                for record in self._store.scan(f"{_GROUP}{plural}/"):
                    _, _, namespace, name = split_key(record.key)
                    table[namespace, name] = decode(record.value)
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
        if any(allows(rule, a) for rule in self.rules_of(a.identity, a.namespace)):
            return Decision.ALLOW, ""
        return Decision.NO_OPINION, ""

    def rules_of(self, identity: Identity, namespace: str) -> Iterator[Rule]:
        """Every rule that an identity has: cluster-wide ones, then those of a namespace (if one is given)."""
        tables = self._load()
        for binding in tables["clusterrolebindings"].values():
            if any(applies(s, identity, "") for s in binding.get("subjects") or ()):
                yield from self.role_rules(binding["roleRef"], "")
        if namespace:
            for (bound, _), binding in tables["rolebindings"].items():
                if bound == namespace and any(applies(s, identity, bound) for s in binding.get("subjects") or ()):
                    yield from self.role_rules(binding["roleRef"], namespace)

    def role_rules(self, reference: Rule, namespace: str) -> list[Rule]:
        """The rules of the Role or ClusterRole that a roleRef names; none when it does not exist."""
        tables = self._load()
        if reference.get("kind") == "ClusterRole":
            role = tables["clusterroles"].get(("", reference.get("name", "")))
        else:
            role = tables["roles"].get((namespace, reference.get("name", "")))
        return list((role or {}).get("rules") or ())
