"""Rules for the smaller core kinds: configuration, accounts, namespaces, nodes, quotas, events, leases."""

from __future__ import annotations

import base64
import json
from typing import Any

from switchboard.objects import names, quantity
from switchboard.objects.validate.fields import IMMUTABLE, Errors
from switchboard.objects.validate.pods import _EFFECTS as EFFECTS

Object = dict[str, Any]
_MAX_CONFIG = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"


def _size(values: dict[str, str], binary: bool) -> int:
    total = 0
    for value in values.values():
        total += len(value) * 3 // 4 - value[-2:].count("=") if binary else len(value.encode())
    return total


def config_map(obj: Object, errs: Errors) -> None:
    """Keys, no key in both maps, 1 MiB in all."""
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for key in data:
        for message in names.config_key(key):
            errs.invalid(f"data[{key}]", key, message)
        if key in binary:
            errs.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key in binary:
        errs.check(f"binaryData[{key}]", key, names.config_key)
    if _size(data, False) + (_size(binary, True) if binary else 0) > _MAX_CONFIG:
        errs.too_long("", _MAX_CONFIG)


def _immutable(obj: Object, old: Object, fields: tuple[str, ...], errs: Errors) -> None:
    if not old.get("immutable"):
        return
    if not obj.get("immutable"):
        errs.forbidden("immutable", _FROZEN)
    for field in fields:
        if (obj.get(field) or {}) != (old.get(field) or {}):
            errs.forbidden(field, _FROZEN)


def config_map_update(obj: Object, old: Object, errs: Errors) -> None:
    """An immutable ConfigMap stays as it is."""
    _immutable(obj, old, ("data", "binaryData"), errs)


# type -> keys that must be there
_SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def secret(obj: Object, errs: Errors) -> None:
    """Keys, size, and what each well-known type needs."""
    data, kind = obj.get("data") or {}, obj.get("type") or ""
    for key in data:
        errs.check(f"data[{key}]", key, names.config_key)
    if _size(data, True) > _MAX_CONFIG:
        errs.too_long("data", _MAX_CONFIG)
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data:
            errs.required(f"data[{key}]")
        elif key.startswith(".docker"):
            _json(data[key], f"data[{key}]", errs)
    if kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        errs.required("data[username]")
        errs.required("data[password]")
    if kind == "kubernetes.io/service-account-token":
        account = "kubernetes.io/service-account.name"
        if not ((obj.get("metadata") or {}).get("annotations") or {}).get(account):
            errs.required(f"metadata.annotations[{account}]")


def _json(value: str, path: str, errs: Errors) -> None:
    try:
        if not isinstance(json.loads(base64.b64decode(value)), dict):
            raise ValueError("json: cannot unmarshal into Go value of type map[string]interface {}")
    except ValueError as wrong:
        errs.invalid(path, "<secret contents redacted>", str(wrong))


def secret_update(obj: Object, old: Object, errs: Errors) -> None:
    """The type never changes; an immutable Secret stays as it is."""
    if obj.get("type") != old.get("type"):
        errs.invalid("type", obj.get("type"), IMMUTABLE)
    _immutable(obj, old, ("data",), errs)


def namespace(obj: Object, errs: Errors) -> None:
    """Finalizers in the spec are names."""
    for finalizer in (obj.get("spec") or {}).get("finalizers") or ():
        errs.check("spec.finalizers", finalizer, names.qualified_name)
        if "/" not in finalizer and finalizer not in ("kubernetes", "orphan", "foregroundDeletion"):
            errs.invalid(
                "spec.finalizers", finalizer, "name is neither a standard finalizer name nor is it fully qualified"
            )


def namespace_status(obj: Object, old: Object, errs: Errors) -> None:
    """The phase follows deletion."""
    phase = (obj.get("status") or {}).get("phase")
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        if phase != "Terminating":
            errs.invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
    elif phase != "Active":
        errs.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")


