"""The types of whole objects, built-in and custom, and what is wrong with a policy's expressions about them.

Source: `apiserver/pkg/admission/plugin/policy/validating/typechecking.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from switchboard.objects.cel.environment import checked
from switchboard.objects.cel.policies import Expressions
from switchboard.objects.cel.schemas import declared
from switchboard.objects.cel.syntax import CompileError
from switchboard.objects.cel.types import DYN, Type
from switchboard.objects.types import definition_of, definitions

Object = dict[str, Any]
Kinds = Callable[[str, str, str], "tuple[str, Object | None] | None"]  # (group, version, plural) -> (kind, its schema)
_MOST_TYPES = 10


def built_in_type(group: str, version: str, kind: str) -> Type | None:
    """The type of a built-in kind; None when there is none."""
    name = definition_of(group, version, kind)
    if name is None:
        return None
    found = declared(_resolved(definitions()[name], ()), kind)
    return found[0] if found is not None else None


def schema_type(schema: Object, kind: str) -> Type | None:
    """The type of a custom kind with this schema; its metadata are those of every object."""
    whole = {**schema, "properties": {**(schema.get("properties") or {}), **_identity()}}
    found = declared(whole, kind)
    return found[0] if found is not None else None


def _identity() -> Object:
    return {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": _resolved({"$ref": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}, ()),
    }


def _resolved(schema: Object, within: tuple[str, ...]) -> Object:
    """A schema with the definitions that it refers to in it; what contains itself may be anything there."""
    reference = schema.get("$ref")
    if reference is not None:
        if reference in within:
            return {"x-kubernetes-int-or-string": True}
        target = definitions().get(reference, {})
        return _resolved({**target, **{k: v for k, v in schema.items() if k != "$ref"}}, (*within, reference))
    if "oneOf" in schema:
        return {"x-kubernetes-int-or-string": True}
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {name: _resolved(below, within) for name, below in made["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), dict):
            made[name] = _resolved(made[name], within)
    return made


def matched(spec: Object, kinds: Kinds) -> list[tuple[str, str, str, Object | None]]:
    """The (group, version, kind, schema) that a policy names without wildcards, sorted, so many as are checked."""
    found: dict[tuple[str, str, str], Object | None] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in text for text in (*groups, *versions)):
            continue
        plurals = sorted(text for text in rule.get("resources") or () if "*" not in text and "/" not in text)
        for group, version, plural in ((g, v, p) for g in sorted(groups) for v in sorted(versions) for p in plurals):
            kind = kinds(group, version, plural)
            if kind is not None and len(found) < _MOST_TYPES:
                found[group, version, kind[0]] = kind[1]
    return [(*key, found[key]) for key in sorted(found)]


def warnings(spec: Object, kinds: Kinds, params: Type | None = None) -> list[Object]:
    """What type checking says of a policy's validations: its `status.typeChecking.expressionWarnings`."""
    types = []
    for group, version, kind, schema in matched(spec, kinds):
        type_ = schema_type(schema, kind) if schema is not None else built_in_type(group, version, kind)
        if type_ is not None:
            types.append((f"{group}/{version}, Kind={kind}", Expressions(spec, type_, params or DYN).known))
    made = []
    for i, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            text = validation.get(field)
            found = "\n".join(_checked(text, types)) if text else ""
            if found:
                made.append({"fieldRef": f"spec.validations[{i}].{field}", "warning": found})
    return made


def _checked(text: str, types: Iterable[tuple[str, Mapping[str, Type]]]) -> Iterator[str]:
    for name, known in types:
        try:
            checked(text, known)
        except CompileError as e:
            yield f"{name}: {e}\n"
