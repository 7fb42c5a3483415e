"""ResourceQuota: what a write would use is added to the quota's status first; what does not fit is refused.

The new usage is written in the same turn of the loop as the object, so both are one commit and two writers cannot both
get the last place. The quota controller counts again and corrects what failed writes and deletions left behind.
Source: `apiserver/pkg/admission/plugin/resourcequota/controller.go`, `pkg/quota/v1/evaluator/core`.
"""

from __future__ import annotations

from typing import Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.admission.pods import refuse
from switchboard.api.keyspace import decode, encode
from switchboard.objects import quantity, quotas
from switchboard.objects.quantity import Quantity
from switchboard.store.errors import Changed
from switchboard.store.record import Record
from switchboard.store.store import Store

Object = dict[str, Any]

_QUOTAS = "/core/resourcequotas/"
_EXPLICIT = ("cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory")
# Updates that can use more than before; everything else is charged when it is created.
_GROWING = frozenset((("pods", "resize"), ("services", ""), ("persistentvolumeclaims", "")))


class ResourceQuotas(Neutral):
    """Charges the quotas of the namespace."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def validate(self, op: Operation) -> None:
        """Last of all steps: nothing after it refuses."""
        creates = op.verb == "CREATE" and not op.sub
        grows = op.verb == "UPDATE" and not op.group and (op.plural, op.sub) in _GROWING
        if not op.namespace or op.obj is None or not (creates or grows) or not self._store.any(_QUOTAS):
            return
        records = self._store.scan(f"{_QUOTAS}{op.namespace}/")
        charges = [self._charge(op, head) for record in records if (head := self._store.head(record.key)) is not None]
        if op.call.dry_run:
            return
        for charge in charges:
            if charge is not None:
                self._write(*charge, op)

    def _charge(self, op: Operation, record: Record) -> tuple[Record, dict[str, Quantity]] | None:
        """The record of a quota and what to add to its usage; None where the write does not concern it."""
        quota = decode(record.value)
        status = quota.get("status") or {}
        hard: Object = status.get("hard") or {}
        kind = (op.group, op.plural)
        concerned = {name for name in hard if kind in quotas.counted([name])}
        if not concerned:
            return None
        assert op.obj is not None
        if kind == ("", "pods"):
            if not quotas.in_scope(quota["spec"], op.obj):
                return None
            _require_explicit(op, quota["metadata"]["name"], concerned, op.obj["spec"])
        elif kind == ("", "persistentvolumeclaims"):
            if not quotas.claim_in_scope(quota["spec"], op.obj):
                return None
        elif quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
            return None
        unknown = sorted(concerned - set(status.get("used") or ()))
        name = quota["metadata"]["name"]
        if unknown:
            raise refuse(op, f"status unknown for quota: {name}, resources: {','.join(unknown)}")
        delta = _delta(op, quota, concerned)
        _refuse_excess(op, name, delta, status)
        return (record, delta) if delta else None

    def _write(self, record: Record, delta: dict[str, Quantity], op: Operation) -> None:
        quota = decode(record.value)
        used = quota["status"]["used"]
        for name, more in delta.items():
            used[name] = str(quantity.of(used[name]) + more)

        def seal(revision: int) -> bytes:
            quota["metadata"]["resourceVersion"] = str(revision)
            return encode(quota)

        try:
            op.call.app.background(self._store.put(record.key, seal, expect=record))
        except Changed:
            raise refuse(op, f"unable to charge quota {quota['metadata']['name']}: it changed meanwhile") from None


def _require_explicit(op: Operation, quota: str, concerned: set[str], spec: Object) -> None:
    """Where cpu or memory is limited, every container must say how much it wants."""
    required = [name for name in _EXPLICIT if name in concerned]
    missing: dict[str, set[str]] = {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        for name in required:
            part, _, resource = name.rpartition(".")
            if resource not in (resources.get(part or "requests") or {}):
                missing.setdefault(name, set()).add(container["name"])
    if missing:
        texts = [f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing)]
        raise refuse(op, f"failed quota: {quota}: must specify {'; '.join(texts)}")


def _delta(op: Operation, quota: Object, concerned: set[str]) -> dict[str, Quantity]:
    """What the write adds, only what grows."""
    kind = (op.group, op.plural)
    narrowed = {"spec": {**quota["spec"], "hard": dict.fromkeys(concerned, "0")}}
    after = quotas.usage(narrowed, {kind: [op.obj or {}]})
    before = quotas.usage(narrowed, {kind: [op.old]}) if op.old is not None else {}
    found = {}
    for name, text in after.items():
        more = quantity.of(text) - quantity.of(before.get(name, "0"))
        if more.nano > 0:
            found[name] = more
    return found


def _refuse_excess(op: Operation, name: str, delta: dict[str, Quantity], status: Object) -> None:
    used, hard = status["used"], status["hard"]
    over = [r for r in sorted(delta) if quantity.of(hard[r]) < quantity.of(used[r]) + delta[r]]
    if over:
        texts = [
            ",".join(f"{r}={values[r]}" for r in over)
            for values in (delta, {r: quantity.from_json(used[r]) for r in over}, hard)
        ]
        raise refuse(op, f"exceeded quota: {name}, requested: {texts[0]}, used: {texts[1]}, limited: {texts[2]}")
