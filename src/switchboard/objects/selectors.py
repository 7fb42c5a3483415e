"""Label selectors: the text grammar of `?labelSelector=`, and `LabelSelector` objects, compiled to fast predicates.

Grammar and error texts from apimachinery/pkg/labels/selector.go; objects from meta/v1/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from switchboard.objects import names
from switchboard.objects.errors import BadRequest
from switchboard.objects.memo import memo

Labels = Mapping[str, str]
_TOKENS = {")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "("}
_SPECIAL = "=!(),><"
_SPACE = " \t\r\n"
_OPERATORS = {"in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}
_INTEGER = re.compile(r"[+-]?[0-9]+\Z", re.ASCII)
_END, _IDENTIFIER, _ERROR = "", "identifier", "error"


class SelectorError(ValueError):
    """The text is not a selector; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """`key operator values`; operators: in, notin, =, ==, !=, gt, lt, exists, !."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.operator == "exists":
            return self.key
        if self.operator == "!":
            return f"!{self.key}"
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        sign = {"gt": ">", "lt": "<"}.get(self.operator, self.operator)
        return f"{self.key}{sign}{self.values[0]}"

    def test(self) -> Callable[[Labels], bool]:
        """The requirement as a predicate over labels."""
        key, values, operator = self.key, frozenset(self.values), self.operator
        if operator in ("=", "==", "in"):
            if len(values) == 1:
                only = self.values[0]
                return lambda labels: labels.get(key) == only
            return lambda labels: labels.get(key) in values
        if operator in ("!=", "notin"):
            return lambda labels: labels.get(key) not in values
        if operator == "exists":
            return lambda labels: key in labels
        if operator == "!":
            return lambda labels: key not in labels
        limit, greater = int(self.values[0]), operator == "gt"

        def compare(labels: Labels) -> bool:
            text = labels.get(key)
            if text is None or _INTEGER.match(text) is None or abs(int(text)) > 2**63:
                return False
            return int(text) > limit if greater else int(text) < limit

        return compare


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; no requirement matches everything, `nothing` matches no object at all."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    _tests: tuple[Callable[[Labels], bool], ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, requirements: list[Requirement]) -> LabelSelector:
        """Compiled, in order of keys as upstream sorts them."""
        ordered = tuple(sorted(requirements, key=lambda r: r.key))
        return cls(ordered, False, tuple(r.test() for r in ordered))

    @property
    def everything(self) -> bool:
        """True when it selects every object."""
        return not self.requirements and not self.nothing

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Labels that every selected object has."""
        return [
            (r.key, r.values[0])
            for r in self.requirements
            if r.operator in ("=", "==", "in") and len(set(r.values)) == 1
        ]

    def matches(self, labels: Labels | None) -> bool:
        """Whether an object with these labels is selected."""
        if self.nothing:
            return False
        known: Labels = labels if labels is not None else {}
        return all(test(known) for test in self._tests)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)


