"""Startup, liveness and readiness of running containers: one task a probe, results by container id.

States of a probed container: starting (startup probe has not passed: nothing else is asked) -> started; then readiness
says whether it is ready, liveness whether it is doomed. Source: pkg/kubelet/prober/worker.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from switchboard.node.actions import Outcome, act
from switchboard.node.observed import Container
from switchboard.node.runtime import CriRuntime

Object = dict[str, Any]
Say = Callable[[Object, str, str, str], None]  # container spec, event type, reason, message
_AGENT = "kube-probe/1.36"


class Probes:
    """The probes of one pod. `started`, `ready` and `doomed` are by container id; `changed` is called on any change."""

    def __init__(self, runtime: CriRuntime, changed: Callable[[], None], say: Say) -> None:
        self.started: dict[str, bool] = {}
        self.ready: dict[str, bool] = {}
        self.doomed: dict[str, str] = {}
        self._runtime, self._changed, self._say = runtime, changed, say
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    def follow(self, spec: Object, container: Container, ip: str) -> None:
        """Begin with a running container; one that is followed already goes on."""
        ident = container.id
        if ident in self._tasks:
            return
        self.started[ident] = "startupProbe" not in spec
        self.ready[ident] = self.started[ident] and "readinessProbe" not in spec
        self._tasks[ident] = [asyncio.ensure_future(self._watch(spec, ident, ip))] if _probed(spec) else []

    def drop(self, keep: set[str]) -> None:
        """Forget every container that is not in `keep`."""
        for ident in [i for i in self._tasks if i not in keep]:
            for task in self._tasks.pop(ident):
                task.cancel()
            for known in (self.started, self.ready, self.doomed):
                known.pop(ident, None)

    def close(self) -> None:
        """End all tasks."""
        self.drop(set())

    async def _watch(self, spec: Object, ident: str, ip: str) -> None:
        if "startupProbe" in spec:
            if not await self._startup(spec, ident, ip):
                return
            self.started[ident] = True
            self.ready[ident] = "readinessProbe" not in spec
            self._changed()
        async with asyncio.TaskGroup() as group:
            if "readinessProbe" in spec:
                group.create_task(self._readiness(spec, ident, ip))
            if "livenessProbe" in spec:
                group.create_task(self._liveness(spec, ident, ip))

    async def _startup(self, spec: Object, ident: str, ip: str) -> bool:
        probe = spec["startupProbe"]
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        failures = successes = 0
        while True:
            outcome = await self._once(probe, spec, ident, ip)
            failures, successes = (0, successes + 1) if outcome.ok else (failures + 1, 0)
            if outcome.ok and successes >= probe.get("successThreshold", 1):
                return True
            if not outcome.ok:
                self._say(spec, "Warning", "Unhealthy", f"Startup probe failed: {outcome.message}")
                if failures >= probe.get("failureThreshold", 3):
                    self._doom(spec, ident, "startup")
                    return False
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _readiness(self, spec: Object, ident: str, ip: str) -> None:
        probe = spec["readinessProbe"]
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        failures = successes = 0
        while True:
            outcome = await self._once(probe, spec, ident, ip)
            failures, successes = (0, successes + 1) if outcome.ok else (failures + 1, 0)
            if not outcome.ok:
                self._say(spec, "Warning", "Unhealthy", f"Readiness probe failed: {outcome.message}")
            was = self.ready.get(ident, False)
            if successes >= probe.get("successThreshold", 1):
                self.ready[ident] = True
            elif failures >= probe.get("failureThreshold", 3):
                self.ready[ident] = False
            if self.ready.get(ident) != was:
                self._changed()
            # Not ready yet: ask again soon (kubelet probes at start, too, out of its period).
            period = probe.get("periodSeconds", 10)
            await asyncio.sleep(period if was or self.ready.get(ident) or failures > 10 else min(period, 1))

    async def _liveness(self, spec: Object, ident: str, ip: str) -> None:
        probe = spec["livenessProbe"]
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        failures = 0
        while True:
            outcome = await self._once(probe, spec, ident, ip)
            failures = 0 if outcome.ok else failures + 1
            if not outcome.ok:
                self._say(spec, "Warning", "Unhealthy", f"Liveness probe failed: {outcome.message}")
                if failures >= probe.get("failureThreshold", 3):
                    self._doom(spec, ident, "liveness")
                    return
            await asyncio.sleep(probe.get("periodSeconds", 10))

    def _doom(self, spec: Object, ident: str, kind: str) -> None:
        self.doomed[ident] = f"Container {spec['name']} failed {kind} probe, will be restarted"
        self._changed()

    async def _once(self, probe: Object, spec: Object, ident: str, ip: str) -> Outcome:
        return await act(probe, spec, ident, ip, self._runtime, probe.get("timeoutSeconds", 1), _AGENT)


def _probed(spec: Object) -> bool:
    return any(kind in spec for kind in ("startupProbe", "livenessProbe", "readinessProbe"))
