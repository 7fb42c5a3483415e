"""Policies: the expressions of one, compiled, and what those of a ValidatingAdmissionPolicy decide about a request.

Source: `apiserver/pkg/admission/plugin/policy/validating/{validator,compile}.go`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from switchboard.objects.cel.conditions import BUDGET, CALL_LIMIT, Conditions, ConditionsFailed, compiled, variables
from switchboard.objects.cel.evaluate import Lazy, Program
from switchboard.objects.cel.types import BOOL, DYN, NULL, STRING, Type, object_of
from switchboard.objects.cel.values import CelError, CostExceeded, name_of

Object = dict[str, Any]
_LONGEST = 5 * 1024  # bytes of a message that an expression makes
_LONGEST_ANNOTATION = 10 * 1024
_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a policy refuses; `reason` is a status reason, `always` says that no binding makes a warning of it."""

    message: str
    reason: str = "Invalid"
    always: bool = False
    index: int = 0  # of the validation


class _Variables(dict[str, Any]):
    """The policy's own variables, each made when it is first read."""

    cel_type = "kubernetes.variables"

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return value.get() if isinstance(value, Lazy) else value


class Expressions:
    """What policies of both kinds have: conditions and variables, compiled.

    `mistakes` are (path, expression, why) of those that do not compile; `known` is what the others can read.
    """

    def __init__(self, spec: Object, object_type: Type = DYN, params_type: Type = DYN) -> None:
        self.mistakes: list[tuple[str, str, str]] = []
        self.fails = spec.get("failurePolicy") != "Ignore"
        base = {**variables(), "object": object_type, "oldObject": object_type}
        if spec.get("paramKind"):
            base["params"] = params_type
        conditions = spec.get("matchConditions") or []
        self._conditions = Conditions(conditions, base)
        for i, (each, error) in enumerate(zip(conditions, self._conditions.errors, strict=True)):
            if error:
                self.mistakes.append((f"matchConditions[{i}].expression", each["expression"], error))
        types: dict[str, Type] = {}
        self._variables: list[tuple[str, Program]] = []
        self.known = {**base, "variables": object_of("kubernetes.variables", types)}
        for i, each in enumerate(spec.get("variables") or ()):
            made = self.made(each.get("expression"), f"variables[{i}]", self.known, DYN)
            types[each.get("name") or ""] = made.checked.result if made is not None else DYN
            if made is not None:
                self._variables.append((each.get("name") or "", made))

    def made(
        self,
        text: str | None,
        path: str,
        known: dict[str, Type],
        *results: Type,
        field: str = "expression",
        constructs: bool = False,
    ) -> Program | None:
        """An expression compiled; None when it is a mistake, which is noted."""
        made, error = compiled(text or "", known, *results, constructs=constructs)
        if error:
            self.mistakes.append((f"{path}.{field}", text or "", error))
        return made

    def wanted(self, known: Object) -> bool:
        """Whether the conditions hold. Raises ConditionsFailed."""
        return self._conditions.met({**known, "namespaceObject": None})  # which only the others are given

    def run(self, known: Object) -> Run:
        """One evaluation, with the policy's variables."""
        run = Run(known)
        run.known["variables"] = _Variables(
            {name: Lazy(partial(run.variable, name, program)) for name, program in self._variables}
        )
        return run


class ValidatingPolicy(Expressions):
    """The expressions of a ValidatingAdmissionPolicy's spec."""

    def __init__(self, spec: Object) -> None:
        super().__init__(spec)
        self._validations: list[tuple[int, Object, Program, Program | None]] = []
        self._annotations: list[tuple[str, Program]] = []
        for i, each in enumerate(spec.get("validations") or ()):
            path = f"validations[{i}]"
            made = self.made(each.get("expression"), path, self.known, BOOL)
            message = None
            if each.get("messageExpression"):
                known = {name: type_ for name, type_ in self.known.items() if name != "authorizer"}
                message = self.made(each["messageExpression"], path, known, STRING, field="messageExpression")
            if made is not None:
                self._validations.append((i, each, made, message))
        for i, each in enumerate(spec.get("auditAnnotations") or ()):
            text = (each.get("valueExpression") or "").strip()
            made = self.made(text, f"auditAnnotations[{i}]", self.known, STRING, NULL, field="valueExpression")
            if made is not None:
                self._annotations.append((each.get("key") or "", made))

    def decide(self, known: Object, annotations: dict[str, list[str]] | None = None) -> list[Denial]:
        """Everything that is against a request; what the policy says for the audit log is put into `annotations`."""
        run = self.run(known)
        try:
            if not self.wanted(known):
                return []
            found = [denial for each in self._validations if (denial := self._denial(run, *each)) is not None]
            return found + self._unannotated(run, annotations if annotations is not None else {})
        except (ConditionsFailed, CostExceeded) as e:
            why = str(e) if isinstance(e, ConditionsFailed) else _SPENT
            return [Denial(why)] if self.fails else []

    def _unannotated(self, run: Run, annotations: dict[str, list[str]]) -> list[Denial]:
        """Annotations that cannot be made: where the policy may not fail, that denies as well."""
        found = []
        run.renew()
        for key, program in self._annotations:
            try:
                value, why = run.value(program), ""
                if isinstance(value, str):
                    if value.strip():
                        annotations.setdefault(key, []).append(value.strip()[:_LONGEST_ANNOTATION])
                elif value is not None:
                    why = (
                        f"valueExpression '{program.text}' resulted in unsupported return type: {name_of(value)}. "
                        "Return type must be either string or null."
                    )
            except CelError as e:
                why = f"expression '{program.text}' resulted in error: {e}" if self.fails else ""
            if why:
                found.append(Denial(why, always=True))
        return found

    def _denial(
        self, run: Run, index: int, validation: Object, program: Program, message: Program | None
    ) -> Denial | None:
        text = validation["expression"].strip()
        try:
            value = run.value(program)
        except CelError as e:
            return Denial(f"expression '{text}' resulted in error: {e}", index=index) if self.fails else None
        if value is True:
            return None
        words = (validation.get("message") or "").strip() or f"failed expression: {text}"
        if message is not None:
            try:
                made = run.value(message)
            except CelError:
                made = ""
            made = made.strip() if isinstance(made, str) else ""
            if made and "\n" not in made and len(made.encode()) <= _LONGEST:
                words = made
        return Denial(words, validation.get("reason") or "Invalid", index=index)


class Run:
    """One evaluation of all expressions, with the budget that they share."""

    def __init__(self, known: Object) -> None:
        self.known = dict(known)
        self.renew()

    def renew(self) -> None:
        """Begin with a whole budget."""
        self._left = 4 * BUDGET

    def variable(self, name: str, program: Program) -> Any:
        """What a variable of the policy is. Raises CelError, CostExceeded."""
        try:
            return self.value(program)
        except CelError as e:
            raise CelError(f'composited variable "{name}" fails to evaluate: {e}') from None

    def value(self, program: Program) -> Any:
        """What an expression gives. Raises CelError, CostExceeded."""
        try:
            value, cost = program.evaluate(self.known, min(CALL_LIMIT, self._left))
        except CelError as e:
            self._left -= e.cost
            raise
        self._left -= cost
        return value
