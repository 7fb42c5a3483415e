"""The scale subresource: replicas of a workload (or of a custom kind that says where they are) as autoscaling/v1
Scale."""

from __future__ import annotations

from typing import Any

from switchboard.api import bodies, metadata, ownership, query, representing, typed
from switchboard.api.call import Call
from switchboard.api.keyspace import key_of
from switchboard.api.patchfaults import strict_faults, undecodable
from switchboard.api.verbs import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    applied_configuration,
    as_before,
)
from switchboard.api.writing import change
from switchboard.objects import patch
from switchboard.objects.errors import BadRequest, FieldError, Invalid, NotFound, UnsupportedMediaType
from switchboard.objects.kinds import Kind
from switchboard.objects.schema import clean_as
from switchboard.objects.selectors import from_labels, from_object
from switchboard.transport.messages import Response

Object = dict[str, Any]

_SCALE = "io.k8s.api.autoscaling.v1.Scale"
_API_VERSION = "autoscaling/v1"
_DEFAULT_PATHS = (".spec.replicas", ".status.replicas", "")


def _paths(kind: Kind) -> tuple[str, str, str]:
    """Where replicas, current replicas and the selector (text) are."""
    if not kind.custom:
        return _DEFAULT_PATHS
    for version in ((kind.extra or {}).get("spec") or {}).get("versions") or ():
        if version.get("name") == kind.version:
            scale = (version.get("subresources") or {}).get("scale") or {}
            return scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", "")
    return _DEFAULT_PATHS


def _read(obj: Object, path: str) -> Any:
    found: Any = obj
    for part in path.strip(".").split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _write(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


def scale_of(kind: Kind, obj: Object) -> Object:
    """The Scale that an object shows."""
    meta = obj["metadata"]
    wanted, current, selector_path = _paths(kind)
    keep = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec, status = {}, {"replicas": _read(obj, current) or 0}
    if _read(obj, wanted):
        spec["replicas"] = _read(obj, wanted)
    selector = _selector(kind, obj, selector_path)
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": _API_VERSION,
        "metadata": {name: meta[name] for name in keep if name in meta},
        "spec": spec,
        "status": status,
    }


def _selector(kind: Kind, obj: Object, path: str) -> str:
    if kind.custom:
        return str(_read(obj, path) or "") if path else ""
    selector = (obj.get("spec") or {}).get("selector")
    if kind.plural == "replicationcontrollers":
        return str(from_labels(selector or {}))
    return ",".join(
        str(r) if r.operator != "in" or len(r.values) != 1 else f"{r.key}={r.values[0]}"
        for r in from_object(selector).requirements
    )


async def handle(call: Call) -> Response:
    """get, update and patch of a Scale."""
    if call.verb == "get":
        record = call.app.store.get(key_of(call.kind, call.namespace, call.name))
        if record is None:
            raise NotFound.of(call.kind.plural, call.kind.group, call.name)
        return representing.shown_object(call, scale_of(call.kind, typed.show(call.kind, record.value)))
    if call.verb == "update":
        call.options = query.write_options(call.params, "UpdateOptions")
        body = bodies.decode(call, call.kind, _SCALE, (_API_VERSION, "Scale"))
        metadata.check_name(body, call.name)
        value = await change(call, lambda obj: _scaled(call, obj, body), tracked=True)
    else:
        call.options = query.write_options(call.params, "PatchOptions")
        media = (call.request.headers.get("content-type") or "").partition(";")[0].strip()
        if media == APPLY_PATCH:
            wanted = _applied_scale(call)
            value = await change(call, lambda obj: ownership.applied(call, obj, wanted), tracked=True)
        else:
            apply_patch = _patch(call, media)
            value = await change(
                call, lambda obj: _scaled(call, obj, apply_patch(scale_of(call.kind, obj))), tracked=True
            )
    return representing.shown_object(call, scale_of(call.kind, typed.show(call.kind, value)))


def _applied_scale(call: Call) -> Object:
    """An applied Scale as the configuration of the object that is scaled: its replicas, nothing else."""
    kind = call.kind
    scale = applied_configuration(call)
    if (scale.get("apiVersion"), scale.get("kind")) != (_API_VERSION, "Scale"):
        group, _, version = str(scale.get("apiVersion") or "").rpartition("/")
        raise BadRequest(f"invalid object type: {group}/{version}, Kind={scale.get('kind') or ''}")
    clean_as(_SCALE, scale, "Scale", "v1")
    metadata.check_name(scale, call.name)
    _refuse_negative(call, scale)
    wanted = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": dict(scale.get("metadata") or {})}
    replicas = (scale.get("spec") or {}).get("replicas")
    if replicas is not None:
        _write(wanted, _paths(kind)[0], replicas)
    return wanted


def _patch(call: Call, media: str) -> Any:
    """The function from a Scale to the patched one."""
    if media not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH):
        raise UnsupportedMediaType("415: Unsupported Media Type", details={})
    body = bodies.parse_json(call.request.body)
    if media != JSON_PATCH and not isinstance(body, dict):
        raise BadRequest("error decoding patch: the patch is not an object")
    faults = strict_faults(call.request.body, body) if call.options.field_validation != "Ignore" else []

    def make(scale: Object) -> Object:
        patched = _changed(scale, media, body)
        try:
            if not isinstance(patched, dict):
                raise BadRequest("the patched document is not an object")
            bodies.check_type(patched, _API_VERSION, "Scale")
            unknown = clean_as(_SCALE, patched, "Scale", "v1")
            bodies.report(call, call.kind, unknown, [], "Scale", faults=faults)
        except BadRequest as e:
            raise undecodable(e, patched, body if media == STRATEGIC_PATCH else None) from None
        return patched

    return make


def _changed(scale: Object, media: str, body: Any) -> Any:
    if media == JSON_PATCH:
        return patch.json_patch(scale, body)
    merged = patch.merge_patch(scale, body)  # a strategic one is no different: a Scale has no lists
    return merged if media == MERGE_PATCH else as_before(scale, merged)


def _refuse_negative(call: Call, scale: Object) -> int:
    replicas = int((scale.get("spec") or {}).get("replicas", 0))
    if replicas < 0:
        text = f"Invalid value: {replicas}: must be greater than or equal to 0"
        error = FieldError("FieldValueInvalid", "spec.replicas", text)
        raise Invalid.of("Scale", "autoscaling", call.name, [error])
    return replicas


def _scaled(call: Call, obj: Object, scale: Object) -> Object:
    """The object with the replicas of a Scale."""
    replicas = _refuse_negative(call, scale)
    wanted = scale.get("metadata") or {}
    before = typed.copy_of(obj)
    for name in ("resourceVersion", "uid"):
        if wanted.get(name):
            obj["metadata"][name] = wanted[name]
        elif name == "resourceVersion":
            obj["metadata"].pop(name, None)
    _write(obj, _paths(call.kind)[0], replicas)
    ownership.track(call, obj, before)
    return obj
