"""The node's agent: one worker for each pod that is bound here, told of the API's changes and of the runtime's exits.

Start order (`run`): runtime up -> registration -> what the runtime still has -> pods of the API -> orphans go.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from switchboard.client import Client, EventRecorder, Informer
from switchboard.client.resources import PODS
from switchboard.node import cri
from switchboard.node.cleanup import pods_with_cgroups, remove_cgroups, remove_files
from switchboard.node.making import Maker
from switchboard.node.observed import POD_UID, Observed
from switchboard.node.pulls import Images
from switchboard.node.register import Registration
from switchboard.node.rotation import rotate_forever
from switchboard.node.runtime import CriRuntime, RuntimeFailure, RuntimeGone
from switchboard.node.server import NodeServer
from switchboard.node.settings import NodeSettings
from switchboard.node.volumes import Volumes
from switchboard.node.watching import Watching
from switchboard.node.worker import Drain, PodWorker

Object = dict[str, Any]
log = logging.getLogger(__name__)

_ORPHANS = 60.0  # seconds between looks for what nobody owns
_RELIST = 10.0  # seconds: for an exit that no event told


class Agent:
    """The kubelet's job on one node; `run()` works until cancelled. Containers go on without it."""

    def __init__(self, client: Client, settings: NodeSettings, *, drain: Drain | None = None) -> None:
        self._client, self._settings, self._drain = client, settings, drain or self._linger
        self._runtime = CriRuntime(str(settings.cri_socket))
        self._recorder = EventRecorder(client, "kubelet", host=settings.name)
        self._volumes = Volumes(client, settings)
        self._images = Images(self._runtime, settings.root_dir / "image_manager")
        self._maker = Maker(client, self._runtime, settings, self._images, self._volumes, Watching(client))
        self._pods: Informer[Object] = Informer(client, PODS, field_selector=f"spec.nodeName={settings.name}")
        self.server = NodeServer(self._runtime, settings, self)
        self._workers: dict[str, PodWorker] = {}  # by UID
        self._tasks: set[asyncio.Task[None]] = set()

    async def _linger(self, pod: Object) -> None:
        """Give those who route to a ready pod a moment to hear that it goes: it costs nobody a request then.

        Deletion and its endpoints are told at the same time; they need some milliseconds, its signal would need none.
        """
        ready = [c for c in (pod.get("status") or {}).get("conditions") or () if c["type"] == "Ready"]
        if ready and ready[0]["status"] == "True":
            await asyncio.sleep(self._settings.drain_seconds)

    # What the node's server asks

    def pod(self, namespace: str, name: str) -> Object | None:
        """The pod of that name on this node."""
        return self._pods.get(namespace, name)

    def pods(self) -> list[Object]:
        """Every pod of this node."""
        return list(self._pods.items())

    def seen(self, uid: str) -> Observed | None:
        """What the runtime had of a pod when it was last asked."""
        worker = self._workers.get(uid)
        return worker.seen if worker is not None else None

    async def run(self) -> None:
        """Take up what is there and keep it as the API wants it."""
        await self._runtime.ready(60)
        registration = Registration(self._client, self._runtime, self._settings, self._recorder)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(registration.run())
                await registration.registered.wait()
                self._volumes.allocatable, self._maker.memory = registration.allocatable, registration.memory
                self._maker.room.allocatable = registration.allocatable
                self._maker.node = lambda: registration.node
                group.create_task(self.server.run())
                self._pods.on_change(self._changed)
                group.create_task(self._pods.run())
                group.create_task(self._follow_exits())
                group.create_task(rotate_forever(self._runtime, self._settings))
                await self._pods.synced.wait()
                group.create_task(self._orphans_forever())
        finally:
            for task in list(self._tasks):
                task.cancel()
            self._maker.watching.close()
            self._runtime.close()

    async def _orphans_forever(self) -> None:
        while True:
            try:
                await self._remove_orphans()
                await self._images.prune()
            except RuntimeFailure as error:
                log.warning("orphans: %s", error)
            await asyncio.sleep(_ORPHANS)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or new["metadata"]["uid"] != old["metadata"]["uid"]):
            gone = self._workers.get(old["metadata"]["uid"])
            if gone is not None:
                gone.remove()
        if new is None:
            return
        uid = new["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is not None:
            worker.update(new)
            return
        worker = self._workers[uid] = PodWorker(
            new, self._client, self._runtime, self._settings, self._maker, self._recorder, self._drain
        )
        task = asyncio.ensure_future(worker.run())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(uid, done))

    def _finished(self, uid: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._workers.pop(uid, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("the worker of pod %s failed", uid, exc_info=task.exception())

    async def _follow_exits(self) -> None:
        """Wake the pod whose container ended; when the runtime was away, wake all."""
        while True:
            relist = asyncio.ensure_future(self._relist())
            try:
                async for _, event in self._runtime.events("/tasks/exit"):
                    self._exited(event)
            except RuntimeGone as why:
                log.warning("the runtime's events broke off: %s", why)
            finally:
                relist.cancel()
            await asyncio.sleep(0.2)
            for worker in self._workers.values():
                worker.wake()

    def _exited(self, event: Object) -> None:
        ident = event.get("container_id", "")
        if ident and event.get("id") == ident:  # else: the stream's first sign of life, or a command in a container
            task = asyncio.ensure_future(self._wake_owner(ident))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _wake_owner(self, ident: str) -> None:
        """Wake the worker of a container or sandbox that ended, once the runtime says so, too.

        The runtime handles the same event that we were told of, and what it says changes a moment later.
        """
        pause = 0.002
        try:
            while pause < 2.0:
                uid, ended = await self._state(ident)
                worker = self._workers.get(uid)
                if worker is None:
                    return
                if ended:
                    worker.wake()
                    return
                await asyncio.sleep(pause)
                pause *= 2
        except RuntimeFailure as error:
            log.debug("%s ended: %s", ident, error)

    async def _state(self, ident: str) -> tuple[str, bool]:
        """(UID of its pod, whether it has ended) of a container or sandbox. Raises RuntimeFailure."""
        try:
            status = await self._runtime.container_status(ident)
            ended = status.get("state", cri.CREATED) == cri.EXITED
        except RuntimeFailure as error:
            if error.code != "NOT_FOUND":
                raise
            status = await self._runtime.sandbox_status(ident)
            ended = status.get("state", cri.SANDBOX_READY) != cri.SANDBOX_READY
        return (status.get("labels") or {}).get(POD_UID, ""), ended

    async def _relist(self) -> None:
        """Compare running containers with what the workers believe, now and then."""
        while True:
            await asyncio.sleep(_RELIST)
            try:
                states = {c["id"]: c.get("state", 0) for c in await self._runtime.list_containers()}
            except RuntimeFailure:
                continue
            for worker in list(self._workers.values()):
                for tries in worker.seen.containers.values():
                    if any(states.get(c.id, -1) != c.state for c in tries[:1]):
                        worker.wake()

    async def _remove_orphans(self) -> None:
        """What is left of pods that the API does not have: they went while nobody looked."""
        for sandbox in await self._runtime.list_sandboxes():
            uid = (sandbox.get("labels") or {}).get(POD_UID, "")
            if uid not in self._workers:
                log.info("removing the sandbox of pod %s, which is no more", uid)
                await self._runtime.stop_sandbox(sandbox["id"])
                await self._runtime.remove_sandbox(sandbox["id"])
        for folder in _folders(self._settings.root_dir / "pods"):
            if folder.name not in self._workers:
                self._volumes.teardown(folder.name)
        for uid, group in pods_with_cgroups(self._settings.cgroup_parent).items():
            if uid not in self._workers:
                remove_cgroups(group)
        for folder in _folders(self._settings.log_dir):
            if folder.name.rpartition("_")[2] not in self._workers:
                remove_files(folder)


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
