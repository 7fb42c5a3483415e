"""Values merged and cut by field type: an applied configuration laid over an object, and paths taken out of one.

Source: structured-merge-diff/typed `merge.go`, `remove.go`, `validate.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from switchboard.objects.fieldset import FieldSet, element_text, is_member
from switchboard.objects.fieldtypes import DEDUCED, KEYED, LEAF, SET, STRUCT, Type
from switchboard.objects.gotext import go_syntax, go_text, go_type

_ABSENT: Any = object()


def merge(type_: Type, left: Any, right: Any) -> Any:
    """`right` over `left`: maps field by field, keyed lists item by item, everything else as `right` has it.

    An empty or null `right` takes nothing away from a map or list."""
    kind = type_.kind
    if kind == LEAF:
        return right
    if kind in (KEYED, SET):
        return _merge_lists(type_, left or [], right or []) if left or right else right
    if not left or not isinstance(left, dict):
        return right
    if right is None:
        return left
    if not isinstance(right, dict):
        return right
    out = dict(left)
    for name, value in right.items():
        before = out.get(name, _ABSENT)
        out[name] = value if before is _ABSENT else merge(type_.field(name).type, before, value)
    return out


def _merge_lists(type_: Type, left: list[Any], right: list[Any]) -> list[Any]:
    """Items of both, in the order of `right`; items only `left` has keep their place among those they stood beside."""
    theirs = [(type_.element(item), item) for item in left]
    ours = [(type_.element(item), item) for item in right]
    in_left, in_right = _without_duplicates(theirs), dict(ours)
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


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Items by their elements; what stands there twice has nothing that could be merged into."""
    out: dict[str, Any] = {}
    for element, item in pairs:
        out[element] = None if element in out else item
    return out


def remove(type_: Type, value: Any, fields: FieldSet) -> Any:
    """The value without the members of the set, each with all that is in it. Of what is left empty, null is left."""
    if isinstance(value, dict) and type_.kind != LEAF:
        out: dict[str, Any] = {}
        for name, inner in value.items():
            field = type_.field(name)
            below = fields.get(field.element)
            if below is None:
                out[name] = inner
            elif not is_member(below):
                out[name] = remove(field.type, inner, below)
        return out or None
    if isinstance(value, list) and type_.kind in (KEYED, SET):
        items = []
        for item in value:
            below = fields.get(type_.element(item))
            if below is None:
                items.append(item)
            elif not is_member(below):
                items.append(remove(type_.item, item, below))
        return items or None
    return None if isinstance(value, dict | list) else value


_PYTHON = {"string": (str,), "boolean": (bool,), "integer": (int, float), "number": (int, float)}


def problems(type_: Type, value: Any, path: str = "") -> Iterator[str]:
    """What keeps a value from being of its type, as upstream says it: undeclared fields, wrong types, duplicates."""
    if value is None or type_.kind == DEDUCED:
        return
    if type_.kind == LEAF:
        yield from _leaf_problem(type_, value, path)
    elif type_.kind in (KEYED, SET):
        yield from _list_problems(type_, value, path)
    elif not isinstance(value, dict):
        yield f"{path}: expected map, got &{{{go_text(value)}}}"
    else:
        for name, inner in value.items():
            if type_.kind == STRUCT and not type_.open and not type_.declares(name):
                yield f"{path}.{name}: field not declared in schema"
            else:
                yield from problems(type_.field(name).type, inner, f"{path}.{name}")


def _leaf_problem(type_: Type, value: Any, path: str) -> Iterator[str]:
    wanted = type_.scalar
    if wanted == "array" and not isinstance(value, list):
        yield f"{path}: expected list, got &{{{go_text(value)}}}"
    elif wanted == "object" and not isinstance(value, dict):
        yield f"{path}: expected map, got &{{{go_text(value)}}}"
    elif wanted == "scalar" and isinstance(value, dict | list):
        yield f"{path}: expected any scalar, got &{{{go_text(value)}}}"
    elif wanted in _PYTHON and (
        not isinstance(value, _PYTHON[wanted]) or (wanted != "boolean" and isinstance(value, bool))
    ):
        if wanted in ("integer", "number"):
            yield f"{path}: expected numeric (int or float), got {go_type(value)}"
        elif wanted == "string":
            yield f"{path}: expected string, got &value.valueUnstructured{{Value:{go_syntax(value)}}}"
        else:
            yield f"{path}: expected boolean, got &{{{go_text(value)}}}"
    elif wanted == "array" and type_.inside is not None:
        for position, item in enumerate(value):
            yield from problems(type_.inside.item, item, f"{path}[{position}]")
    elif wanted == "object" and type_.inside is not None:
        yield from problems(type_.inside, value, path)


def _list_problems(type_: Type, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got &{{{go_text(value)}}}"
        return
    seen = set()
    for position, item in enumerate(value):
        wrong = _item_problem(type_, item)
        if wrong:
            yield f"{path}: element {position}: {wrong}"
            return
        element = type_.element(item)
        if element in seen:
            yield f"{path}: duplicate entries for key {element_text(element)}"
        seen.add(element)
        yield from problems(type_.item, item, path + element_text(element))


def _item_problem(type_: Type, item: Any) -> str:
    """Why a list item cannot be told from others, if it cannot."""
    if type_.kind == SET:
        if isinstance(item, dict):
            return "associative list without keys has an element that's a map type"
        if isinstance(item, list):
            return "not supported: associative list with lists as elements"
        return "associative list without keys has an element that's an explicit null" if item is None else ""
    if item is None:
        return "associative list with keys may not have a null element"
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    if not any(key in item or type_.defaults.get(key) is not None for key in type_.keys):
        names = " ".join(f'"{key}"' for key in type_.keys)
        return (
            f"associative list with keys has an element that omits all key fields [{names}]"
            " (and doesn't have default values for any key fields)"
        )
    return ""
