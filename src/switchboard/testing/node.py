"""A node for tests: a network namespace, a containerd of its own in it, an API server in this process, and our agent.

The test's own thread enters the namespace, so that probes and dials go where the agent's would; files are below one
folder in /run that goes when the tests are over.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from switchboard.api.identity import AUTHENTICATED, MASTERS, Identity
from switchboard.client import Client
from switchboard.client.resources import EVENTS, PODS
from switchboard.cluster import cni, containerd
from switchboard.cluster.config import ClusterConfig
from switchboard.cluster.loopback import Loopback
from switchboard.images import oci
from switchboard.images.build import build
from switchboard.node.agent import Agent
from switchboard.node.cleanup import remove_cgroups
from switchboard.node.observed import POD_UID
from switchboard.node.runtime import CriRuntime
from switchboard.node.settings import NodeSettings
from switchboard.testing.apiserver import ApiServer
from switchboard.testing.certificates import Authority
from switchboard.testing.host import Host
from switchboard.testing.waiting import wait_for

Object = dict[str, Any]
NODE_IP = "192.168.77.2"
BUSYBOX = "docker.io/library/busybox:latest"
PAUSE = "registry.k8s.io/pause:3.10"
_CLONE_NEWNET = 0x40000000


@contextmanager
def inside(path: str) -> Iterator[None]:
    """This thread in another network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before, open(path) as there:
        assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(before.fileno(), _CLONE_NEWNET) == 0


@dataclass(slots=True)
class Machine:
    """A namespace and the containerd in it."""

    host: Host
    config: ClusterConfig
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start containerd and wait until it answers."""
        self.config.containerd_socket.unlink(missing_ok=True)
        command = self.host.argv(["containerd", "--config", str(self.config.run / "containerd.toml")])
        with open(self.config.run / "containerd.log", "a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self.config.containerd_socket.exists, 20, what="containerd")

    def kill(self) -> None:
        """End containerd at once; containers go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)


@contextmanager
def runtime_host(images: Path) -> Iterator[Machine]:
    """A namespace with a running containerd that has the pause and busybox images."""
    with Host("sbt-node") as host:
        run = Path("/run") / host.name
        config = ClusterConfig(host.name, run / "state", run / "run", images)
        for folder in (config.state, config.run):
            folder.mkdir(parents=True)
        host.run("ip", "addr", "add", f"{NODE_IP}/32", "dev", "lo")
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        containerd.write(config, set())
        cni.write(config)
        machine = Machine(host, config)
        try:
            machine.start()
            _import_images(config)
            yield machine
        finally:
            if machine.process is not None:
                machine.kill()
            _kill_shims(config)
            for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
                if line.split()[1].startswith(str(run)):
                    subprocess.run(["umount", "-l", line.split()[1]], check=False)
            shutil.rmtree(run, ignore_errors=True)
            remove_cgroups(config.cgroup)


