"""The node's own objects: its Node, kept true, and its Lease, by which others see that it lives.

States: waiting for the runtime -> registered (Node exists with our status) -> reporting: the status is written when it
says something new, or every five minutes; the Lease every ten seconds.
Sources: pkg/kubelet/kubelet_node_status.go, component-helpers/apimachinery/lease.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any, Final

from switchboard.client import Client, Disconnected, EventRecorder
from switchboard.client.resources import LEASES, NODES
from switchboard.node import machine
from switchboard.node.machine import Machine
from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.node.settings import NodeSettings
from switchboard.objects.errors import AlreadyExists, NotFound, StatusError

Object = dict[str, Any]

log = logging.getLogger(__name__)

_BEAT: Final = 10.0
_REPORT: Final = 300.0
_LEASE_SECONDS: Final = 40
_LEASE_NAMESPACE: Final = "kube-node-lease"
_READY_WAIT: Final = 0.02  # while not ready the runtime is asked often: a start should not take ten seconds


class Registration:
    """One node's Node and Lease. `memory` (bytes) and `allocatable` are set before `registered`."""

    def __init__(
        self, client: Client, runtime: CriRuntime, settings: NodeSettings, recorder: EventRecorder | None = None
    ) -> None:
        self.registered = asyncio.Event()
        self.allocatable: dict[str, str] = {}
        self.memory = 0
        self.node: Object = {}
        self._client, self._runtime, self._settings = client, runtime, settings
        self._events = recorder or EventRecorder(client, "kubelet", host=settings.name)
        self._machine: Machine | None = None
        self._reported = 0.0  # when the status was last written (monotonic)
        self._ready: bool | None = None
        self._port = settings.port

    async def run(self) -> None:
        """Register, then report for ever."""
        await self._start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report_forever())
            group.create_task(self._renew_forever())

    async def _start(self) -> None:
        version = await self._runtime.ready(60.0)
        name = version.get("runtime_name", "containerd")
        self._machine = machine.look(self._settings.root_dir, f"{name}://{version.get('runtime_version', '')}")
        self.memory = self._machine.memory
        _, self.allocatable = machine.capacity(self._machine, self._settings)
        self._say("Normal", "Starting", "Starting kubelet.")
        await self._until_done(self._register)
        self.registered.set()
        for reason in ("NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"):
            self._say("Normal", reason, f"Node {self._settings.name} status is now: {reason}")
        self._say("Normal", "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")

    async def _until_done(self, work: Any) -> None:
        pause = 0.02
        while True:
            try:
                await work()
                return
            except (StatusError, Disconnected) as error:
                log.log(logging.WARNING if pause > 1 else logging.DEBUG, "node %s: %s", self._settings.name, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _status(self, old: Object) -> Object:
        """The status now."""
        assert self._machine is not None
        conditions: dict[str, Object] | None = None
        images: list[Object] = []
        try:
            conditions, images = await asyncio.gather(self._runtime.conditions(), self._runtime.list_images())
        except RuntimeFailure as error:
            log.warning("the runtime's status: %s", error)
        return machine.status(self._settings, self._machine, conditions, images, old, self._port, time.time())

    async def _register(self) -> None:
        """Make the Node, or take over the one there is."""
        assert self._machine is not None
        settings = self._settings
        labels = machine.labels(settings, self._machine)
        spec: Object = (
            {"podCIDR": settings.pod_cidr, "podCIDRs": [settings.pod_cidr, *settings.more_pod_cidrs]}
            if settings.pod_cidr
            else {}
        )
        body: Object = {
            "metadata": {"name": settings.name, "labels": labels, "annotations": dict(machine.ANNOTATIONS)},
            "spec": spec,
            "status": await self._status({}),
        }
        try:
            self.node = await self._client.create(NODES, body)
            if (self.node.get("status") or {}).get("conditions"):
                self._written(body["status"])
                return
        except AlreadyExists:
            self.node = await self._client.get(NODES, settings.name)
            patch: Object = {"metadata": {"labels": labels, "annotations": dict(machine.ANNOTATIONS)}}
            if spec and not (self.node.get("spec") or {}).get("podCIDR"):
                patch["spec"] = spec
            self.node = await self._client.patch(NODES, settings.name, patch, kind="strategic")
        await self._write(await self._status(self.node.get("status") or {}))

    async def _write(self, status: Object) -> None:
        patch = {"status": status_patch(status)}
        self.node = await self._client.patch(NODES, self._settings.name, patch, kind="strategic", subresource="status")
        self._written(status)

    def _written(self, status: Object) -> None:
        self._reported = time.monotonic()
        ready = next((c["status"] == "True" for c in status["conditions"] if c["type"] == "Ready"), False)
        if ready != self._ready:
            reason = "NodeReady" if ready else "NodeNotReady"
            self._ready = ready
            self._say("Normal", reason, f"Node {self._settings.name} status is now: {reason}")

    async def _report_forever(self) -> None:
        while True:
            await asyncio.sleep(_BEAT if self._ready else _READY_WAIT)
            try:
                await self._report()
            except (StatusError, Disconnected) as error:
                log.debug("node status: %s", error)
                await asyncio.sleep(1)

    async def _report(self) -> None:
        try:
            self.node = await self._client.get(NODES, self._settings.name)
        except NotFound:
            await self._register()  # somebody deleted it: we are still here
            return
        old = self.node.get("status") or {}
        new = await self._status(old)
        said = machine.comparable(new) == machine.comparable(old)
        if not said or time.monotonic() - self._reported > _REPORT:
            await self._write(new)

    async def _renew_forever(self) -> None:
        lease: Object | None = None
        while True:
            try:
                lease = await self._renew(lease)
            except (StatusError, Disconnected) as error:
                log.debug("node lease: %s", error)
                lease = None
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(_BEAT)

    async def _renew(self, lease: Object | None) -> Object:
        """Write the Lease once more; from the last answer, so that usually one request does it."""
        name = self._settings.name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        if lease is None:
            try:
                lease = await self._client.get(LEASES, name, _LEASE_NAMESPACE)
            except NotFound:
                owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self.node["metadata"]["uid"]}
                meta = {"name": name, "namespace": _LEASE_NAMESPACE, "ownerReferences": [owner]}
                return await self._client.create(LEASES, {"metadata": meta, "spec": spec})
        return await self._client.update(LEASES, {**lease, "spec": {**(lease.get("spec") or {}), **spec}})

    def _say(self, type_: str, reason: str, message: str) -> None:
        # `kubectl describe node` finds a node's events by this: kubelet uses the name for the UID.
        about = {"kind": "Node", "name": self._settings.name, "uid": self._settings.name, "apiVersion": "v1"}
        self._events.event(about, type_, reason, message)


def status_patch(status: Object) -> Object:
    """A Node's status as a strategic patch. Addresses would be merged by their type, and two of one type become one, so
    they are replaced (as kubelet does: fixupPatchForNodeStatusAddresses). Pure."""
    return {**status, "addresses": [*status["addresses"], {"$patch": "replace"}]}
