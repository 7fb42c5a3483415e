"""Admission policies with their bindings: which of them an operation concerns, and with which parameters.

Source: `apiserver/pkg/admission/plugin/policy/generic`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from switchboard.api import typed
from switchboard.api.admission import reviews
from switchboard.api.admission.chain import Operation
from switchboard.api.admission.hooks import Hook, covers, forms, kind_for, selected
from switchboard.api.admission.webhooks import authorizer
from switchboard.api.keyspace import decode, key_of, prefix_of
from switchboard.objects.kinds import Kind
from switchboard.objects.selectors import from_object

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Event

Object = dict[str, Any]
P = TypeVar("P")  # the compiled policy
_GROUP = "admissionregistration.k8s.io"
# Policies never speak about policies: one could make its own removal impossible.
_EXEMPT = frozenset(
    f"{mode}admission{what}" for mode in ("validating", "mutating") for what in ("policies", "policybindings")
)


class NoParams(Exception):
    """The parameters of a binding cannot be had; says why."""


class Bound(Generic[P]):
    """A policy with one of its bindings."""

    def __init__(self, policy: Object, binding: Object, compiled: Callable[[], P]) -> None:
        self.name, self.binding = policy["metadata"]["name"], binding["metadata"]["name"]
        self.spec, self.bound = policy["spec"], binding.get("spec") or {}
        self.compiled = compiled
        self.matches = [_hook(self.spec.get("matchConstraints") or {})]
        if self.bound.get("matchResources"):
            self.matches.append(_hook(self.bound["matchResources"]))


def _hook(match: Object) -> Hook:
    """Constraints of a match as those of a webhook."""
    rules = match.get("resourceRules")
    if rules is None:
        every = {name: ["*"] for name in ("operations", "apiGroups", "apiVersions")}
        rules = [{**every, "resources": ["*", "*/*"]}]
    webhook = {"rules": rules, "matchPolicy": match.get("matchPolicy"), "excluded": match.get("excludeResourceRules")}
    namespaces, objects = (from_object(match.get(f"{n}Selector") or {}) for n in ("namespace", "object"))
    return Hook("", webhook, namespaces, objects)


class Bindings(Generic[P]):
    """The bound policies of one kind; read again when a policy or a binding changes."""

    def __init__(self, app: App, mode: str, compile_spec: Callable[[Object], P]) -> None:
        self._app, self._store, self._compile = app, app.store, compile_spec
        self._policies, self._bindings = (
            f"/{_GROUP}/{mode}admission{what}/" for what in ("policies", "policybindings")
        )
        self._bound: list[Bound[P]] | None = None
        self._subscriptions = [
            self._store.subscribe(prefix, self._store.revision, self._changed)
            for prefix in (self._policies, self._bindings)
        ]

    def _changed(self, _: list[Event]) -> None:
        self._bound = None

    def all(self) -> list[Bound[P]]:
        """Every policy with each of its bindings."""
        if self._bound is None:
            policies = {p["metadata"]["name"]: p for p in (decode(r.value) for r in self._store.scan(self._policies))}
            bindings = [decode(record.value) for record in self._store.scan(self._bindings)] if policies else []
            compiled = {name: _once(self._compile, policy["spec"]) for name, policy in policies.items()}
            named = [((b.get("spec") or {}).get("policyName"), b) for b in bindings]
            self._bound = [Bound(policies[name], b, compiled[name]) for name, b in named if name in policies]
        return self._bound

    def matching(self, op: Operation) -> Iterator[tuple[Bound[P], Kind]]:
        """The policies that an operation concerns, each with the kind (version) in which it wants the object."""
        if op.group == _GROUP and op.plural in _EXEMPT:
            return
        for bound in self.all():
            kind = self._kind(op, bound)
            if kind is not None:
                yield bound, kind

    def _kind(self, op: Operation, bound: Bound[P]) -> Kind | None:
        """The kind in which the policy wants the object; None when it does not want it."""
        kind = None
        for i, match in enumerate(bound.matches):
            found = kind_for(op, match)
            if found is None or not selected(self._store, op, match):
                return None
            if not _named(match.webhook["rules"], op, found):
                return None
            if any(covers(rule, op, found) and _named([rule], op, found) for rule in match.webhook["excluded"] or ()):
                return None
            kind = found if i == 0 else kind
        return kind

    def known(self, op: Operation, kind: Kind, params: Object | None) -> Object:
        """What the policy's expressions can read."""
        obj, old = forms(kind, op)
        return {
            "object": obj,
            "oldObject": old,
            "authorizer": authorizer(op),
            "request": reviews.review(op, {}, kind, obj, old)["request"],
            "namespaceObject": self._namespace(op),
            "params": params,
        }

    def _namespace(self, op: Operation) -> Object | None:
        if not op.namespace:
            return None
        from switchboard.objects.cel.conditions import namespace_value  # only who has policies pays for the language

        record = self._store.head(f"/core/namespaces/{op.namespace}")
        return namespace_value(decode(record.value)) if record is not None else None

    def params(self, op: Operation, bound: Bound[P]) -> Iterator[Object | None]:
        """The parameters that the policy is asked with, one after another. Raises NoParams."""
        wanted, ref = bound.spec.get("paramKind"), bound.bound.get("paramRef")
        if not wanted or not ref:
            yield None
            return
        kind = self._app.registry.of(wanted.get("apiVersion") or "", wanted.get("kind") or "")
        if kind is None:
            raise NoParams(
                f"failed to find resource referenced by paramKind: '{wanted.get('apiVersion')}, "
                f"Kind={wanted.get('kind')}'"
            )
        namespace = (ref.get("namespace") or op.namespace) if kind.namespaced else ""
        if kind.namespaced and not namespace:
            raise NoParams("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        records = []
        if ref.get("name"):
            records = [r for r in [self._store.get(key_of(kind, namespace, ref["name"]))] if r is not None]
        elif ref.get("selector") is not None:
            selector = from_object(ref["selector"])
            records = [r for r in self._store.scan(prefix_of(kind, namespace)) if selector.matches(r.meta)]
        if not records and ref.get("parameterNotFoundAction") != "Allow":
            raise NoParams("no params found for policy binding with `Deny` parameterNotFoundAction")
        for record in records:
            yield typed.show(kind, record.value)


def _once(make: Callable[[Object], P], spec: Object) -> Callable[[], P]:
    """A policy compiled when it is first asked."""
    made: list[P] = []

    def get() -> P:
        if not made:
            made.append(make(spec))
        return made[0]

    return get


def _named(rules: list[Object], op: Operation, kind: Kind) -> bool:
    """Whether a rule that covers the operation names its object, or names none."""
    return any(
        not rule.get("resourceNames") or op.name in rule["resourceNames"] for rule in rules if covers(rule, op, kind)
    )
