"""All containers of a pod stop: in their order, within one grace period, which may be shortened on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from switchboard.node.ending import LEAST, end
from switchboard.node.observed import Container, Observed
from switchboard.node.plan import is_sidecar, specs
from switchboard.node.runtime import CriRuntime

Object = dict[str, Any]
Say = Callable[[str, str, str, Object], None]  # event type, reason, message, container


class Stopping:
    """Of one pod, of which `seen` gives what runs and `grace` the seconds it has now."""

    def __init__(
        self,
        runtime: CriRuntime,
        host_ip: str,
        seen: Callable[[], Observed],
        grace: Callable[[], float],
        say: Say,
    ) -> None:
        self._runtime, self._host_ip, self._seen, self._grace, self._say = runtime, host_ip, seen, grace, say

    async def stop(
        self, pod: Object, container: Container, why: str, grace: float, before: Collection[asyncio.Future[None]] = ()
    ) -> None:
        """End one container, when those `before` have ended."""
        spec = next((s for s in specs(pod) if s["name"] == container.name), {"name": container.name})

        def say(kind: str, reason: str, text: str) -> None:
            self._say(kind, reason, text, spec)

        say("Normal", "Killing", why)
        ips = self._seen().ips
        await end(self._runtime, spec, container, ips[0] if ips else self._host_ip, grace, say, before)

    async def stop_all(self, pod: Object, woken: asyncio.Event, look: Callable[[], Awaitable[None]]) -> None:
        """Stop all containers at once, but sidecars after them, from the last to the first (KEP-753).

        Whenever one has ended, or `woken` is set, `look` is called, and the grace period may be another one.
        """
        sidecars = [c["name"] for c in pod["spec"].get("initContainers") or () if is_sidecar(c)]
        alive = list(self._seen().running())
        ranks = [[c for c in alive if c.name not in sidecars]]
        ranks += [[c for c in alive if c.name == name] for name in reversed(sidecars)]
        grace = self._grace()
        stops: dict[asyncio.Future[None], Container] = {}
        for rank in ranks:
            before = tuple(stops)
            for c in rank:
                stops[asyncio.ensure_future(self.stop(pod, c, f"Stopping container {c.name}", grace, before))] = c
        try:
            while any(not stop.done() for stop in stops):
                woken.clear()
                await _first(stops, woken)
                await look()
                if self._grace() < grace:
                    grace = self._grace()
                    for rank in ranks:
                        await self._hurry([c for stop, c in stops.items() if c in rank and not stop.done()], grace)
            await asyncio.gather(*stops)
        finally:
            for stop in stops:
                stop.cancel()

    async def _hurry(self, containers: list[Container], grace: float) -> None:
        await asyncio.gather(*(self._runtime.stop_container(c.id, max(LEAST, grace)) for c in containers))


async def _first(stops: Collection[asyncio.Future[None]], woken: asyncio.Event) -> None:
    """Until one more of the stops is over, or the event is set."""
    happened = asyncio.ensure_future(woken.wait())
    pending: set[asyncio.Future[Any]] = {happened, *(stop for stop in stops if not stop.done())}
    try:
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    finally:
        happened.cancel()
