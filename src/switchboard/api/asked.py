"""What a request asks for: its verb, and the attributes that authorizers decide by."""

from __future__ import annotations

from switchboard.api.authz import Attributes
from switchboard.api.identity import Identity
from switchboard.api.paths import Target
from switchboard.api.query import parse as parse_query
from switchboard.objects.errors import StatusError
from switchboard.objects.fieldselectors import parse as parse_fields
from switchboard.objects.kinds import Registry
from switchboard.transport.messages import Request

_ITEM_VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection", "PUT": "update", "PATCH": "patch"}


def verb_of(request: Request, target: Target) -> str:
    """The verb: `get`, `list`, `watch`, `deletecollection` ...; the method where no resource is asked for."""
    if not target.is_resource:
        return request.method.lower()
    if target.watch:
        return "watch"
    if target.name:
        return _ITEM_VERBS.get(request.method, request.method.lower())
    verb = _COLLECTION_VERBS.get(request.method, request.method.lower())
    if verb == "list" and request.query and "watch=" in request.query:
        values = parse_query(request.query).get("watch")
        if values and values[0].lower() not in ("false", "0"):
            return "watch"
    return verb


def attributes_of(registry: Registry, identity: Identity, request: Request, target: Target, verb: str) -> Attributes:
    """What authorizers are asked about."""
    if not target.is_resource:
        return Attributes(identity, verb, path=request.path)
    name, text = target.name, ""
    if not name and verb in ("list", "watch", "deletecollection") and "fieldSelector" in request.query:
        text = parse_query(request.query).get("fieldSelector", [""])[0]
        kind = registry.resource(target.group, target.version, target.plural)
        if kind is not None:
            try:
                name = parse_fields(text, kind).exact("metadata.name") or ""
            except StatusError:
                name = ""
    namespace = target.namespace
    if target.plural == "namespaces" and not target.group and target.name:
        namespace = target.name
    return Attributes(
        identity,
        verb,
        target.group,
        target.version,
        target.plural,
        target.subresource,
        namespace,
        name,
        field_selector=text,
    )
