"""Startup, liveness and readiness of running containers: one task a probe, results by container id.

States of a probed container: starting (startup probe has not passed: nothing else is asked) -> started; then readiness
says whether it is ready, liveness whether it is doomed. Source: pkg/kubelet/prober/worker.go. A container with neither
startup nor readiness probe that declares TCP ports gets `listen` seconds to listen there before it is ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from switchboard.node.actions import Outcome, act
from switchboard.node.listening import declared, until_listening
from switchboard.node.observed import Container
from switchboard.node.runtime import CriRuntime

Object = dict[str, Any]
Say = Callable[[Object, str, str, str], None]  # container spec, event type, reason, message
_AGENT = "kube-probe/1.36"


class Probes:
    """The probes of one pod. `started`, `ready` and `doomed` are by container id; `changed` is called on any change."""

    def __init__(self, runtime: CriRuntime, changed: Callable[[], None], say: Say, listen: float = 0.0) -> None:
        self.started: dict[str, bool] = {}
        self.ready: dict[str, bool] = {}
        self.doomed: dict[str, str] = {}
        self.graces: dict[str, float] = {}  # of the doomed, where the probe has a grace period of its own
        self._runtime, self._changed, self._say, self._listen = runtime, changed, say, listen
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._listening: set[asyncio.Task[None]] = set()
        self._awaited = False

    def follow(self, spec: Object, container: Container, ip: str, told: Object | None = None) -> None:
        """Begin with a running container; one that is followed already goes on.

        What the API was `told` of this very container stays until a probe finds otherwise: a node's agent that starts
        again takes no pod out of its Services.
        """
        ident = container.id
        if ident in self._tasks:
            return
        known = told if told and str(told.get("containerID", "")).endswith(f"//{ident}") else {}
        self.started[ident] = "startupProbe" not in spec or known.get("started") is True
        self.ready[ident] = self.started[ident] and ("readinessProbe" not in spec or known.get("ready") is True)
        watch = [asyncio.ensure_future(self._watch(spec, ident, ip, container.started))] if _probed(spec) else []
        left = self._listen - max(0.0, time.time() - container.started)
        if self.ready[ident] and not known.get("ready") and left > 0 and (ports := declared(spec)):
            self.ready[ident] = False
            watch.append(asyncio.ensure_future(self._listens(ident, ports, left)))
            self._listening.add(watch[-1])
            watch[-1].add_done_callback(self._listening.discard)
        self._tasks[ident] = watch

    async def listening(self, seconds: float) -> None:
        """Give containers that have just been started a moment to listen: it is told in one with their start then."""
        self._awaited = True
        try:
            if self._listening:
                await asyncio.wait(self._listening, timeout=seconds)
        finally:
            self._awaited = False

    def drop(self, keep: set[str]) -> None:
        """Forget every container that is not in `keep`."""
        for ident in [i for i in self._tasks if i not in keep]:
            for task in self._tasks.pop(ident):
                task.cancel()
            for known in (self.started, self.ready, self.doomed, self.graces):
                known.pop(ident, None)

    def close(self) -> None:
        """End all tasks."""
        self.drop(set())

    async def _watch(self, spec: Object, ident: str, ip: str, began: float) -> None:
        if not self.started[ident]:
            if not await self._startup(spec, ident, ip, began):
                return
            self.started[ident] = True
            self.ready[ident] = "readinessProbe" not in spec
            self._changed()
        async with asyncio.TaskGroup() as group:
            if "readinessProbe" in spec:
                group.create_task(self._readiness(spec, ident, ip, began))
            if "livenessProbe" in spec:
                group.create_task(self._liveness(spec, ident, ip, began))

    async def _listens(self, ident: str, ports: frozenset[int], seconds: float) -> None:
        """Ready when it listens, or nobody can tell, or it had its time."""
        pid = await self._runtime.pid(ident)
        if pid:
            await until_listening(pid, ports, seconds)
        self.ready[ident] = True
        if not self._awaited:
            self._changed()

    async def _startup(self, spec: Object, ident: str, ip: str, began: float) -> bool:
        async for successes, failures in self._asked("Startup", spec, ident, ip, began):
            if successes >= spec["startupProbe"].get("successThreshold", 1):
                return True
            if failures >= spec["startupProbe"].get("failureThreshold", 3):
                break
        self._doom(spec, ident, "startup")
        return False

    async def _readiness(self, spec: Object, ident: str, ip: str, began: float) -> None:
        probe = spec["readinessProbe"]
        async for successes, failures in self._asked("Readiness", spec, ident, ip, began):
            was = self.ready.get(ident, False)
            if successes >= probe.get("successThreshold", 1):
                self.ready[ident] = True
            elif failures >= probe.get("failureThreshold", 3):
                self.ready[ident] = False
            if self.ready.get(ident) != was:
                self._changed()

    async def _liveness(self, spec: Object, ident: str, ip: str, began: float) -> None:
        async for _, failures in self._asked("Liveness", spec, ident, ip, began):
            if failures >= spec["livenessProbe"].get("failureThreshold", 3):
                self._doom(spec, ident, "liveness")
                return

    async def _asked(
        self, kind: str, spec: Object, ident: str, ip: str, began: float
    ) -> AsyncIterator[tuple[int, int]]:
        """Outcomes of a probe, asked every period for ever: (successes, failures) in a row so far."""
        probe = spec[f"{kind.lower()}Probe"]
        period = probe.get("periodSeconds", 10)
        clock = asyncio.get_running_loop().time
        # counted from the container's start, not from that of its probes: a startup probe may have taken longer
        await asyncio.sleep(max(0.0, began + probe.get("initialDelaySeconds", 0) - time.time()))
        successes = failures = 0
        outcome = await self._first(probe, spec, ident, ip) if kind != "Liveness" else None
        due = clock()
        while True:
            if outcome is None:
                outcome = await act(probe, spec, ident, ip, self._runtime, probe.get("timeoutSeconds", 1), _AGENT)
            successes, failures = (successes + 1, 0) if outcome.ok else (0, failures + 1)
            if not outcome.ok:
                self._say(spec, "Warning", "Unhealthy", f"{kind} probe failed: {outcome.message}")
            elif outcome.warning:
                self._say(spec, "Warning", "ProbeWarning", f"{kind} probe warning: {outcome.warning}")
            yield successes, failures
            outcome = None
            due = max(due + period, clock())
            await asyncio.sleep(due - clock())

    async def _first(self, probe: Object, spec: Object, ident: str, ip: str) -> Outcome:
        """The first outcome that counts: while nobody listens yet, ask again soon instead of a whole period later.

        A refused connection disturbs nobody; it makes pods ready some seconds earlier than kubelet does.
        """
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + probe.get("periodSeconds", 10), 0.02
        while True:
            outcome = await act(probe, spec, ident, ip, self._runtime, probe.get("timeoutSeconds", 1), _AGENT)
            if not outcome.refused or loop.time() + pause > deadline:
                return outcome
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.5)

    def _doom(self, spec: Object, ident: str, kind: str) -> None:
        self.doomed[ident] = f"Container {spec['name']} failed {kind} probe, will be restarted"
        grace = spec[f"{kind}Probe"].get("terminationGracePeriodSeconds")
        if grace is not None:
            self.graces[ident] = float(grace)
        self._changed()


def _probed(spec: Object) -> bool:
    return any(kind in spec for kind in ("startupProbe", "livenessProbe", "readinessProbe"))
