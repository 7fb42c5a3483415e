"""MutatingAdmissionPolicies: the expressions of one, compiled, and what they make of an object.

Source: `apiserver/pkg/admission/plugin/policy/mutating/{compilation.go,patch}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from switchboard.objects import patch
from switchboard.objects.apply import type_of
from switchboard.objects.cel.constructed import OBJECT, PATCHES, misnamed, to_json
from switchboard.objects.cel.evaluate import Program
from switchboard.objects.cel.policies import Expressions, Run
from switchboard.objects.cel.values import CelError, Constructed, CostExceeded
from switchboard.objects.errors import StatusError
from switchboard.objects.fieldmerge import merge, problems
from switchboard.objects.fieldtypes import KEYED, LEAF, SET, STRUCT, Type
from switchboard.objects.kinds import Kind

Object = dict[str, Any]


class MutationFailed(Exception):
    """A mutation makes nothing of the object; says why."""


class MutatingPolicy(Expressions):
    """The expressions of a policy's spec."""

    def __init__(self, spec: Object) -> None:
        super().__init__(spec)
        self.mutations: list[tuple[str, Program | None]] = []  # (the field, the expression; None: it does not compile)
        for i, each in enumerate(spec.get("mutations") or ()):
            field = "jsonPatch" if each.get("patchType") == "JSONPatch" else "applyConfiguration"
            text = (each.get(field) or {}).get("expression")
            wanted = PATCHES if field == "jsonPatch" else OBJECT
            made = self.made(text, f"mutations[{i}].{field}", self.known, wanted, constructs=True)
            self.mutations.append((field, made))

    def mutated(self, which: int, run: Run, kind: Kind, obj: Object) -> Object:
        """A new object, as one of the mutations has it; `obj` is of `kind`. Raises MutationFailed."""
        field, program = self.mutations[which]
        if program is None:
            raise MutationFailed("\n".join(error for _, _, error in self.mistakes))
        run.renew()
        try:
            value = run.value(program)
            return _patched(value, obj) if field == "jsonPatch" else _applied(value, kind, obj)
        except (CelError, CostExceeded) as e:
            raise MutationFailed(f"expression '{program.text}' resulted in error: {e}") from None


def _patched(value: Any, obj: Object) -> Object:
    operations = []
    for each in value if isinstance(value, list) else ():
        inside = each.get("value")
        wrong = list(misnamed(inside, inside.cel_type)) if isinstance(inside, Constructed) else []
        if wrong:
            raise MutationFailed("type mismatch: " + "\n".join(wrong))
        try:
            operations.append({name: to_json(inner) for name, inner in each.items()})
        except CelError as e:
            raise MutationFailed(
                f"JSONPath valueExpression evaluated to a type that could not marshal to JSON: {e}"
            ) from None
    try:
        made = patch.json_patch(obj, operations)
    except StatusError as e:
        if isinstance(e.__cause__, patch.TestFailed):
            return obj
        raise MutationFailed(f"JSON Patch: {e.__cause__ or e.message}") from None
    if not isinstance(made, dict):
        raise MutationFailed("JSON Patch: the patched object is not an object")
    return made


def _applied(value: Any, kind: Kind, obj: Object) -> Object:
    wrong = list(misnamed(value, OBJECT.kind))
    if wrong:
        raise MutationFailed("type mismatch: " + "\n".join(wrong))
    configuration = to_json(value)
    if not isinstance(configuration, dict):
        raise MutationFailed("invalid return type")
    configuration |= {"kind": obj.get("kind", kind.kind), "apiVersion": obj.get("apiVersion", kind.api_version)}
    type_ = type_of(configuration, kind if kind.custom else None)  # a TokenRequest comes as one of ServiceAccounts
    found = list(problems(type_, configuration))
    if found:
        text = found[0] if len(found) == 1 else "\n  ".join(["errors:", *found])
        raise MutationFailed(f"error applying patch: failed to convert patch object to typed object: {text}")
    whole = list(_atomic(type_, configuration, ""))
    if whole:
        raise MutationFailed(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
            + ", ".join(whole)
        )
    merged: Object = merge(type_, obj, configuration)
    return merged


def _atomic(type_: Type, value: Any, path: str) -> Iterator[str]:
    """Where a configuration would replace a whole list, map or struct."""
    if type_.kind == LEAF:
        if (type_.scalar, type(value)) in (("array", list), ("object", dict)):
            yield path
    elif isinstance(value, dict) and type_.kind == STRUCT:
        for name, inner in value.items():
            if type_.declares(name):
                yield from _atomic(type_.field(name).type, inner, f"{path}.{name}")
    elif isinstance(value, list) and type_.kind in (KEYED, SET):
        for i, inner in enumerate(value):
            yield from _atomic(type_.item, inner, f"{path}[{i}]")
