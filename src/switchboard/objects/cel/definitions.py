"""Rules of a CustomResourceDefinition, checked when it is written: they compile, they lead somewhere, they cost little.

Source: `apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from switchboard.objects.cel.cost import UNBOUNDED, estimate
from switchboard.objects.cel.evaluate import Program
from switchboard.objects.cel.fieldpaths import FieldPathError, field_path
from switchboard.objects.cel.rules import Rule
from switchboard.objects.cel.schemas import MAX_REQUEST, Schema, declared, is_embedded
from switchboard.objects.cel.types import Type
from switchboard.objects.validate.fields import Errors, Raw, go_struct

Object = dict[str, Any]
RULE_LIMIT, SCHEMA_LIMIT = 10_000_000, 100_000_000
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings "
    "are declared)"
)


def check_rules(schema: Schema, path: str, errs: Errors) -> None:
    """Every mistake in the rules of a schema that is otherwise fine."""
    checker = _Checker(errs)
    checker.visit(schema, schema, path, "object", 1, "", root=True)
    checker.total(path)


class _Checker:
    def __init__(self, errs: Errors) -> None:
        self._errs = errs
        self._costs: list[tuple[str, int]] = []

    def visit(
        self, rules: Schema, schema: Schema, path: str, name: str, times: int | None, fixed: str, *, root: bool = False
    ) -> None:
        """A place: `times` is how often it can be in an object (None: no bound), `fixed` what cannot be compared with
        its old value, itself or what holds it."""
        found = declared(schema, name, root or is_embedded(schema))
        if found is None:
            return
        type_, least = found
        mine = times if times is not None else MAX_REQUEST // (least + 1)
        for i, rule in enumerate(rules.get("x-kubernetes-validations") or ()):
            self._rule(rule, type_, schema, f"{path}.x-kubernetes-validations[{i}]", mine, fixed)
        atomic = fixed or (path if schema.get("x-kubernetes-map-type") == "atomic" else "")
        for key, below in (rules.get("properties") or {}).items():
            inner = (schema.get("properties") or {}).get(key)
            if isinstance(inner, dict):
                self.visit(below, inner, f"{path}.properties[{key}]", f"{name}.{key}", times, atomic)
        if isinstance(rules.get("additionalProperties"), dict) and isinstance(schema.get("additionalProperties"), dict):
            inside = _product(times, schema.get("maxProperties"))
            here = f"{path}.additionalProperties"
            self.visit(
                rules["additionalProperties"], schema["additionalProperties"], here, f"{name}.@elem", inside, atomic
            )
        if isinstance(rules.get("items"), dict) and isinstance(schema.get("items"), dict):
            unknown = fixed or (path if schema.get("x-kubernetes-list-type") != "map" else "")
            inside = _product(times, schema.get("maxItems"))
            self.visit(rules["items"], schema["items"], f"{path}.items", f"{name}.@idx", inside, unknown)
        for i, each in enumerate(rules.get("allOf") or ()):
            self.visit(each, schema, f"{path}.allOf[{i}]", name, times, fixed, root=root)

    def _rule(self, rule: Object, type_: Type, schema: Schema, path: str, times: int, fixed: str) -> None:
        errs = self._errs
        _words(rule, path, errs)
        try:
            field_path((rule.get("fieldPath") or "").strip(), schema)
        except FieldPathError as e:
            errs.invalid(f"{path}.fieldPath", rule["fieldPath"], f"fieldPath must be a valid path: {e}")
        made = Rule(rule, type_, schema)
        if made.program is not None:
            self._cost(made.program, f"{path}.rule", "rule", times)
        if made.error:
            errs.invalid(f"{path}.rule", _shown(rule), made.error)
        if made.message_error:
            errs.invalid(f"{path}.messageExpression", _shown(rule), made.message_error)
        elif made.message is not None:
            self._cost(made.message, f"{path}.messageExpression", "messageExpression", times)
        if made.uses_old and fixed:
            text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {fixed}"
            errs.invalid(f"{path}.rule", rule["rule"], text)
        if made.program is not None and not made.uses_old and rule.get("optionalOldSelf") is not None:
            text = "may not be set if oldSelf is not used in rule"
            errs.invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], text)

    def _cost(self, program: Program, path: str, what: str, times: int) -> None:
        cost = min(UNBOUNDED, estimate(program.checked) * times)
        self._costs.append((path, cost))
        if cost > RULE_LIMIT:
            self._errs.forbidden(path, _exceeds(f"estimated {what} cost", cost, RULE_LIMIT))

    def total(self, path: str) -> None:
        """All rules together have a limit too."""
        total = min(UNBOUNDED, sum(cost for _, cost in self._costs))
        if total <= SCHEMA_LIMIT:
            return
        most = sorted(self._costs, key=lambda each: -each[1])[:4]
        text = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3"
        for where, cost in most:
            if cost > SCHEMA_LIMIT // 100:
                self._errs.forbidden(where, f"{text} schema")
        what = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema"
        self._errs.forbidden(path, _exceeds(what, total, SCHEMA_LIMIT))


def _product(times: int | None, most: int | None) -> int | None:
    return None if times is None or most is None else times * most


def _exceeds(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} {_ADVICE}"


def _shown(rule: Object) -> Raw:
    return go_struct(
        {
            "Rule": rule.get("rule") or "",
            "Message": rule.get("message") or "",
            "MessageExpression": rule.get("messageExpression") or "",
            "Reason": rule.get("reason"),
            "FieldPath": rule.get("fieldPath") or "",
            "OptionalOldSelf": rule.get("optionalOldSelf"),
        }
    )


def _words(rule: Object, path: str, errs: Errors) -> None:
    """What is wrong with a rule before it is read as an expression."""
    text, message = rule.get("rule") or "", rule.get("message") or ""
    if not text.strip():
        errs.required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        errs.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip():
        errs.invalid(f"{path}.message", message, "message must not contain line breaks")
    elif "\n" in text.strip() and not message.strip():
        errs.required(f"{path}.message", "message must be specified if rule contains line breaks")
    expression = rule.get("messageExpression") or ""
    if expression and not expression.strip():
        errs.required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in _REASONS:
        errs.unsupported(f"{path}.reason", rule["reason"], _REASONS)
    if rule.get("fieldPath") and not rule["fieldPath"].strip():
        errs.invalid(f"{path}.fieldPath", rule["fieldPath"], "fieldPath must be non-empty if specified")
