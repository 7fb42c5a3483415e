"""Volumes of pods as folders of the node: made before the containers, kept fresh while they run, taken away after."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from switchboard.client import Client, Disconnected
from switchboard.client.resources import (
    CONFIGMAPS,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    SECRETS,
    SERVICEACCOUNTS,
    Resource,
)
from switchboard.node import atomic
from switchboard.node.fields import amount_of
from switchboard.node.mounts import mount_tmpfs, unmount_below
from switchboard.node.payload import Sources, VolumeFailure, files, references
from switchboard.node.settings import NodeSettings
from switchboard.objects.errors import NotFound, StatusError
from switchboard.objects.quantity import QuantityError

Object = dict[str, Any]
_KNOWN = 128
_FILLED = {"configMap": "configmap", "secret": "secret", "projected": "projected", "downwardAPI": "downward-api"}


class Volumes:
    """Makes, refreshes and removes the volumes of this node's pods."""

    def __init__(self, client: Client, settings: NodeSettings) -> None:
        self._client, self._settings = client, settings
        self._tokens: dict[tuple[str, str, str, int], tuple[str, float]] = {}  # -> token, when to renew
        self._known: OrderedDict[tuple[Resource, str, str], Object] = OrderedDict()  # for when the API is away
        self.allocatable: Mapping[str, str] = {}

    async def prepare(self, pod: Object, ips: list[str]) -> dict[str, Path]:
        """Host paths of all volumes of a pod by name, made and filled. Raises VolumeFailure."""
        made: dict[str, Path] = {}
        for volume in pod["spec"].get("volumes") or ():
            if "image" in volume:
                continue  # pulled and mounted when a container that uses it starts: `imagevolumes`
            try:
                made[volume["name"]] = await self._one(pod, volume, ips)
            except VolumeFailure as why:
                raise VolumeFailure(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {why}') from None
            except (StatusError, Disconnected, OSError) as why:
                raise VolumeFailure(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {why}') from why
        return made

    async def refresh(self, pod: Object, ips: list[str]) -> None:
        """Bring filled volumes up to date with their objects; what cannot be read now stays as it is."""
        for volume in pod["spec"].get("volumes") or ():
            if any(kind in volume for kind in _FILLED):
                try:
                    await self._one(pod, volume, ips)
                except (VolumeFailure, StatusError, Disconnected, OSError):
                    continue

    def teardown(self, uid: str) -> None:
        """Take away everything of a pod that is no more."""
        folder = self._settings.pod_dir(uid)
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
        for key in [k for k in self._tokens if k[0] == uid]:
            del self._tokens[key]

    def _folder(self, pod: Object, plugin: str, name: str) -> Path:
        return self._settings.pod_dir(pod["metadata"]["uid"]) / "volumes" / f"kubernetes.io~{plugin}" / name

    async def _one(self, pod: Object, volume: Object, ips: list[str]) -> Path:
        name = volume["name"]
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if any(kind in volume for kind in _FILLED):
            plugin = next(_FILLED[kind] for kind in _FILLED if kind in volume)
            folder = self._folder(pod, plugin, name)
            content = files(pod, volume, await self._sources(pod, volume, ips))
            atomic.write(folder, content, group=group)
            return folder
        if "emptyDir" in volume:
            return self._empty_dir(pod, volume, group)
        if "hostPath" in volume:
            return _host_path(volume["hostPath"])
        if "persistentVolumeClaim" in volume:
            return await self._claim(pod, volume["persistentVolumeClaim"]["claimName"], group)
        if "ephemeral" in volume:
            return await self._claim(pod, f"{pod['metadata']['name']}-{name}", group)
        kind = next((k for k in volume if k != "name"), "emptyDir")
        if kind == "emptyDir":
            return self._empty_dir(pod, {"name": name, "emptyDir": {}}, group)
        raise VolumeFailure(f"volumes of type {kind} are not supported on this node")

    def _empty_dir(self, pod: Object, volume: Object, group: int | None) -> Path:
        folder = self._folder(pod, "empty-dir", volume["name"])
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        source = volume["emptyDir"] or {}
        if source.get("medium") == "Memory":
            try:
                size = int(amount_of(source["sizeLimit"])) if source.get("sizeLimit") else 0
            except QuantityError:
                size = 0
            mount_tmpfs(folder, size)
        if fresh:
            os.chmod(folder, 0o777)
            if group is not None:
                os.chown(folder, -1, group)
                os.chmod(folder, 0o2777)
        return folder

    async def _claim(self, pod: Object, name: str, group: int | None) -> Path:
        space = pod["metadata"]["namespace"]
        try:
            claim = await self._client.get(PERSISTENTVOLUMECLAIMS, name, space)
        except NotFound:
            raise VolumeFailure(f'persistentvolumeclaim "{name}" not found') from None
        bound = claim["spec"].get("volumeName")
        if not bound or (claim.get("status") or {}).get("phase") != "Bound":
            raise VolumeFailure(f"PersistentVolumeClaim is not bound: {name!r}")
        spec = (await self._client.get(PERSISTENTVOLUMES, bound))["spec"]
        if "hostPath" in spec:
            path = _host_path({"type": "DirectoryOrCreate"} | spec["hostPath"])
        elif "local" in spec:
            path = _host_path({"path": spec["local"]["path"], "type": ""})
        else:
            raise VolumeFailure(f"persistent volume {bound} is of a type that this node does not support")
        if group is not None:
            os.chown(path, -1, group)
            os.chmod(path, stat.S_IMODE(path.stat().st_mode) | 0o2070)
        return path

    async def _sources(self, pod: Object, volume: Object, ips: list[str]) -> Sources:
        maps, secrets, tokens = references(volume)
        found_maps, found_secrets, found_tokens = await asyncio.gather(
            self.fetch(CONFIGMAPS, pod, maps), self.fetch(SECRETS, pod, secrets), self._tokens_of(pod, tokens)
        )
        return Sources(found_maps, found_secrets, found_tokens, self.allocatable, self._settings.ips, ips)

    async def fetch(self, res: Resource, pod: Object, names: set[str]) -> dict[str, Object]:
        """Objects of the pod's namespace by name; those that do not exist are missing."""

        async def one(name: str) -> Object | None:
            key = (res, pod["metadata"]["namespace"], name)
            try:
                found = await self._client.get(res, name, key[1])
            except NotFound:
                self._known.pop(key, None)
                return None
            except Disconnected:
                if key not in self._known:
                    raise
                return self._known[key]
            self._known[key] = found
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
            return found

        ordered = sorted(names)
        found = await asyncio.gather(*(one(name) for name in ordered))
        return {name: obj for name, obj in zip(ordered, found, strict=True) if obj is not None}

    async def _tokens_of(self, pod: Object, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
        return {key: await self._token(pod, *key) for key in wanted}

    async def _token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token bound to the pod (KEP-1205), asked for again when four fifths of its life are over."""
        meta = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        key = (meta["uid"], account, audience, seconds)
        known = self._tokens.get(key)
        if known is not None and time.time() < known[1]:
            return known[0]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec: Object = {"expirationSeconds": seconds, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._client.create(
            SERVICEACCOUNTS, request, meta["namespace"], name=account, subresource="token"
        )
        token = str(answer["status"]["token"])
        self._tokens[key] = (token, time.time() + min(seconds * 0.8, 86400))
        return token


def _host_path(source: Object) -> Path:
    """A hostPath checked, or made, as its type says (pkg/volume/hostpath)."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o644, exist_ok=True)
    checks = {
        "Directory": path.is_dir,
        "DirectoryOrCreate": path.is_dir,
        "File": path.is_file,
        "FileOrCreate": path.is_file,
        "Socket": path.is_socket,
        "CharDevice": path.is_char_device,
        "BlockDevice": path.is_block_device,
    }
    if kind in checks and not checks[kind]():
        raise VolumeFailure(f"hostPath type check failed: {path} is not a {kind.removesuffix('OrCreate').lower()}")
    if not kind and not path.exists():
        path.mkdir(mode=0o755, parents=True)
    return path


def sub_path(root: Path, inner: str) -> Path:
    """A path inside a volume, made as a folder when missing; VolumeFailure when it leads out of it."""
    target = root / inner
    real = Path(os.path.realpath(target))
    base = Path(os.path.realpath(root))
    if real != base and base not in real.parents:
        raise VolumeFailure(f"subPath {inner!r} leads out of its volume")
    if not real.exists():
        real.mkdir(parents=True)
        os.chmod(real, stat.S_IMODE(base.stat().st_mode))
    return real
