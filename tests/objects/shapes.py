"""Small objects for the tables of tests here, and the way a body takes through clean, defaults and validation."""

from __future__ import annotations

import copy
from typing import Any

from switchboard.objects import defaults, schema, validate
from switchboard.objects.kinds import Kind, Registry

REGISTRY = Registry()
STORED = {"uid": "u-1", "creationTimestamp": "2024-05-05T05:05:05Z", "resourceVersion": "7"}


def kind_of(obj: dict[str, Any]) -> Kind:
    found = REGISTRY.of(obj["apiVersion"], obj["kind"])
    assert found is not None
    return found


def made(api_version: str, kind: str, /, name: str = "x", **fields: Any) -> dict[str, Any]:
    """A body with metadata; `metadata` in fields is merged in."""
    meta = {"name": name, **fields.pop("metadata", {})}
    found = REGISTRY.of(api_version, kind)
    assert found is not None
    if found.namespaced:
        meta.setdefault("namespace", "ns")
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **copy.deepcopy(fields)}


def pod_spec(**more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "nginx:1"}], **more}


def container(**more: Any) -> dict[str, Any]:
    return pod_spec(containers=[{"name": "c", "image": "nginx:1", **more}])


def settled(obj: dict[str, Any]) -> dict[str, Any]:
    """As it would be stored: cleaned and with defaults."""
    obj = copy.deepcopy(obj)
    kind = kind_of(obj)
    schema.clean(kind, obj)
    defaults.apply(kind, obj)
    schema.clean(kind, obj)
    return obj


def problems(obj: dict[str, Any]) -> list[str]:
    """What a create of it is answered, one text for each cause."""
    obj = settled(obj)
    return [str(error) for error in validate.create(kind_of(obj), obj)]


def changed(old: dict[str, Any], new: dict[str, Any], sub: str = "") -> list[str]:
    """What an update is answered; both get the same system metadata."""
    stored, wanted = settled(old), settled(new)
    for each in (stored, wanted):
        each["metadata"] = {**STORED, **each["metadata"]}
    return [str(error) for error in validate.update(kind_of(wanted), wanted, stored, sub)]
