"""delete and deletecollection: preconditions, grace periods, finalizers, propagation policies.

Source: `apiserver/pkg/registry/rest/delete.go`, `registry/generic/registry/store.go` (Delete, DeleteCollection).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from switchboard.api import answers, bodies, query, representing, typed
from switchboard.api.admission.chain import Operation
from switchboard.api.call import Call
from switchboard.api.keyspace import decode, key_of, prefix_of, split_key
from switchboard.api.metadata import now, parse_time, timestamp
from switchboard.api.selection import Selection
from switchboard.api.writing import erase, plain_bytes, sealed
from switchboard.objects.errors import Conflict, FieldError, Invalid, NotFound
from switchboard.store.errors import Changed
from switchboard.store.record import Record
from switchboard.transport.messages import Response

Object = dict[str, Any]

_ATTEMPTS = 8
_TOGETHER = 256  # deletions of a collection that share commits
_POLICIES = ("Background", "Foreground", "Orphan")
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


def check_options(options: Object) -> None:
    """Validation of DeleteOptions (meta/v1/validation ValidateDeleteOptions)."""
    errors: list[FieldError] = []
    policy = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        text = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        errors.append(FieldError("FieldValueInvalid", "propagationPolicy", text))
    if policy is not None and policy not in _POLICIES:
        text = f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
        errors.append(FieldError("FieldValueNotSupported", "propagationPolicy", text))
    errors += query.dry_run_errors(options.get("dryRun") or [])
    if errors:
        raise Invalid.of("DeleteOptions", "meta.k8s.io", "", errors)


async def delete(call: Call) -> Response:
    """DELETE of one object."""
    options = bodies.delete_options(call)
    check_options(options)
    call.options = query.WriteOptions(dry_run=bool(options.get("dryRun")))
    value, gone = await remove(call, options)
    kind = call.kind
    if gone and not call.app.strategy(kind).returns_deleted:
        uid = decode(value)["metadata"].get("uid", "")
        return representing.shown_object(call, answers.success(kind.plural, kind.group, call.name, uid))
    return representing.one(call, value)


async def remove(call: Call, options: Object) -> tuple[bytes, bool]:
    """Delete the call's object, or mark it as being deleted; returns its last bytes and whether it is gone."""
    app, kind = call.app, call.kind
    strategy = app.strategy(kind)
    key = key_of(kind, call.namespace, call.name)
    for _ in range(_ATTEMPTS):
        head = app.store.head(key)
        if head is None:
            raise NotFound.of(kind.plural, kind.group, call.name)
        obj = typed.show(kind, head.value)
        operation = Operation(call, "DELETE", None, obj, call.namespace, call.name, options)
        await app.admission.mutate(operation)
        await app.admission.validate(operation)
        strategy.check_delete(call, obj)
        _check_preconditions(call, obj, head, options)
        try:
            return await _remove_once(call, head, obj, options)
        except Changed:
            continue
    raise Conflict.of(kind.plural, kind.group, call.name, "the object keeps changing")


def _check_preconditions(call: Call, obj: Object, head: Record, options: Object) -> None:
    wanted = options.get("preconditions") or {}
    kind, uid, version = call.kind, wanted.get("uid"), wanted.get("resourceVersion")
    stored = obj["metadata"].get("uid", "")
    if uid is not None and uid != stored:
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({stored}). "
            "The object might have been deleted and then recreated"
        )
        raise Conflict.of(kind.kind, kind.group, call.name, why)
    if version is not None and version != str(head.revision):
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({head.revision}). The object might have been modified"
        )
        raise Conflict.of(kind.kind, kind.group, call.name, why)


