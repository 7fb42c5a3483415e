"""Types of CEL: primitive, list, map, optional, opaque, objects by schema; assignability with type parameters."""

from __future__ import annotations

from typing import Any


class Type:
    """A type; `size` is the most elements (or bytes) that a value can have, None where that is unknown."""

    __slots__ = ("fields", "kind", "params", "size")

    def __init__(self, kind: str, params: tuple[Type, ...] = (), size: int | None = None) -> None:
        self.kind, self.params, self.size = kind, params, size
        self.fields: dict[str, Type] | None = None  # of an object

    def __str__(self) -> str:
        if self.params:
            return f"{self.kind}({', '.join(map(str, self.params))})"
        return self.kind

    def sized(self, size: int) -> Type:
        """This type with a bound."""
        made = Type(self.kind, self.params, size)
        made.fields = self.fields
        return made


DYN, BOOL, INT, UINT, DOUBLE, STRING, BYTES, NULL, ERROR = (
    Type(name) for name in "dyn bool int uint double string bytes null_type !error!".split()
)
TIMESTAMP, DURATION = Type("google.protobuf.Timestamp"), Type("google.protobuf.Duration")
T, K, V = (Type("<" + name) for name in "TKV")  # parameters of functions


def list_of(item: Type, size: int | None = None) -> Type:
    """`list(item)`."""
    return Type("list", (item,), size)


def map_of(key: Type, value: Type, size: int | None = None) -> Type:
    """`map(key, value)`."""
    return Type("map", (key, value), size)


def optional(inner: Type) -> Type:
    """`optional_type(inner)`."""
    return Type("optional_type", (inner,))


def type_of(inner: Type) -> Type:
    """`type(inner)`."""
    return Type("type", (inner,))


def opaque(name: str) -> Type:
    """A type whose values only functions know."""
    return Type(name)


def object_of(name: str, fields: dict[str, Type]) -> Type:
    """An object with these fields."""
    made = Type(name)
    made.fields = fields
    return made


Bindings = dict[str, Type]
_NULLABLE = frozenset(("google.protobuf.Timestamp", "google.protobuf.Duration", "null_type"))
_PRIMITIVE = frozenset(("bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "optional_type"))


def resolve(type_: Type, bindings: Bindings) -> Type:
    """The type with its parameters replaced; unbound ones become dyn."""
    if type_.kind[0] == "<":
        found = bindings.get(type_.kind)
        return DYN if found is None else resolve(found, bindings)
    if type_.params:
        made = Type(type_.kind, tuple(resolve(p, bindings) for p in type_.params), type_.size)
        made.fields = type_.fields
        return made
    return type_


def assignable(target: Type, source: Type, bindings: Bindings) -> bool:
    """Whether a value of `source` goes where `target` is asked for; binds parameters."""
    if target.kind[0] == "<":
        bound = bindings.get(target.kind)
        if bound is None or bound.kind == "dyn" or (bound.params and _loose(bound)):
            if bound is None or assignable(bound, source, dict(bindings)):
                bindings[target.kind] = source if bound is None or bound.kind != "dyn" else bound
                return True
            return False
        if source.kind == "dyn":
            return True
        return assignable(bound, source, bindings)
    if target.kind in ("dyn", "!error!") or source.kind in ("dyn", "!error!"):
        return True
    if source.kind == "null_type":
        return target.kind in _NULLABLE or target.kind not in _PRIMITIVE
    if target.kind != source.kind or len(target.params) != len(source.params):
        return False
    return all(assignable(t, s, bindings) for t, s in zip(target.params, source.params, strict=True))


def _loose(type_: Type) -> bool:
    return type_.kind == "dyn" or any(_loose(p) for p in type_.params)


def same(a: Type, b: Type) -> bool:
    """Whether two types are one."""
    return a.kind == b.kind and len(a.params) == len(b.params) and all(map(same, a.params, b.params))


def joined(types: list[Any]) -> Type:
    """The type of elements that stand together: theirs when they agree, else dyn."""
    if not types:
        return DYN
    first: Type = types[0]
    for other in types[1:]:
        if not assignable(first, other, {}):
            return DYN
        if first.kind == "dyn":
            first = other
    return first