def _lex(text: str) -> list[tuple[str, str]]:
    """(token, literal) pairs, the last one is the end of the text."""
    tokens: list[tuple[str, str]] = []
    i, size = 0, len(text)
    while i < size:
        if text[i] in _SPACE:
            i += 1
            continue
        start = i
        if text[i] in _SPECIAL:
            end = i + 1
            while end < size and text[end] in _SPECIAL and (text[i : end + 1] in _TOKENS or text[i:end] not in _TOKENS):
                end += 1
            literal, i = text[i:end], end
            known = literal in _TOKENS
            tokens.append((literal, literal) if known else (_ERROR, f"error expected: keyword found '{literal}'"))
            continue
        while i < size and text[i] not in _SPACE and text[i] not in _SPECIAL:
            i += 1
        word = text[start:i]
        tokens.append((word if word in _TOKENS else _IDENTIFIER, word))
    tokens.append((_END, ""))
    return tokens


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _lex(text)
        self.at = 0

    def peek(self) -> tuple[str, str]:
        token, literal = self.tokens[self.at]
        return (_IDENTIFIER, literal) if token in ("in", "notin") else (token, literal)

    def take(self) -> tuple[str, str]:
        found = self.peek()
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return found

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            token, literal = self.peek()
            if token == _END:
                return found
            if token not in (_IDENTIFIER, "!"):
                raise SelectorError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self.requirement())
            except SelectorError as wrong:
                raise SelectorError(f"unable to parse requirement: {wrong}") from None
            token, literal = self.take()
            if token == _END:
                return found
            if token != ",":
                raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
            token, literal = self.peek()
            if token not in (_IDENTIFIER, "!"):
                raise SelectorError(f"found '{literal}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        token, key = self.take()
        absent = token == "!"
        if absent:
            token, key = self.take()
        if token != _IDENTIFIER:
            raise SelectorError(f"found '{key}', expected: identifier")
        _check_key(key, "<nil>")
        if absent:
            return Requirement(key, "!")
        if self.peek()[0] in (_END, ","):
            return Requirement(key, "exists")
        token, literal = self.tokens[self.at]
        operator = _OPERATORS.get(token)
        if operator is None:
            raise SelectorError(f"found '{literal}', expected: in, notin, =, ==, !=, gt, lt")
        self.take()
        values = self.values() if operator in ("in", "notin") else self.exact()
        return _checked(key, operator, tuple(sorted(values)))

    def exact(self) -> set[str]:
        if self.peek()[0] in (_END, ","):
            return {""}
        token, literal = self.take()
        if token != _IDENTIFIER:
            raise SelectorError(f"found '{literal}', expected: identifier")
        return {literal}

    def values(self) -> set[str]:
        token, literal = self.take()
        if token != "(":
            raise SelectorError(f"found '{literal}' expected: '('")
        token, literal = self.peek()
        if token == ")":
            self.take()
            return {""}
        if token not in (_IDENTIFIER, ","):
            raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
        found = self.identifiers()
        self.take()  # identifiers() stops only before ")"
        return found

    def identifiers(self) -> set[str]:
        found: set[str] = set()
        while True:
            token, literal = self.take()
            if token == _IDENTIFIER:
                found.add(literal)
                following, text = self.peek()
                if following == ")":
                    return found
                if following != ",":
                    raise SelectorError(f"found '{text}', expected: ',' or ')'")
            elif token == ",":
                if not found:
                    found.add("")
                following = self.peek()[0]
                if following == ")":
                    found.add("")
                    return found
                if following == ",":
                    self.take()
                    found.add("")
            else:
                raise SelectorError(f"found '{literal}', expected: ',', or identifier")


def _check_key(key: str, path: str) -> None:
    wrong = names.qualified_name(key)
    if wrong:
        raise SelectorError(f'{path}: Invalid value: "{key}": {"; ".join(wrong)}')


def _checked(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
    """What upstream's NewRequirement checks beyond the grammar."""
    if operator in ("gt", "lt"):
        for i, value in enumerate(values):
            if _INTEGER.match(value) is None or not -(2**63) <= int(value) < 2**63:
                raise SelectorError(
                    f"values[{i}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
                )
    for i, value in enumerate(values):
        wrong = names.label_value(value)
        if wrong:
            raise SelectorError(f'values[{i}]: Invalid value: "{value}": {"; ".join(wrong)}')
    return Requirement(key, operator, values)


@memo(1024)
def parse(text: str) -> LabelSelector:
    """`app=web,tier in (a,b),!old` -> LabelSelector; SelectorError with upstream's text."""
    return LabelSelector.of(_Parser(text).parse())


def parse_query(text: str) -> LabelSelector:
    """`parse` for a query parameter: BadRequest instead of SelectorError."""
    try:
        return parse(text)
    except SelectorError as wrong:
        raise BadRequest(str(wrong)) from None


_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def from_labels(labels: Labels | None) -> LabelSelector:
    """A plain map (Service and ReplicationController selectors): every pair must be there; empty matches
    everything."""
    return LabelSelector.of([Requirement(key, "=", (value,)) for key, value in (labels or {}).items()])


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A `LabelSelector` object: None selects nothing, an empty one everything. SelectorError for an unknown
    operator."""
    if selector is None:
        return NOTHING
    found = [Requirement(key, "in", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _OBJECT_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        found.append(Requirement(expression.get("key", ""), operator, tuple(expression.get("values") or ())))
    return LabelSelector.of(found)
