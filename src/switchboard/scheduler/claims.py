"""Claims of devices (dynamic resource allocation): a pod waits until all of them are allocated.

Nobody here allocates: devices and whoever gives them out come with drivers. Source:
pkg/scheduler/framework/plugins/dynamicresources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from switchboard.objects.placement import selector_matches
from switchboard.scheduler.filters import ELSEWHERE
from switchboard.scheduler.podinfo import PodInfo
from switchboard.scheduler.snapshot import NodeInfo

Object = dict[str, Any]

UNALLOCATED: Final = "cannot allocate all claims"


class ClaimCheck:
    """Looks claims (by namespace/name) up where the caller says."""

    def __init__(self, find: Callable[[str], Object | None]) -> None:
        self._find = find

    def blocked(self, pod: PodInfo) -> str | None:
        """Why no node at all will do now."""
        for entry in pod.spec.get("resourceClaims") or ():
            name = self._name(pod, entry)
            if name is None:
                return f'waiting for the claim of "{entry.get("name", "")}" to be made'
            claim = self._find(f"{pod.namespace}/{name}") if name else None
            if name and claim is None:
                return f'resourceclaim "{name}" not found'
            if claim is not None and claim["metadata"].get("deletionTimestamp"):
                return f'resourceclaim "{name}" is being deleted'
            if claim is not None and not (claim.get("status") or {}).get("allocation"):
                return UNALLOCATED
        return None

    def refuse(self, pod: PodInfo, node: NodeInfo) -> str | None:
        """Why this node will not do: what was allocated is not there."""
        for entry in pod.spec.get("resourceClaims") or ():
            claim = self._find(f"{pod.namespace}/{self._name(pod, entry)}") or {}
            wanted = ((claim.get("status") or {}).get("allocation") or {}).get("nodeSelector")
            if not selector_matches(wanted, node.name, node.labels):
                return ELSEWHERE
        return None

    @staticmethod
    def _name(pod: PodInfo, entry: Object) -> str | None:
        """The claim of an entry: None when it is still to be made, "" when none is needed."""
        if entry.get("resourceClaimName"):
            return str(entry["resourceClaimName"])
        for made in (pod.raw.get("status") or {}).get("resourceClaimStatuses") or ():
            if made.get("name") == entry.get("name"):
                return str(made.get("resourceClaimName") or "")
        return None
