"""ValidatingAdmissionPolicies: what follows from what they say about an operation.

Source: `apiserver/pkg/admission/plugin/policy/validating`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.api.admission.bound import Bindings, Bound, NoParams
from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.authz import forbidden
from switchboard.api.keyspace import encode_any
from switchboard.objects.kinds import Kind

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.objects.cel.policies import Denial, ValidatingPolicy

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
        if not self._bindings.all():
            return
        denied: list[tuple[str, str]] = []
        for bound, kind in self._bindings.matching(op):
            denied += self._ask(op, bound, kind)
        if denied:
            text, reason = denied[0]
            error = forbidden(op.plural, op.group, op.name, text)
            error.reason, error.code = reason, _CODES.get(reason, 422)
            error.details = {**(error.details or {}), "causes": [{"message": text}]}
            raise error

    def _ask(self, op: Operation, bound: Bound[ValidatingPolicy], kind: Kind) -> list[tuple[str, str]]:
        """What one policy denies: (text, reason). What it only warns of is put into the call's warnings."""
        who = f"ValidatingAdmissionPolicy '{bound.name}' with binding '{bound.binding}'"
        actions = bound.bound.get("validationActions") or ()
        annotations: dict[str, list[str]] = {}
        try:
            found = [
                denial
                for params in list(self._bindings.params(op, bound))
                for denial in bound.compiled().decide(self._bindings.known(op, kind, params), annotations)
            ]
        except NoParams as e:
            failed = [(f"{who} denied request: failed to configure binding: {e}", "Invalid")]
            return failed if bound.spec.get("failurePolicy") != "Ignore" else []
        for key, values in annotations.items():
            op.call.annotate(f"{bound.name}/{key}", ", ".join(dict.fromkeys(values)))
        if "Audit" in actions and op.call.audited:
            _audit(op, bound, [denial for denial in found if not denial.always])
        for denial in found if "Warn" in actions else ():
            if not denial.always:
                op.call.warn(f"Validation failed for {who}: {denial.message}")
        return [
            (f"{who} denied request: {denial.message}", denial.reason)
            for denial in found
            if denial.always or "Deny" in actions
        ]


def _audit(op: Operation, bound: Bound[ValidatingPolicy], found: list[Denial]) -> None:
    """What a policy is against, for the audit log."""
    failures = [
        {
            "message": denial.message,
            "policy": bound.name,
            "binding": bound.binding,
            "expressionIndex": denial.index,
            "validationActions": list(bound.bound.get("validationActions") or ()),
        }
        for denial in found
    ]
    if failures:
        op.call.annotate("validation.policy.admission.k8s.io/validation_failure", encode_any(failures).decode())
