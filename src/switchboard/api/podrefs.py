"""What pods refer to: the Secrets, ConfigMaps, claims and service accounts that their nodes may therefore read.

Follows the stored pods and keeps, for each bound one, its references; a pod's references never change once it is bound
but for ephemeral containers, so most events cost one dict access. Source: `plugin/pkg/auth/authorizer/node/graph.go`,
`pkg/api/pod/util.go` (VisitPodSecretNames, VisitPodConfigmapNames).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from switchboard.api.keyspace import decode
from switchboard.store.record import Event, Record
from switchboard.store.store import Store

Object = dict[str, Any]
Reference = tuple[str, str, str]  # plural, namespace or "", name

_PODS = "/core/pods/"
_SECRET_IN_VOLUME = ("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "storageos", "iscsi")


def references(pod: Object) -> set[Reference]:
    """Everything a pod refers to by name."""
    namespace, spec = pod["metadata"]["namespace"], pod.get("spec") or {}
    found = {("secrets", s.get("name", "")) for s in spec.get("imagePullSecrets") or ()}
    found.add(("serviceaccounts", spec.get("serviceAccountName") or ""))
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            found |= set(_of_container(container))
    for volume in spec.get("volumes") or ():
        found |= set(_of_volume(volume, pod["metadata"]["name"]))
    for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        found.add(("resourceclaims", status.get("resourceClaimName") or ""))
    for claim in spec.get("resourceClaims") or ():
        found.add(("resourceclaims", claim.get("resourceClaimName") or ""))
    return {(plural, namespace, name) for plural, name in found if name}


def _of_container(container: Object) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield "configmaps", (source.get("configMapRef") or {}).get("name") or ""
        yield "secrets", (source.get("secretRef") or {}).get("name") or ""
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield "configmaps", (source.get("configMapKeyRef") or {}).get("name") or ""
        yield "secrets", (source.get("secretKeyRef") or {}).get("name") or ""


def _of_volume(volume: Object, pod: str) -> Iterator[tuple[str, str]]:
    yield "secrets", (volume.get("secret") or {}).get("secretName") or ""
    yield "configmaps", (volume.get("configMap") or {}).get("name") or ""
    yield "persistentvolumeclaims", (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
    if volume.get("ephemeral") is not None:
        yield "persistentvolumeclaims", f"{pod}-{volume['name']}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "secrets", (source.get("secret") or {}).get("name") or ""
        yield "configmaps", (source.get("configMap") or {}).get("name") or ""
    yield "secrets", ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name") or ""
    yield "secrets", (volume.get("azureFile") or {}).get("secretName") or ""
    for kind in _SECRET_IN_VOLUME:
        yield "secrets", ((volume.get(kind) or {}).get("secretRef") or {}).get("name") or ""


class PodReferences:
    """Which nodes run a pod that refers to an object."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods: dict[str, tuple[str, frozenset[Reference]]] = {}  # key of a bound pod -> its node, references
        self._users: dict[Reference, dict[str, int]] = {}  # -> node, how many of its pods
        for record in store.scan(_PODS):
            self._take(record)
        self._subscription = store.subscribe(_PODS, store.revision, self._changed)

    def _changed(self, events: list[Event]) -> None:
        for event in events:
            if event.deleted:
                self._drop(event.record.key)
            elif event.record.key not in self._pods or b'"ephemeralContainers"' in event.record.value:
                self._take(event.record)

    def _take(self, record: Record) -> None:
        if b'"nodeName":' not in record.value:
            return
        pod = decode(record.value)
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            return
        self._drop(record.key)
        found = frozenset(references(pod))
        self._pods[record.key] = (node, found)
        for reference in found:
            users = self._users.setdefault(reference, {})
            users[node] = users.get(node, 0) + 1

    def _drop(self, key: str) -> None:
        node, found = self._pods.pop(key, ("", frozenset()))
        for reference in found:
            users = self._users[reference]
            users[node] -= 1
            if not users[node]:
                del users[node]
                if not users:
                    del self._users[reference]

    def uses(self, node: str, plural: str, namespace: str, name: str) -> bool:
        """Whether a pod of that node refers to the object."""
        if plural == "pods":
            return self._pods.get(f"{_PODS}{namespace}/{name}", ("", None))[0] == node
        if plural == "persistentvolumes":
            return self._uses_volume(node, name)
        if node in self._users.get((plural, namespace, name), {}):
            return True
        return plural == "secrets" and self._uses_volume_secret(node, namespace, name)

    def _claims(self, node: str) -> Iterator[Reference]:
        """Claims of a node's pods: few, so nothing is kept of the way from claim to volume."""
        return (r for r, users in self._users.items() if r[0] == "persistentvolumeclaims" and node in users)

    def _uses_volume(self, node: str, name: str) -> bool:
        record = self._store.get(f"/core/persistentvolumes/{name}")
        if record is None:
            return False
        claim = (decode(record.value).get("spec") or {}).get("claimRef") or {}
        wanted = ("persistentvolumeclaims", claim.get("namespace", ""), claim.get("name", ""))
        return node in self._users.get(wanted, {})

    def _uses_volume_secret(self, node: str, namespace: str, name: str) -> bool:
        """Secrets that a volume names (CSI and others), whose claim a pod of the node uses."""
        needle = f'"{name}"'.encode()
        for _, space, claim in list(self._claims(node)):
            record = self._store.get(f"/core/persistentvolumeclaims/{space}/{claim}")
            volume = (decode(record.value).get("spec") or {}).get("volumeName") if record is not None else None
            found = self._store.get(f"/core/persistentvolumes/{volume}") if volume else None
            if (
                found is not None
                and needle in found.value
                and (namespace, name) in _volume_secrets(decode(found.value))
            ):
                return True
        return False


def _volume_secrets(volume: Object) -> set[tuple[str, str]]:
    """(namespace, name) of the Secrets in a PersistentVolume's source."""
    spec = volume.get("spec") or {}
    default = (spec.get("claimRef") or {}).get("namespace", "")
    found = set()
    for source in spec.values():
        if isinstance(source, dict):
            for key, value in source.items():
                if key.endswith("SecretRef") or key == "secretRef":
                    found.add((value.get("namespace") or default, value.get("name") or ""))
    return found
