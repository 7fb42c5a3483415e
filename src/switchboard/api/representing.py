"""Stored bytes in the form the client accepts: the object as it is, a Table, or PartialObjectMetadata; one or a
list."""

from __future__ import annotations

from typing import Any

from switchboard.api import query, typed
from switchboard.api.answers import encoded, json_headers, wants_pretty
from switchboard.api.call import Call
from switchboard.api.keyspace import encode_any, head_length, metadata_bytes
from switchboard.api.negotiate import OBJECT, PARTIAL, PARTIAL_LIST, PLAIN, TABLE
from switchboard.objects import tables
from switchboard.objects.errors import BadRequest, NotAcceptable
from switchboard.transport.messages import Response

_NEWLINE = b"\n"
_INCLUDES = ("", "None", "Metadata", "Object")


def include_of(call: Call) -> str:
    """`includeObject` of a Table request."""
    value = query.first(call.params, "includeObject")
    if value not in _INCLUDES:
        why = f"includeObject: Invalid value: \"{value}\": must be 'Metadata', 'Object', 'None', or empty"
        raise BadRequest(f"Unable to convert to Table as requested: {why}")
    return value or "Metadata"


def one(call: Call, value: bytes, code: int = 200) -> Response:
    """One stored object as the answer."""
    accepted = call.accepted
    pretty = call.params.get("pretty")
    if (
        accepted is PLAIN
        and typed.same_form(call.kind)
        and not call.warnings
        and not wants_pretty(call.request, pretty)
    ):
        return Response(code, json_headers(), [value, _NEWLINE])
    return _answer(call, [_one_form(call, value), _NEWLINE], code)


def shown_object(call: Call, obj: dict[str, Any], code: int = 200) -> Response:
    """An answer that is not a stored object: a review, a Scale, a Status (which has one form only)."""
    form = call.accepted.form
    if form == TABLE and obj["kind"] == "Scale":
        obj = _versioned(call, tables.scale_table(obj, include_of(call)))
    elif form == PARTIAL and obj["kind"] != "Status":
        obj = tables.partial_metadata(obj) | {"apiVersion": f"meta.k8s.io/{call.accepted.version}"}
    return _answer(call, [encode_any(obj), _NEWLINE], code)


def _answer(call: Call, body: list[bytes], code: int) -> Response:
    pretty = wants_pretty(call.request, call.params.get("pretty"))
    return encoded(call.request, body, code=code, accepted=call.accepted, pretty=pretty, warnings=call.warnings)


def _one_form(call: Call, value: bytes) -> bytes:
    form, kind = call.accepted.form, call.kind
    if form == TABLE:
        obj = typed.show(kind, value)
        version = str(obj["metadata"].get("resourceVersion", ""))
        return encode_any(
            _versioned(call, tables.table(kind, [obj], resource_version=version, include=include_of(call)))
        )
    if form == PARTIAL:
        return partial(value, call.accepted.version)
    if form == PARTIAL_LIST:
        raise NotAcceptable("the object is not a list and cannot be shown as one")
    if typed.same_form(kind):
        return value
    return encode_any(typed.show(kind, value))


def _versioned(call: Call, table: dict[str, Any]) -> dict[str, Any]:
    if call.accepted.version != "v1":
        table["apiVersion"] = f"meta.k8s.io/{call.accepted.version}"
        for row in table["rows"]:
            obj = row.get("object")
            if obj and obj.get("kind") == PARTIAL:
                obj["apiVersion"] = table["apiVersion"]
    return table


def partial(value: bytes, version: str = "v1") -> bytes:
    """Stored bytes as PartialObjectMetadata, without decoding the rest."""
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b","metadata":%b}' % (
        version.encode(),
        metadata_bytes(value),
    )


def many(call: Call, values: list[bytes], revision: int, token: str, remaining: int | None) -> Response:
    """A list of stored objects as the answer."""
    form, kind = call.accepted.form, call.kind
    if form == TABLE:
        objects = [typed.show(kind, value) for value in values]
        table = tables.table(
            kind,
            objects,
            resource_version=str(revision),
            continue_token=token,
            remaining=remaining,
            include=include_of(call),
        )
        return _answer(call, [encode_any(_versioned(call, table)), _NEWLINE], 200)
    meta: dict[str, Any] = {"resourceVersion": str(revision)}
    if token:
        meta["continue"] = token
    if remaining is not None:
        meta["remainingItemCount"] = remaining
    name, api_version = kind.list_kind or f"{kind.kind}List", kind.api_version
    if form == OBJECT:
        items = item_bytes(call, values)
    elif form == PARTIAL_LIST:
        name, api_version = PARTIAL_LIST, f"meta.k8s.io/{call.accepted.version}"
        items = b",".join([partial(value, call.accepted.version) for value in values])
    else:
        package = kind.group.partition(".")[0] or "core"
        raise NotAcceptable(f"you requested {PARTIAL}, but the requested object is a list (*{package}.{name})")
    head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
        name.encode(),
        api_version.encode(),
        encode_any(meta),
    )
    return _answer(call, [head, items, b"]}\n"], 200)


def item_bytes(call: Call, values: list[bytes]) -> bytes:
    """Items of a typed list, joined: without kind and apiVersion for built-in kinds, whole for custom ones."""
    kind = call.kind
    if kind.custom:
        return b",".join([encode_any(typed.show(kind, value)) for value in values])
    if not typed.same_form(kind):
        shown = [typed.show(kind, value) for value in values]
        for obj in shown:
            obj.pop("kind", None)
            obj.pop("apiVersion", None)
        return b",".join([encode_any(obj) for obj in shown])
    if not values:
        return b""
    cut = head_length(kind.kind, kind.api_version)
    return b"{" + b",{".join([value[cut:] for value in values])
