r"""JSONPath as Kubernetes means it, for printer columns.

`.spec.x`, `.a\.b`, `['a.b']`, `[0]`, `[-1]`, `[1:3]`, `[*]`, `..x`,
`[?(@.type=="Ready")].status`, unions `['a','b']`. A missing key finds nothing; it is not an error.

Source: k8s.io/client-go/util/jsonpath.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Step = Callable[[Iterable[Any]], list[Any]]

_NAME = re.compile(r"(?:\\.|[^.\[\\\s])+")
_SLICE = re.compile(r"\s*(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?$")
_QUOTED = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*$""")
_FILTER = re.compile(r"(.+?)\s*(==|!=|<=|>=|<|>)\s*(.+)$", re.DOTALL)
_MISSING: Any = object()


class JsonPathError(ValueError):
    """A path that cannot be read."""


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path."""

    steps: tuple[Step, ...]

    def find(self, document: Any) -> list[Any]:
        """Every value that the path leads to."""
        values: list[Any] = [document]
        for step in self.steps:
            values = step(values)
        return values


def _field(key: str) -> Step:
    def step(values: Iterable[Any]) -> list[Any]:
        return [v[key] for v in values if isinstance(v, dict) and key in v]

    return step


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []


def _every(values: Iterable[Any]) -> list[Any]:
    return [child for value in values for child in _children(value)]


def _descend(values: Iterable[Any]) -> list[Any]:
    out: list[Any] = []
    stack = list(values)[::-1]
    while stack:
        value = stack.pop()
        out.append(value)
        stack.extend(_children(value)[::-1])
    return out


def _index(position: int) -> Step:
    def step(values: Iterable[Any]) -> list[Any]:
        return [v[position] for v in values if isinstance(v, list) and -len(v) <= position < len(v)]

    return step


def _slice(part: slice) -> Step:
    return lambda values: [item for v in values if isinstance(v, list) for item in v[part]]


def _union(steps: list[Step]) -> Step:
    return lambda values: [found for value in values for step in steps for found in step([value])]


def _literal(text: str) -> Any:
    quoted = _QUOTED.match(text)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted.group(1) if quoted.group(1) is not None else quoted.group(2))
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text or "e" in text.lower() else int(text)
    except ValueError as error:
        raise JsonPathError(f"unrecognized value in filter: {text}") from error


def _operand(text: str) -> Callable[[Any], Any]:
    if text.startswith("@"):
        path = parse(text[1:])
        return lambda item: next(iter(path.find(item)), _MISSING)
    value = _literal(text)
    return lambda item: value


def _compare(left: Any, operator: str, right: Any) -> bool:
    if left is _MISSING or right is _MISSING:
        return False
    if operator == "==":
        return bool(left == right and isinstance(left, bool) == isinstance(right, bool))
    if operator == "!=":
        return bool(left != right)
    try:
        return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])
    except TypeError:
        return False


def _filter(text: str) -> Step:
    match = _FILTER.match(text)
    if match is None:
        path = parse(text.strip().removeprefix("@"))
        return lambda values: [item for v in values for item in _children(v) if path.find(item)]
    left, operator, right = _operand(match[1].strip()), match[2], _operand(match[3].strip())
    return lambda values: [item for v in values for item in _children(v) if _compare(left(item), operator, right(item))]


def _bracket(text: str) -> Step:
    text = text.strip()
    if text == "*":
        return _every
    if text.startswith("?(") and text.endswith(")"):
        return _filter(text[2:-1].strip())
    if (_QUOTED.match(text) is None and "," in text) or re.match(r"'[^']*'\s*,|\"[^\"]*\"\s*,", text):
        return _union([_bracket(part) for part in re.findall(r"'[^']*'|\"[^\"]*\"|[^,\s]+", text)])
    quoted = _QUOTED.match(text)
    if quoted:
        return _field(str(_literal(text)))
    if re.fullmatch(r"-?\d+", text):
        return _index(int(text))
    part = _SLICE.match(text)
    if part is None:
        raise JsonPathError(f"invalid array index {text}")
    return _slice(slice(*(int(bound) if bound else None for bound in part.groups())))


def _closing(text: str, start: int) -> int:
    """Where the bracket opened at `start` closes, quotes and nested brackets respected."""
    depth, quote, position = 0, "", start
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "[]":
            depth += 1 if char == "[" else -1
            if not depth:
                return position
        position += 1
    raise JsonPathError("unterminated array")


def parse(text: str) -> Path:
    """A path, with or without `{}` around it and `$` or `@` before it. Raises JsonPathError."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    steps: list[Step] = []
    position = 1 if text[:1] in ("$", "@") else 0
    while position < len(text):
        if text.startswith("..", position):
            steps.append(_descend)
            position += 1 if text[position + 2 : position + 3] != "[" else 2
        elif text[position] == "[":
            end = _closing(text, position)
            steps.append(_bracket(text[position + 1 : end]))
            position = end + 1
        elif text[position] == ".":
            position += 1
            if text.startswith("[", position):
                continue
            match = _NAME.match(text, position)
            if match is None:
                if position >= len(text):
                    break  # a lone `.` is the document
                raise JsonPathError(f"unexpected character at {position} in {text}")
            key = re.sub(r"\\(.)", r"\1", match[0])
            steps.append(_every if key == "*" else _field(key))
            position = match.end()
        else:
            match = _NAME.match(text, position)
            if match is None or steps:
                raise JsonPathError(f"unexpected character at {position} in {text}")
            steps.append(_field(re.sub(r"\\(.)", r"\1", match[0])))
            position = match.end()
    return Path(tuple(steps))
