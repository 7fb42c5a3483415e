"""ValidatingAdmissionPolicies: what follows from what they say about an operation.

Source: `apiserver/pkg/admission/plugin/policy/validating`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.api.admission.bound import Bindings, Bound, NoParams
from switchboard.api.admission.chain import Neutral, Operation
from switchboard.api.authz import forbidden
from switchboard.objects.kinds import Kind

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.objects.cel.policies import ValidatingPolicy

Object = dict[str, Any]
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


def _compiled(spec: Object) -> ValidatingPolicy:
    from switchboard.objects.cel.policies import ValidatingPolicy  # only who has policies pays for the language

    return ValidatingPolicy(spec)


class ValidatingPolicies(Neutral):
    """Refuses, or warns of, what ValidatingAdmissionPolicies are against."""

    def __init__(self, app: App) -> None:
        self._bindings: Bindings[ValidatingPolicy] = Bindings(app, "validating", _compiled)

    def validate(self, op: Operation) -> None:
        """Refuse what a bound policy denies. Raises StatusError."""
        if self._bindings.all():
            for bound, kind in self._bindings.matching(op):
                self._ask(op, bound, kind)

    def _ask(self, op: Operation, bound: Bound[ValidatingPolicy], kind: Kind) -> None:
        try:
            for params in self._bindings.params(op, bound):
                for denial in bound.compiled().decide(self._bindings.known(op, kind, params)):
                    self._denied(op, bound, denial.message, denial.reason)
        except NoParams as e:
            if bound.spec.get("failurePolicy") != "Ignore":
                self._denied(op, bound, f"failed to configure binding: {e}", "Invalid")

    def _denied(self, op: Operation, bound: Bound[ValidatingPolicy], message: str, reason: str) -> None:
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
