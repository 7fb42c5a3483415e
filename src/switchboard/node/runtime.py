"""The container runtime as coroutines: CRI v1 and containerd's events over its unix socket.

Every failure is a `RuntimeFailure` with the gRPC status's name; a runtime that cannot be reached is `RuntimeGone`.
One HTTP/2 connection carries all calls; it is opened again by the next call after it was lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final

from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError

from switchboard.node import shims
from switchboard.node.cri import CREATED, RUNNING, codec
from switchboard.node.places import Places

Message = dict[str, Any]

log = logging.getLogger(__name__)

_SERVICE: Final = "/runtime.v1.RuntimeService/"
_IMAGES: Final = "/runtime.v1.ImageService/"
_EVENTS: Final = "/containerd.services.events.v1.Events/Subscribe"
_SNAPSHOTS: Final = "/containerd.services.snapshots.v1.Snapshots/"
_TASKS: Final = "/containerd.services.tasks.v1.Tasks/"
_OWN: Final = {"containerd-namespace": "k8s.io"}  # containerd's own services keep what CRI makes under this name
_CALL_TIMEOUT: Final = 120.0  # upstream's runtime-request-timeout is two minutes


class RuntimeFailure(Exception):
    """The runtime refused: `code` is the gRPC status name (NOT_FOUND, UNKNOWN, DEADLINE_EXCEEDED ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"rpc error: code = {_go_name(self.code)} desc = {self.message}"


class RuntimeGone(RuntimeFailure):
    """The runtime could not be reached, or went away during the call."""

    def __init__(self, message: str) -> None:
        super().__init__("UNAVAILABLE", message)


def _go_name(code: str) -> str:
    """NOT_FOUND -> NotFound, as Go's gRPC prints it."""
    return "".join(part.capitalize() for part in code.split("_"))


async def _gone_is_fine(calling: Awaitable[Message]) -> None:
    try:
        await calling
    except RuntimeFailure as error:
        if error.code != "NOT_FOUND":
            raise


class Raw(CodecBase):
    """Messages are bytes already: our own codec makes them."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: object) -> bytes:
        """As it is."""
        return message

    def decode(self, data: bytes, message_type: object) -> bytes:
        """As it is."""
        return data


class CriRuntime:
    """The runtime behind a unix socket."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._channel: Channel | None = None
        self._methods: dict[str, UnaryUnaryMethod[bytes, bytes]] = {}
        self._places = Places(len(os.sched_getaffinity(0)))

    def _open(self) -> Channel:
        if self._channel is None:
            self._channel = Channel(path=self._socket, codec=Raw())
            self._methods.clear()
        return self._channel

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    async def call(
        self,
        method: str,
        request: Message | None = None,
        *,
        seconds: float | None = _CALL_TIMEOUT,
        images: bool = False,
    ) -> Message:
        """One call by its CRI name (`RunPodSandbox`); request and answer are dicts. Raises RuntimeFailure."""
        path = (_IMAGES if images else _SERVICE) + method
        return await self._unary(path, (f"{method}Request", f"{method}Response"), request or {}, seconds)

    async def _unary(
        self,
        path: str,
        types: tuple[str, str],
        request: Message,
        seconds: float | None = _CALL_TIMEOUT,
        metadata: dict[str, str] | None = None,
    ) -> Message:
        """One call of any of the runtime's services: (request's, answer's) message types."""
        channel = self._open()
        stub = self._methods.get(path)
        if stub is None:
            stub = self._methods[path] = UnaryUnaryMethod(channel, path, bytes, bytes)
        try:
            answer = await stub(codec().encode(types[0], request), timeout=seconds, metadata=metadata)
        except GRPCError as error:
            raise RuntimeFailure(error.status.name, error.message or "") from error
        except TimeoutError as error:
            raise RuntimeFailure("DEADLINE_EXCEEDED", "context deadline exceeded") from error
        except (OSError, StreamTerminatedError) as error:
            raise RuntimeGone(str(error)) from error
        return codec().decode(types[1], answer or b"")

    async def events(self, *topics: str) -> AsyncIterator[tuple[str, Message]]:
        """containerd's own events of these topics, as (topic, event). Raises RuntimeGone when the stream ends."""
        # A connection of its own: the stream never ends, and closing it must not disturb calls.
        channel = Channel(path=self._socket, codec=Raw())
        filters = [f'topic=="{topic}"' for topic in topics]
        try:
            async with UnaryStreamMethod(channel, _EVENTS, bytes, bytes).open() as stream:
                await stream.send_message(codec().encode("SubscribeRequest", {"filters": filters}), end=True)
                yield "", {}  # subscribed: from here on nothing is missed
                while (data := await stream.recv_message()) is not None:
                    envelope = codec().decode("Envelope", data)
                    event = envelope.get("event", {})
                    name = event.get("type_url", "").rpartition(".")[2]
                    if name in codec():
                        yield envelope.get("topic", ""), codec().decode(name, event.get("value", b""))
        except (GRPCError, OSError, StreamTerminatedError) as error:
            raise RuntimeGone(str(error)) from error
        finally:
            channel.close()

    # The calls, in the words of the rest of this package

    async def version(self) -> Message:
        """Name and version of the runtime."""
        return await self.call("Version", {"version": "v1"}, seconds=5)

    async def conditions(self) -> dict[str, Message]:
        """RuntimeReady and NetworkReady by name."""
        status = await self.call("Status", seconds=10)
        return {c["type"]: c for c in status.get("status", {}).get("conditions", []) if "type" in c}

    async def run_sandbox(self, config: Message, handler: str = "") -> str:
        """Make and start a sandbox (its network too); its id."""
        request = {"config": config, "runtime_handler": handler}
        async with self._places.taken():
            answer = await self.call("RunPodSandbox", request, seconds=240)
        return str(answer["pod_sandbox_id"])

    async def stop_sandbox(self, id_: str) -> None:
        """Stop everything in a sandbox and give back its network; fine when it is gone."""
        await _gone_is_fine(self.call("StopPodSandbox", {"pod_sandbox_id": id_}))

    async def remove_sandbox(self, id_: str) -> None:
        """Forget a stopped sandbox and its containers; fine when it is gone."""
        await _gone_is_fine(self.call("RemovePodSandbox", {"pod_sandbox_id": id_}))
        shims.forget(self._socket, id_)

    async def sandbox_status(self, id_: str) -> Message:
        """PodSandboxStatus."""
        status: Message = (await self.call("PodSandboxStatus", {"pod_sandbox_id": id_})).get("status", {})
        return status

    async def list_sandboxes(self, labels: dict[str, str] | None = None) -> list[Message]:
        """Sandboxes that carry the labels (all without), whatever their state."""
        request = {"filter": {"label_selector": labels}} if labels else None
        return list((await self.call("ListPodSandbox", request)).get("items", []))

    async def create_container(self, sandbox: str, config: Message, sandbox_config: Message) -> str:
        """Create a container in a sandbox; its id."""
        request = {"pod_sandbox_id": sandbox, "config": config, "sandbox_config": sandbox_config}
        return str((await self.call("CreateContainer", request))["container_id"])

    async def start_container(self, id_: str) -> None:
        """Start a created container."""
        await self.call("StartContainer", {"container_id": id_})

    async def stop_container(self, id_: str, grace: float) -> None:
        """Stop signal, then SIGKILL after `grace` seconds; fine when it is gone."""
        request = {"container_id": id_, "timeout": max(0, round(grace))}
        await _gone_is_fine(self.call("StopContainer", request, seconds=grace + _CALL_TIMEOUT))

    async def remove_container(self, id_: str) -> None:
        """Forget a container; fine when it is gone."""
        await _gone_is_fine(self.call("RemoveContainer", {"container_id": id_}))

    async def container_status(self, id_: str) -> Message:
        """ContainerStatus."""
        status: Message = (await self.call("ContainerStatus", {"container_id": id_})).get("status", {})
        return status

    async def is_running(self, id_: str) -> bool:
        """Whether a container runs now; false when there is none of that id."""
        try:
            return bool((await self.container_status(id_)).get("state", CREATED) == RUNNING)
        except RuntimeFailure as error:
            if error.code == "NOT_FOUND":
                return False
            raise

    async def pid(self, id_: str) -> int:
        """Process id of a container's first process; 0 when the runtime does not say, or it is gone."""
        try:
            answer = await self.call("ContainerStatus", {"container_id": id_, "verbose": True})
            return int(json.loads(answer["info"]["info"])["pid"])
        except (RuntimeFailure, ValueError, KeyError, TypeError):
            return 0

    async def list_containers(self, labels: dict[str, str] | None = None) -> list[Message]:
        """Containers that carry the labels (all without), whatever their state."""
        request = {"filter": {"label_selector": labels}} if labels else None
        return list((await self.call("ListContainers", request)).get("containers", []))

    async def update_container(self, id_: str, resources: Message) -> None:
        """Change a running container's LinuxContainerResources."""
        await self.call("UpdateContainerResources", {"container_id": id_, "linux": resources})

    async def reopen_log(self, id_: str) -> None:
        """Have the runtime write to the log's path anew, after it was renamed."""
        await self.call("ReopenContainerLog", {"container_id": id_})

    async def exec(self, id_: str, command: list[str], seconds: float = 0) -> tuple[int, bytes, bytes]:
        """Run a command in a container to its end: exit code, stdout, stderr. 0 s means no limit."""
        request = {"container_id": id_, "cmd": command, "timeout": int(seconds)}
        answer = await self.call("ExecSync", request, seconds=seconds + 5 if seconds else None)
        return answer.get("exit_code", 0), answer.get("stdout", b""), answer.get("stderr", b"")

    async def image_status(self, image: str) -> Message | None:
        """The image as the runtime has it, or None."""
        answer = await self.call("ImageStatus", {"image": {"image": image}}, images=True)
        return answer.get("image")

    async def image_layers(self, image: str, key: str) -> list[Message]:
        """Mounts (type, source, options) that show the files of an image that is here, read-only. They last as long
        as the image. Raises RuntimeFailure.
        """
        verbose = {"image": {"image": image}, "verbose": True}
        info = json.loads((await self.call("ImageStatus", verbose, images=True))["info"]["info"])
        config = json.loads((await self.call("Status", {"verbose": True}))["info"]["config"])
        snapshotter = config["containerd"]["snapshotter"]
        view = {"snapshotter": snapshotter, "key": key}
        await self._remove_snapshot(view)  # somebody may have died before removing it
        request, types = {**view, "parent": info["chainID"]}, ("ViewSnapshotRequest", "ViewSnapshotResponse")
        mounts = (await self._unary(_SNAPSHOTS + "View", types, request, metadata=_OWN)).get("mounts", [])
        await self._remove_snapshot(view)  # its mounts show folders of the image's own; it holds nothing itself
        return list(mounts)

    async def _remove_snapshot(self, which: Message) -> None:
        types = ("RemoveSnapshotRequest", "Empty")
        await _gone_is_fine(self._unary(_SNAPSHOTS + "Remove", types, which, metadata=_OWN))

    async def signal(self, id_: str, number: int) -> None:
        """Send a signal to a container's first process; fine when it is gone."""
        request = {"container_id": id_, "signal": number}
        await _gone_is_fine(self._unary(_TASKS + "Kill", ("KillRequest", "Empty"), request, metadata=_OWN))

    async def list_images(self) -> list[Message]:
        """All images."""
        return list((await self.call("ListImages", images=True)).get("images", []))

    async def pull_image(self, image: str, auth: Message | None = None, sandbox: Message | None = None) -> str:
        """Pull; the id of the image."""
        request = {"image": {"image": image}, "auth": auth, "sandbox_config": sandbox}
        async with self._places.taken(wait=False):  # all that need the image wait for it
            answer = await self.call("PullImage", request, images=True, seconds=None)
        return str(answer.get("image_ref", ""))

    async def container_stats(self) -> list[Message]:
        """CPU and memory of all running containers."""
        return list((await self.call("ListContainerStats")).get("stats", []))

    async def ready(self, seconds: float) -> Message:
        """Wait until the runtime answers, and its version. Raises RuntimeGone after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                return await self.version()
            except RuntimeFailure as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise RuntimeGone(f"{self._socket}: {error.message}") from error
                self.close()
            await asyncio.sleep(0.01)
