"""Rules of a schema (`x-kubernetes-validations`): compiled once, run against every object written.

Sources: `apiextensions-apiserver/pkg/apiserver/schema/cel/{compilation,validation}.go`; the limits are those of
`apiserver/pkg/apis/cel/config.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from switchboard.objects.cel.environment import checked
from switchboard.objects.cel.evaluate import Lazy, Program
from switchboard.objects.cel.fieldpaths import FieldPathError, field_path
from switchboard.objects.cel.schemas import Schema, converter, declared, is_embedded
from switchboard.objects.cel.syntax import CompileError
from switchboard.objects.cel.types import STRING, Type, optional
from switchboard.objects.cel.values import NONE, CelError, CostExceeded, Optional
from switchboard.objects.errors import FieldError
from switchboard.objects.validate.fields import shown
from switchboard.objects.validate.jsonschema import by_key, key_of

Object = dict[str, Any]
Warn = Callable[[str], None]
CALL_LIMIT, OBJECT_BUDGET = 1_000_000, 10_000_000
_LONGEST_MESSAGE = 5 * 1024
_WORDS = {
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}
_WITHOUT_VALUE = ("FieldValueForbidden", "FieldValueRequired")  # their messages show no value
_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"


class _BudgetSpent(Exception):
    """No rule runs any more for this object."""


class Rule:
    """One rule, compiled against the type of where it stands."""

    def __init__(self, rule: Object, type_: Type, schema: Schema) -> None:
        self.rule = rule
        self.optional_old = bool(rule.get("optionalOldSelf"))
        self.program: Program | None = None
        self.message: Program | None = None
        self.error = self.message_error = ""
        variables = {"self": type_, "oldSelf": optional(type_) if self.optional_old else type_}
        self.program, self.error = _compiled(rule.get("rule") or "", variables, "bool", "cel expression")
        if (rule.get("messageExpression") or "").strip():
            self.message, self.message_error = _compiled(
                rule["messageExpression"], variables, STRING.kind, "messageExpression"
            )
        self.uses_old = self.program is not None and "oldSelf" in self.program.names
        self.below = ""
        try:
            self.below = field_path((rule.get("fieldPath") or "").strip(), schema)
        except FieldPathError:  # told when the definition was checked
            pass

    @property
    def shown(self) -> str:
        """The rule in messages about it."""
        return str((self.rule.get("message") or "").strip() or self.rule.get("rule", "").strip())

    @property
    def default_message(self) -> str:
        """What is said when the rule does not hold and no expression words it."""
        message = (self.rule.get("message") or "").strip()
        return message or f"failed rule: {self.shown}"


def _compiled(text: str, variables: dict[str, Type], result: str, what: str) -> tuple[Program | None, str]:
    if not text.strip():
        return None, ""
    try:
        made = checked(text, variables)
    except CompileError as e:
        return None, f"{'messageExpression ' if what == 'messageExpression' else ''}compilation failed: {e}"
    if made.result.kind != result:
        return None, f"{what} must evaluate to a {result}"
    return Program(made), ""


class Node:
    """The rules of one place of a schema and of all below it."""

    def __init__(self, rules: Schema, schema: Schema, name: str, type_: Type, *, root: bool) -> None:
        self.schema = schema
        self.rules = [Rule(each, type_, schema) for each in rules.get("x-kubernetes-validations") or ()]
        self.convert = converter(schema, root) if self.rules else None
        self.properties: dict[str, Node] = {}
        for key, below in (rules.get("properties") or {}).items():
            made = _node(below, (schema.get("properties") or {}).get(key), f"{name}.{key}")
            if made is not None:
                self.properties[key] = made
        self.rest = _node(rules.get("additionalProperties"), schema.get("additionalProperties"), f"{name}.@elem")
        self.items = _node(rules.get("items"), schema.get("items"), f"{name}.@idx")
        self.all_of = [
            made for each in rules.get("allOf") or () if (made := _node(each, schema, name, root=root)) is not None
        ]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do here or below."""
        return not (self.rules or self.properties or self.rest or self.items or self.all_of)


def _node(rules: Any, schema: Any, name: str, *, root: bool = False) -> Node | None:
    if not isinstance(rules, dict) or not isinstance(schema, dict):
        return None
    root = root or is_embedded(schema)
    found = declared(schema, name, root)
    if found is None:  # expressions do not see it, nor what is below
        return None
    made = Node(rules, schema, name, found[0], root=root)
    return None if made.empty else made


class Validator:
    """All rules of one version of a kind."""

    def __init__(self, schema: Schema) -> None:
        self._root = _node(schema, schema, "object", root=True)

    def __call__(self, obj: Object, old: Object | None, warn: Warn | None = None) -> list[FieldError]:
        """Every rule that does not hold; `old` is what an update replaces. Rules that did not hold before either, of
        values left as they were, are for `warn`."""
        if self._root is None:
            return []
        run = _Run(warn)
        try:
            run.visit(self._root, obj, old, old, "", False)
        except _BudgetSpent:
            pass
        return run.errors


