"""Which fields a value has, and which a change adds, modifies or removes: the walkers behind managedFields.

Equal parts are skipped by comparing dicts and lists as wholes (in C), so the cost of an update is that of what changed.
Source: structured-merge-diff/typed `compare.go` and `tofieldset.go`.
"""

from __future__ import annotations

from typing import Any

from switchboard.objects.fieldset import SELF, FieldSet, union
from switchboard.objects.fieldtypes import DEDUCED, KEYED, LEAF, MAP, SET, STRUCT, Type


def added(type_: Type, value: Any) -> FieldSet:
    """The set of a value that was not there: itself and everything in it."""
    kind = type_.kind
    if kind == LEAF or not value:
        return {}
    if isinstance(value, dict):
        out: FieldSet = {SELF: {}}
        if kind == MAP and type_.item.kind == LEAF:
            for name in value:
                out[f"f:{name}"] = {}
            return out
        declared = type_.known
        for name, inner in value.items():
            field = declared.get(name) or type_.field(name)
            below = field.type
            out[field.element] = {} if below.kind == LEAF or not inner else added(below, inner)
        return out
    if isinstance(value, list) and kind in (KEYED, SET):
        out = {SELF: {}}
        item_type = type_.item
        for item in value:
            element = type_.element(item)
            out[element] = {} if element in out else added(item_type, item)  # nobody owns parts of what is there twice
        return out
    return {}


def created(type_: Type, value: dict[str, Any]) -> FieldSet:
    """The set of a new object compared with the empty object of its Go type, in which nested structs already stand."""
    out: FieldSet = {}
    declared = type_.known
    for name, inner in value.items():
        field = declared.get(name) or type_.field(name)
        if field.nested and isinstance(inner, dict):
            below = created(field.type, inner)
            if below:
                out[field.element] = below
            continue
        if inner is None or inner == field.zero:
            continue
        below = added(field.type, inner)
        if field.nullable and SELF in below:
            del below[SELF]
        out[field.element] = below
    return out


def changes(type_: Type, old: Any, new: Any) -> tuple[FieldSet | None, FieldSet | None]:
    """What is added or modified, and what is removed, between two values that are both there; None where nothing is.

    Between null and a map or list with something in it, what is in it changes and not the whole."""
    if old == new and _same_kind(old, new):
        return None, None
    kind = type_.kind
    if kind == LEAF:
        return {}, None
    if isinstance(old, dict) and isinstance(new, dict) and (old or new):
        return _map_changes(type_, old, new)
    if kind in (KEYED, SET):
        if not (isinstance(old, list | None) and isinstance(new, list | None)) or not (old or new):
            return {}, None  # of another type, which validation tells
        return _list_changes(type_, old or [], new or [])
    before, after = (value if isinstance(value, dict) else {} for value in (old, new))
    if not before and not after:
        return {}, None
    touched, removed = _map_changes(type_, before, after)
    if kind == DEDUCED and not all(isinstance(value, dict | None) for value in (old, new)):
        touched = union(touched or {}, {SELF: {}}) if touched else {}  # a map becomes a list or scalar, or the reverse
    return touched, removed


def _same_kind(old: Any, new: Any) -> bool:
    """True and 1 are equal to Python, not to JSON. Below the top of a container nobody mixes them in one field."""
    return isinstance(old, bool) == isinstance(new, bool)


def _map_changes(type_: Type, old: dict[str, Any], new: dict[str, Any]) -> tuple[FieldSet | None, FieldSet | None]:
    touched: FieldSet = {}
    removed: FieldSet = {}
    for name, value in new.items():
        if name not in old:
            field = type_.field(name)
            touched[field.element] = added(field.type, value)
            continue
        before = old[name]
        if before is value or (before == value and _same_kind(before, value)):
            continue
        field = type_.field(name)
        _note(field.element, changes(field.type, before, value), touched, removed)
    for name, value in old.items():
        if name not in new:
            field = type_.field(name)
            removed[field.element] = added(field.type, value)
    return touched or None, removed or None


def _note(element: str, change: tuple[FieldSet | None, FieldSet | None], touched: FieldSet, removed: FieldSet) -> None:
    if change[0] is not None:
        touched[element] = change[0]
    if change[1] is not None:
        removed[element] = change[1]


