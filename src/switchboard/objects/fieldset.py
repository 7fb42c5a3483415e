"""Sets of field paths in the form that managedFields store them (`fieldsV1`), and their algebra.

A set is a dict of path elements to the sets below them: `f:name` a field, `k:{"port":80}` an item of a keyed list,
`v:"x"` an item of a set. An element whose dict is empty is itself in the set; one that has others below it is in the
set when it also holds `"."`. Nothing here changes its arguments; results may share parts with them.
Source: sigs.k8s.io/structured-merge-diff/fieldpath.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

FieldSet = dict[str, Any]

SELF = "."


def is_member(node: FieldSet) -> bool:
    """Whether the element that has this dict is itself in the set."""
    return not node or SELF in node


def _below(node: FieldSet) -> FieldSet:
    return {key: value for key, value in node.items() if key != SELF} if SELF in node else node


def _node(member: bool, below: FieldSet) -> FieldSet | None:
    """The dict of an element; None when nothing of it is left."""
    if not below:
        return {} if member else None
    return {SELF: {}, **below} if member else below


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Paths in either."""
    out = dict(left)
    for key, theirs in right.items():
        ours = out.get(key)
        if ours is None or key == SELF:
            out[key] = theirs
        elif ours and theirs:
            out[key] = union(ours, theirs)
        elif ours or theirs:
            out[key] = {SELF: {}, **ours, **theirs}
    return out


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Paths of `left` that are not in `right`; a path in `right` does not take away those below it."""
    if left.keys().isdisjoint(right):
        return left
    out: FieldSet = {}
    for key, ours in left.items():
        theirs = right.get(key)
        if theirs is None or key == SELF:
            out[key] = ours
            continue
        if not ours:
            if theirs and SELF not in theirs:
                out[key] = ours
            continue
        rest = _node(is_member(ours) and not is_member(theirs), difference(_below(ours), _below(theirs)))
        if rest is not None:
            out[key] = rest
    return out


def covers(fields: FieldSet, part: FieldSet) -> bool:
    """Whether every path of `part` is in `fields`."""
    for key, theirs in part.items():
        ours = fields.get(key)
        if ours is None or (is_member(theirs) and not is_member(ours)):
            return False
        if theirs and key != SELF and not covers(ours, theirs):
            return False
    return True


def without_trees(left: FieldSet, roots: FieldSet) -> FieldSet:
    """Paths of `left` that are neither in `roots` nor below one of them (upstream's RecursiveDifference)."""
    out: FieldSet = {}
    for key, ours in left.items():
        theirs = roots.get(key)
        if theirs is None:
            out[key] = ours
        elif not is_member(theirs):
            rest = _node(is_member(ours), without_trees(_below(ours), theirs))
            if rest is not None:
                out[key] = rest
    return out


ANY = "*"  # in `within`: whatever element stands there


def within(left: FieldSet, roots: FieldSet) -> FieldSet:
    """Paths of `left` that are in `roots`, below one of them or on the way to one (upstream's IncludeMatcherFilter)."""
    out: FieldSet = {}
    for key, ours in left.items():
        theirs = roots.get(key)
        if theirs is None:
            theirs = roots.get(ANY)
            if theirs is None:
                continue
        rest = _node(is_member(ours), within(_below(ours), theirs)) if theirs else ours
        if rest is not None:
            out[key] = rest
    return out


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """Paths in both."""
    out: FieldSet = {}
    for key, ours in left.items():
        theirs = right.get(key)
        if theirs is None or key == SELF:
            continue
        both = _node(is_member(ours) and is_member(theirs), intersection(_below(ours), _below(theirs)))
        if both is not None:
            out[key] = both
    return out


def ordered(fields: FieldSet) -> FieldSet:
    """The same set with its elements in the order in which they are written down."""
    out: FieldSet = {}
    for key in sorted(fields):
        below = fields[key]
        out[key] = ordered(below) if below else below
    return out


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every path as people read it (`.spec.ports[port=80,protocol="TCP"].name`); members of a level come first."""
    elements = sorted((key for key in fields if key != SELF), key=_order)
    for key in elements:
        if is_member(fields[key]):
            yield prefix + element_text(key)
    for key in elements:
        if fields[key]:
            yield from paths(fields[key], prefix + element_text(key))


def _order(key: str) -> tuple[int, str]:
    return ("fkvi".find(key[0]), key)


def element_text(key: str) -> str:
    """One path element: `.name`, `[port=80,protocol="TCP"]`, `[="x"]`, `[3]`."""
    kind, body = key[0], key[2:]
    if kind == "f":
        return f".{body}"
    if kind == "k":
        pairs = msgspec.json.decode(body)
        return "[" + ",".join(f"{name}={_value_text(pairs[name])}" for name in sorted(pairs)) + "]"
    return f"[={body}]" if kind == "v" else f"[{body}]"


def _value_text(value: Any) -> str:
    """A key's value as paths show it; only of keys that are no keys is it anything but a scalar."""
    if isinstance(value, dict):
        return "".join(f"{name}={_value_text(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return f"[{','.join(map(_value_text, value))}]"
    return msgspec.json.encode(value).decode()


def is_field_set(value: Any, depth: int = 0) -> bool:
    """Whether a decoded JSON value is a field set (what clients send as fieldsV1 is not trusted)."""
    if not isinstance(value, dict) or depth > 64:
        return False
    for key, below in value.items():
        if key == SELF:
            if below != {}:
                return False
        elif key[1:2] != ":" or key[0] not in "fkvi" or not is_field_set(below, depth + 1) or not _readable(key):
            return False
    return True


def _readable(key: str) -> bool:
    if key[0] == "f":
        return True
    try:
        body = msgspec.json.decode(key[2:])
    except msgspec.DecodeError:
        return False
    return isinstance(body, dict) if key[0] == "k" else not isinstance(body, dict | list)
