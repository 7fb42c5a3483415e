"""Rules for what drivers of storage say of themselves (pkg/apis/storage/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names, quantity
from switchboard.objects.validate import labels
from switchboard.objects.validate.fields import NOT_NEGATIVE, Errors, go_struct

Object = dict[str, Any]

_NODE_ID_LENGTH, _DRIVER_LENGTH = 192, 63
_MAX_PARAMETERS, _MAX_PARAMETER_BYTES = 512, 256 * 1024
_LEAST_EXPIRATION, _LEAST_PERIOD = 600, 10  # seconds


def _driver_name(name: str, path: str, errs: Errors) -> None:
    """A driver's name where others speak of it: a subdomain in letters of any case."""
    if not name:
        errs.required(path)
        return
    if len(name.encode()) > _DRIVER_LENGTH:
        errs.too_long(path, _DRIVER_LENGTH)
    for message in names.dns_subdomain(name.lower()):
        errs.invalid(path, name, message)


def csi_driver(obj: Object, errs: Errors) -> None:
    """storage.k8s.io/v1 CSIDriver."""
    spec = obj.get("spec") or {}
    for name, said in (("attachRequired", "attachedRequired"), ("podInfoOnMount", ""), ("storageCapacity", "")):
        if spec.get(name) is None:
            errs.required(f"spec.{said or name}")
    policy, supported = spec.get("fsGroupPolicy"), ("File", "None", "ReadWriteOnceWithFSType")
    if policy is not None and policy not in supported:
        errs.unsupported("spec.fsGroupPolicy", policy, supported)
    _token_requests(spec.get("tokenRequests") or (), errs)
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in ("Persistent", "Ephemeral"):
            errs.unsupported("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral"))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < _LEAST_PERIOD:
        text = f"must be greater than or equal to {_LEAST_PERIOD} seconds"
        errs.invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, text)


def _token_requests(requests: Any, errs: Errors) -> None:
    audiences: set[str] = set()
    for i, request in enumerate(requests):
        path, audience, seconds = (
            f"spec.tokenRequests[{i}]",
            request.get("audience") or "",
            request.get("expirationSeconds"),
        )
        if audience in audiences:
            errs.duplicate(f"{path}.audience", audience)
            continue
        audiences.add(audience)
        if seconds is not None and seconds < _LEAST_EXPIRATION:
            errs.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        if seconds is not None and seconds > 1 << 32:
            errs.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")


def csi_driver_update(obj: Object, old: Object, errs: Errors) -> None:
    """How volumes are attached and how long they live stays."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errs.immutable("spec.attachedRequired", spec.get("attachRequired"), before.get("attachRequired"))
    modes = "volumeLifecycleModes"
    errs.immutable(f"spec.{modes}", spec.get(modes), before.get(modes))


def csi_node(obj: Object, errs: Errors) -> None:
    """storage.k8s.io/v1 CSINode."""
    seen: set[str] = set()
    for i, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        path, name, node = f"spec.drivers[{i}]", driver.get("name") or "", driver.get("nodeID") or ""
        _driver_name(name, f"{path}.name", errs)
        if not node:
            errs.required(f"{path}.nodeID")
        elif len(node.encode()) > _NODE_ID_LENGTH:
            errs.invalid(f"{path}.nodeID", node, f"must be {_NODE_ID_LENGTH} characters or less")
        errs.not_negative(f"{path}.allocatable.count", (driver.get("allocatable") or {}).get("count"))
        if name in seen:
            errs.duplicate(f"{path}.name", name)
        seen.add(name)
        _topology_keys(driver.get("topologyKeys") or [], path, errs)


def _topology_keys(keys: list[str], path: str, errs: Errors) -> None:
    for i, key in enumerate(keys):
        if not key:
            errs.required(path)
        if key in keys[:i]:
            errs.duplicate(path, key)
        errs.check(path, key, names.qualified_name)


def csi_node_update(obj: Object, old: Object, errs: Errors) -> None:
    """What a driver says stays, but for the number of its volumes."""
    before = {d.get("name"): d for d in (old.get("spec") or {}).get("drivers") or ()}
    for driver in (obj.get("spec") or {}).get("drivers") or ():
        then = before.get(driver.get("name"))
        if then is not None:
            now, then = ({k: v for k, v in each.items() if k != "allocatable"} for each in (driver, then))
            errs.immutable("spec.drivers", now, then)


def capacity(obj: Object, errs: Errors) -> None:
    """storage.k8s.io/v1 CSIStorageCapacity."""
    labels.selector(obj.get("nodeTopology"), "nodeTopology", errs)
    errs.check("storageClassName", obj.get("storageClassName") or "", names.dns_subdomain)
    size = obj.get("capacity")
    if size is not None and quantity.of(size).nano < 0:
        errs.invalid("capacity", size, NOT_NEGATIVE)


def capacity_update(obj: Object, old: Object, errs: Errors) -> None:
    """What was asked for stays."""
    errs.immutable("nodeTopology", obj.get("nodeTopology"), old.get("nodeTopology"))
    errs.immutable("storageClassName", obj.get("storageClassName") or "", old.get("storageClassName") or "")


def attributes_class(obj: Object, errs: Errors) -> None:
    """storage.k8s.io/v1 VolumeAttributesClass."""
    driver, parameters = obj.get("driverName") or "", obj.get("parameters") or {}
    if not driver:
        errs.required("driverName")
    for message in names.qualified_name(driver.lower()) if driver else ():
        errs.invalid("driverName", driver, message)
    if not parameters:
        errs.required("parameters", "must contain at least one key/value pair")
    if len(parameters) > _MAX_PARAMETERS:
        errs.too_long("parameters", _MAX_PARAMETERS)
    if "" in parameters:
        errs.invalid("parameters", "", "field can not be empty.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _MAX_PARAMETER_BYTES:
        errs.too_long("parameters", _MAX_PARAMETER_BYTES)


def attributes_class_update(obj: Object, old: Object, errs: Errors) -> None:
    """Nothing of it changes."""
    for name in ("driverName", "parameters"):
        if (obj.get(name) or None) != (old.get(name) or None):
            errs.forbidden(name, f"updates to {name} are forbidden.")


def attachment(obj: Object, errs: Errors) -> None:
    """storage.k8s.io/v1 VolumeAttachment."""
    spec = obj.get("spec") or {}
    volume = (spec.get("source") or {}).get("persistentVolumeName")
    _driver_name(spec.get("attacher") or "", "spec.attacher", errs)
    errs.check("spec.nodeName", spec.get("nodeName") or "", names.dns_subdomain)
    if volume is not None:
        errs.check("spec.source.persistentVolumeName", volume, names.dns_subdomain)
    elif (spec.get("source") or {}).get("inlineVolumeSpec") is None:
        errs.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")


def attachment_update(obj: Object, old: Object, errs: Errors) -> None:
    """What is attached where stays."""
    spec = obj.get("spec") or {}
    if spec != (old.get("spec") or {}):
        source = spec.get("source") or {}
        shown = {
            "Attacher": spec.get("attacher") or "",
            "Source": {
                "PersistentVolumeName": source.get("persistentVolumeName"),
                "InlineVolumeSpec": source.get("inlineVolumeSpec"),
            },
            "NodeName": spec.get("nodeName") or "",
        }
        errs.invalid("spec", go_struct(shown), "field is immutable")
