"""Which volume a claim gets, and what the two say of each other (pure).

Source: pkg/controller/volume/persistentvolume/pv_controller.go, index.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from switchboard.objects import quantity, selectors

Object = dict[str, Any]

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_US: Final = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
_BETA_CLASS: Final = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"


def class_of(obj: Object) -> str | None:
    """A claim's or volume's storage class; None when none was ever named."""
    annotated = (obj["metadata"].get("annotations") or {}).get(_BETA_CLASS)
    name = annotated if annotated is not None else (obj.get("spec") or {}).get("storageClassName")
    return None if name is None else str(name)


def default_class(classes: Iterable[Object]) -> Object | None:
    """The default storage class; of several the newest."""
    marked = [c for c in classes if (c["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"]
    return max(
        marked, key=lambda c: (c["metadata"].get("creationTimestamp") or "", c["metadata"]["name"]), default=None
    )


def _size(obj: Object, *path: str) -> int:
    value: Any = obj.get("spec") or {}
    for part in (*path, "storage"):
        value = (value or {}).get(part)
    try:
        return quantity.of(value).nano if value is not None else 0
    except quantity.QuantityError:
        return 0


def is_for(volume: Object, claim: Object) -> bool:
    """Whether a volume's claimRef names this claim (and no older one of the same name)."""
    ref, meta = (volume.get("spec") or {}).get("claimRef"), claim["metadata"]
    if not ref:
        return False
    same = ref.get("namespace") == meta.get("namespace") and ref.get("name") == meta["name"]
    return same and ref.get("uid") in (None, "", meta.get("uid"))


def suitable(volume: Object, claim: Object) -> bool:
    """Whether a free volume could be this claim's."""
    spec, want = volume.get("spec") or {}, claim.get("spec") or {}
    if volume["metadata"].get("deletionTimestamp"):
        return False
    if spec.get("claimRef"):
        if not is_for(volume, claim):
            return False
    elif (volume.get("status") or {}).get("phase") not in (None, "Available", "Pending"):
        return False
    if (class_of(volume) or "") != (class_of(claim) or ""):
        return False
    if not set(want.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    if (spec.get("volumeMode") or "Filesystem") != (want.get("volumeMode") or "Filesystem"):
        return False
    selector = selectors.from_object(want["selector"]) if want.get("selector") is not None else selectors.EVERYTHING
    if not selector.matches(volume["metadata"].get("labels")):
        return False
    return _size(volume, "capacity") >= _size(claim, "resources", "requests")


def choose(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """The volume that was reserved for the claim, or the smallest one that suits."""
    found = [v for v in volumes if suitable(v, claim)]
    return min(found, key=lambda v: (not is_for(v, claim), _size(v, "capacity"), v["metadata"]["name"]), default=None)


def claim_ref(claim: Object) -> Object:
    """The reference that a volume has to its claim."""
    meta = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta.get("namespace"),
        "name": meta["name"],
        "uid": meta.get("uid"),
        "resourceVersion": meta.get("resourceVersion"),
    }


def bound_volume(volume: Object, claim: Object) -> Object | None:
    """The volume with its reference to the claim; None if it has it."""
    spec = volume["spec"]
    if is_for(volume, claim) and (spec.get("claimRef") or {}).get("uid"):
        return None
    meta = dict(volume["metadata"])
    if not spec.get("claimRef"):
        meta["annotations"] = {**(meta.get("annotations") or {}), BOUND_BY_US: "yes"}
    return {**volume, "metadata": meta, "spec": {**spec, "claimRef": claim_ref(claim)}}


def bound_claim(claim: Object, volume: Object) -> Object | None:
    """The claim with its volume's name; None if it has it."""
    meta, spec = claim["metadata"], claim["spec"]
    held = meta.get("annotations") or {}
    if spec.get("volumeName") == volume["metadata"]["name"] and held.get(BIND_COMPLETED):
        return None
    new = {**held, BIND_COMPLETED: "yes"}
    if not spec.get("volumeName"):
        new[BOUND_BY_US] = "yes"
    return {
        **claim,
        "metadata": {**meta, "annotations": new},
        "spec": {**spec, "volumeName": volume["metadata"]["name"]},
    }


def claim_status(claim: Object, volume: Object) -> Object:
    """A bound claim's status."""
    spec, old = volume["spec"], claim.get("status") or {}
    return {
        **old,
        "phase": "Bound",
        "accessModes": spec.get("accessModes") or [],
        "capacity": spec.get("capacity") or {},
    }


def provisioned(claim: Object, storage_class: Object, path: str) -> Object:
    """A volume made for a claim: a folder at `path`."""
    spec, meta = claim["spec"], claim["metadata"]
    body: Object = {
        "capacity": {"storage": (spec.get("resources") or {}).get("requests", {}).get("storage", "1Gi")},
        "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
        "claimRef": claim_ref(claim),
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "storageClassName": storage_class["metadata"]["name"],
        "volumeMode": "Filesystem",
        "hostPath": {"path": path, "type": ""},
    }
    if storage_class.get("mountOptions"):
        body["mountOptions"] = storage_class["mountOptions"]
    annotations = {PROVISIONED_BY: storage_class["provisioner"], "hostPathProvisionerIdentity": "switchboard"}
    return {"metadata": {"name": f"pvc-{meta['uid']}", "annotations": annotations}, "spec": body}
