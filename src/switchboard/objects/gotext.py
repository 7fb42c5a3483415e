"""Decoded values and their types as Go prints them in messages."""

from __future__ import annotations

from typing import Any

import msgspec


def go_text(value: Any) -> str:
    """A decoded value as Go prints it with `%v`."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_text(item)}' for key, item in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)


def go_syntax(value: Any) -> str:
    """A decoded value as Go prints it with `%#v`."""
    if isinstance(value, dict):
        inner = ", ".join(f"{go_syntax(key)}:{go_syntax(item)}" for key, item in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(go_syntax, value))}}}"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return "interface {}(nil)" if value is None else go_text(value)


def go_type(value: Any) -> str:
    """The Go type of a decoded value, as `%s` prints it."""
    if value is None:
        return "%!s(<nil>)"
    names = {dict: "map[string]interface {}", list: "[]interface {}", str: "string", bool: "bool", int: "int64"}
    return names.get(type(value), "float64")


def go_string(value: Any) -> str:
    """A decoded value as Go's `%s` prints it, be it a string or not."""
    if isinstance(value, str | list | dict):
        return go_text(value)
    return "%!s(<nil>)" if value is None else f"%!s({go_type(value)}={go_text(value)})"