class _Run:
    """One validation of one object."""

    def __init__(self, warn: Warn | None) -> None:
        self.errors: list[FieldError] = []
        self._warn = warn
        self._left = OBJECT_BUDGET

    def visit(self, node: Node, value: Any, old: Any, kept: Any, path: str, same: bool) -> None:
        """Check a value against the rules of its place and below.

        `old` is the value that `oldSelf` names; `kept` is the one that decides whether the value was changed, `same`
        says so for what holds it.
        """
        if value is None:
            return
        if kept is not None:
            same = bool(kept == value)
        if node.rules:
            self._here(node, value, old, path, same)
        for each in node.all_of:
            self.visit(each, value, old, None, path, False)
        for below, inner, before, here in _inside(node, value, old, path):
            self.visit(below, inner, before, before if kept is not None else None, here, same)

    def _here(self, node: Node, value: Any, old: Any, path: str, same: bool) -> None:
        convert = node.convert
        now = value if convert is None else Lazy(lambda: convert(value))
        before = old if convert is None or old is None else Lazy(lambda: convert(old))
        for rule in node.rules:
            if rule.program is None:
                if rule.error:
                    self._invalid(node, path, f"rule compile error: {rule.error}")
                continue
            if rule.uses_old and old is None and not rule.optional_old:
                continue
            variables = {"self": now}
            if rule.uses_old:
                variables["oldSelf"] = _optional(before) if rule.optional_old else before
            self._rule(node, rule, variables, path, value, same)

    def _rule(self, node: Node, rule: Rule, variables: Object, path: str, of: Any, same: bool) -> None:
        assert rule.program is not None
        limit = min(CALL_LIMIT, self._left)
        try:
            value, cost = rule.program.evaluate(variables, limit)
        except CostExceeded as e:
            if limit < CALL_LIMIT:
                self._invalid(node, path, _SPENT)
            else:
                why = f"'{e}': no further validation rules will be run due to call cost exceeds limit for rule"
                self._invalid(node, path, f"{why}: {rule.shown}")
            raise _BudgetSpent from None
        except CelError as e:
            self._left -= e.cost
            if str(e).startswith("no such overload"):
                why = "call arguments did not match a supported operator, function or macro signature for rule"
                self._invalid(node, path, f"'{e}': {why}: {rule.shown}")
            else:
                self._invalid(node, path, f"{e} evaluating rule: {rule.shown}")
            return
        self._left -= cost
        if value is not True:
            self._failed(node, rule, variables, path, of, same and not rule.uses_old)

    def _failed(self, node: Node, rule: Rule, variables: Object, path: str, of: Any, ratcheted: bool) -> None:
        """Tell of a rule that does not hold; it is but a warning where the update left the value as it was."""
        here = f"{path}{rule.below}" if path else rule.below.removeprefix(".")
        message = ""
        if rule.message is not None:
            try:
                message = self._message(rule.message, variables)
            except CostExceeded:
                self._invalid(node, here, f"messageExpression evaluation failed: {_SPENT}", ratcheted)
                raise _BudgetSpent from None
        reason = rule.rule.get("reason") or "FieldValueInvalid"
        parts = [_WORDS.get(reason, "Invalid value")]
        if reason not in _WITHOUT_VALUE and node.schema.get("type") not in ("object", "array"):
            parts.append(shown(of))
        if reason != "FieldValueDuplicate":
            parts.append(message or rule.default_message)
        self._tell(FieldError(reason, here or "<nil>", ": ".join(parts)), ratcheted)

    def _message(self, program: Program, variables: Object) -> str:
        """The text of a message expression, empty when it cannot be used. Raises CostExceeded."""
        known = {name: variables[name] for name in program.names if name in variables}
        try:
            value, cost = program.evaluate(known, min(CALL_LIMIT, self._left))
        except CelError as e:
            self._left -= e.cost
            return ""
        self._left -= cost
        text = value.strip() if isinstance(value, str) else ""
        return "" if "\n" in text or len(text.encode()) > _LONGEST_MESSAGE else text

    def _invalid(self, node: Node, path: str, detail: str, ratcheted: bool = False) -> None:
        text = f"Invalid value: {shown(node.schema.get('type') or '')}: {detail}"
        self._tell(FieldError("FieldValueInvalid", path or "<nil>", text), ratcheted)

    def _tell(self, error: FieldError, ratcheted: bool) -> None:
        if not ratcheted:
            self.errors.append(error)
        elif self._warn is not None:
            self._warn(f"{error.field}: {error.message}")


def _optional(before: Any) -> Any:
    if before is None:
        return NONE
    if isinstance(before, Lazy):
        return Lazy(lambda: Optional(True, before.get()))
    return Optional(True, before)


def _inside(node: Node, value: Any, old: Any, path: str) -> Iterator[tuple[Node, Any, Any, str]]:
    """(rules, value, old value or None, path) of what is inside."""
    if isinstance(value, dict):
        comparable = isinstance(old, dict) and node.schema.get("x-kubernetes-map-type") != "atomic"
        for key, inner in value.items():
            below = node.properties.get(key)
            here = f"{path}.{key}" if path else key
            if below is None:
                below, here = node.rest, f"{path}[{key}]"
            if below is not None:
                yield below, inner, old.get(key) if comparable else None, here
    elif isinstance(value, list) and node.items is not None:
        before = by_key(node.schema, old)
        for i, inner in enumerate(value):
            yield node.items, inner, before.get(key_of(node.schema, inner)), f"{path}[{i}]"
