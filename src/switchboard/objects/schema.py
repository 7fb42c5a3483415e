"""From a decoded JSON body to what a typed server would hold: wrong types refused, unknown fields found and
pruned, values normalised.

`compile_schema` turns an OpenAPI schema into a closure `walk(obj, unknown)` that works on the object in place; a
definition is
compiled when it is first met and kept. What a walk does, as Go's decoder and encoder together would
(sigs.k8s.io/json):
- a value of another JSON type raises `WrongType` with the field path;
- a field that the schema does not name is removed, its path (`spec.ports[0].foo`) goes to `unknown`;
- null is the same as absent (an empty value inside lists and maps);
- quantities, times and base64 text get their canonical form;
- empty values that `omitempty` would not write are removed, those that are always written are filled in
  (`presence.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

from switchboard.objects import quantity, scalars
from switchboard.objects.errors import BadRequest
from switchboard.objects.kinds import Kind
from switchboard.objects.presence import ALWAYS, NULLS, POINTERS, short
from switchboard.objects.scalars import WrongType, word
from switchboard.objects.types import definitions

Schema = dict[str, Any]
Walk = Callable[..., Any]  # value, unknown paths (an object: and fields that are clean already) -> value to keep
Resolve = Callable[[str], Schema]

# (Python class of the value, walk or None, whether an empty value is dropped)
_Entry = tuple[type, Walk | None, bool]


_DEEPEST = 500  # objects within objects, of definitions that hold their like


class _Depth:
    """How many walks are within each other now: compiled ones are not held by the interpreter's limit."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


_depth = _Depth()


class _Any:
    """Stands for "any class" in an entry: no value has it, so the slow way decides."""


def clean(kind: Kind, obj: dict[str, Any], known: Collection[str] = ()) -> list[str]:
    """Clean a body of a built-in kind in place; returns the paths of unknown fields in document order.

    `known` names fields of the body that are clean already. Raises BadRequest with upstream's text when a value has
    the wrong type.
    """
    if kind.definition is None:
        raise ValueError(f"{kind} is not in the type table")
    return clean_as(kind.definition, obj, kind.kind, kind.version, known)


def clean_as(definition: str, obj: dict[str, Any], kind: str, version: str, known: Collection[str] = ()) -> list[str]:
    """`clean` for a definition that is not a resource of its own (DeleteOptions, Scale, Eviction)."""
    unknown: list[str] = []
    try:
        walk = walker(definition)
        if known:
            walk(obj, unknown, known)
        else:
            walk(obj, unknown)
    except WrongType as wrong:
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {wrong.text()}') from None
    except RecursionError:
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: nested too deeply') from None
    return unknown


def strict_error(kind: Kind, unknown: list[str], duplicates: list[str]) -> BadRequest:
    """The answer to unknown and duplicate fields when `fieldValidation=Strict`."""
    texts = ", ".join(strict_texts(unknown, duplicates))
    return BadRequest(
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: {texts}'
    )


def strict_texts(unknown: list[str], duplicates: list[str]) -> list[str]:
    """One text for each field; also the warnings of `fieldValidation=Warn`. At most 100, as the decoder stops
    collecting."""
    texts = [f'unknown field "{path}"' for path in unknown] + [f'duplicate field "{path}"' for path in duplicates]
    return texts[:100]


@cache
def walker(definition: str) -> Walk:
    """The walk of a definition of the type table."""
    table = definitions()
    return _struct(table[definition], table.__getitem__, definition, walker)


def compile_schema(schema: Schema, resolve: Resolve, name: str = "") -> Walk:
    """The walk of any OpenAPI schema; `resolve` gives the schema of a `$ref`."""
    refs: dict[str, Walk] = {}

    def reach(ref: str) -> Walk:
        if ref not in refs:
            refs[ref] = _struct(resolve(ref), resolve, ref, reach)
        return refs[ref]

    return _entry_walk(_entry(schema, resolve, reach, drop=False))


def _struct(schema: Schema, resolve: Resolve, name: str, reach: Callable[[str], Walk]) -> Walk:
    """The walk of a definition: an object with fields, or one of the special scalars."""
    special = _SPECIAL.get(name)
    if special is not None:
        return _entry_walk(special)
    if "properties" not in schema and not (schema.get("type") == "object" and not _opaque(name)):
        return _entry_walk(_entry(schema, resolve, reach, drop=False))
    return _object_walk(schema, resolve, name, reach)


def _opaque(name: str) -> bool:
    return name.endswith((".RawExtension", ".FieldsV1", ".Patch"))


