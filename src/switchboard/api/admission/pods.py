"""What pods get by themselves: a priority, tolerations of short node failures, the demands of their runtime class.

Sources: `plugin/pkg/admission/{priority,defaulttolerationseconds,runtimeclass}`.
"""

from __future__ import annotations

from typing import Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.authz import forbidden
from switchboard.api.keyspace import decode
from switchboard.objects.errors import Forbidden
from switchboard.store.store import Store

Object = dict[str, Any]
_PRIORITIES = "/scheduling.k8s.io/priorityclasses/"
_RUNTIMES = "/node.k8s.io/runtimeclasses/"
_PREEMPT = "PreemptLowerPriority"
_FAILURES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SECONDS = 300


def is_pod(op: Operation, *verbs: str) -> bool:
    """Whether the operation is one of these verbs on a pod itself."""
    return op.plural == "pods" and not op.group and not op.sub and op.obj is not None and op.verb in verbs


def refuse(op: Operation, why: str) -> Forbidden:
    """403 about the operation's object."""
    name = op.name or ((op.obj or {}).get("metadata") or {}).get("name") or ""
    return forbidden(op.plural, op.group, name, why)


class Priorities(Neutral):
    """priorityClassName -> priority and preemptionPolicy; one default class at most."""

    resources = frozenset(("pods", "priorityclasses"))

    def __init__(self, store: Store) -> None:
        self._store = store

    def mutate(self, op: Operation) -> None:
        """Set the numbers of new pods; keep those of old ones."""
        if is_pod(op, "CREATE"):
            self._prioritise(op, op.obj["spec"])  # type: ignore[index]  # is_pod says there is one
        elif is_pod(op, "UPDATE"):
            assert op.obj is not None and op.old is not None
            for field in ("priority", "preemptionPolicy"):
                if op.obj["spec"].get(field) is None and op.old["spec"].get(field) is not None:
                    op.obj["spec"][field] = op.old["spec"][field]

    def _prioritise(self, op: Operation, spec: Object) -> None:
        name = spec.get("priorityClassName")
        if name:
            record = self._store.head(_PRIORITIES + name)
            if record is None:
                raise refuse(op, f"no PriorityClass with name {name} was found")
            found = decode(record.value)
        else:
            found = self._default() or {"value": 0, "preemptionPolicy": _PREEMPT}
            if "metadata" in found:
                spec["priorityClassName"] = found["metadata"]["name"]
        value, policy = found.get("value", 0), found.get("preemptionPolicy") or _PREEMPT
        given = "must not be provided in pod spec; priority admission controller computed"
        if spec.get("priority") is not None and spec["priority"] != value:
            number = f"the integer value of priority ({spec['priority']})"
            raise refuse(op, f"{number} {given} {value} from the given PriorityClass name")
        if spec.get("preemptionPolicy") and spec["preemptionPolicy"] != policy:
            text = f"the string value of PreemptionPolicy ({spec['preemptionPolicy']})"
            raise refuse(op, f"{text} {given} {policy} from the given PriorityClass name")
        spec["priority"], spec["preemptionPolicy"] = value, policy

    def _default(self) -> Object | None:
        """The default class; of several the lowest."""
        found = [decode(r.value) for r in self._store.scan(_PRIORITIES) if b'"globalDefault":true' in r.value]
        return min((c for c in found if c.get("globalDefault")), key=lambda c: c.get("value", 0), default=None)

    def validate(self, op: Operation) -> None:
        """Refuse a second default class."""
        if op.plural != "priorityclasses" or op.obj is None or not op.obj.get("globalDefault"):
            return
        if op.verb not in ("CREATE", "UPDATE"):
            return
        other = self._default()
        if other is not None and other["metadata"]["name"] != op.obj["metadata"].get("name"):
            name = other["metadata"]["name"]
            raise refuse(op, f"PriorityClass {name} is already marked as default. Only one default can exist")


class Tolerations(Neutral):
    """Pods bear a node that is not ready or unreachable for five minutes."""

    resources = frozenset(("pods",))

    def mutate(self, op: Operation) -> None:
        """Add what is missing."""
        if not is_pod(op, "CREATE", "UPDATE"):
            return
        assert op.obj is not None
        spec = op.obj["spec"]
        own = spec.get("tolerations") or []
        added = [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _SECONDS}
            for key in _FAILURES
            if not any(t.get("key") in (None, "", key) and t.get("effect") in (None, "", "NoExecute") for t in own)
        ]
        if added:
            spec["tolerations"] = [*own, *added]


class RuntimeClasses(Neutral):
    """Overhead, node selector and tolerations of the pod's runtime class."""

    resources = frozenset(("pods",))

    def __init__(self, store: Store) -> None:
        self._store = store

    def mutate(self, op: Operation) -> None:
        """Complete a new pod, or refuse it."""
        if not is_pod(op, "CREATE"):
            return
        assert op.obj is not None
        spec = op.obj["spec"]
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                raise refuse(op, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
            return
        record = self._store.head(_RUNTIMES + name)
        if record is None:
            raise refuse(op, f'pod rejected: RuntimeClass "{name}" not found')
        found = decode(record.value)
        fixed = (found.get("overhead") or {}).get("podFixed")
        if (fixed or spec.get("overhead")) and spec.get("overhead", fixed) != fixed:
            raise refuse(op, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        if fixed:
            spec["overhead"] = fixed
        self._schedule(op, spec, found.get("scheduling") or {})

    @staticmethod
    def _schedule(op: Operation, spec: Object, scheduling: Object) -> None:
        selector = spec.get("nodeSelector") or {}
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.get(key, value) != value:
                what = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}"
                raise refuse(op, f"conflict: {what}; pod.spec.nodeSelector[{key}] = {selector[key]}")
            selector[key] = value
        if selector:
            spec["nodeSelector"] = selector
        tolerations = spec.get("tolerations") or []
        added = [t for t in scheduling.get("tolerations") or () if t not in tolerations]
        if added:
            spec["tolerations"] = [*tolerations, *added]