def node(obj: Object, errs: Errors) -> None:
    """Taints and pod networks."""
    spec = obj.get("spec") or {}
    taints(spec.get("taints") or [], "spec.taints", errs)
    networks = spec.get("podCIDRs") or []
    for i, text in enumerate(networks):
        errs.check(f"spec.podCIDRs[{i}]", text, names.cidr)
    versions = {found.version for found in map(names.parse_cidr, networks) if found is not None}
    if len(networks) > 1 and (len(networks) > 2 or len(versions) < 2):
        errs.invalid("spec.podCIDRs", networks, "may specify no more than one CIDR for each IP family")
    for name in ("capacity", "allocatable"):
        for resource, amount in ((obj.get("status") or {}).get(name) or {}).items():
            if quantity.of(amount).nano < 0:
                errs.invalid(f"status.{name}[{resource}]", amount, "must be greater than or equal to 0")


def taints(values: list[Object], path: str, errs: Errors) -> None:
    """Key, value and effect of each taint; no pair of key and effect twice."""
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(values):
        here, key, effect = f"{path}[{i}]", taint.get("key") or "", taint.get("effect") or ""
        errs.check(f"{here}.key", key, names.qualified_name)
        for message in names.label_value(taint.get("value") or ""):
            errs.invalid(f"{here}.value", taint.get("value"), message)
        if not effect:
            errs.required(f"{here}.effect")
        elif effect not in EFFECTS:
            errs.unsupported(f"{here}.effect", effect, EFFECTS)
        if (key, effect) in seen:
            errs.duplicate(here, taint)
        seen.add((key, effect))


def node_update(obj: Object, old: Object, errs: Errors) -> None:
    """What a node was given once stays: pod networks and provider id."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        errs.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        errs.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')


def controller_revision(obj: Object, errs: Errors) -> None:
    """apps/v1 ControllerRevision."""
    if obj.get("data") is None:
        errs.required("data", "data is mandatory")
    errs.not_negative("revision", obj.get("revision"))


def controller_revision_update(obj: Object, old: Object, errs: Errors) -> None:
    """The data of a revision stays."""
    errs.immutable("data", obj.get("data"), old.get("data"))


# Cluster-scoped kinds an event may be about, in whose namespace `default` it is stored.
_UNNAMESPACED = frozenset(
    {"Node", "Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "StorageClass"}
)


def event(obj: Object, errs: Errors) -> None:
    """The event lives where its object lives; new-style ones name their reporter (ValidateEventCreate)."""
    meta, about = obj.get("metadata") or {}, obj.get("involvedObject") or {}
    namespace, own = about.get("namespace") or "", meta.get("namespace") or ""
    if not namespace and about.get("kind") in _UNNAMESPACED:
        if own not in ("default", "kube-system", ""):
            errs.invalid("involvedObject.namespace", namespace, "does not match event.namespace")
    elif namespace != own and not (not namespace and own in ("default",)):
        errs.invalid("involvedObject.namespace", namespace, "does not match event.namespace")


def event_v1(obj: Object, errs: Errors) -> None:
    """events.k8s.io/v1 creations: time, reporter, reason and type are required."""
    kind = obj.get("type") or ""
    if obj.get("eventTime") is None:
        errs.required("eventTime")
        return
    controller = obj.get("reportingComponent", obj.get("reportingController")) or ""
    if not controller:
        errs.required("reportingController")
    else:
        errs.check("reportingController", controller, names.qualified_name)
    if not obj.get("reportingInstance"):
        errs.required("reportingInstance")
    elif len(obj["reportingInstance"]) > 128:
        errs.invalid("reportingInstance", "", "can have at most 128 characters")
    if not obj.get("action"):
        errs.required("action")
    if not obj.get("reason"):
        errs.required("reason")
    if kind not in ("Normal", "Warning"):
        errs.invalid("type", "", f"has invalid value: {kind}")


def lease(obj: Object, errs: Errors) -> None:
    """coordination.k8s.io/v1 Lease."""
    spec = obj.get("spec") or {}
    duration, moves = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        errs.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    errs.not_negative("spec.leaseTransitions", moves)