def _object_walk(  # noqa: C901 - one closure, inlined: it runs for every object of every request
    schema: Schema, resolve: Resolve, name: str, reach: Callable[[str], Walk]
) -> Walk:
    fields: dict[str, _Entry] = {}
    fills: list[tuple[str, Callable[[], Any]]] = []
    go_name = name.rpartition(".")[2]
    ready = False

    def build() -> None:
        nonlocal ready
        made = _fields(schema, resolve, name, reach)
        fields.update(made)
        fills.extend(_fills(schema, resolve, name, made))
        ready = True

    def walk(obj: Any, unknown: list[str], known: Collection[str] = ()) -> Any:  # noqa: C901 - see above
        if not ready:
            build()
        if obj.__class__ is not dict:
            raise WrongType(word(obj), f"v1.{go_name}")
        gone: list[str] = []
        key = ""
        depth = _depth
        depth.now += 1
        try:
            if depth.now > _DEEPEST:
                raise RecursionError
            for key, value in obj.items():
                entry = fields.get(key)
                if entry is None:
                    unknown.append(key)
                elif value is not None:
                    if known and key in known:
                        continue
                    expected, fn, drop = entry
                    if fn is None:
                        if value.__class__ is not expected:
                            raise WrongType(word(value), expected.__name__)
                    else:
                        before = len(unknown)
                        kept = fn(value, unknown)
                        if kept is not value:
                            obj[key] = value = kept
                        if before != len(unknown):
                            _prefix(unknown, before, key)
                    if value or not drop:
                        continue
                gone.append(key)
        except WrongType as wrong:
            wrong.at(key, go_name)
            raise
        finally:
            depth.now -= 1
        for key in gone:
            del obj[key]
        for key, make in fills:
            if key not in obj:
                obj[key] = make()
        return obj

    return walk


def _prefix(unknown: list[str], start: int, key: str) -> None:
    for i in range(start, len(unknown)):
        path = unknown[i]
        unknown[i] = f"{key}{path}" if path[:1] == "[" else f"{key}.{path}"


def _fields(schema: Schema, resolve: Resolve, name: str, reach: Callable[[str], Walk]) -> dict[str, _Entry]:
    key = short(name)
    required = frozenset(schema.get("required", ()))
    # Lists and maps are stored as protobuf, which does not tell empty from absent: `_fills` brings back what is
    # written.
    keep = required | POINTERS.get(key, frozenset()) | ALWAYS.get(key, frozenset())
    found = {}
    for field, sub in schema.get("properties", {}).items():
        # a struct is never "empty" for omitempty; lists, maps and plain scalars are
        drop = "$ref" not in sub and (field not in keep or sub.get("type") in ("array", "object"))
        found[field] = _entry(sub, resolve, reach, drop=drop)
    return found


def _fills(
    schema: Schema, resolve: Resolve, name: str, fields: dict[str, _Entry]
) -> list[tuple[str, Callable[[], Any]]]:
    """What is written though nobody set it: structs that are not pointers, zero values without omitempty."""
    key = short(name)
    always = ALWAYS.get(key, frozenset())
    nulls = NULLS.get(key, frozenset())
    required = frozenset(schema.get("required", ())) | always
    found: list[tuple[str, Callable[[], Any]]] = []
    for field, sub in schema.get("properties", {}).items():
        if "$ref" in sub and sub.get("default") == {}:
            found.append((field, _filled(fields[field])))
        elif field in nulls:
            found.append((field, _nothing))
        elif field in required:
            if "default" in sub and not sub["default"]:
                found.append((field, type(sub["default"])))
            elif sub.get("type") == "array" or field in always:
                found.append((field, _filled(fields[field]) if _is_struct(sub) else _empty_of(sub)))
            elif sub.get("$ref") == _INT_OR_STRING:
                found.append((field, int))
            elif sub.get("$ref") == _QUANTITY:
                found.append((field, lambda: "0"))
    return found


def _is_struct(schema: Schema) -> bool:
    return "$ref" in schema and schema["$ref"] not in _SPECIAL


def _nothing() -> None:
    return None


def _filled(entry: _Entry) -> Callable[[], Any]:
    walk = entry[1]
    return dict if walk is None else lambda: walk({}, [])


