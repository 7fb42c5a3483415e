"""Which Services are looked at again when something beside them changes: only those it can concern."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from switchboard.client import Informer
from switchboard.client import resources as r
from switchboard.why import loop as why_loop
from switchboard.why.check import Evidence
from switchboard.why.loop import Watcher
from switchboard.why.world import World

Object = dict[str, Any]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why_loop, "LAG", 0.0)


class Says:
    """A recorder and a client at once: keeps Events, has none from before."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def event(self, obj: Object, type_: str, reason: str, message: str) -> None:
        self.events.append((obj["metadata"]["name"], reason))

    async def list(self, *_: Any, **__: Any) -> Object:
        return {"items": []}


def named(name: str, labels: dict[str, str] | None = None, **rest: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "t", "labels": labels or {}}, **rest}


def service(name: str, **selector: str) -> Object:
    return named(name, spec={"selector": selector, "ports": [{"port": 80}]})


class Copies:
    """Informers that are told by hand."""

    def __init__(self) -> None:
        says: Any = Says()
        self.says: Says = says
        made = [Informer[Any](says, res) for res in (r.SERVICES, r.PODS, r.ENDPOINTSLICES, r.DEPLOYMENTS)]
        for informer in made:
            informer.synced.set()
        self.services, self.pods, self.slices, self.workloads = made
        self.world = World(*made[:3], made[3:])
        self.watcher = Watcher(says, self.world, says)
        self.looked: list[str] = []
        look = self.watcher._look

        async def noted(key: str) -> float | None:
            self.looked.append(key)
            return await look(key)

        self.watcher._loop._reconcile = noted

    async def settled(self) -> list[str]:
        watcher, copies = self.watcher, (self.pods, self.slices)
        while any(one._late for one in copies) or not watcher._loop.quiet:  # noqa: ASYNC110  # turns of the loop, not time
            await asyncio.sleep(0)
        looked, self.looked = self.looked, []
        return sorted(looked)

    def pod(self, name: str, **labels: str) -> None:
        self.pods._set(f"t/{name}", named(name, labels, spec={}))


async def test_only_services_concerned_are_looked_at() -> None:
    copies = Copies()
    copies.pod("a", app="a")
    copies.pod("b", app="b")
    for name in "abc":
        copies.services._set(f"t/{name}", service(name, app=name))
    task = asyncio.ensure_future(copies.watcher.run())
    await asyncio.sleep(0)
    assert await copies.settled() == ["t/a", "t/b", "t/c"]
    copies.pod("a", app="a", more="x")  # selected as before; c, without pods, might have meant it
    assert await copies.settled() == ["t/a", "t/c"]
    copies.pod("a", app="z")  # a loses it
    assert await copies.settled() == ["t/a", "t/c"]
    copies.pod("b", app="b", more="x")
    assert await copies.settled() == ["t/a", "t/b", "t/c"]
    copies.pod("c", app="c")
    copies.pod("a", app="a")
    await copies.settled()
    copies.pod("c", app="c", more="x")
    assert await copies.settled() == ["t/c"]
    task.cancel()


async def test_loss_and_return_are_told(monkeypatch: Any) -> None:
    monkeypatch.setattr(why_loop, "GRACE", 0.01)
    copies = Copies()
    copies.pod("web-1", app="web")
    copies.services._set("t/web", service("web", app="web"))
    task = asyncio.ensure_future(copies.watcher.run())
    await asyncio.sleep(0)
    await copies.settled()
    copies.pod("web-1", app="wbe")
    while copies.says.events != [("web", "SelectorMatchesNoPods")]:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    copies.pod("web-1", app="web")
    piece = named("web-x", {"kubernetes.io/service-name": "web"}, endpoints=[{"addresses": ["10.0.0.1"]}], ports=[])
    copies.slices._set("t/web-x", piece)  # as it is while no pod has the port
    await copies.settled()
    assert len(copies.says.events) == 1
    copies.slices._set("t/web-x", {**piece, "ports": [{"port": 80}]})
    while copies.says.events[1:] != [("web", "SelectorMatchesPods")]:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    task.cancel()


async def test_failing_pods_are_told_once_and_their_recovery_too(monkeypatch: Any) -> None:
    monkeypatch.setattr(why_loop, "GRACE", 0.01)
    copies = Copies()
    copies.services._set("t/web", service("web", app="web"))
    task = asyncio.ensure_future(copies.watcher.run())
    await asyncio.sleep(0)
    await copies.settled()
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    failing = {"phase": "Running", "containerStatuses": [{"name": "c", "state": state}]}
    copies.pods._set("t/web-1", named("web-1", {"app": "web"}, spec={}, status={"phase": "Pending"}))
    assert await copies.settled() == ["t/web"]
    for count in (1, 2):
        copies.pods._set("t/web-1", named("web-1", {"app": "web"}, spec={"n": count}, status=failing))
        while ("web", "NoReadyPods") not in copies.says.events:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await copies.settled()
    assert copies.says.events == [("web", "NoReadyPods")]
    piece = named(
        "web-x", {"kubernetes.io/service-name": "web"}, endpoints=[{"addresses": ["10.0.0.1"]}], ports=[{"port": 80}]
    )
    copies.pods._set("t/web-1", named("web-1", {"app": "web"}, spec={}, status={"phase": "Running"}))
    copies.slices._set("t/web-x", piece)
    while copies.says.events[1:] != [("web", "SelectorMatchesPods")]:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    task.cancel()


def test_who_serves_a_pod_is_found_as_by_looking_at_every_service() -> None:
    copies = Copies()
    copies.pod("a", app="a", tier="x")
    copies.pod("b", app="b")
    copies.services._set("t/a", service("a", app="a", tier="x"))
    copies.services._set("t/other", service("other", app="b", tier="x"))
    copies.services._set("t/none", named("none", spec={}))
    copies.services._set("u/b", {**service("b", app="b"), "metadata": {"name": "b", "namespace": "u"}})
    found = copies.world.evidence(service("lonely", app="c"))
    plain = Evidence(found.pods, (), [one for one in copies.services.items() if one["metadata"]["namespace"] == "t"])
    served = {pod["metadata"]["name"]: found.is_served(pod) for pod in found.pods}
    assert served == {pod["metadata"]["name"]: plain.is_served(pod) for pod in found.pods} == {"a": True, "b": False}
