"""Makes the default roles and bindings at start, and keeps aggregated ClusterRoles the union of their parts.

As upstream's reconciliation (`pkg/registry/rbac/reconciliation`): a default role that lost rules or labels gets them
back, what somebody added stays, and an object annotated `rbac.authorization.kubernetes.io/autoupdate: "false"` is left
alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any

from switchboard.api import escalation, roles
from switchboard.api.controller_roles import CONTROLLER_ROLES
from switchboard.api.keyspace import decode, encode, key_of
from switchboard.api.metadata import new_uid, now
from switchboard.objects.selectors import from_object
from switchboard.store.errors import Changed

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Event

Object = dict[str, Any]
Rule = dict[str, list[str]]

GROUP = "rbac.authorization.k8s.io"
_CLUSTER_ROLES = f"/{GROUP}/clusterroles/"
_AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def rule(line: str) -> Rule:
    """A line of the tables as a PolicyRule."""
    parts = [part.split() for part in line.split(" : ")]
    if line.startswith("/"):
        urls = [url if url != "/*" else "*" for url in parts[0]]
        return {"verbs": parts[1], "nonResourceURLs": urls}
    groups = ["" if group == "-" else group for group in parts[0]]
    made = {"verbs": sorted(parts[2]), "apiGroups": groups, "resources": sorted(parts[1])}
    if len(parts) > 3:
        made["resourceNames"] = parts[3]
    return made


def _meta(name: str, namespace: str = "", **labels: str) -> Object:
    meta: Object = {"name": name, "labels": {**_LABEL, **labels}, "annotations": {_AUTOUPDATE: "true"}}
    return meta | ({"namespace": namespace} if namespace else {})


def _role(kind: str, meta: Object, lines: tuple[str, ...] | None) -> Object:
    rules = [rule(line) for line in lines] if lines is not None else None
    return {"kind": kind, "apiVersion": f"{GROUP}/v1", "metadata": meta, "rules": rules}


def _subject(text: str) -> Object:
    kind, _, name = text.partition(" ")
    if kind == "ServiceAccount":
        namespace, _, name = name.partition("/")
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"kind": kind, "apiGroup": GROUP, "name": name}


def _binding(kind: str, meta: Object, role_kind: str, role: str, subjects: tuple[str, ...]) -> Object:
    reference = {"apiGroup": GROUP, "kind": role_kind, "name": role}
    made: Object = {"kind": kind, "apiVersion": f"{GROUP}/v1", "metadata": meta}
    if subjects:
        made["subjects"] = [_subject(s) for s in subjects]
    return made | {"roleRef": reference}


def _aggregate(labels: str) -> dict[str, str]:
    return {f"{GROUP}/{label}": "true" for label in labels.split()}


def defaults() -> Iterator[tuple[str, Object]]:
    """Every default object with the plural it is stored under."""
    for name, label in roles.AGGREGATED.items():
        meta = _meta(name, **(_aggregate(roles.LABELS[name]) if name in roles.LABELS else {}))
        made = _role("ClusterRole", meta, None)
        yield "clusterroles", made | {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": _aggregate(label)}]}}
    for name, lines in roles.CLUSTER_ROLES.items():
        labels = _aggregate(roles.LABELS[name]) if name in roles.LABELS else {}
        yield "clusterroles", _role("ClusterRole", _meta(name, **labels), lines)
    for name, lines in CONTROLLER_ROLES.items():
        yield "clusterroles", _role("ClusterRole", _meta(f"system:controller:{name}"), lines)
    for name, subjects in roles.CLUSTER_BINDINGS.items():
        yield "clusterrolebindings", _binding("ClusterRoleBinding", _meta(name), "ClusterRole", name, subjects)
    for name in CONTROLLER_ROLES:
        full, account = f"system:controller:{name}", (f"ServiceAccount kube-system/{name}",)
        yield "clusterrolebindings", _binding("ClusterRoleBinding", _meta(full), "ClusterRole", full, account)
    for (namespace, name), lines in roles.ROLES.items():
        yield "roles", _role("Role", _meta(name, namespace), lines)
    for (namespace, name), (role, subjects) in roles.BINDINGS.items():
        yield "rolebindings", _binding("RoleBinding", _meta(name, namespace), "Role", role, subjects)


def _put(app: App, key: str, obj: Object, expect: Any) -> Awaitable[Any]:
    def seal(revision: int) -> bytes:
        obj["metadata"]["resourceVersion"] = str(revision)
        return encode(obj)

    return app.store.put(key, seal, expect=expect)


def bootstrap(app: App) -> list[Awaitable[Any]]:
    """Queue the default objects that are missing or incomplete."""
    waits: list[Awaitable[Any]] = []
    for plural, wanted in defaults():
        kind = app.registry.resource(GROUP, "v1", plural)
        assert kind is not None
        meta = wanted["metadata"]
        key = key_of(kind, meta.get("namespace", ""), meta["name"])
        head = app.store.head(key)
        if head is None:
            meta |= {"uid": new_uid(), "resourceVersion": "", "creationTimestamp": now()}
            waits.append(_put(app, key, wanted, None))
            continue
        there = decode(head.value)
        if reconcile(there, wanted):
            waits.append(_put(app, key, there, head))
    waits += aggregate(app)
    return waits


def reconcile(there: Object, wanted: Object) -> bool:
    """Add what a default object has lost, in place; true where anything was missing."""
    meta = there["metadata"]
    if (meta.get("annotations") or {}).get(_AUTOUPDATE) == "false":
        return False
    changed = False
    for field in ("labels", "annotations"):
        missing = {k: v for k, v in wanted["metadata"][field].items() if k not in (meta.get(field) or {})}
        if missing:
            meta[field] = {**(meta.get(field) or {}), **missing}
            changed = True
    if wanted.get("aggregationRule"):
        return changed
    if wanted.get("rules") is not None:
        lost = escalation.uncovered(there.get("rules") or [], wanted["rules"])
        if lost:
            there["rules"] = [*(there.get("rules") or ()), *lost]
            changed = True
    subjects = there.get("subjects") or []
    added = [s for s in wanted.get("subjects") or () if s not in subjects]
    if added:
        there["subjects"] = [*subjects, *added]
        changed = True
    return changed


def aggregate(app: App) -> list[Awaitable[Any]]:
    """Give every ClusterRole with an aggregationRule the rules of the roles it selects, until nothing changes."""
    heads = {}
    for record in app.store.scan(_CLUSTER_ROLES):
        heads[record.key] = record
    found = {key: app.store.head(key) for key in heads} | {
        key: app.store.head(key) for key in (_CLUSTER_ROLES + obj["metadata"]["name"] for _, obj in defaults())
    }
    table = {key: decode(record.value) for key, record in found.items() if record is not None}
    changed: set[str] = set()
    for _ in range(len(roles.AGGREGATED) + 2):  # unions of unions settle level by level
        before = len(changed)
        for key, role in sorted(table.items()):
            rules = _union(role, table)
            if rules is not None and rules != role.get("rules"):
                role["rules"] = rules
                changed.add(key)
                before = -1
        if before == len(changed):
            break
    return [_put(app, key, table[key], found[key]) for key in sorted(changed)]


def _union(role: Object, table: dict[str, Object]) -> list[Object] | None:
    """The rules an aggregated role must have; None for other roles."""
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
    if not selectors:
        return None
    rules: list[Object] = []
    for selector in map(from_object, selectors):
        for _, other in sorted(table.items()):
            if other is role or not selector.matches(other["metadata"].get("labels") or {}):
                continue
            rules += [r for r in other.get("rules") or () if r not in rules]
    return rules


def _matters(event: Event) -> bool:
    """Whether a change may concern an aggregated role: roles without labels are part of none."""
    records = [r for r in (event.record, event.previous) if r is not None]
    return any(r.meta or b'"aggregationRule"' in r.value for r in records)


class Aggregation:
    """Watches ClusterRoles and brings aggregated ones up to date, in the background."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._subscription = app.store.subscribe(_CLUSTER_ROLES, app.store.revision, self._changed)

    def _changed(self, events: list[Event]) -> None:
        if not any(_matters(event) for event in events):
            return
        try:
            for waiting in aggregate(self._app):
                self._app.background(waiting)
        except Changed:
            return  # somebody was faster; their event brings us here again

    def close(self) -> None:
        """End the watch."""
        self._subscription.close()