def _import_images(config: ClusterConfig) -> None:
    layout = oci.Layout(config.images)
    built = build(config.images, print)
    archive = config.run / "images.tar"
    with open(archive, "wb") as target:
        oci.write_archive(target, layout, [(name, built[name]) for name in (PAUSE, BUSYBOX)])
    done = subprocess.run(
        ["ctr", "-a", str(config.containerd_socket), "-n", "k8s.io", "images", "import", str(archive)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    archive.unlink()


def _kill_shims(config: ClusterConfig) -> None:
    """Shims outlive containerd; a test that failed in the middle may have left some."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"containerd-shim" in words[0] and str(config.containerd_socket).encode() in words:
                os.kill(int(entry.name), 9)


class Node:
    """A running node, and what tests do with it."""

    def __init__(self, api: ApiServer, settings: NodeSettings, authority: Authority) -> None:
        self.api, self.settings, self.authority = api, settings, authority
        self.client = Client(Loopback(api.app, Identity("admin", (MASTERS, AUTHENTICATED))))
        self.runtime = CriRuntime(str(settings.cri_socket))
        self.agent: Agent = None  # type: ignore[assignment]  # set by start
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the agent."""
        me = Identity(f"system:node:{self.settings.name}", ("system:nodes", AUTHENTICATED))
        self.agent = Agent(Client(Loopback(self.api.app, me)), self.settings)
        self._task = asyncio.ensure_future(self.agent.run())

    async def stop(self) -> None:
        """Stop the agent as a kill would: nothing is told to anybody."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def apply(self, name: str, *containers: Object, **spec: Any) -> Object:
        """A pod on this node; containers get busybox and no pull unless they say otherwise."""
        made = [{"name": "c", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", **c} for c in containers]
        meta = {"name": name, "namespace": "default", **spec.pop("metadata", {})}
        body = {"nodeName": self.settings.name, "terminationGracePeriodSeconds": 1, "containers": made, **spec}
        return await self.client.create(PODS, {"metadata": meta, "spec": body})

    async def pod(self, name: str) -> Object | None:
        """The pod now, or None."""
        found = (await self.client.list(PODS, "default", field_selector=f"metadata.name={name}"))["items"]
        return found[0] if found else None

    async def until(self, name: str, holds: Callable[[Object], Any], seconds: float = 30, what: str = "") -> Object:
        """The pod once something holds of it."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            pod = await self.pod(name)
            if pod is not None and holds(pod):
                return pod
            if self._task is not None and self._task.done():
                self._task.result()
            if asyncio.get_running_loop().time() > deadline:
                said = [f"{e['reason']}: {e['message']}" for e in await self.events(name)]
                raise AssertionError(f"{name} {what}: {pod and pod.get('status')}\n" + "\n".join(said))
            await asyncio.sleep(0.01)

    async def ready(self, name: str, seconds: float = 30) -> Object:
        """The pod once it is Ready."""
        return await self.until(name, lambda pod: condition(pod, "Ready") == "True", seconds, "is not Ready")

    async def phase(self, name: str, phase: str, seconds: float = 30) -> Object:
        """The pod once it is in a phase."""
        return await self.until(name, lambda pod: pod.get("status", {}).get("phase") == phase, seconds, f"not {phase}")

    async def gone(self, name: str, seconds: float = 30) -> None:
        """Return when the API has no such pod."""
        async with asyncio.timeout(seconds):
            while await self.pod(name) is not None:  # noqa: ASYNC110  # another process tells us nothing
                await asyncio.sleep(0.01)

    async def delete(self, name: str, **options: Any) -> None:
        """Delete it and wait until it is gone."""
        await self.client.delete(PODS, name, "default", options=options or None)
        await self.gone(name)

    async def nothing_left(self, uid: str, seconds: float = 15) -> None:
        """Return when neither the runtime nor the disk has anything of a pod."""
        async with asyncio.timeout(seconds):
            while await self.leftovers(uid):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def leftovers(self, uid: str) -> list[str]:
        """What the runtime and the disk still have of a pod."""
        items = [*await self.runtime.list_sandboxes(), *await self.runtime.list_containers()]
        found = [item["id"] for item in items if item.get("labels", {}).get(POD_UID) == uid]
        folders = [self.settings.pod_dir(uid), *self.settings.log_dir.glob(f"*_{uid}")]
        groups = list(Path("/sys/fs/cgroup").glob(f"*{self.settings.cgroup_parent}/*/pod{uid}"))
        return found + [str(folder) for folder in [*folders, *groups] if folder.exists()]

    async def events(self, name: str) -> list[Object]:
        """Events about a pod, in order."""
        found = (await self.client.list(EVENTS, "default"))["items"]
        mine = [e for e in found if e["involvedObject"].get("name") == name]
        return sorted(mine, key=lambda e: e["metadata"]["name"])

    async def sh(self, name: str, script: str, container: str = "c") -> str:
        """Run a script in a pod's container; its output. AssertionError when it fails."""
        pod = await self.pod(name)
        assert pod is not None
        ident = status_of(pod, container)["containerID"].removeprefix("containerd://")
        code, out, err = await self.runtime.exec(ident, ["sh", "-c", script], 10)
        assert code == 0, err.decode()
        return out.decode()

    async def log(self, name: str, container: str = "c", attempt: int = 0) -> str:
        """What a container wrote, without times."""
        pod = await self.pod(name)
        assert pod is not None
        folder = self.settings.pod_log_dir("default", name, pod["metadata"]["uid"])
        lines = (folder / container / f"{attempt}.log").read_text().splitlines()
        return "".join(line.split(" ", 3)[3] + "\n" for line in lines)


def condition(pod: Object, kind: str) -> str:
    """Status of a condition, "" when there is none."""
    found = [c for c in pod.get("status", {}).get("conditions") or () if c["type"] == kind]
    return str(found[0]["status"]) if found else ""


def status_of(pod: Object, name: str = "c") -> Object:
    """Status of a container; one that says nothing while the node has not reported."""
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    found = (s for kind in kinds for s in pod["status"].get(kind) or () if s["name"] == name)
    return next(found, {"name": name, "state": {"waiting": {"reason": ""}}, "lastState": {}, "restartCount": 0})


@cache
def signing_key() -> str:
    """A key that service account tokens are signed with."""
    key = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


container = status_of
