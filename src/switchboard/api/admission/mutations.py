"""MutatingAdmissionPolicies: they change objects one after another, each seeing what the one before made.

Source: `apiserver/pkg/admission/plugin/policy/mutating/dispatcher.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.api.admission.bound import Bindings, Bound, NoParams
from switchboard.api.admission.chain import Operation
from switchboard.api.admission.hooks import clean, content, forms, put_back
from switchboard.api.admission.neutral import Neutral
from switchboard.api.authz import forbidden
from switchboard.objects.errors import InternalError
from switchboard.objects.kinds import Kind

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.objects.cel.mutations import MutatingPolicy

Object = dict[str, Any]


def _compiled(spec: Object) -> MutatingPolicy:
    from switchboard.objects.cel.mutations import MutatingPolicy  # only who has policies pays for the language

    return MutatingPolicy(spec)


class MutatingPolicies(Neutral):
    """Changes objects as MutatingAdmissionPolicies say."""

    def __init__(self, app: App) -> None:
        self._bindings: Bindings[MutatingPolicy] = Bindings(app, "mutating", _compiled)

    def mutate(self, op: Operation) -> None:
        """Change the object. Raises StatusError when a policy that may not fail does."""
        if not self._bindings.all() or op.obj is None or op.verb not in ("CREATE", "UPDATE") or op.sub == "scale":
            return
        failures: list[tuple[str, str]] = []
        for bound, kind in self._bindings.matching(op):
            found = self._invoke(op, bound, kind)
            if bound.spec.get("failurePolicy") != "Ignore":
                who = f"policy '{bound.name}' with binding '{bound.binding}' denied request"
                failures += [(f"{who}: {why}", reason) for why, reason in found]
        if failures:
            error = forbidden(op.plural, op.group, op.name, "")
            error.message, error.reason = failures[0]
            error.details = {**(error.details or {}), "causes": [{"message": text} for text, _ in failures]}
            raise error

    def _invoke(self, op: Operation, bound: Bound[MutatingPolicy], kind: Kind) -> list[tuple[str, str]]:
        """One policy with all its parameters; (why, reason) of what failed."""
        failed: list[tuple[str, str]] = []
        try:
            for params in self._bindings.params(op, bound):
                failed += [(why, "Invalid") for why in self._once(op, bound, kind, params)]
        except NoParams as e:
            failed.append((f"failed to configure binding: {e}", "Forbidden"))
        return failed

    def _once(self, op: Operation, bound: Bound[MutatingPolicy], kind: Kind, params: Object | None) -> list[str]:
        from switchboard.objects.cel.conditions import ConditionsFailed
        from switchboard.objects.cel.mutations import MutationFailed

        policy, known = bound.compiled(), self._bindings.known(op, kind, params)
        try:
            if not policy.wanted(known):
                return []
        except ConditionsFailed as e:
            return [str(e)]
        meta = (params or {}).get("metadata") or {}
        key = f"policy/{bound.name}/{bound.binding}/{meta.get('namespace', '')}/{meta.get('name', '')}"
        if op.again and not self._again(op, bound, key):
            return []
        run, failed = policy.run(known), []
        for i in range(len(policy.mutations)):
            obj, _ = forms(kind, op)
            if obj is None:
                break
            run.known["object"] = obj
            try:
                changed = policy.mutated(i, run, kind, obj)
            except MutationFailed as e:
                failed.append(str(e))
                continue
            if changed is not obj:
                self._put(op, kind, changed)
        op.seen[key] = content(op)
        return failed

    @staticmethod
    def _again(op: Operation, bound: Bound[MutatingPolicy], key: str) -> bool:
        """Whether a policy is to see what others made of the object after it."""
        wants = bound.spec.get("reinvocationPolicy") == "IfNeeded"
        return wants and key in op.seen and op.seen[key] != content(op)

    @staticmethod
    def _put(op: Operation, kind: Kind, changed: Object) -> None:
        unknown = clean(op, kind, changed)
        if unknown and kind.definition is not None:
            text = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise InternalError(f"Internal error occurred: strict decoding error: {text}")
        put_back(op, kind, changed)