def _list_changes(type_: Type, old: list[Any], new: list[Any]) -> tuple[FieldSet | None, FieldSet | None]:
    touched: FieldSet = {}
    removed: FieldSet = {}
    before = {type_.element(item): item for item in old}
    after = {type_.element(item): item for item in new}
    if len(before) != len(old) or len(after) != len(new):
        return _duplicate_changes(type_, old, new)
    item_type = type_.item
    for element, item in after.items():
        if element not in before:
            touched[element] = added(item_type, item)
        else:
            _note(element, changes(item_type, before[element], item), touched, removed)
    for element, item in before.items():
        if element not in after:
            removed[element] = added(item_type, item)
    return touched or None, removed or None


def _duplicate_changes(type_: Type, old: list[Any], new: list[Any]) -> tuple[FieldSet | None, FieldSet | None]:
    """Of lists in which items stand several times: such items are compared, owned and lost as wholes."""
    touched: FieldSet = {}
    removed: FieldSet = {}
    before, after = _by_element(type_, old), _by_element(type_, new)
    for element in before.keys() | after.keys():
        was, now = before.get(element, []), after.get(element, [])
        if len(was) == len(now) == 1:
            _note(element, changes(type_.item, was[0], now[0]), touched, removed)
        elif len(was) > 1 and len(now) > 1:
            if was != now:
                touched[element] = {}
        else:
            if was:
                removed[element] = _added_items(type_, was)
            if now:
                touched[element] = _added_items(type_, now)
    return touched or None, removed or None


def _added_items(type_: Type, items: list[Any]) -> FieldSet:
    return added(type_.item, items[0]) if len(items) == 1 else {}


def _by_element(type_: Type, items: list[Any]) -> dict[str, list[Any]]:
    """The items of a list by what tells them apart."""
    out: dict[str, list[Any]] = {}
    for item in items:
        out.setdefault(type_.element(item), []).append(item)
    return out


def field_set(type_: Type, value: Any) -> FieldSet:
    """The set of an applied configuration: leaves, items of lists, keys of maps; not the structs around them.

    Empty maps and nulls are owned, empty lists are not."""
    if isinstance(value, dict) and type_.kind != LEAF:
        return _map_set(type_, value)
    if isinstance(value, list) and type_.kind in (KEYED, SET):
        out: FieldSet = {}
        for item in value:
            element = type_.element(item)
            below = {} if element in out else field_set(type_.item, item)
            out[element] = {SELF: {}, **below} if below else {}
        return out
    return {}


def _map_set(type_: Type, value: dict[str, Any]) -> FieldSet:
    out: FieldSet = {}
    for name, inner in value.items():
        field = type_.field(name)
        below = field_set(field.type, inner)
        declared = type_.kind == STRUCT and type_.declares(name)
        if below:
            out[field.element] = below if declared else {SELF: {}, **below}
        elif not declared or inner is None or inner == {} or not _granular(field.type, inner):
            out[field.element] = {}
    return out


def _granular(type_: Type, value: Any) -> bool:
    """Whether a value is owned part by part, so that an empty one of its kind is owned by nobody."""
    if isinstance(value, list):
        return type_.kind in (KEYED, SET)
    return isinstance(value, dict) and type_.kind != LEAF


def with_named_fields(type_: Type, fields: FieldSet) -> FieldSet:
    """The set with every declared field on the way to a member made one (EnsureNamedFieldsAreMembers upstream)."""
    out: FieldSet = {}
    for element, below in fields.items():
        if element == SELF or not below:
            out[element] = below
            continue
        if element.startswith("f:"):
            name = element[2:]
            inner = with_named_fields(type_.field(name).type, below)
            named = type_.kind == STRUCT and type_.declares(name)
        else:
            inner = with_named_fields(type_.item if type_.kind != DEDUCED else type_, below)
            named = False
        out[element] = {SELF: {}, **inner} if named else inner
    return out


def collapsed(type_: Type, fields: FieldSet) -> FieldSet:
    """The set for a schema in which what was divided may have become atomic: whoever owns parts of it owns the whole.

    The other way nothing changes (ReconcileFieldSetWithSchema upstream)."""
    out: FieldSet | None = None
    for element, below in fields.items():
        if not below:
            continue
        named = element.startswith("f:")
        inner = type_.field(element[2:]).type if named else type_.item if type_.kind in (KEYED, SET) else type_
        if inner.kind == LEAF:
            less: FieldSet = {} if inner.scalar in ("array", "object") else below
        else:
            less = collapsed(inner, below)
        if less is not below:
            out = dict(fields) if out is None else out
            out[element] = less
    return fields if out is None else out
