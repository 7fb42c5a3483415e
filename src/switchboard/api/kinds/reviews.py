"""Kinds that are questions: who am I, may they, is this token good. Nothing is stored."""

from __future__ import annotations

from typing import Any

from switchboard.api import bodies, query, representing
from switchboard.api.authz import Attributes, Decision
from switchboard.api.call import Call
from switchboard.api.identity import Identity
from switchboard.api.keyspace import encode
from switchboard.api.metadata import now
from switchboard.objects.errors import FieldError, Invalid, NotFound
from switchboard.transport.messages import Response

Object = dict[str, Any]


def _answer(call: Call, obj: Object) -> Response:
    return representing.shown_object(call, obj, 201)


def _read(call: Call) -> Object:
    call.options = query.write_options(call.params, "CreateOptions")
    obj = bodies.decode(call, call.kind)
    obj.setdefault("metadata", {})
    return obj


async def self_subject(call: Call) -> Response:
    """SelfSubjectReview: the caller's own identity."""
    obj = _read(call)
    obj["metadata"] = {"creationTimestamp": now()}
    obj["status"] = {"userInfo": call.identity.user_info()}
    return _answer(call, obj)


def _invalid(field: str, text: str, call: Call) -> Invalid:
    error = FieldError("FieldValueInvalid", field, f"Invalid value: {text}")
    return Invalid.of("", call.kind.group, "", [error])


def _questions(call: Call, spec: Object, identity: Identity) -> Attributes:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        shown = '{"Path":"%s","Verb":"%s"}' % (path.get("path", ""), path.get("verb", ""))  # noqa: UP031 - braces
        text = f"{shown}: cannot be specified in combination with resourceAttributes"
        raise _invalid("spec.nonResourceAttributes", text, call)
    if resource is None and path is None:
        text = "null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _invalid("spec.resourceAttributes", text, call)
    if path is not None:
        return Attributes(identity, path.get("verb", ""), path=path.get("path", ""))
    assert resource is not None
    return Attributes(
        identity,
        resource.get("verb", ""),
        resource.get("group", ""),
        resource.get("version", ""),
        resource.get("resource", ""),
        resource.get("subresource", ""),
        resource.get("namespace", ""),
        resource.get("name", ""),
    )


def _decide(call: Call, attributes: Attributes) -> Object:
    decision, reason = call.app.authorizer.authorize(attributes)
    status: Object = {"allowed": decision is Decision.ALLOW}
    if decision is Decision.DENY:
        status["denied"] = True
    if reason:
        status["reason"] = reason
    return status


async def self_access(call: Call) -> Response:
    """SelfSubjectAccessReview."""
    obj = _read(call)
    obj["status"] = _decide(call, _questions(call, obj.get("spec") or {}, call.identity))
    return _answer(call, obj)


async def access(call: Call) -> Response:
    """SubjectAccessReview and LocalSubjectAccessReview."""
    obj = _read(call)
    spec = obj.get("spec") or {}
    extra = tuple((k.lower(), tuple(v)) for k, v in sorted((spec.get("extra") or {}).items()))
    identity = Identity(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)
    if not identity.user and not identity.groups:
        raise _invalid("spec.user", '"": at least one of user or group must be specified', call)
    attributes = _questions(call, spec, identity)
    if call.kind.namespaced and not attributes.path and attributes.namespace != call.namespace:
        text = f'"{attributes.namespace}": must match metadata.namespace'
        raise _invalid("spec.resourceAttributes.namespace", text, call)
    obj["status"] = _decide(call, attributes)
    return _answer(call, obj)


async def self_rules(call: Call) -> Response:
    """SelfSubjectRulesReview: every rule of the caller in a namespace."""
    obj = _read(call)
    namespace = (obj.get("spec") or {}).get("namespace", "")
    if not namespace:
        raise _invalid("spec.namespace", '"": no namespace on request', call)
    rules = list(call.app.rbac.rules_of(call.identity, namespace))
    resources = [r for r in rules if r.get("resources")]
    paths = [
        {"verbs": r.get("verbs", []), "nonResourceURLs": r["nonResourceURLs"]}
        for r in rules
        if r.get("nonResourceURLs")
    ]
    obj["status"] = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
    return _answer(call, obj)


def _component(name: str) -> Object:
    healthy = {"type": "Healthy", "status": "True", "message": "ok"}
    return {"metadata": {"name": name}, "conditions": [healthy]}


_COMPONENTS = ("controller-manager", "etcd-0", "scheduler")


def component_statuses(call: Call) -> Response:
    """The old list of component health: everything runs in one process here."""
    values = [_encode(name) for name in _COMPONENTS]
    return representing.many(call, values, call.app.store.revision, "", None)


def _encode(name: str) -> bytes:
    return encode({"kind": "ComponentStatus", "apiVersion": "v1", **_component(name)})


def component_status(call: Call) -> Response:
    """One component."""
    if call.name not in _COMPONENTS:
        raise NotFound.of("componentstatuses", "", call.name)
    return representing.one(call, _encode(call.name))
