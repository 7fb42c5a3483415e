"""What a pod's volumes ask of a node: claims that are bound, and volumes that are reachable from it.

Source: pkg/scheduler/framework/plugins/volumebinding. Claims that wait for their first consumer are told the node
chosen by the annotation that provisioners read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from switchboard.objects.placement import selector_matches
from switchboard.scheduler.filters import VOLUME
from switchboard.scheduler.podinfo import PodInfo
from switchboard.scheduler.snapshot import NodeInfo

Object = dict[str, Any]
Find = Callable[[str], Object | None]

UNBOUND: Final = "pod has unbound immediate PersistentVolumeClaims"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"


def claim_names(pod: PodInfo) -> list[str]:
    """Names of the claims that a pod uses, ephemeral ones included."""
    out = []
    for volume in pod.spec.get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            out.append(volume["persistentVolumeClaim"].get("claimName", ""))
        elif volume.get("ephemeral"):
            out.append(f"{pod.name}-{volume['name']}")
    return out


class VolumeCheck:
    """Looks claims (by namespace/name), volumes and storage classes (by name) up where the caller says."""

    def __init__(self, claim: Find, volume: Find, storage_class: Find) -> None:
        self._claim, self._volume, self._class = claim, volume, storage_class

    def blocked(self, pod: PodInfo) -> str | None:
        """Why no node at all will do now."""
        for name in claim_names(pod):
            claim = self._claim(f"{pod.namespace}/{name}")
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if not _bound(claim) and not self._waits(claim):
                return UNBOUND
        return None

    def refuse(self, pod: PodInfo, node: NodeInfo) -> str | None:
        """Why this node will not do."""
        for name in claim_names(pod):
            claim = self._claim(f"{pod.namespace}/{name}")
            if claim is None or not _bound(claim):
                continue
            volume = self._volume(claim["spec"]["volumeName"])
            required = ((volume or {}).get("spec", {}).get("nodeAffinity") or {}).get("required")
            if not selector_matches(required, node.name, node.labels):
                return VOLUME
        return None

    def to_select(self, pod: PodInfo) -> list[str]:
        """Claims that wait to be told a node."""
        out = []
        for name in claim_names(pod):
            claim = self._claim(f"{pod.namespace}/{name}")
            if claim is not None and not _bound(claim) and self._waits(claim):
                out.append(name)
        return out

    def _waits(self, claim: Object) -> bool:
        name = (claim.get("spec") or {}).get("storageClassName")
        found = self._class(name) if name else None
        return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"


def _bound(claim: Object) -> bool:
    return bool((claim.get("spec") or {}).get("volumeName")) and (claim.get("status") or {}).get("phase") == "Bound"
