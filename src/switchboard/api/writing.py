"""How an object gets into the store: `insert` a new one, `change` a stored one. Everything that writes comes through
here.

Order of a write, as in upstream's `registry/generic/registry/store.go` and `registry/rest/{create,update}.go`:
ownership of fields -> mutating admission -> system metadata -> claims (addresses, ports) -> the kind's strategy ->
validation -> validating admission -> store. Nothing is awaited between reading the head and writing unless admission
waits (webhooks), and then a changed head starts the attempt again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from switchboard.api import conversion, deprecations, metadata, ownership, typed
from switchboard.api.admission.chain import Operation
from switchboard.api.call import Call
from switchboard.api.claims import Claims
from switchboard.api.keyspace import decode, encode, key_of
from switchboard.objects.errors import AlreadyExists, Conflict, FieldError, Forbidden, Invalid, NotFound
from switchboard.store.errors import Changed
from switchboard.store.record import Record

Object = dict[str, Any]
Make = Callable[[Object], "Object | Awaitable[Object]"]

_ATTEMPTS = 8
_OWNERS = (
    ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject "
    "such requests as early as 1.24; please fix your requests; duplicate UID(s) observed"
)
STALE = "the object has been modified; please apply your changes to the latest version and try again"


def sealed(call: Call, obj: Object) -> Callable[[int], bytes]:
    """The store's encode function: the stored form of `obj` with the revision as resourceVersion."""
    stored = typed.stored(call.kind, obj)
    meta = stored["metadata"]

    def finish(revision: int) -> bytes:
        meta["resourceVersion"] = str(revision)
        return encode(stored)

    return finish


def plain_bytes(call: Call, obj: Object) -> bytes:
    """The stored form of an object that is not stored (dry runs)."""
    return encode(typed.stored(call.kind, obj))


async def insert(call: Call, obj: Object, *, tracked: bool = False) -> bytes:
    """Store a new object; returns its stored bytes. `tracked` says that its managedFields are made already."""
    app, kind = call.app, call.kind
    strategy = app.strategy(kind)
    meta = metadata.of(obj)
    metadata.check_namespace(obj, call.namespace, kind.namespaced)
    if metadata.dedupe_owners(obj):
        call.warn(_OWNERS)
    typed.default(kind, obj)
    if not tracked:
        ownership.track(call, obj, None)
    operation = Operation(call, "CREATE", obj, None, call.namespace, call.name or meta.get("name", ""))
    waiting = app.admission.mutating(operation)
    if waiting is not None:
        await waiting
    claims = Claims()
    try:
        metadata.prepare_create(obj, call.request.extra)
        strategy.claim(call, obj, None, claims)
        strategy.prepare_create(call, obj)
        if operation.changed or strategy.must_settle(kind):
            typed.settle(kind, obj, own=not operation.changed)
        _refuse_invalid(call, obj, typed.check_create(kind, obj) + strategy.check_create(call, obj))
        _warn(call, obj, None)
        waiting = app.admission.validating(operation)
        if waiting is not None:
            await waiting
        if conversion.by_webhook(kind):
            await conversion.prepare(call, obj)
        pending = _store_new(call, obj, claims)
        if pending is None:
            return plain_bytes(call, obj)
        return await _stored(call, obj, None, claims, pending)
    except BaseException:
        claims.rollback()
        raise


def _store_new(call: Call, obj: Object, claims: Claims) -> Awaitable[Record] | None:
    """Queue the write of a new object; None for a dry run, which ends here."""
    store, kind = call.app.store, call.kind
    key = key_of(kind, call.namespace, obj["metadata"]["name"])
    head = store.head(key)
    if head is not None:
        _refuse_existing(call, head, obj)
    if call.dry_run:
        claims.rollback()
        return None
    claims.store()
    return store.put(key, sealed(call, obj), expect=None)


async def _stored(call: Call, obj: Object, old: Object | None, claims: Claims, pending: Awaitable[Record]) -> bytes:
    """The stored bytes, once they and all that was claimed with them are durable."""
    for wait in claims.waits:
        await wait
    record = await pending
    claims.commit()
    if call.app.advisers:
        await call.app.advise(call, obj, old)
    return record.value


def _refuse_existing(call: Call, head: Record, obj: Object) -> None:
    kind = call.kind
    error = AlreadyExists.of(kind.plural, kind.group, obj["metadata"]["name"])
    if "deletionTimestamp" in decode(head.value)["metadata"]:
        error.message = f"object is being deleted: {error.message}"
    raise error


def _warn(call: Call, obj: Object, old: Object | None) -> None:
    if not call.sub:
        for text in deprecations.of(call.kind, obj, old):
            call.warn(text)


def _refuse_invalid(call: Call, obj: Object, errors: list[FieldError]) -> None:
    if errors:
        kind = call.kind
        raise Invalid.of(kind.kind, kind.error_group, obj["metadata"].get("name") or "", errors)


async def change(call: Call, make: Make, *, tracked: bool = False, prepared: bool = False) -> bytes:
    """Replace a stored object by what `make(current)` gives; returns the stored bytes (unchanged ones for a no-op).

    `tracked` says that managedFields are made already, `prepared` that no strategy shall change the object again (the
    server itself made the change: binding, scale). `make` gets its own copy of the current object in the version of
    the URL. NotFound, Conflict, Invalid as usual.
    """
    app, kind = call.app, call.kind
    key = key_of(kind, call.namespace, call.name)
    for attempt in range(_ATTEMPTS):
        head = app.store.head(key)
        if head is None:
            raise NotFound.of(kind.plural, kind.group, call.name)
        made = make(typed.show(kind, head.value))
        obj = made if isinstance(made, dict) else await made
        explicit = _check_version(call, obj, head)
        try:
            return await _change_once(call, head, obj, tracked, prepared)
        except Changed as e:
            if explicit or attempt + 1 == _ATTEMPTS:
                if e.head is None:
                    raise NotFound.of(kind.plural, kind.group, call.name) from None
                raise Conflict.of(kind.plural, kind.group, call.name, STALE) from None
    raise AssertionError("the last attempt returns or raises")


