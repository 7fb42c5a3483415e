"""Conditions on requests: the `matchConditions` of webhooks and policies.

Sources: `apiserver/pkg/admission/plugin/webhook/matchconditions`, `apiserver/pkg/admission/plugin/cel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from switchboard.objects.cel.authorizer import AUTHORIZER
from switchboard.objects.cel.environment import checked
from switchboard.objects.cel.evaluate import Program
from switchboard.objects.cel.syntax import CompileError
from switchboard.objects.cel.types import (
    BOOL,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Type,
    assignable,
    list_of,
    map_of,
    object_of,
)
from switchboard.objects.cel.values import CelError, CostExceeded, timestamp

Object = dict[str, Any]
CALL_LIMIT, BUDGET = 1_000_000, 2_500_000
_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"


class ConditionsFailed(Exception):
    """Conditions could not be evaluated, and none is false; says why."""


def _namespace() -> Type:
    """What expressions see of the namespace of a request."""
    texts = map_of(STRING, STRING)
    meta = {
        **dict.fromkeys(("name", "generateName", "namespace", "UID", "resourceVersion"), STRING),
        "labels": texts,
        "annotations": texts,
        "finalizers": list_of(STRING),
        **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), TIMESTAMP),
        **dict.fromkeys(("generation", "deletionGracePeriodSeconds"), INT),
    }
    said = dict.fromkeys(("status", "type", "message", "reason"), STRING)
    condition = object_of("kubernetes.NamespaceCondition", {**said, "lastTransitionTime": TIMESTAMP})
    fields = {
        "metadata": object_of("kubernetes.NamespaceMetadata", meta),
        "spec": object_of("kubernetes.NamespaceSpec", {"finalizers": list_of(STRING)}),
        "status": object_of("kubernetes.NamespaceStatus", {"conditions": list_of(condition), "phase": STRING}),
    }
    return object_of("kubernetes.Namespace", fields)


def namespace_value(namespace: Object | None) -> Object | None:
    """A namespace as `namespaceObject` has it: its times are times."""
    if namespace is None:
        return None
    meta = {
        key: timestamp(value) if key.endswith("Timestamp") else value for key, value in namespace["metadata"].items()
    }
    status = dict(namespace.get("status") or {})
    if "conditions" in status:
        status["conditions"] = [
            {k: timestamp(v) if k == "lastTransitionTime" and v else v for k, v in each.items()}
            for each in status["conditions"] or ()
        ]
    return {**namespace, "metadata": meta, "status": status}


@cache
def variables() -> dict[str, Type]:
    """What expressions on requests can read."""

    def names(kind: str, *fields: str) -> Type:
        return object_of(f"kubernetes.{kind}", dict.fromkeys(fields, STRING))

    kind = names("GroupVersionKind", "group", "version", "kind")
    resource = names("GroupVersionResource", "group", "version", "resource")
    user = object_of(
        "kubernetes.UserInfo",
        {"username": STRING, "uid": STRING, "groups": list_of(STRING), "extra": map_of(STRING, list_of(STRING))},
    )
    fields = {
        "kind": kind, "resource": resource, "subResource": STRING, "requestKind": kind, "requestResource": resource,
        "requestSubResource": STRING, "name": STRING, "namespace": STRING, "operation": STRING, "userInfo": user,
        "dryRun": BOOL, "options": DYN,
    }  # fmt: skip
    request = object_of("kubernetes.AdmissionRequest", fields)
    return {
        "object": DYN,
        "oldObject": DYN,
        "request": request,
        "authorizer": AUTHORIZER,
        "namespaceObject": _namespace(),
    }


def compiled(
    text: str, known: Mapping[str, Type], *results: Type, constructs: bool = False
) -> tuple[Program | None, str]:
    """(the program or None, why there is none); it gives one of `results` (bool when none are named)."""
    try:
        made = checked(text, known, constructs=constructs)
    except CompileError as e:
        return None, f"compilation failed: {e}"
    wanted = results or (BOOL,)
    if not any(assignable(each, made.result, {}) for each in wanted):
        if len(wanted) == 1:
            return None, f"must evaluate to {wanted[0]}"
        return None, f"must evaluate to one of [{' '.join(map(str, wanted))}]"
    return Program(made), ""


class Conditions:
    """The conditions of one webhook or policy, on what is in `types`."""

    def __init__(self, conditions: list[Object], types: Mapping[str, Type]) -> None:
        self._conditions = [(each["expression"].strip(), *compiled(each["expression"], types)) for each in conditions]
        self.errors = [error for _, _, error in self._conditions]  # of each, empty where it compiles

    def met(self, known: Object) -> bool:
        """Whether all hold; one that is false decides over those that fail. Raises ConditionsFailed."""
        left = BUDGET
        failed: list[str] = []
        for text, program, error in self._conditions:
            if program is None:
                failed.append(error)
                continue
            try:
                value, cost = program.evaluate(known, min(CALL_LIMIT, left))
            except CelError as e:
                left -= e.cost
                failed.append(f"expression '{text}' resulted in error: {e}")
            except CostExceeded:
                raise ConditionsFailed(_SPENT) from None
            else:
                left -= cost
                if value is False:
                    return False
        if failed:
            raise ConditionsFailed(failed[0] if len(failed) == 1 else f"[{', '.join(failed)}]")
        return True
