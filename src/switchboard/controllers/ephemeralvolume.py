"""Claims for a pod's ephemeral volumes. Source: pkg/controller/volume/ephemeral."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from switchboard.client.resources import PERSISTENTVOLUMECLAIMS, PODS
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.owners import reference_to
from switchboard.controllers.pods import is_finished
from switchboard.objects.errors import AlreadyExists, StatusError

Object = dict[str, Any]

_EPHEMERAL: Final = "ephemeral volumes"


def _ephemeral(pod: Object) -> list[str]:
    """Index function: pods that have ephemeral volumes."""
    return [""] if any(volume.get("ephemeral") for volume in pod["spec"].get("volumes") or ()) else []


class EphemeralVolumeController(Controller):
    """Keys are pods that have ephemeral volumes."""

    name = "ephemeral-volume"
    component = "ephemeral_volume"
    main = PODS
    needs = (PERSISTENTVOLUMECLAIMS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.of(PODS).index(_EPHEMERAL, _ephemeral)

    def first(self) -> Iterable[str]:
        """Pods with such volumes."""
        return self.of(PODS).keys_by(_EPHEMERAL, "")

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and old is None and _ephemeral(new):
            super()._main_changed(old, new)

    async def reconcile(self, key: str) -> float | None:
        """One pod's claims."""
        pod = self.of(PODS).get_key(key)
        if pod is None or pod["metadata"].get("deletionTimestamp") or is_finished(pod):
            return None
        for volume in pod["spec"].get("volumes") or ():
            template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
            if template:
                await self._make(pod, f"{pod['metadata']['name']}-{volume['name']}", template)
        return None

    async def _make(self, pod: Object, name: str, template: Object) -> None:
        space = pod["metadata"]["namespace"]
        if self.cache.get(PERSISTENTVOLUMECLAIMS, space, name) is not None:
            return
        meta = template.get("metadata") or {}
        body = {
            "metadata": {
                **{part: dict(meta[part]) for part in ("labels", "annotations") if meta.get(part)},
                "name": name,
                "namespace": space,
                "ownerReferences": [reference_to(pod)],
            },
            "spec": template.get("spec") or {},
        }
        try:
            await self.cache.create(PERSISTENTVOLUMECLAIMS, body)
        except AlreadyExists:
            return
        except StatusError as error:
            text = f"ephemeral volume controller: create PVC {name}: {error.message}"
            self.say(pod, "Warning", "EphemeralVolumeCreateFailed", text)
            raise
