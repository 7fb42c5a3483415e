"""Making one container: image, environment, mounts and files, then create and start; failures in kubelet's words.

The steps stand in `start`, top to bottom. Source: pkg/kubelet/kuberuntime/kuberuntime_container.go startContainer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from switchboard.client import Client, Disconnected
from switchboard.client.resources import CONFIGMAPS, SECRETS, SERVICES, Resource
from switchboard.node import configs, cri
from switchboard.node.actions import act
from switchboard.node.environment import Referred, command, environment, expand
from switchboard.node.failures import ConfigFailure
from switchboard.node.imagevolumes import mount_images
from switchboard.node.lost import next_attempt
from switchboard.node.observed import Observed
from switchboard.node.payload import VolumeFailure
from switchboard.node.podgroups import Classes
from switchboard.node.pulls import Images
from switchboard.node.room import Room
from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.node.settings import NodeSettings
from switchboard.node.volumes import Volumes, sub_path
from switchboard.node.watching import Watching
from switchboard.objects.errors import NotFound, StatusError

Object = dict[str, Any]
Say = Callable[[str, str, str], None]  # event type, reason, message

RUNTIMECLASSES = Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", False)
_FEW = 500  # Services of a namespace that are kept for when the API is away
_HOOK_AGENT = "kube-lifecycle/1.36"


class StartFailure(Exception):
    """A container did not start: `reason` as it stands in `state.waiting`; `again` is when to try (seconds)."""

    def __init__(self, reason: str, message: str, again: float = 10.0) -> None:
        super().__init__(message)
        self.reason, self.again = reason, again


@dataclass(slots=True)
class Maker:
    """Makes containers of this node's pods."""

    client: Client
    runtime: CriRuntime
    settings: NodeSettings
    images: Images
    volumes: Volumes
    watching: Watching
    memory: int = 0  # the node's, bytes
    room: Room = field(default_factory=Room)
    node: Callable[[], Object] = dict  # the Node as last seen
    services: dict[str, list[Object]] = field(default_factory=dict)  # by namespace, as last seen
    kubernetes: Object | None = None
    classes: Classes = field(init=False)

    def __post_init__(self) -> None:
        self.classes = Classes(self.settings, self.room)

    def sandbox_config(self, pod: Object, attempt: int) -> Object:
        """PodSandboxConfig of a try of the pod's sandbox."""
        try:
            resolv = self.settings.resolv_conf.read_text()
        except OSError:
            resolv = ""
        return configs.sandbox_config(pod, self.settings, attempt, resolv)

    async def run_sandbox(self, pod: Object, attempt: int) -> str:
        """Make the next try of the pod's sandbox; its id. Raises RuntimeFailure; NotFound without its RuntimeClass."""
        if pod["spec"].get("hostUsers") is False:
            raise RuntimeFailure("UNIMPLEMENTED", "the runtime does not support user namespaces")
        name = pod["spec"].get("runtimeClassName")
        handler = str((await self.client.get(RUNTIMECLASSES, name)).get("handler", "")) if name else ""
        await self._pull_ahead(pod)
        return await self.runtime.run_sandbox(self.sandbox_config(pod, attempt), handler)

    async def _pull_ahead(self, pod: Object) -> None:
        try:
            await self.images.ahead(pod, await self._pull_secrets(pod))
        except (StatusError, Disconnected):
            pass  # said when a container needs them

    async def start(
        self,
        pod: Object,
        container: Object,
        seen: Observed,
        sandbox_config: Object,
        folders: Mapping[str, Path],
        say: Say,
    ) -> str:
        """Create and start the next try of a container; gives its id. Raises StartFailure, PullFailure."""
        sandbox = seen.sandbox
        assert sandbox is not None
        secrets = await self._pull_secrets(pod)
        image = await self.images.ensure(pod, container, secrets, say)
        latest = seen.latest(container["name"])
        attempt = latest.attempt + 1 if latest is not None else next_attempt(pod, container["name"])
        try:
            values = await self._environment(pod, container, seen.ips, folders)
            of_images = await mount_images(pod, container, self.images, self.runtime, self.settings, secrets, say)
            mounts = self._mounts(pod, container, {**folders, **of_images}, attempt, values, seen.ips)
            await self._check_user(pod, container, image)
        except (ConfigFailure, VolumeFailure, StatusError, Disconnected, OSError) as why:
            say("Warning", "Failed", f"Error: {why}")
            raise StartFailure("CreateContainerConfigError", str(why)) from why
        config = configs.container_config(
            pod,
            container,
            attempt=attempt,
            image=image,
            command=command(container, values),
            envs=values,
            mounts=mounts,
            target=self._target(container, seen),
            memory=self.memory,
        )
        (Path(sandbox_config["log_directory"]) / container["name"]).mkdir(parents=True, exist_ok=True)
        try:
            ident = await self.runtime.create_container(sandbox.id, config, sandbox_config)
        except RuntimeFailure as error:
            say("Warning", "Failed", f"Error: {error}")
            raise StartFailure("CreateContainerError", str(error)) from None
        say("Normal", "Created", "Container created")
        await self._launch(ident, say)
        await self._after_start(container, ident, seen.ips, say)
        return ident

    async def _launch(self, ident: str, say: Say) -> None:
        try:
            await self.runtime.start_container(ident)
        except RuntimeFailure as error:
            say("Warning", "Failed", f"Error: {error}")
            # The runtime keeps it as an ended container, which the restart policy then deals with.
            raise StartFailure("RunContainerError", str(error), 1.0) from None
        say("Normal", "Started", "Container started")

    async def _after_start(self, container: Object, ident: str, ips: list[str], say: Say) -> None:
        hook = (container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return
        ip = ips[0] if ips else self.settings.ip
        outcome = await act(hook, container, ident, ip, self.runtime, 0, _HOOK_AGENT)
        if not outcome.reached:
            say("Warning", "FailedPostStartHook", f"PostStartHook failed: {outcome.message}")
            say("Normal", "Killing", f"FailedPostStartHook: Stopping container {container['name']}")
            await self.runtime.stop_container(ident, 2)
            raise StartFailure("PostStartHookError", outcome.message, 1.0)

    async def _pull_secrets(self, pod: Object) -> list[Object]:
        names = {s["name"] for s in pod["spec"].get("imagePullSecrets") or () if s.get("name")}
        return list((await self.volumes.fetch(SECRETS, pod, names)).values()) if names else []

    async def _environment(
        self, pod: Object, container: Object, ips: list[str], folders: Mapping[str, Path]
    ) -> dict[str, str]:
        maps, secrets = _names(container)
        space = pod["metadata"]["namespace"]
        links = pod["spec"].get("enableServiceLinks", True)
        found_maps, found_secrets, services, kubernetes = await asyncio.gather(
            self.volumes.fetch(CONFIGMAPS, pod, maps),
            self.volumes.fetch(SECRETS, pod, secrets),
            self._services(space) if links else _nothing(),
            self._kubernetes(),
        )
        referred = Referred(found_maps, found_secrets, services, kubernetes, self.volumes.allocatable, folders)
        return environment(pod, container, ips, self.settings.ips, referred)

    async def _services(self, space: str) -> list[Object]:
        """The Services of a namespace; while the API is away, as they were when last asked for."""
        try:
            found = list((await self.client.list(SERVICES, space)).get("items") or ())
        except Disconnected:
            if space not in self.services:
                raise
            return self.services[space]
        keep = ("metadata", "spec")
        self.services[space] = [{k: s[k] for k in keep if k in s} for s in found] if len(found) <= _FEW else []
        return found

    async def _kubernetes(self) -> Object | None:
        try:
            self.kubernetes = await self.client.get(SERVICES, "kubernetes", "default")
        except NotFound:
            self.kubernetes = None
        except Disconnected:
            pass
        return self.kubernetes

    def _mounts(
        self,
        pod: Object,
        container: Object,
        folders: Mapping[str, Path],
        attempt: int,
        values: Mapping[str, str],
        ips: list[str],
    ) -> list[Object]:
        found = [self._mount(m, folders, values) for m in container.get("volumeMounts") or ()]
        taken = {m["container_path"] for m in found}
        base = self.settings.pod_dir(pod["metadata"]["uid"])
        if "/etc/hosts" not in taken:
            hosts = base / "etc-hosts"
            hosts.parent.mkdir(parents=True, exist_ok=True)
            hosts.write_text(self._hosts(pod, ips))
            hosts.chmod(0o644)
            found.append({"container_path": "/etc/hosts", "host_path": str(hosts)})
        path = container.get("terminationMessagePath") or "/dev/termination-log"
        log = message_file(self.settings, pod["metadata"]["uid"], container["name"], attempt)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch(exist_ok=True)
        log.chmod(0o666)
        found.append({"container_path": path, "host_path": str(log)})
        return found

    def _hosts(self, pod: Object, ips: list[str]) -> str:
        if not pod["spec"].get("hostNetwork"):
            return configs.hosts_file(pod, ips, self.settings.cluster_domain)
        try:
            own = Path("/etc/hosts").read_text()
        except OSError:
            own = ""
        return configs.host_network_hosts_file(pod, own)

    @staticmethod
    def _mount(mount: Object, folders: Mapping[str, Path], values: Mapping[str, str]) -> Object:
        root = folders.get(mount["name"])
        if root is None:
            raise VolumeFailure(f'volume "{mount["name"]}" is not mounted')
        if mount.get("recursiveReadOnly") == "Enabled":
            raise VolumeFailure(f'volume "{mount["name"]}": the runtime does not support recursive read-only mounts')
        inner = mount.get("subPath") or expand(mount.get("subPathExpr") or "", values)
        return {
            "container_path": mount["mountPath"],
            "host_path": str(sub_path(root, inner) if inner else root),
            "readonly": bool(mount.get("readOnly")),
            "propagation": cri.PROPAGATION.get(mount.get("mountPropagation") or "None", 0),
        }

    async def _check_user(self, pod: Object, container: Object, image: str) -> None:
        """runAsNonRoot: refuse what would run as root (pkg/kubelet/kuberuntime/security_context.go)."""
        of_pod, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
        if not own.get("runAsNonRoot", of_pod.get("runAsNonRoot")):
            return
        user = own.get("runAsUser", of_pod.get("runAsUser"))
        if user is not None:
            if user == 0:
                raise ConfigFailure("container's runAsUser breaks non-root policy")
            return
        found = await self.runtime.image_status(image) or {}
        name = found.get("username", "")
        if name and not name.isdigit():
            raise ConfigFailure(f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify")
        if not int(name or found.get("uid", {}).get("value", 0)):
            meta = pod["metadata"]
            who = f'(pod: "{meta["name"]}_{meta["namespace"]}({meta["uid"]})", container: {container["name"]})'
            raise ConfigFailure(f"container has runAsNonRoot and image will run as root {who}")

    @staticmethod
    def _target(container: Object, seen: Observed) -> str:
        """The container whose processes an ephemeral container is to see."""
        latest = seen.latest(container.get("targetContainerName") or "")
        return latest.id if latest is not None and latest.running else ""


def message_file(settings: NodeSettings, uid: str, name: str, attempt: int) -> Path:
    """Where the termination message of one try of a container is written."""
    return settings.pod_dir(uid) / "containers" / name / f"{attempt}-termination-log"


def _names(container: Object) -> tuple[set[str], set[str]]:
    """ConfigMaps and Secrets that a container's environment refers to."""
    maps, secrets = set(), set()
    for source in container.get("envFrom") or ():
        if "configMapRef" in source:
            maps.add(source["configMapRef"]["name"])
        if "secretRef" in source:
            secrets.add(source["secretRef"]["name"])
    for entry in container.get("env") or ():
        source = entry.get("valueFrom") or {}
        if "configMapKeyRef" in source:
            maps.add(source["configMapKeyRef"]["name"])
        if "secretKeyRef" in source:
            secrets.add(source["secretKeyRef"]["name"])
    return maps, secrets


async def _nothing() -> list[Object]:
    return []
