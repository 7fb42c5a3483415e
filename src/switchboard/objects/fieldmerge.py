"""Values merged and cut by field type: an applied configuration laid over an object, and paths taken out of one.

Source: structured-merge-diff/typed `merge.go`, `remove.go`, `validate.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from switchboard.objects.fieldset import FieldSet, element_text, is_member
from switchboard.objects.fieldtypes import DEDUCED, KEYED, LEAF, SET, STRUCT, Type

_ABSENT: Any = object()


def merge(type_: Type, left: Any, right: Any) -> Any:
    """`right` over `left`: maps field by field, keyed lists item by item, everything else as `right` has it."""
    if type_.kind == LEAF or (not left and not right):
        return right
    if isinstance(right, dict) and isinstance(left, dict | None):
        out = dict(left or {})
        for name, value in right.items():
            before = out.get(name, _ABSENT)
            out[name] = value if before is _ABSENT else merge(type_.field(name).type, before, value)
        return out
    if isinstance(right, list | None) and isinstance(left, list | None) and type_.kind in (KEYED, SET):
        return _merge_lists(type_, left or [], right or [])
    if right is None and isinstance(left, dict):
        return left  # a null struct says nothing about its fields
    return right


def _merge_lists(type_: Type, left: list[Any], right: list[Any]) -> list[Any]:
    """Items of both, in the order of `right`; items only `left` has keep their place among those they stood beside."""
    theirs = [(type_.element(item), item) for item in left]
    ours = [(type_.element(item), item) for item in right]
    in_left, in_right = dict(reversed(theirs)), dict(ours)
    shared = [element for element, _ in ours if element in in_left]
    out: list[Any] = []
    merged: set[str] = set()
    at_left = at_right = at_shared = 0

    def take(element: str, item: Any) -> None:
        merged.add(element)
        out.append(merge(type_.item, in_left[element], item) if element in in_left else item)

    while at_left < len(theirs) or at_right < len(ours):
        element = theirs[at_left][0] if at_left < len(theirs) else ""
        if at_left < len(theirs) and at_right < len(ours):
            if element == ours[at_right][0]:
                take(*ours[at_right])
                at_left, at_right, at_shared = at_left + 1, at_right + 1, at_shared + 1
                continue
            if element in in_right and at_shared < len(shared) and shared[at_shared] != element:
                at_left += 1  # shared, but its turn is when `right` comes to it
                continue
        if at_left < len(theirs):
            if element not in in_right:
                out.append(theirs[at_left][1])
                at_left += 1
                continue
            if element in merged:
                at_left += 1
        if at_right < len(ours):
            element = ours[at_right][0]
            take(*ours[at_right])
            if at_shared < len(shared) and shared[at_shared] == element:
                at_shared += 1
            at_right += 1
    return out


def remove(type_: Type, value: Any, fields: FieldSet) -> Any:
    """The value without the members of the set, each with all that is in it. Containers left empty go as well."""
    out = _remove(type_, value, fields)
    return {} if out is _ABSENT else out


def _remove(type_: Type, value: Any, fields: FieldSet) -> Any:
    if isinstance(value, dict) and type_.kind != LEAF:
        pairs = ((type_.field(name), name, inner) for name, inner in value.items())
        kept = {
            name: left
            for field, name, inner in pairs
            if (left := _left(field.type, inner, fields.get(field.element))) is not _ABSENT
        }
        return kept or _ABSENT
    if isinstance(value, list) and type_.kind in (KEYED, SET):
        items = [_left(type_.item, item, fields.get(type_.element(item))) for item in value]
        return [item for item in items if item is not _ABSENT] or _ABSENT
    return value


def _left(type_: Type, value: Any, fields: FieldSet | None) -> Any:
    if fields is None:
        return value
    return _ABSENT if is_member(fields) else _remove(type_, value, fields)


_PYTHON = {"string": (str,), "boolean": (bool,), "integer": (int, float), "number": (int, float)}


def problems(type_: Type, value: Any, path: str = "") -> Iterator[str]:
    """What keeps a value from being of its type, as upstream says it: undeclared fields, wrong types, duplicates."""
    if value is None:
        return
    if type_.kind == LEAF:
        yield from _leaf_problem(type_, value, path)
    elif type_.kind in (KEYED, SET):
        yield from _list_problems(type_, value, path)
    elif type_.kind == DEDUCED:
        return
    elif not isinstance(value, dict):
        yield f"{path}: expected map, got &{{{_go(value)}}}"
    else:
        for name, inner in value.items():
            if type_.kind == STRUCT and not type_.open and not type_.declares(name):
                yield f"{path}.{name}: field not declared in schema"
            else:
                yield from problems(type_.field(name).type, inner, f"{path}.{name}")


def _leaf_problem(type_: Type, value: Any, path: str) -> Iterator[str]:
    wanted = type_.scalar
    if wanted == "array" and not isinstance(value, list):
        yield f"{path}: expected list, got &{{{_go(value)}}}"
    elif wanted == "object" and not isinstance(value, dict):
        yield f"{path}: expected map, got &{{{_go(value)}}}"
    elif wanted in _PYTHON and (
        not isinstance(value, _PYTHON[wanted]) or (wanted != "boolean" and isinstance(value, bool))
    ):
        if wanted in ("integer", "number"):
            yield f"{path}: expected numeric (int or float), got {_go_type(value)}"
        else:
            yield f"{path}: expected {wanted}, got &value.valueUnstructured{{Value:{_go(value)}}}"


def _list_problems(type_: Type, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got &{{{_go(value)}}}"
        return
    seen = set()
    for position, item in enumerate(value):
        if type_.kind == KEYED:
            if not isinstance(item, dict):
                yield f"{path}: element {position}: associative list with keys may not have non-map elements"
                continue
            missing = [key for key in type_.keys if item.get(key) is None and key not in type_.defaults]
            if missing:
                names = ", ".join(f'"{key}"' for key in missing)
                where = f"{path}: element {position}"
                yield f"{where}: associative list with keys has an element that omits key field {names}"
                continue
        element = type_.element(item)
        if element in seen:
            yield f"{path}: duplicate entries for key {element_text(element)}"
        seen.add(element)
        yield from problems(type_.item, item, path + element_text(element))


def _go(value: Any) -> str:
    """A value roughly as Go's %#v prints it."""
    if isinstance(value, str):
        return '"' + value.replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_go(inner)}' for key, inner in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_go, value))}]"
    return str(value)


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "map[string]interface {}" if isinstance(value, dict) else "[]interface {}"
