"""Custom resources: pruning, defaulting and validation by the structural schema of their CustomResourceDefinition.

A `Structural` is made once per version and used for every write. Texts and order are those of kube-openapi's
validator as the
API server wraps it (apiextensions-apiserver/pkg/apiserver/{schema,validation}). Expression rules
(`x-kubernetes-validations`) are compiled when the first object is met that needs them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from switchboard.objects.errors import BadRequest, FieldError
from switchboard.objects.scalars import WrongType
from switchboard.objects.schema import walker
from switchboard.objects.validate.fields import Errors, shown
from switchboard.objects.validate.jsonschema import ABSENT, Schema, any_rules, check

Object = dict[str, Any]
Warn = Callable[[str], None]
# (object, old object, who is warned) -> what the expression rules find; None as old object in a create
Evaluator = Callable[[Object, Object | None, Warn | None], list[FieldError]]
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_IDENTITY = ("apiVersion", "kind", "metadata")
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
_BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)


class Structural:
    """One version of a custom kind: `schema` is its openAPIV3Schema, `kind` and `version` name it in messages."""

    def __init__(self, schema: Schema, kind: str, version: str) -> None:
        self.schema, self.kind, self.version = schema, kind, version
        self.has_rules = any_rules(schema)
        self._evaluate: Evaluator | None = None

    def clean(self, obj: Object) -> list[str]:
        """Prune in place what the schema does not name, and nulls where there can be none; returns the paths of the
        first. Metadata is that of every object.

        Raises BadRequest when metadata (or apiVersion, kind) has the wrong type.
        """
        unknown: list[str] = []
        try:
            if obj.get("metadata") is not None:
                found: list[str] = []
                obj["metadata"] = walker(_OBJECT_META)(obj["metadata"], found)
                unknown += [f"metadata.{path}" for path in found]
        except WrongType as wrong:
            wrong.at("metadata", "")
            text = wrong.text()
            raise BadRequest(
                f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}: {text}'
            ) from None
        _prune(obj, self.schema, "", unknown, embedded=True)
        _drop_nulls(obj, self.schema)
        return unknown

    def default(self, obj: Object) -> None:
        """Fill in the schema's defaults, in place; null of a field that is not nullable counts as absent where it
        has one."""
        _default(obj, self.schema)

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """What the schema says against an object, its rules aside.

        An update may keep what was wrong before: fields that are as in `old`, and doubles in lists if there were some.
        """
        errs = Errors()
        check(obj, self.schema, "", errs, root=True, old=ABSENT if old is None else old)
        doubles = list_doubles(obj, self.schema)
        if doubles and (old is None or not list_doubles(old, self.schema)):
            errs += doubles
        return errs

    def rules(
        self, obj: Object, old: Object | None, found: list[FieldError], warn: Warn | None = None
    ) -> list[FieldError]:
        """What the rules say; nothing when something of what was `found` stops them. `old` is what is replaced."""
        if not self.has_rules:
            return []
        errs = Errors()
        if any(error.reason in _BLOCKING for error in found):
            errs.invalid("<nil>", None, _UNCHECKED)
            return errs
        if self._evaluate is None:
            from switchboard.objects.cel.rules import Validator  # only who has rules pays for the language

            self._evaluate = Validator(self.schema)
        return self._evaluate(obj, old, warn)


def _children(value: Any, schema: Schema, path: str) -> list[tuple[Any, Any, Schema, str]]:
    """(key, value, schema, path) of everything inside that has a schema."""
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        rest = schema.get("additionalProperties")
        found = []
        for name, inner in value.items():
            below = properties.get(name, rest)
            if isinstance(below, dict):
                found.append((name, inner, below, f"{path}.{name}" if path else name))
        return found
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, dict):
        return [(i, inner, items, f"{path}[{i}]") for i, inner in enumerate(value)]
    return []


def _prune(value: Any, schema: Schema, path: str, unknown: list[str], *, embedded: bool = False) -> None:
    open_here = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if isinstance(value, dict):
        properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        embedded = embedded or bool(schema.get("x-kubernetes-embedded-resource"))
        for name in list(value):
            if embedded and name in _IDENTITY:
                continue
            if name not in properties and not rest and not open_here:
                unknown.append(f"{path}.{name}" if path else name)
                del value[name]
    elif isinstance(value, list) and not isinstance(schema.get("items"), dict) and not open_here:
        for i, inner in enumerate(value):
            _prune(inner, {}, f"{path}[{i}]", unknown)
    for name, inner, below, here in _children(value, schema, path):
        if not (embedded and name in _IDENTITY):
            _prune(inner, below, here, unknown)


def _drop_nulls(value: Any, schema: Schema) -> None:
    """Nulls of fields that are not nullable say nothing; where there is a default, it comes in their place later."""
    for name, inner, below, _ in _children(value, schema, ""):
        if inner is not None:
            _drop_nulls(inner, below)
        elif isinstance(value, dict) and not below.get("nullable") and below.get("default") is None:
            del value[name]


def _default(value: Any, schema: Schema) -> None:
    if isinstance(value, dict):
        for name, below in (schema.get("properties") or {}).items():
            if "default" not in below:
                continue
            if name not in value or (value[name] is None and not below.get("nullable")):
                value[name] = copy.deepcopy(below["default"])
    for name, inner, below, _ in _children(value, schema, ""):
        if inner is None and "default" in below and not below.get("nullable"):
            inner = value[name] = copy.deepcopy(below["default"])
        _default(inner, below)


def list_doubles(value: Any, schema: Schema, path: str = "") -> Errors:
    """What stands twice in sets, or has a key of a map twice."""
    errs = Errors()
    _list_types(value, schema, path, errs)
    return errs


def pruned(value: Any, schema: Schema) -> Any:
    """A copy of a value without what its schema does not name."""
    made = copy.deepcopy(value)
    _prune(made, schema, "", [])
    return made


def _list_types(value: Any, schema: Schema, path: str, errs: Errors) -> None:
    """Sets hold nothing twice, maps no key twice."""
    kind = schema.get("x-kubernetes-list-type")
    if isinstance(value, list) and kind in ("set", "map"):
        keys = schema.get("x-kubernetes-list-map-keys") or []
        odd = [i for i, entry in enumerate(value) if not isinstance(entry, dict | None)] if kind == "map" else []
        if odd:
            errs.invalid(f"{path}[{odd[0]}]", value[odd[0]], "must be an object for an array of list-type map")
        seen: dict[str, int] = {}
        for i, entry in enumerate(value) if not odd else ():
            key = entry if kind == "set" else {name: entry[name] for name in keys if name in (entry or ())}
            text = shown(key)
            seen[text] = seen.get(text, 0) + 1
            if seen[text] == 2:  # once for each
                errs.duplicate(f"{path}[{i}]", key)
    named = schema.get("properties") or {}
    for name, inner, below, here in _children(value, schema, path):
        keyed = isinstance(value, dict) and name not in named
        _list_types(inner, below, f"{path}[{name}]" if keyed else here, errs)
