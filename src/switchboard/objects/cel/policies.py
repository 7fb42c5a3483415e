"""ValidatingAdmissionPolicies: the expressions of one, compiled, and what they decide about a request.

Source: `apiserver/pkg/admission/plugin/policy/validating/{validator,compile}.go`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from switchboard.objects.cel.conditions import BUDGET, CALL_LIMIT, Conditions, ConditionsFailed, compiled, variables
from switchboard.objects.cel.evaluate import Lazy, Program
from switchboard.objects.cel.types import DYN, Type, object_of
from switchboard.objects.cel.values import CelError, CostExceeded

Object = dict[str, Any]
_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a policy refuses; `reason` is a status reason."""

    message: str
    reason: str = "Invalid"


class _Variables(dict[str, Any]):
    """The policy's own variables, each made when it is first read."""

    cel_type = "kubernetes.variables"

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return value.get() if isinstance(value, Lazy) else value


class Policy:
    """The expressions of a policy's spec; `mistakes` are (path, expression, why) of those that do not compile."""

    def __init__(self, spec: Object) -> None:
        self.mistakes: list[tuple[str, str, str]] = []
        self._fails = spec.get("failurePolicy") != "Ignore"
        base = {**variables(), "namespaceObject": DYN}
        if spec.get("paramKind"):
            base["params"] = DYN
        conditions = spec.get("matchConditions") or []
        for i, each in enumerate(conditions):
            self._made(each.get("expression"), f"matchConditions[{i}]", base, "bool")
        self._conditions = Conditions(conditions, base)
        types: dict[str, Type] = {}
        self._variables: list[tuple[str, Program]] = []
        known = {**base, "variables": object_of("kubernetes.variables", types)}
        for i, each in enumerate(spec.get("variables") or ()):
            made = self._made(each.get("expression"), f"variables[{i}]", known, "")
            if made is not None:
                types[each.get("name") or ""] = made.checked.result
                self._variables.append((each.get("name") or "", made))
        self._validations: list[tuple[Object, Program, Program | None]] = []
        for i, each in enumerate(spec.get("validations") or ()):
            made = self._made(each.get("expression"), f"validations[{i}]", known, "bool")
            message = None
            if each.get("messageExpression"):
                message = self._made(
                    each["messageExpression"], f"validations[{i}]", known, "string", "messageExpression"
                )
            if made is not None:
                self._validations.append((each, made, message))

    def _made(
        self, text: str | None, path: str, known: dict[str, Type], result: str, field: str = "expression"
    ) -> Program | None:
        made, error = compiled(text or "", known, result)
        if error:
            self.mistakes.append((f"{path}.{field}", text or "", error))
        return made

    def decide(self, known: Object) -> list[Denial]:
        """Everything that is against a request."""
        run = _Run(known)
        run.known["variables"] = _Variables(
            {name: Lazy(partial(run.value, program)) for name, program in self._variables}
        )
        try:
            if not self._conditions.met(known):
                return []
            return [found for each in self._validations if (found := self._denial(run, *each)) is not None]
        except (ConditionsFailed, CostExceeded) as e:
            why = str(e) if isinstance(e, ConditionsFailed) else _SPENT
            return [Denial(why)] if self._fails else []

    def _denial(self, run: _Run, validation: Object, program: Program, message: Program | None) -> Denial | None:
        text = validation["expression"].strip()
        try:
            value = run.value(program)
        except CelError as e:
            return Denial(f"expression '{text}' resulted in error: {e}") if self._fails else None
        if value is True:
            return None
        words = (validation.get("message") or "").strip() or f"failed expression: {text}"
        if message is not None:
            try:
                made = run.value(message)
            except CelError:
                made = ""
            if isinstance(made, str) and made.strip() and "\n" not in made.strip():
                words = made.strip()
        return Denial(words, validation.get("reason") or "Invalid")


class _Run:
    """One evaluation of all expressions, with the budget that they share."""

    def __init__(self, known: Object) -> None:
        self.known = dict(known)
        self._left = 4 * BUDGET

    def value(self, program: Program) -> Any:
        """What an expression gives. Raises CelError, CostExceeded."""
        try:
            value, cost = program.evaluate(self.known, min(CALL_LIMIT, self._left))
        except CelError as e:
            self._left -= e.cost
            raise
        self._left -= cost
        return value
