"""Defaults and guards of storage and ingress: default classes, protection finalizers, which claims may grow.

Sources: `plugin/pkg/admission/{storage/storageclass/setdefault,storage/storageobjectinuseprotection,
storage/persistentvolume/resize,network/defaultingressclass}`.
"""

from __future__ import annotations

from typing import Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.admission.pods import refuse
from switchboard.api.keyspace import decode
from switchboard.objects import quantity
from switchboard.store.store import Store

Object = dict[str, Any]
_STORAGE, _INGRESS = "/storage.k8s.io/storageclasses/", "/networking.k8s.io/ingressclasses/"
_STORAGE_DEFAULT: tuple[str, ...] = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_INGRESS_DEFAULT: tuple[str, ...] = ("ingressclass.kubernetes.io/is-default-class",)
_FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}


class DefaultClasses(Neutral):
    """A claim or ingress without a class gets the default one, the newest where there are several."""

    resources = frozenset(("persistentvolumeclaims", "ingresses"))

    def __init__(self, store: Store) -> None:
        self._store = store

    def mutate(self, op: Operation) -> None:
        """Set the class of a new object."""
        if op.verb != "CREATE" or op.sub or op.obj is None:
            return
        notes = op.obj["metadata"].get("annotations") or {}
        spec = op.obj.get("spec") or {}
        if (op.group, op.plural) == ("", "persistentvolumeclaims"):
            open_ = spec.get("storageClassName") is None and "volume.beta.kubernetes.io/storage-class" not in notes
            rule = ("storageClassName", _STORAGE, _STORAGE_DEFAULT)
        elif (op.group, op.plural) == ("networking.k8s.io", "ingresses"):
            open_ = spec.get("ingressClassName") is None and "kubernetes.io/ingress.class" not in notes
            rule = ("ingressClassName", _INGRESS, _INGRESS_DEFAULT)
        else:
            return
        if open_:
            self._set(spec, *rule)

    def _set(self, spec: Object, field: str, prefix: str, annotations: tuple[str, ...]) -> None:
        found = []
        for record in self._store.scan(prefix):
            if b"is-default-class" in record.value:
                meta = decode(record.value)["metadata"]
                if any((meta.get("annotations") or {}).get(key) == "true" for key in annotations):
                    found.append(meta)
        if found:
            found.sort(key=lambda meta: meta["name"])
            spec[field] = max(found, key=lambda meta: meta["creationTimestamp"])["name"]


class InUseProtection(Neutral):
    """Volumes and claims do not vanish under their users."""

    resources = frozenset(_FINALIZERS)

    def mutate(self, op: Operation) -> None:
        """Add the finalizer to a new object."""
        finalizer = _FINALIZERS.get(op.plural)
        if finalizer is None or op.group or op.verb != "CREATE" or op.sub or op.obj is None:
            return
        finalizers = op.obj["metadata"].get("finalizers") or []
        if finalizer not in finalizers:
            op.obj["metadata"]["finalizers"] = [*finalizers, finalizer]


class ClaimResize(Neutral):
    """Only bound claims of a class that allows it grow."""

    resources = frozenset(("persistentvolumeclaims",))

    def __init__(self, store: Store) -> None:
        self._store = store

    def validate(self, op: Operation) -> None:
        """Refuse other growth."""
        if op.plural != "persistentvolumeclaims" or op.group or op.sub or op.verb != "UPDATE":
            return
        assert op.obj is not None and op.old is not None
        size, before = _size(op.obj), _size(op.old)
        if size is None or before is None or not quantity.of(before) < quantity.of(size):
            return
        if (op.old.get("status") or {}).get("phase") != "Bound":
            raise refuse(op, "Only bound persistent volume claims can be expanded")
        name = op.old["spec"].get("storageClassName")
        record = self._store.head(_STORAGE + name) if name else None
        if record is None or not decode(record.value).get("allowVolumeExpansion"):
            why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
            raise refuse(op, why + "support resize")


def _size(claim: Object) -> str | None:
    found: str | None = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    return found
