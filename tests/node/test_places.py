"""Who has a place, who waits for one, and that nobody keeps one for ever."""

from __future__ import annotations

import asyncio

import pytest

from switchboard.node import places
from switchboard.node.places import Places


class Work:
    """Pieces of work by name: which run now, in which order they began, and a way to end each."""

    def __init__(self, number: int) -> None:
        self.places = Places(number)
        self.begun: list[str] = []
        self.running: set[str] = set()
        self.has_begun: dict[str, asyncio.Event] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, *names: str, wait: bool = True) -> None:
        for name in names:
            self._ends[name], self.has_begun[name] = asyncio.Event(), asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._one(name, wait))
        await settled()

    async def _one(self, name: str, wait: bool) -> None:
        async with self.places.taken(wait=wait):
            self.begun.append(name)
            self.running.add(name)
            self.has_begun[name].set()
            try:
                await self._ends[name].wait()
            finally:
                self.running.remove(name)

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await settled()


async def settled() -> None:
    """All that can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_first_come_first_served() -> None:
    async def run() -> None:
        work = Work(2)
        await work.begin("a", "b", "c", "d")
        assert work.running == {"a", "b"}
        await work.end("b")
        assert work.running == {"a", "c"}
        await work.end("a", "c", "d")
        assert work.begun == ["a", "b", "c", "d"] and not work.running

    asyncio.run(run())


def test_who_does_not_wait_takes_what_others_wait_for() -> None:
    async def run() -> None:
        work = Work(2)
        await work.begin("a", "b")
        await work.begin("pull", wait=False)
        assert work.running == {"a", "b", "pull"}
        await work.begin("c")
        await work.end("a")
        assert work.running == {"b", "pull"}  # two for two places
        await work.end("b")
        assert work.running == {"pull", "c"}
        await work.end("pull", "c")

    asyncio.run(run())


@pytest.mark.parametrize("when", ["waiting", "called", "running"])
def test_cancelled_work_leaves_its_place(when: str) -> None:
    async def run() -> None:
        work = Work(1)
        await work.begin("a", "b", "c")
        if when == "waiting":
            await work.cancel("b")
            await work.end("a")
        elif when == "called":  # its turn comes in the same moment
            work._ends["a"].set()
            await asyncio.sleep(0)
            await work.cancel("b")
        else:
            await work.end("a")
            await work.cancel("b")
        assert work.running == {"c"}
        await work.end("c")
        await work.begin("d")
        assert work.running == {"d"}
        await work.end("d")

    asyncio.run(run())


def test_what_takes_long_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_LONGEST", 0.01)

    async def run() -> None:
        work = Work(1)
        await work.begin("hangs", "b")
        await work.has_begun["b"].wait()
        assert work.running == {"hangs", "b"}
        await work.end("hangs")  # gives nothing back a second time
        await work.begin("c", "d")
        await work.has_begun["d"].wait()
        await work.end("b", "c", "d")
        await work.begin("e", "f")
        assert work.running == {"e"}
        await work.end("e", "f")

    asyncio.run(run())
