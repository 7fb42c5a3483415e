"""create, update and patch: from a body to `writing`. Subresources that show the object itself (status ...) come
through here too."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from switchboard.api import bodies, metadata, ownership, query, representing, typed
from switchboard.api.authz import Attributes, Decision, refusal
from switchboard.api.call import Call
from switchboard.api.keyspace import key_of
from switchboard.api.patchfaults import strict_faults, undecodable
from switchboard.api.writing import change, insert, refuse_uid
from switchboard.objects import patch
from switchboard.objects.errors import BadRequest, FieldError, Invalid, UnsupportedMediaType
from switchboard.transport.messages import Response

Object = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_UNKNOWN_FORMAT = "the body of the request was in an unknown format - accepted media types include:"


async def create(call: Call) -> Response:
    """POST of a new object."""
    call.options = query.write_options(call.params, "CreateOptions")
    obj = bodies.decode(call, call.kind)
    metadata.check_namespace(obj, call.namespace, call.kind.namespaced)
    value = await insert(call, obj)
    return representing.one(call, value, 201)


async def update(call: Call) -> Response:
    """PUT of an object; some kinds are created by it."""
    call.options = query.write_options(call.params, "UpdateOptions")
    obj = bodies.decode(call, call.kind)
    metadata.check_name(obj, call.name)
    metadata.check_namespace(obj, call.namespace, call.kind.namespaced)
    app, kind = call.app, call.kind
    if not call.sub and app.strategy(kind).create_on_update:
        head = app.store.head(key_of(kind, call.namespace, call.name))
        if head is None:
            if uid := metadata.of(obj).get("uid"):
                refuse_uid(call, uid, None)  # it is gone, and is not to come back as another
            metadata.of(obj).pop("resourceVersion", None)
            may_create(call)
            return representing.one(call, await insert(call, obj), 201)
    first = True

    def make(_: Object) -> Object:
        nonlocal first, obj
        if not first:
            obj = bodies.decode(call, kind)
        first = False
        return obj

    return representing.one(call, await change(call, make))


def may_create(call: Call) -> None:
    """An update that creates needs the right to create as well."""
    kind = call.kind
    attributes = Attributes(
        call.identity, "create", kind.group, kind.version, kind.plural, call.sub, call.namespace, call.name
    )
    decision, reason = call.app.authorizer.authorize(attributes)
    if decision is not Decision.ALLOW:
        raise refusal(attributes, reason)


async def patching(call: Call) -> Response:
    """PATCH in any of its four media types."""
    call.options = query.write_options(call.params, "PatchOptions")
    media = (call.request.headers.get("content-type") or "").partition(";")[0].strip()
    bodies.too_large(call)
    if media == APPLY_PATCH:
        return await _apply(call)
    if media not in accepted_patches(call):
        if call.kind.custom:
            raise UnsupportedMediaType(f"{_UNKNOWN_FORMAT} {JSON_PATCH}, {MERGE_PATCH}, {APPLY_PATCH}")
        raise UnsupportedMediaType("415: Unsupported Media Type", details={})
    if call.options.force is not None:
        error = FieldError("FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch")
        raise Invalid.of("PatchOptions", "meta.k8s.io", "", [error])
    make = patcher(call, media)
    return representing.one(call, await change(call, make))


def accepted_patches(call: Call) -> list[str]:
    """The patch types that a kind takes (custom kinds have no strategic merge)."""
    accepted = [JSON_PATCH, MERGE_PATCH]
    if not call.kind.custom:
        accepted.append(STRATEGIC_PATCH)
    return [*accepted, APPLY_PATCH]


def patcher(call: Call, media: str) -> Any:
    """The function from current object to patched, cleaned object."""
    body = bodies.parse_json(call.request.body)
    change_by = parsed_patch(call, media, body)
    faults = strict_faults(call.request.body, body) if call.options.field_validation != "Ignore" else []

    # Merges leave alone what the patch does not name (directives name what they like).
    merges = media != JSON_PATCH and not any(name.startswith("$") for name in body)
    named = body.get("metadata") if merges else None
    managers_too = not merges or (isinstance(named, dict) and "managedFields" in named)

    def make(current: Object) -> Object:
        obj = change_by(current)
        known = current.keys() - body.keys() if merges and isinstance(obj, dict) else ()
        try:
            cleaned(call, obj, faults, known, managers_too)
        except BadRequest as e:
            raise undecodable(e, obj, body if media == STRATEGIC_PATCH else None) from None
        metadata.check_name(obj, call.name)
        metadata.check_namespace(obj, call.namespace, call.kind.namespaced)
        return cast("Object", obj)

    return make


def parsed_patch(call: Call, media: str, body: Any) -> Any:
    """A patch body as a function from document to document; raises 400 for what is no patch."""
    kind = call.kind
    if media == JSON_PATCH:
        return lambda current: patch.json_patch(current, body)
    if not isinstance(body, dict):
        raise BadRequest("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}")
    if media == MERGE_PATCH:
        return lambda current: patch.merge_patch(current, body)
    return lambda current: as_before(current, patch.strategic_merge(current, body, kind.definition))


def as_before(current: Object, patched: Object) -> Object:
    """A strategic merge is of the kind that it is of: `kind` and `apiVersion` of the patch say nothing."""
    return patched | {name: current[name] for name in ("kind", "apiVersion")}


def cleaned(call: Call, obj: Any, faults: list[str], known: Collection[str] = (), managers_too: bool = True) -> Object:
    """A patched document as an object of the kind: type, unknown fields, name. `faults` are those of the patch itself.

    `known` fields are clean already, and so are managedFields unless `managers_too`.
    """
    kind = call.kind
    if not isinstance(obj, dict):
        raise BadRequest("the patched document is not an object")
    bodies.check_type(obj, kind.api_version, kind.kind)
    meta = obj.get("metadata")
    managers = meta.pop("managedFields", None) if not managers_too and isinstance(meta, dict) else None
    try:
        unknown = typed.clean(call.app, kind, obj, known)
    finally:
        if managers is not None:
            obj["metadata"]["managedFields"] = managers
    bodies.report(call, kind, unknown, [], faults=faults)
    return obj


def applied_configuration(call: Call) -> Object:
    """The body of a server-side apply, and that a manager applies it."""
    if not call.options.field_manager:
        error = FieldError("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")
        raise Invalid.of("PatchOptions", "meta.k8s.io", "", [error])
    wanted, doubles = bodies.parse_yaml(call.request.body)
    if doubles and call.options.field_validation == "Strict":
        text = bodies.yaml_error(doubles)
        raise BadRequest(f"error strict decoding YAML: error converting YAML to JSON: {text}")
    bodies.report(call, call.kind, [], [], doubles=doubles)
    if not isinstance(wanted, dict):
        raise BadRequest("error decoding YAML: the document is not an object")
    if not isinstance(wanted.get("metadata") or {}, dict):
        raise BadRequest("error decoding YAML: metadata is not an object")
    return wanted


async def _apply(call: Call) -> Response:
    """Server-side apply."""
    kind, wanted = call.kind, applied_configuration(call)

    def merged(current: Object | None) -> Object:
        obj = ownership.applied(call, current, wanted)
        typed.clean(call.app, kind, obj)  # atomic lists are taken as they are: their items may be of any type
        return obj

    head = call.app.store.head(key_of(kind, call.namespace, call.name))
    if head is None and not call.sub:
        may_create(call)
        obj = merged(None)
        return representing.one(call, await insert(call, obj, tracked=True), 201)
    value = await change(call, merged, tracked=True)
    return representing.one(call, value)
