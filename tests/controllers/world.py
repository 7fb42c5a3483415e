"""A real API with controllers on it, and a node that runs pods as fast as they come (no container is started)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from switchboard.api.identity import LOOPBACK
from switchboard.client import Client, Informer
from switchboard.client.resources import NAMESPACES, NODES, PODS, Resource
from switchboard.cluster.loopback import Loopback
from switchboard.controllers.run import ControllerSettings, run_controllers
from switchboard.controllers.times import stamp
from switchboard.objects.errors import NotFound, StatusError
from switchboard.testing.apiserver import ApiServer

Object = dict[str, Any]


class World:
    """The cluster as a test sees it."""

    def __init__(self, api: ApiServer, client: Client, space: str) -> None:
        self.api, self.client, self.space = api, client, space
        self.pods = Informer[Object](client, PODS)
        self.ready: Callable[[Object], bool] = lambda pod: True
        self.hold_deleted = False
        self._ips = (f"10.244.{n // 250}.{n % 250 + 1}" for n in itertools.count())
        self._jobs: set[asyncio.Task[None]] = set()

    async def until(self, look: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait until `look` (a function or a coroutine function) gives something true."""
        last: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    last = look()
                    if asyncio.iscoroutine(last):
                        try:
                            last = await last
                        except (NotFound, KeyError, IndexError) as error:
                            last, problem = None, error
                            del problem
                    if last:
                        return last
                    await asyncio.sleep(0.003)
        except TimeoutError:
            raise AssertionError(f"not reached, last seen: {last}") from None

    async def get(self, res: Resource, name: str) -> Object:
        return await self.client.get(res, name, self.space if res.namespaced else None)

    async def list(self, res: Resource, **query: Any) -> list[Object]:
        found: list[Object] = (await self.client.list(res, self.space if res.namespaced else None, **query))["items"]
        return found

    async def create(self, res: Resource, obj: Object) -> Object:
        return await self.client.create(res, obj, self.space if res.namespaced else None)

    async def patch(self, res: Resource, name: str, patch: Any, **more: Any) -> Object:
        return await self.client.patch(res, name, patch, self.space if res.namespaced else None, **more)

    async def delete(self, res: Resource, name: str, **options: Any) -> None:
        await self.client.delete(res, name, self.space if res.namespaced else None, options=options or None)

    async def events(self, reason: str) -> list[str]:
        from switchboard.client.resources import EVENTS

        return [e["message"] for e in await self.list(EVENTS) if e["reason"] == reason]

    # The node

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            task = asyncio.get_running_loop().create_task(self._play(new))
            self._jobs.add(task)
            task.add_done_callback(self._jobs.discard)

    async def _play(self, pod: Object) -> None:
        meta, spec = pod["metadata"], pod["spec"]
        try:
            if meta.get("deletionTimestamp"):
                if not self.hold_deleted and spec.get("nodeName"):
                    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
                    await self.client.delete(PODS, meta["name"], meta["namespace"], options=options)
            elif not spec.get("nodeName") and not spec.get("schedulingGates"):
                target = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
                body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
                await self.client.create(PODS, body, meta["namespace"], name=meta["name"], subresource="binding")
            else:
                await self.set_ready(pod, self.ready(pod))
        except StatusError:
            pass

    async def set_ready(self, pod: Object, ready: bool, phase: str = "Running", **status: Any) -> None:
        """What a kubelet would say of a pod; nothing is written when it says so already."""
        old = pod.get("status") or {}
        now = [c["status"] for c in old.get("conditions") or () if c["type"] == "Ready"]
        want = "True" if ready else "False"
        if (now == [want] and old.get("phase") == phase and not status) or old.get("phase") in ("Succeeded", "Failed"):
            return
        import time

        ip = old.get("podIP") or next(self._ips)
        condition = {"type": "Ready", "status": want, "lastTransitionTime": stamp(time.time())}
        body = {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition], **status}
        meta = pod["metadata"]
        patch = {"status": body, "metadata": {"uid": meta["uid"]}}
        await self.client.patch(PODS, meta["name"], patch, meta["namespace"], kind="strategic", subresource="status")


@asynccontextmanager
async def world(
    settings: ControllerSettings | None = None, *, node: bool = True, wire: bool = False
) -> AsyncIterator[World]:
    """A cluster with one node and a namespace `t`; `node=False` leaves pods to the test, `wire` speaks HTTP."""
    async with ApiServer() as api:
        client = Client.from_kubeconfig(api.kubeconfig()) if wire else Client(Loopback(api.app, LOOPBACK))
        made = World(api, client, "t")
        await client.create(NAMESPACES, {"metadata": {"name": "t"}})
        labels = {"kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "z1"}
        await client.create(NODES, {"metadata": {"name": "n1", "labels": labels}})
        if node:
            made.pods.on_change(made._pod_changed)
        tasks = [asyncio.create_task(run_controllers(client, settings)), asyncio.create_task(made.pods.run())]
        try:
            await asyncio.wait_for(made.pods.synced.wait(), 5)
            yield made
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()
            for result in results:
                if isinstance(result, Exception):
                    raise result


def template(app: str = "web", **spec: Any) -> Object:
    """A pod template with one container."""
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}
