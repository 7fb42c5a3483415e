"""The volume controllers: claims are bound to volumes, volumes are made and reclaimed, what is in use is kept.

Source: pkg/controller/volume/persistentvolume, pvcprotection, pvprotection. The built-in provisioner makes folders
below `ControllerSettings.host_path` for the StorageClass `standard`, which it creates.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

from switchboard.client import key_of
from switchboard.client.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from switchboard.controllers import volumes
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.pods import is_finished
from switchboard.objects.errors import AlreadyExists, NotFound

Object = dict[str, Any]

PROVISIONER: Final = "switchboard.io/host-path"
_STANDARD: Final = "standard"
_CLAIM_FINALIZER: Final = "kubernetes.io/pvc-protection"
_VOLUME_FINALIZER: Final = "kubernetes.io/pv-protection"
_SELECTED: Final = "volume.kubernetes.io/selected-node"
_CLAIM, _VOLUME = "claim:", "volume:"
_CLAIMS: Final = "claims"


class PersistentVolumeController(Controller):
    """Keys are `claim:<namespace>/<name>` and `volume:<name>`."""

    name = "persistentvolume-binder"
    component = "persistentvolume-controller"
    main = PERSISTENTVOLUMECLAIMS
    needs = (PERSISTENTVOLUMES, STORAGECLASSES, PODS)
    workers: ClassVar[int] = 1  # two claims must not choose the same volume

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.of(PERSISTENTVOLUMES).on_change(self._volume_changed)
        self.of(STORAGECLASSES).on_change(lambda old, new: self._all_claims())
        self.of(PODS).index(_CLAIMS, _claim_keys)
        self.of(PODS).on_change(self._pod_changed)

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        claim = new or old or {}
        self.loop.add(_CLAIM + key_of(claim["metadata"].get("namespace"), claim["metadata"]["name"]))
        if claim["spec"].get("volumeName"):
            self.loop.add(_VOLUME + claim["spec"]["volumeName"])

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        volume = new or old or {}
        self.loop.add(_VOLUME + volume["metadata"]["name"])
        ref = (volume.get("spec") or {}).get("claimRef")
        if ref:
            self.loop.add(_CLAIM + key_of(ref.get("namespace"), ref.get("name", "")))
        else:
            self._all_claims()

    def _all_claims(self) -> None:
        for key in list(self.of(PERSISTENTVOLUMECLAIMS).keys()):
            self.loop.add(_CLAIM + key)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod that ends or goes may be what a deleted claim waits for."""
        if new is None or is_finished(new):
            for name in claims_of(new or old or {}):
                self.loop.add(f"{_CLAIM}{(new or old or {})['metadata'].get('namespace')}/{name}")

    async def run(self) -> None:
        """As every controller, with its own keys; makes the standard class first."""
        await self.cache.synced(self.main, *self.needs)
        await self._make_class()
        self._all_claims()
        for name in list(self.of(PERSISTENTVOLUMES).keys()):
            self.loop.add(_VOLUME + name)
        await self.loop.run()

    async def _make_class(self) -> None:
        if self.settings.host_path is None or self.of(STORAGECLASSES).get(None, _STANDARD) is not None:
            return
        default = volumes.default_class(self.of(STORAGECLASSES).items())
        annotations = {} if default else {volumes.DEFAULT_CLASS: "true"}
        body = {
            "metadata": {"name": _STANDARD, "annotations": annotations},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
        }
        try:
            await self.cache.create(STORAGECLASSES, body)
        except AlreadyExists:
            return

    async def reconcile(self, key: str) -> float | None:
        """One claim or one volume."""
        try:
            if key.startswith(_CLAIM):
                claim = self.of(PERSISTENTVOLUMECLAIMS).get_key(key.removeprefix(_CLAIM))
                if claim is not None:
                    await self._claim(claim)
            else:
                volume = self.of(PERSISTENTVOLUMES).get_key(key.removeprefix(_VOLUME))
                if volume is not None:
                    await self._volume(volume)
        except NotFound:
            return None
        return None

    # Claims

    async def _claim(self, claim: Object) -> None:
        meta = claim["metadata"]
        if meta.get("deletionTimestamp"):
            if _CLAIM_FINALIZER in (meta.get("finalizers") or ()) and not self._used(claim):
                await self._drop_finalizer(claim, _CLAIM_FINALIZER)
            return
        if (meta.get("annotations") or {}).get(volumes.BIND_COMPLETED):
            await self._check_bound(claim)
            return
        claim = await self._with_class(claim)
        name = claim["spec"].get("volumeName")
        if name:
            volume = self.of(PERSISTENTVOLUMES).get(None, name)
            if volume is not None and (not volume["spec"].get("claimRef") or volumes.is_for(volume, claim)):
                await self._bind(claim, volume)
            return
        volume = volumes.choose(claim, self.of(PERSISTENTVOLUMES).items())
        if volume is not None:
            await self._bind(claim, volume)
        else:
            await self._provision(claim)

    async def _check_bound(self, claim: Object) -> None:
        volume = self.of(PERSISTENTVOLUMES).get(None, claim["spec"].get("volumeName") or "")
        if volume is None or not volumes.is_for(volume, claim):
            if (claim.get("status") or {}).get("phase") != "Lost":
                self.say(
                    claim,
                    "Warning",
                    "ClaimLost",
                    "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
                )
                await self._set_status(PERSISTENTVOLUMECLAIMS, claim, {**(claim.get("status") or {}), "phase": "Lost"})
            return
        await self._set_status(PERSISTENTVOLUMECLAIMS, claim, volumes.claim_status(claim, volume))

    async def _with_class(self, claim: Object) -> Object:
        """A claim that names no class (not even an empty one) gets the default one, also later (KEP-3333)."""
        if volumes.class_of(claim) is not None:
            return claim
        default = volumes.default_class(self.of(STORAGECLASSES).items())
        if default is None:
            return claim
        meta = claim["metadata"]
        patch = {"spec": {"storageClassName": default["metadata"]["name"]}}
        return await self.cache.patch(PERSISTENTVOLUMECLAIMS, meta["name"], patch, meta["namespace"])

    async def _bind(self, claim: Object, volume: Object) -> None:
        """Volume first: a claim that says it is bound must find its volume taken."""
        new_volume = volumes.bound_volume(volume, claim)
        if new_volume is not None:
            volume = await self.cache.update(PERSISTENTVOLUMES, new_volume)
        await self._set_status(PERSISTENTVOLUMES, volume, {**(volume.get("status") or {}), "phase": "Bound"})
        new_claim = volumes.bound_claim(claim, volume)
        if new_claim is not None:
            claim = await self.cache.update(PERSISTENTVOLUMECLAIMS, new_claim)
        await self._set_status(PERSISTENTVOLUMECLAIMS, claim, volumes.claim_status(claim, volume))

    async def _provision(self, claim: Object) -> None:
        name = volumes.class_of(claim)
        if not name:
            text = "no persistent volumes available for this claim and no storage class is set"
            self.say(claim, "Normal", "FailedBinding", text)
            return
        storage_class = self.of(STORAGECLASSES).get(None, name)
        if storage_class is None:
            self.say(claim, "Warning", "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found')
            return
        waits = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
        if waits and not (claim["metadata"].get("annotations") or {}).get(_SELECTED):
            text = "waiting for first consumer to be created before binding"
            self.say(claim, "Normal", "WaitForFirstConsumer", text)
            return
        provisioner = storage_class.get("provisioner")
        if provisioner != PROVISIONER or self.settings.host_path is None:
            text = (
                f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
                "the system administrator. If volume creation is delayed, please verify that the provisioner is "
                "running and correctly registered."
            )
            self.say(claim, "Normal", "ExternalProvisioning", text)
            return
        await self._make(claim, storage_class)

    async def _make(self, claim: Object, storage_class: Object) -> None:
        meta = claim["metadata"]
        folder = Path(self.settings.host_path or "") / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # pods run as whatever user they like
        body = volumes.provisioned(claim, storage_class, str(folder))
        try:
            volume = await self.cache.create(PERSISTENTVOLUMES, body)
        except AlreadyExists:
            volume = await self.cache.client.get(PERSISTENTVOLUMES, body["metadata"]["name"])
        self.say(
            claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {body['metadata']['name']}"
        )
        await self._bind(claim, volume)

    # Volumes

    async def _volume(self, volume: Object) -> None:
        meta, spec, status = volume["metadata"], volume["spec"], volume.get("status") or {}
        ref = spec.get("claimRef")
        claim = self.of(PERSISTENTVOLUMECLAIMS).get(ref.get("namespace"), ref.get("name", "")) if ref else None
        bound = claim is not None and volumes.is_for(volume, claim)
        if meta.get("deletionTimestamp"):
            if not bound and _VOLUME_FINALIZER in (meta.get("finalizers") or ()):
                await self._drop_finalizer(volume, _VOLUME_FINALIZER)
            return
        if not ref:
            await self._set_status(PERSISTENTVOLUMES, volume, {**status, "phase": "Available"})
        elif bound and claim is not None:
            if claim["spec"].get("volumeName") == meta["name"]:
                await self._set_status(PERSISTENTVOLUMES, volume, {**status, "phase": "Bound"})
        elif not ref.get("uid"):
            await self._set_status(PERSISTENTVOLUMES, volume, {**status, "phase": "Available"})
        else:
            volume = await self._set_status(PERSISTENTVOLUMES, volume, {**status, "phase": "Released"})
            await self._reclaim(volume)

    async def _reclaim(self, volume: Object) -> None:
        spec, meta = volume["spec"], volume["metadata"]
        annotations = meta.get("annotations") or {}
        if spec.get("persistentVolumeReclaimPolicy") != "Delete":
            return
        if annotations.get(volumes.PROVISIONED_BY) != PROVISIONER or self.settings.host_path is None:
            return
        path, root = Path((spec.get("hostPath") or {}).get("path") or "/"), Path(self.settings.host_path)
        if path.parent == root:  # never anything but what we made
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        await self.cache.delete(PERSISTENTVOLUMES, meta["name"])

    # Both

    def _used(self, claim: Object) -> bool:
        meta = claim["metadata"]
        pods = self.of(PODS).by(_CLAIMS, key_of(meta.get("namespace"), meta["name"]))
        return any(not is_finished(pod) for pod in pods)

    async def _drop_finalizer(self, obj: Object, name: str) -> None:
        meta = obj["metadata"]
        res = PERSISTENTVOLUMECLAIMS if meta.get("namespace") else PERSISTENTVOLUMES
        left = [f for f in meta.get("finalizers") or () if f != name]
        patch = {"metadata": {"finalizers": left or None, "resourceVersion": meta["resourceVersion"]}}
        await self.cache.client.patch(res, meta["name"], patch, meta.get("namespace"))

    async def _set_status(self, res: Any, obj: Object, status: Object) -> Object:
        if status == (obj.get("status") or {}):
            return obj
        return await self.cache.update_status(res, {**obj, "status": status})


def claims_of(pod: Object) -> Iterable[str]:
    """Names of the claims that a pod uses."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"].get("claimName", "")
        elif volume.get("ephemeral"):
            yield f"{pod['metadata']['name']}-{volume['name']}"


def _claim_keys(pod: Object) -> list[str]:
    """Index function: the claims that a pod uses."""
    return [key_of(pod["metadata"].get("namespace"), name) for name in claims_of(pod)]