def _check_version(call: Call, obj: Object, head: Record) -> bool:
    """Optimistic concurrency: the object's resourceVersion is absent (then the head's is put in) or the head's.

    Returns whether the client insisted on a version.
    """
    kind, meta = call.kind, metadata.of(obj)
    given = meta.get("resourceVersion") or ""
    current = str(head.revision)
    if given in ("", "0"):
        if call.verb == "update" and not call.app.strategy(kind).unconditional_update:
            text = "Invalid value: 0: must be specified for an update"
            error = FieldError("FieldValueInvalid", "metadata.resourceVersion", text)
            named = kind.plural if kind.custom else kind.kind
            raise Invalid.of(named, kind.error_group, call.name, [error])
        meta["resourceVersion"] = current
        return False
    if given != current:
        raise Conflict.of(kind.plural, kind.group, call.name, STALE)
    return call.verb == "update"


def refuse_uid(call: Call, uid: str, stored: str | None) -> None:
    """The object that an update means is not the stored one."""
    kind = call.kind
    why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored or ''}"
    raise Conflict.of(kind.plural, kind.group, call.name, why)


async def _change_once(call: Call, head: Record, obj: Object, tracked: bool, prepared: bool) -> bytes:
    app, kind, sub = call.app, call.kind, call.sub
    strategy = app.strategy(kind)
    old = typed.show(kind, head.value)
    metadata.check_namespace(obj, call.namespace, kind.namespaced)
    uid = obj["metadata"].get("uid")
    if call.verb == "update" and uid and uid != old["metadata"].get("uid"):
        refuse_uid(call, uid, old["metadata"].get("uid"))
    if metadata.dedupe_owners(obj):
        call.warn(_OWNERS)
    typed.default(kind, obj)
    if not tracked:
        ownership.track(call, obj, old)
    operation = Operation(call, "UPDATE", obj, old, call.namespace, call.name)
    waiting = app.admission.mutating(operation)
    if waiting is not None:
        await waiting
    claims = Claims()
    try:
        if not prepared:
            metadata.keep_generation(obj, old)
            if not sub:
                strategy.claim(call, obj, old, claims)
            app.prepare(call, strategy, obj, old)
        metadata.prepare_update(obj, old)
        if operation.changed or strategy.must_settle(kind):
            typed.settle(kind, obj, old, own=not operation.changed)
        errors = typed.check_update(kind, obj, old, sub, call.warn)
        # Upstream checks metadata twice, in BeforeUpdate and in the strategy: both causes show in the details.
        if errors:
            errors = [
                e for e in errors if e.field.startswith("metadata.") and not e.field.startswith("metadata.name")
            ] + errors
        _refuse_invalid(call, obj, errors + (strategy.check_update(call, obj, old) if not sub else []))
        _warn(call, obj, old)
        waiting = app.admission.validating(operation)
        if waiting is not None:
            await waiting
        if conversion.by_webhook(kind):
            await conversion.prepare(call, obj)
        return await _store_changed(call, head, obj, old, claims)
    except BaseException:
        claims.rollback()
        raise


async def _store_changed(call: Call, head: Record, obj: Object, old: Object, claims: Claims) -> bytes:
    app = call.app
    if finished(obj, old):
        return await _store_finished(call, head, obj, claims)
    if ownership.unchanged(obj, old):
        claims.rollback()
        if app.store.get(head.key) is not head:
            await app.durable(head)
        return head.value
    if call.dry_run:
        claims.rollback()
        return plain_bytes(call, obj)
    if app.store.head(head.key) is not head:
        raise Changed(head.key, app.store.head(head.key))
    claims.store()
    return await _stored(call, obj, old, claims, app.store.put(head.key, sealed(call, obj), expect=head))


async def _store_finished(call: Call, head: Record, obj: Object, claims: Claims) -> bytes:
    """The last finalizer is gone from an object that is being deleted: so is the object."""
    if call.dry_run:
        claims.rollback()
        return plain_bytes(call, obj)
    shown = plain_bytes(call, obj)
    await erase(call, head, obj)
    claims.commit()
    return shown


async def erase(call: Call, head: Record, obj: Object, last: Object | None = None) -> Record:
    """Take an object away for good, with what it holds; its last event shows it as it was stored, or as `last`."""
    app = call.app
    strategy = app.strategy(call.kind)
    last = last if last is not None else decode(head.value)

    def seal(revision: int) -> bytes:
        last["metadata"]["resourceVersion"] = str(revision)
        return encode(last)

    pending = app.store.delete(head.key, seal, expect=head)
    strategy.deleting(app, obj)
    record = await pending
    strategy.deleted(app, obj)
    return record


def finished(obj: Object, old: Object) -> bool:
    """Whether an update ends a deletion: marked, no finalizers left, no grace period running."""
    before, after = old["metadata"], obj["metadata"]
    if "deletionTimestamp" not in before or after.get("finalizers"):
        return False
    if before.get("deletionGracePeriodSeconds") and not before.get("finalizers"):
        return bool(after.get("deletionGracePeriodSeconds") == 0)
    if before.get("deletionGracePeriodSeconds"):
        return False
    return not (obj.get("kind") == "Namespace" and (obj.get("spec") or {}).get("finalizers"))


def forbid(call: Call, why: str) -> Forbidden:
    """A 403 about the object of this call."""
    from switchboard.api.authz import forbidden

    return forbidden(call.kind.plural, call.kind.group, call.name, why)