def _entry(schema: Schema, resolve: Resolve, reach: Callable[[str], Walk], *, drop: bool) -> _Entry:
    ref = schema.get("$ref")
    if ref is not None:
        special = _SPECIAL.get(ref)
        return special if special is not None else (dict, reach(ref), drop)
    if schema.get("x-kubernetes-int-or-string"):
        return _SPECIAL[_INT_OR_STRING]
    kind = schema.get("type")
    if kind == "string":
        shape = schema.get("format")
        return str, {"byte": scalars.base64_text, "date-time": scalars.time}.get(shape or ""), drop
    if kind == "integer":
        return int, scalars.int32 if schema.get("format") == "int32" else scalars.int64, drop
    if kind == "boolean":
        return bool, None, drop
    if kind == "number":
        return _Any, scalars.number, False
    if kind == "array":
        items = _entry(schema.get("items", {}), resolve, reach, drop=False)
        return list, _list_walk(items, _empty_of(schema.get("items", {})), _go_ref(schema.get("items", {}))), drop
    if "properties" in schema:
        return dict, _object_walk(schema, resolve, "", reach), drop
    if isinstance(schema.get("additionalProperties"), dict):
        values = schema["additionalProperties"]
        return dict, _map_walk(_entry(values, resolve, reach, drop=False), _empty_of(values)), drop
    return _Any, _pass, False


def _empty_of(schema: Schema) -> Callable[[], Any]:
    """What null means as an element of a list or map: Go's zero value."""
    ref, kind = schema.get("$ref"), schema.get("type")
    if ref == _QUANTITY:
        return lambda: "0"
    if ref == _INT_OR_STRING or kind in ("integer", "number"):
        return int
    if kind == "string":
        return str
    if kind == "array":
        return _nothing
    return bool if kind == "boolean" else dict


def _entry_walk(entry: _Entry) -> Walk:
    expected, fn, _ = entry
    if fn is not None:
        return fn

    def walk(value: Any, unknown: list[str]) -> Any:
        if value.__class__ is not expected:
            raise WrongType(word(value), expected.__name__)
        return value

    return walk


def _go_ref(schema: Schema) -> str:
    """The Go name of the struct that a schema refers to, as messages have it: `v1.ServicePort`; "" for other types."""
    ref: str = schema.get("$ref", "")
    return ".".join(ref.rsplit(".", 2)[-2:]) if ref and ref not in _SPECIAL else ""


def _list_walk(items: _Entry, empty: Callable[[], Any], struct: str) -> Walk:
    expected, fn, _ = items

    def walk(values: Any, unknown: list[str]) -> Any:
        if values.__class__ is not list:
            raise WrongType(word(values), "[]" + (struct or scalars.go_type(expected)))
        for i, value in enumerate(values):
            if value is None:
                values[i] = value = empty()
                if fn is None or value is None:
                    continue
            if fn is None:
                if value.__class__ is not expected:
                    raise WrongType(word(value), expected.__name__)
                continue
            before = len(unknown)
            kept = fn(value, unknown)
            if kept is not value:
                values[i] = kept
            if before != len(unknown):
                _prefix(unknown, before, f"[{i}]")
        return values

    return walk


def _map_walk(entry: _Entry, empty: Callable[[], Any]) -> Walk:
    expected, fn, _ = entry

    def walk(values: Any, unknown: list[str]) -> Any:
        if values.__class__ is not dict:
            raise WrongType(word(values), "map[string]" + scalars.go_type(expected))
        for key, value in values.items():
            if value is None:
                values[key] = value = empty()
                if fn is None or value is None:
                    continue
            if fn is None:
                if value.__class__ is not expected:
                    raise WrongType(word(value), expected.__name__)
                continue
            before = len(unknown)
            kept = fn(value, unknown)
            if kept is not value:
                values[key] = kept
            if before != len(unknown):
                _prefix(unknown, before, key)
        return values

    return walk


def _pass(value: Any, unknown: list[str]) -> Any:
    return value


def _quantity(value: Any, unknown: list[str]) -> Any:
    try:
        return quantity.from_json(value)
    except quantity.QuantityError as wrong:
        raise WrongType("", "", str(wrong)) from None


_PREFIX = "io.k8s.apimachinery.pkg."
_INT_OR_STRING = _PREFIX + "util.intstr.IntOrString"
_QUANTITY = _PREFIX + "api.resource.Quantity"
_SPECIAL: dict[str, _Entry] = {
    _INT_OR_STRING: (_Any, scalars.int_or_string, False),
    _QUANTITY: (_Any, _quantity, False),
    _PREFIX + "apis.meta.v1.Time": (str, scalars.time, False),
    _PREFIX + "apis.meta.v1.MicroTime": (str, scalars.micro_time, False),
}
