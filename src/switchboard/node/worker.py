"""One pod on this node: observe, report, decide, act, wait; until it is gone.

States: running (the plan says what to do) -> terminating (deleted: endpoints are told first by `Ready=False`, hooks and
signals follow, then the API object goes) -> gone (nothing is left on the node). Each turn starts from what the runtime
has, so a turn may fail, or this process may die, at any point.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from switchboard.client import Client, Disconnected, EventRecorder
from switchboard.client.resources import PODS
from switchboard.node import configs
from switchboard.node.changes import matters, urgent
from switchboard.node.cleanup import remove_cgroups, remove_files
from switchboard.node.lost import told_of
from switchboard.node.making import Maker, StartFailure
from switchboard.node.observed import Observed
from switchboard.node.observing import Observer
from switchboard.node.payload import VolumeFailure, shows
from switchboard.node.plan import Facts, Plan, decide, specs
from switchboard.node.podevents import PodEvents
from switchboard.node.podgroups import PodGroup
from switchboard.node.probes import Probes
from switchboard.node.pulls import PullFailure
from switchboard.node.resizing import Resizer
from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.node.settings import NodeSettings
from switchboard.node.standing import Standing
from switchboard.node.status import OWN, Circumstances, pod_status
from switchboard.node.stopping import Stopping
from switchboard.node.telling import Teller
from switchboard.node.tries import Tries
from switchboard.objects.errors import Conflict, NotFound, StatusError

Object = dict[str, Any]
log = logging.getLogger(__name__)

Drain = Callable[[Object], Awaitable[None]]  # returns when nobody is routed to the pod any more (or in bounded time)

_MOMENT = 0.05  # seconds that the report of a start waits for ports to be listened on
_SETTLE = 0.3  # seconds in which a sandbox that dies has done so
_LAG = 0.1  # seconds until a turn for labels alone: it asks the runtime, and this process has their Services to change
_RESYNC = 30.0  # seconds between turns without a cause: for what no event tells, and to refresh volumes


class PodWorker:
    """Drives one pod; `wake` it after anything it should look at. `run` returns when nothing of it is left here."""

    def __init__(
        self,
        pod: Object,
        client: Client,
        runtime: CriRuntime,
        settings: NodeSettings,
        maker: Maker,
        recorder: EventRecorder,
        drain: Drain | None = None,
    ) -> None:
        self.pod = pod
        self.seen = Observed()
        self.removed = False  # from the API
        self._client, self._runtime, self._settings, self._maker = client, runtime, settings, maker
        self._drain = drain
        self._events = PodEvents(recorder, lambda: self.pod)
        self._say = self._events.say
        self._wake = asyncio.Event()
        self._probes = Probes(runtime, self._wake.set, self._events.of_probe, settings.listen_seconds)
        self._tries = Tries(pod)
        self._stopping = Stopping(runtime, settings.ip, lambda: self.seen, self._grace, self._say)
        self._resizer = Resizer(pod, runtime, maker.room, self.wake, self._say)
        self._group = PodGroup(settings, maker.classes)
        self._allocated = pod  # with the resources it has been allocated
        self._observer, self._teller = Observer(runtime, settings), Teller(client, pod)
        self._folders: dict[str, Path] = {}
        self._turn: asyncio.Task[float | None] | None = None
        self._refreshed = 0.0
        self._just_looked = False  # the last step of a plan ended with a look
        self._stale = False  # an object that volumes are filled from has changed
        begun = bool(self._teller.told.get("startTime"))  # under whoever was here before
        self._standing = Standing(client, runtime, settings, maker.room, maker.node, self._say, begun=begun)
        if begun and not self._over:
            self._resizer.enter(pod)

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return str(self.pod["metadata"]["uid"])

    @property
    def deleting(self) -> bool:
        """Whether the pod is to go."""
        return self.removed or bool(self.pod["metadata"].get("deletionTimestamp"))

    def wake(self) -> None:
        """Something happened: look now."""
        self._wake.set()

    def update(self, pod: Object) -> None:
        """The API has a newer version of the pod."""
        before, was = self.pod, self.deleting
        self.pod = pod
        if not was and self.deleting:
            self._interrupt()
        self._tries.update(pod)
        was_seen, to_see = matters(before), matters(pod)
        if urgent(was_seen, to_see):
            self._wake.set()
        elif was_seen != to_see:
            self._stale = self._stale or shows(pod, "metadata.labels", "metadata.annotations")
            asyncio.get_running_loop().call_later(_LAG, self._wake.set)

    def remove(self) -> None:
        """The API does not have the pod any more."""
        self.removed = True
        self._resizer.close()
        self._interrupt()
        self._wake.set()

    def _interrupt(self) -> None:
        """Leave off whatever a turn is at (a long pull, say): the pod is to go."""
        if self._turn is not None:
            self._turn.cancel()

    async def run(self) -> None:
        """Turn after turn until the pod is gone."""
        try:
            while True:
                self._wake.clear()
                pause = await self._guarded_turn()
                if pause is None:
                    return
                try:
                    await asyncio.wait_for(self._wake.wait(), pause)
                except TimeoutError:
                    pass
        finally:
            self._probes.close()
            self._maker.watching.leave(self.uid)
            self._maker.images.forget(self.uid)
            self._resizer.close()
            self._teller.close()

    async def _guarded_turn(self) -> float | None:
        """One turn; None when the pod is gone, else seconds until the next one without a cause."""
        self._turn = asyncio.ensure_future(self._terminate() if self.deleting else self._live())
        try:
            return await self._turn
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                self._turn.cancel()
                raise
            return 0.0
        except (RuntimeFailure, Disconnected, StatusError, OSError) as why:
            log.warning("pod %s/%s: %s", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"], why)
            return 1.0
        except Exception:
            log.exception("pod %s/%s", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"])
            return 5.0
        finally:
            self._turn = None

    # -- a pod that lives ---------------------------------------------------------------------------------------------

    async def _live(self) -> float | None:
        await self._observe()
        if await self._standing.check(self.pod, self.seen, self._teller.told):
            self._resizer.enter(self.pod)
        if not self._over:
            self._allocated = self._resizer.allocate(self.pod)
        sandbox = self.seen.sandbox.id if self.seen.sandbox is not None else ""
        self._group.widen(self._allocated, sandbox)
        self._probes.doomed.update(await self._resizer.follow(self._allocated, self.seen, self._maker.memory))
        self._group.settle(self._allocated, sandbox)
        self._report()
        plan = decide(self._allocated, self.seen, self._facts())
        pause = _RESYNC if plan.again is None else min(plan.again + 0.01, _RESYNC)
        self._events.held(plan, self._tries.errors)
        if plan.kill or plan.new_sandbox or plan.stop_sandbox or plan.start or plan.restart_all:
            self._just_looked = False
            pause = min(pause, await self._carry_out(plan))
            if not self._just_looked:
                await self._observe()
            await self._probes.listening(_MOMENT)
            self._report()
            rest = decide(self._allocated, self.seen, self._facts())
            if rest.new_sandbox:
                pause = min(pause, self._tries.sandbox_left())
            elif rest.start or rest.kill or rest.restart_all:
                pause = min([pause, *self._tries.all_left()])  # a step was the condition of the next one
        if self._stale or time.monotonic() - self._refreshed > _RESYNC:
            self._stale = False
            if self._refreshed:  # the first time they have just been made
                await self._maker.volumes.refresh(self.pod, self.seen.ips)
            else:
                self._maker.watching.follow(self.pod, self._sources_changed)
            self._refreshed = time.monotonic()
        waits = [w for w in self._tries.all_left() if w > 0]
        return max(0.01, min([pause, self._standing.again(self.pod, self._teller.told), *waits]))

    def _sources_changed(self) -> None:
        self._stale = True
        self._tries.sandbox_now()  # it may be what a volume waited for
        self._wake.set()

    @property
    def _over(self) -> bool:
        """Whether the pod has ended for good."""
        return self._standing.over(self._teller.told)

    def _facts(self) -> Facts:
        return Facts(self._tries.wait, self._probes.started, self._probes.doomed, configs.hash_of, self._over)

    async def _carry_out(self, plan: Plan) -> float:
        """The plan's steps; seconds until the pod should be looked at again."""
        if plan.stop_sandbox:
            await self._stop_all()
        else:
            stop, graces, grace = self._stopping.stop, self._probes.graces, self._grace()
            await asyncio.gather(*(stop(self.pod, c, why, graces.get(c.id, grace)) for c, why in plan.kill))
        if plan.stop_sandbox and self.seen.sandbox is not None:
            await self._runtime.stop_sandbox(self.seen.sandbox.id)
        if plan.restart_all:
            return await self._forget_all()
        if plan.new_sandbox:
            left = self._tries.sandbox_left()
            if left > 0:
                return left
            if not await self._new_sandbox():
                return self._tries.sandbox_failed()
            self._tries.sandbox_made()
            plan = decide(self._allocated, self.seen, self._facts())
        pause = 0.0 if plan.kill else _RESYNC
        for container in plan.start:
            left = self._tries.left(container["name"])
            pause = min(pause, left if left > 0 else await self._start(container))
        return pause

    async def _new_sandbox(self) -> bool:
        pod = self.pod
        if pod["spec"].get("resourceClaims"):
            text = "Failed to prepare dynamic resources: no DRA driver is registered on this node"
            self._say("Warning", "FailedPrepareDynamicResources", text)
            return False
        try:
            self._folders = await self._maker.volumes.prepare(pod, [])
        except VolumeFailure as why:
            self._say("Warning", "FailedMount", str(why))
            return False
        for old in self.seen.sandboxes:
            await self._runtime.stop_sandbox(old.id)
            if len(self.seen.sandboxes) > 1:
                await self._runtime.remove_sandbox(old.id)
        attempt = max((s.attempt + 1 for s in self.seen.sandboxes), default=0)
        try:
            await self._maker.run_sandbox(pod, attempt)
        except (RuntimeFailure, NotFound) as why:
            self._say("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {why}")
            return False
        if attempt and self.seen.sandboxes:
            self._say("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        await self._observe()
        if shows(pod, "status."):
            self._folders = await self._maker.volumes.prepare(pod, self.seen.ips)  # now with the address
        self._report()
        if self.seen.sandbox is not None:
            self._group.settle(self._allocated, self.seen.sandbox.id)
        return self.seen.sandbox is not None

    async def _start(self, container: Object) -> float:
        """Start the next try of a container; seconds until it should be looked at again."""
        self._just_looked = False
        name = container["name"]
        take_back = self._tries.begin(container, self.seen.latest(name))
        if not self._folders and self.pod["spec"].get("volumes"):
            self._folders = await self._maker.volumes.prepare(self.pod, self.seen.ips)
        assert self.seen.sandbox is not None
        config = self._maker.sandbox_config(self.pod, self.seen.sandbox.attempt)

        def say(kind: str, reason: str, message: str) -> None:
            self._say(kind, reason, message, container)

        try:
            pod = {**self._allocated, "status": self._teller.told}  # of what it was told the next try's number is made
            await self._maker.start(pod, container, self.seen, config, self._folders, say)
        except (PullFailure, StartFailure) as why:
            await asyncio.sleep(_SETTLE)
            if not await self._has_sandbox():  # it went away under us, and a new one comes first
                take_back()
                return 0.0
            self._tries.failed(name, why)
            self._report()
            return why.again
        self._tries.succeeded(name)
        await self._forget_older(name)
        await self._observe()
        self._just_looked = True
        return _RESYNC

    async def _forget_all(self) -> float:
        """After all containers ended: tell it, and have the runtime forget them, so that the pod begins anew."""
        await self._observe()
        self._report()
        for tries in list(self.seen.containers.values()):
            for old in tries:
                await self._runtime.remove_container(old.id)
                self._observer.forget(old.id)
                self._resizer.forget(old.id)
        return 0.0

    async def _has_sandbox(self) -> bool:
        await self._observe()
        return self.seen.sandbox is not None

    async def _forget_older(self, name: str) -> None:
        """Of ended tries the newest is kept (for `logs -p`), with its log."""
        for old in self.seen.containers.get(name, [])[1:]:
            if old.exited:
                await self._runtime.remove_container(old.id)
                log_file = self._settings.pod_log_dir(*self._identity()) / name / f"{old.attempt}.log"
                log_file.unlink(missing_ok=True)
                self._observer.forget(old.id)
                self._resizer.forget(old.id)

    # -- a pod that goes ----------------------------------------------------------------------------------------------

    async def _terminate(self) -> float | None:
        await self._observe()
        if not self.removed:
            self._report()
            if any(c.running for c in self.seen.running()):
                await self._settle()
        await self._stop_all()
        await self._teller.flush()
        await asyncio.gather(*(self._runtime.stop_sandbox(sandbox.id) for sandbox in self.seen.sandboxes))
        self._probes.close()
        if not self.removed:
            await self._observe()
            self._report()
            await self._teller.flush()
            self._resizer.close()
            await self._delete()
        for sandbox in self.seen.sandboxes:
            await self._runtime.remove_sandbox(sandbox.id)
        self._maker.volumes.teardown(self.uid)
        remove_files(self._settings.pod_log_dir(*self._identity()))
        remove_cgroups(configs.cgroup_of(self.pod, self._settings))
        return None

    async def _settle(self) -> None:
        """Let those who route to the pod learn that it goes, before it is told to end."""
        if self._drain is not None and self._grace() > 0:
            try:
                await asyncio.wait_for(self._drain(self.pod), self._grace())
            except TimeoutError:
                pass

    async def _stop_all(self) -> None:
        async def look() -> None:
            await self._observe()
            self._report()

        await self._stopping.stop_all(self.pod, self._wake, look)

    def _grace(self) -> float:
        meta, spec = self.pod["metadata"], self.pod["spec"]
        given = meta.get("deletionGracePeriodSeconds")
        grace = float(given if given is not None else spec.get("terminationGracePeriodSeconds", 30))
        return 0.0 if self._standing.evicted else min(grace, 2.0) if self.removed else grace

    async def _delete(self) -> None:
        """The last word: the pod may leave the API now."""
        meta = self.pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        try:
            await self._client.delete(PODS, meta["name"], meta["namespace"], options=options)
        except (NotFound, Conflict):
            pass  # gone already, or its name is another pod's by now

    # -- what is there, and what is told -----------------------------------------------------------------------------

    def _identity(self) -> tuple[str, str, str]:
        meta = self.pod["metadata"]
        return meta["namespace"], meta["name"], meta["uid"]

    async def _observe(self) -> None:
        """Ask the runtime what it has of this pod, and let the probes follow."""
        self.seen = await self._observer.look(self.pod, self.seen)
        self._follow()

    def _follow(self) -> None:
        ip = self.seen.ips[0] if self.seen.ips else self._settings.ip
        running: set[str] = set()
        for spec in specs(self.pod):
            latest = self.seen.latest(spec["name"])
            if latest is not None and latest.running:
                running.add(latest.id)
                self._probes.follow(spec, latest, ip, told_of(self.pod, spec["name"]))
        self._probes.drop(running)

    def _report(self) -> None:
        """Have the API told the status, when it is another one than was told last; nobody waits for it."""
        # Conditions of others come from the API's copy, our own from what we told last.
        others = [c for c in (self.pod.get("status") or {}).get("conditions") or () if c["type"] not in OWN]
        told = self._teller.told
        base = {**self.pod, "status": {**told, "conditions": [*(told.get("conditions") or ()), *others]}}
        if not self.removed:
            self._teller.tell(pod_status(base, self.seen, self._circumstances()))
        if self._over:
            self._resizer.close()  # whoever hears of the end may use what it had

    def _circumstances(self) -> Circumstances:
        return Circumstances(
            now=time.time(),
            host_ips=self._settings.ips,
            started=self._probes.started,
            ready=self._probes.ready,
            errors=self._tries.errors,
            waiting=lambda name, ended: (self._tries.wait(name, ended), self._tries.delay(name)),
            pod_error=self._standing.failure,
            terminating=self.deleting or self._over,
            messages=self._observer.messages,
            allocated=self._resizer.allocated,
            in_force=self._resizer.in_force,
            whole=self._resizer.whole,
            resizes=self._resizer.conditions(self.seen),
        )
