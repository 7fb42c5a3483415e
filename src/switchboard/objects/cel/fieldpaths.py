"""The `fieldPath` of a rule: JSON path of fields and keys only, checked against a schema."""

from __future__ import annotations

import re
from typing import Any

Schema = dict[str, Any]
_TOKEN = re.compile(r"\.|\[|\]|'(?:[^'\\]|\\.)*'|[^.\[\]]+")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class FieldPathError(ValueError):
    """The path is none, or leads nowhere."""


def field_path(text: str, schema: Schema) -> str:
    """The path as field errors print it, beginning with a dot. Raises FieldPathError."""
    return followed(text, schema)[0]


def followed(text: str, schema: Schema) -> tuple[str, Schema]:
    """The path as field errors print it, and the schema to which it leads. Raises FieldPathError."""
    tokens = iter(_TOKEN.findall(text))
    made = ""
    for token in tokens:
        if token == "[":
            name = _unquoted(_next(tokens))
            if (end := _next(tokens)) != "]":
                raise FieldPathError(f"expected ] but got {end}")
        elif token == ".":
            name = _next(tokens)
        else:
            raise FieldPathError(f"expected [ or . but got: {token}")
        rest = schema.get("additionalProperties")
        if schema.get("properties"):
            if name not in schema["properties"]:
                raise FieldPathError("does not refer to a valid field")
            schema, made = schema["properties"][name], f"{made}.{name}"
        elif isinstance(rest, dict):
            schema, made = rest, f"{made}[{name}]"
        else:
            raise FieldPathError("does not refer to a valid field")
    return made, schema


def _next(tokens: Any) -> str:
    try:
        return str(next(tokens))
    except StopIteration:
        raise FieldPathError("unexpected end of JSON path") from None


def _unquoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise FieldPathError(f"expected single quoted string but got {token}")

    def one(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise FieldPathError(f"invalid string literal: invalid escape char {found[0]}")
        return _ESCAPES[found[1]]

    return _ESCAPE.sub(one, token[1:-1])
