"""ValidatingAdmissionPolicies and their bindings: who is asked about an operation, with which parameters, and what
follows.

Source: `apiserver/pkg/admission/plugin/policy/{generic,validating}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from switchboard.api import typed
from switchboard.api.admission import reviews
from switchboard.api.admission.chain import Neutral, Operation
from switchboard.api.admission.hooks import Hook, covers, kind_for, selected
from switchboard.api.admission.webhooks import authorizer, forms
from switchboard.api.authz import forbidden
from switchboard.api.keyspace import decode, key_of, prefix_of
from switchboard.objects.kinds import Kind
from switchboard.objects.selectors import from_object

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.objects.cel.policies import Policy
    from switchboard.store.record import Event

Object = dict[str, Any]
_GROUP = "admissionregistration.k8s.io"
_POLICIES, _BINDINGS = f"/{_GROUP}/validatingadmissionpolicies/", f"/{_GROUP}/validatingadmissionpolicybindings/"
# Policies never speak about policies: one could make its own removal impossible.
_EXEMPT = frozenset(
    f"{mode}admission{what}" for mode in ("validating", "mutating") for what in ("policies", "policybindings")
)
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


class _NoParams(Exception):
    """The parameters of a binding cannot be had; says why."""


class _Bound:
    """A policy with one of its bindings."""

    def __init__(self, policy: Object, binding: Object) -> None:
        self.name, self.binding = policy["metadata"]["name"], binding["metadata"]["name"]
        self.spec, self.bound = policy["spec"], binding.get("spec") or {}
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


class ValidatingPolicies(Neutral):
    """Refuses, or warns of, what ValidatingAdmissionPolicies are against."""

    def __init__(self, app: App) -> None:
        self._app, self._store = app, app.store
        self._bound: list[_Bound] | None = None
        self._compiled: dict[str, Policy] = {}
        self._subscriptions = [
            self._store.subscribe(prefix, self._store.revision, self._changed) for prefix in (_POLICIES, _BINDINGS)
        ]

    def _changed(self, _: list[Event]) -> None:
        self._bound = None

    def _all(self) -> list[_Bound]:
        if self._bound is None:
            self._compiled = {}
            policies = {p["metadata"]["name"]: p for p in (decode(r.value) for r in self._store.scan(_POLICIES))}
            bindings = [decode(record.value) for record in self._store.scan(_BINDINGS)] if policies else []
            named = [(policies.get((b.get("spec") or {}).get("policyName")), b) for b in bindings]
            self._bound = [_Bound(policy, binding) for policy, binding in named if policy is not None]
        return self._bound

    def validate(self, op: Operation) -> None:
        """Refuse what a bound policy denies. Raises StatusError."""
        if op.group == _GROUP and op.plural in _EXEMPT:
            return
        for bound in self._all():
            kind = self._kind(op, bound)
            if kind is not None:
                self._ask(op, bound, kind)

    def _kind(self, op: Operation, bound: _Bound) -> Kind | None:
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

    def _policy(self, bound: _Bound) -> Policy:
        found = self._compiled.get(bound.name)
        if found is None:
            from switchboard.objects.cel.policies import Policy  # only who has policies pays for the language

            found = self._compiled[bound.name] = Policy(bound.spec)
        return found

    def _ask(self, op: Operation, bound: _Bound, kind: Kind) -> None:
        obj, old = forms(kind, op)
        known: Object = {"object": obj, "oldObject": old, "authorizer": authorizer(op)}
        known["request"] = reviews.review(op, {}, kind, obj, old)["request"]
        known["namespaceObject"] = self._namespace(op)
        try:
            for params in self._params(op, bound):
                for denial in self._policy(bound).decide({**known, "params": params}):
                    self._denied(op, bound, denial.message, denial.reason)
        except _NoParams as e:
            if bound.spec.get("failurePolicy") != "Ignore":
                self._denied(op, bound, f"failed to configure binding: {e}", "Invalid")

    def _denied(self, op: Operation, bound: _Bound, message: str, reason: str) -> None:
        actions = bound.bound.get("validationActions") or ()
        who = f"ValidatingAdmissionPolicy '{bound.name}' with binding '{bound.binding}'"
        if "Warn" in actions:
            op.call.warn(f"Validation failed for {who}: {message}")
        if "Deny" in actions:
            text = f"{who} denied request: {message}"
            error = forbidden(op.plural, op.group, op.name, text)
            error.reason, error.code = reason, _CODES.get(reason, 422)
            error.details = {**(error.details or {}), "causes": [{"message": text}]}
            raise error

    def _namespace(self, op: Operation) -> Object | None:
        if not op.namespace:
            return None
        record = self._store.get(f"/core/namespaces/{op.namespace}")
        return decode(record.value) if record is not None else None

    def _params(self, op: Operation, bound: _Bound) -> Iterator[Object | None]:
        """The parameters that the policy is asked with, one after another. Raises _NoParams."""
        wanted, ref = bound.spec.get("paramKind"), bound.bound.get("paramRef")
        if not wanted or not ref:
            yield None
            return
        kind = self._app.registry.of(wanted.get("apiVersion") or "", wanted.get("kind") or "")
        if kind is None:
            raise _NoParams(
                f"failed to find resource referenced by paramKind: '{wanted.get('apiVersion')}, "
                f"Kind={wanted.get('kind')}'"
            )
        namespace = (ref.get("namespace") or op.namespace) if kind.namespaced else ""
        if kind.namespaced and not namespace:
            raise _NoParams("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        records = []
        if ref.get("name"):
            records = [r for r in [self._store.get(key_of(kind, namespace, ref["name"]))] if r is not None]
        elif ref.get("selector") is not None:
            selector = from_object(ref["selector"])
            records = [r for r in self._store.scan(prefix_of(kind, namespace)) if selector.matches(r.meta)]
        if not records and ref.get("parameterNotFoundAction") != "Allow":
            raise _NoParams("no params found for policy binding with `Deny` parameterNotFoundAction")
        for record in records:
            yield typed.show(kind, record.value)


def _named(rules: list[Object], op: Operation, kind: Kind) -> bool:
    """Whether a rule that covers the operation names its object, or names none."""
    return any(
        not rule.get("resourceNames") or op.name in rule["resourceNames"] for rule in rules if covers(rule, op, kind)
    )