async def _remove_once(call: Call, head: Record, obj: Object, options: Object) -> tuple[bytes, bool]:
    app, meta = call.app, obj["metadata"]
    strategy = app.strategy(call.kind)
    before = dict(meta, finalizers=list(meta.get("finalizers") or ()))
    graceful, pending = _begin_grace(call, obj, options)
    if pending:
        return head.value, False
    _set_collector_finalizers(call, obj, options)
    held = bool(meta.get("finalizers")) or _held_by_spec(obj)
    if held and not graceful:
        if "deletionTimestamp" not in meta:
            meta["deletionTimestamp"] = now()
            if meta.get("generation"):
                meta["generation"] += 1
        if _held_by_spec(obj):
            obj.setdefault("status", {})["phase"] = "Terminating"
        else:
            meta["deletionGracePeriodSeconds"] = 0
    if graceful or held:
        if dict(meta, finalizers=list(meta.get("finalizers") or ())) == before:
            return head.value, False
        if call.dry_run:
            return plain_bytes(call, obj), False
        record = await app.store.put(head.key, sealed(call, obj), expect=head)
        return record.value, False
    marked = "deletionTimestamp" in meta and "deletionTimestamp" not in before
    if call.dry_run:
        return (plain_bytes(call, obj) if marked else head.value), True
    record = await erase(call, head, obj, typed.stored(call.kind, obj) if marked else None)
    return head.value if strategy.returns_deleted and not marked else record.value, True


def _held_by_spec(obj: Object) -> bool:
    """Namespaces have finalizers in their spec."""
    return obj.get("kind") == "Namespace" and bool((obj.get("spec") or {}).get("finalizers"))


def _begin_grace(call: Call, obj: Object, options: Object) -> tuple[bool, bool]:
    """BeforeDelete: (whether the object stays for a grace period, whether an earlier deletion is still pending)."""
    meta = obj["metadata"]
    seconds = options.get("gracePeriodSeconds")
    strategy = call.app.strategy(call.kind)
    grace = strategy.grace(call, obj, options)
    if grace is None:
        return False, False
    if "deletionTimestamp" in meta:
        running = meta.get("deletionGracePeriodSeconds")
        if not running:
            return False, False
        if seconds is None or seconds >= running:
            return False, True
        began = parse_time(meta["deletionTimestamp"]) - timedelta(seconds=running)
        meta["deletionTimestamp"] = timestamp(began + timedelta(seconds=max(seconds, 0)))
        meta["deletionGracePeriodSeconds"] = max(seconds, 0)
        return seconds > 0, False
    grace = max(grace, 0)
    meta["deletionTimestamp"] = timestamp(datetime.now(UTC) + timedelta(seconds=grace))
    meta["deletionGracePeriodSeconds"] = grace
    if meta.get("generation"):
        meta["generation"] += 1
    return grace > 0, False


def _set_collector_finalizers(call: Call, obj: Object, options: Object) -> None:
    """`foregroundDeletion` and `orphan` as the propagation policy asks; the garbage collector takes them away."""
    meta = obj["metadata"]
    finalizers = [f for f in meta.get("finalizers") or () if f not in (FOREGROUND, ORPHAN)]
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") is not None:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        present = set(meta.get("finalizers") or ())
        if ORPHAN in present:
            policy = "Orphan"
        elif FOREGROUND in present:
            policy = "Foreground"
        else:
            policy = call.app.strategy(call.kind).default_policy(call, options)
    if policy == "Orphan":
        finalizers.append(ORPHAN)
    elif policy == "Foreground":
        finalizers.append(FOREGROUND)
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)


async def delete_collection(call: Call) -> Response:
    """DELETE of everything that matches; answers with the list of what was there."""
    options = bodies.delete_options(call)
    check_options(options)
    call.options = query.WriteOptions(dry_run=bool(options.get("dryRun")))
    listed = call.list_options()
    selection = Selection(call.kind, listed.label_selector, listed.field_selector)
    if (settled := call.app.store.settled()) is not None:
        await settled  # what is on its way is meant too
    records = selection.select(call.app.store.scan(prefix_of(call.kind, call.namespace)))
    values: list[bytes] = []
    for start in range(0, len(records), _TOGETHER):
        chunk = records[start : start + _TOGETHER]
        found = await asyncio.gather(*(_one_of_many(call, record, options) for record in chunk))
        values += [value for value in found if value is not None]
    return representing.many(call, values, call.app.store.revision, "", None)


async def _one_of_many(call: Call, record: Record, options: Object) -> bytes | None:
    """Delete one object of a collection; None when somebody else was faster."""
    _, _, namespace, name = split_key(record.key)
    try:
        value, _ = await remove(call.for_object(namespace, name), dict(options))
    except NotFound:
        return None
    return value
