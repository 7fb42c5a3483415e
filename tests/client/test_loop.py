"""The queue: once for many, again for one that came in between, later for a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from switchboard.client import Loop
from switchboard.objects.errors import Forbidden


@asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_duplicates_are_one() -> None:
    seen: list[str] = []
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        seen.append(key)
        if key == "end":
            done.set()

    loop = Loop("t", reconcile)
    for key in ["a", "b", "a", "a", "end"]:
        loop.add(key)
    async with running(loop):
        await done.wait()
    assert seen == ["a", "b", "end"]


async def test_added_while_worked_on_is_worked_on_again_but_never_twice_at_once() -> None:
    gate, twice = asyncio.Event(), asyncio.Event()
    active, most, calls = 0, 0, 0

    async def reconcile(key: str) -> None:
        nonlocal active, most, calls
        active, calls = active + 1, calls + 1
        most = max(most, active)
        await gate.wait()
        active -= 1
        if calls == 2:
            twice.set()

    loop = Loop("t", reconcile, workers=4)
    async with running(loop):
        loop.add("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.add("a")
        loop.add("a")
        gate.set()
        await twice.wait()
    assert (most, calls) == (1, 2)


async def test_workers_work_at_the_same_time() -> None:
    both = asyncio.Barrier(3)

    async def reconcile(key: str) -> None:
        await both.wait()

    loop = Loop("t", reconcile, workers=2)
    loop.add("a")
    loop.add("b")
    async with running(loop):
        await both.wait()


async def test_failures_come_back_and_are_counted() -> None:
    done = asyncio.Event()
    tries = 0

    async def reconcile(key: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise RuntimeError("no")
        done.set()

    loop = Loop("t", reconcile)
    loop.add("a")
    async with running(loop):
        await done.wait()
        await asyncio.sleep(0)
    assert (tries, loop.retries, loop.done) == (4, 3, 1)
    assert loop.quiet


async def test_what_a_dying_namespace_refuses_is_not_tried_again() -> None:
    done = asyncio.Event()
    calls = 0
    causes = [
        {"reason": "NamespaceTerminating", "message": "namespace t is being terminated", "field": "metadata.namespace"}
    ]

    async def reconcile(key: str) -> None:
        nonlocal calls
        calls += 1
        done.set()
        raise Forbidden("no", details={"causes": causes})

    loop = Loop("t", reconcile)
    loop.add("a")
    async with running(loop):
        await done.wait()
        await asyncio.sleep(0.02)
    assert (calls, loop.retries) == (1, 0)


async def test_the_earliest_wish_counts() -> None:
    times: list[float] = []
    done = asyncio.Event()
    clock = asyncio.get_running_loop().time

    async def reconcile(key: str) -> float | None:
        times.append(clock())
        if len(times) == 2:
            done.set()
            return None
        return 0.02

    loop = Loop("t", reconcile)
    start = clock()
    loop.add_after("a", 30)
    loop.add_after("a", 0.01)
    async with running(loop):
        await done.wait()
    assert times[0] - start >= 0.009
    assert times[1] - times[0] >= 0.019


@pytest.mark.parametrize("workers", [1, 3])
async def test_stopped_and_started_again(workers: int) -> None:
    seen: list[str] = []
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        seen.append(key)
        done.set()

    loop = Loop("t", reconcile, workers=workers)
    async with running(loop):
        await asyncio.sleep(0)
    loop.add("a")
    async with running(loop):
        await done.wait()
    assert seen == ["a"]


@pytest.mark.parametrize("workers", [1, 4])
async def test_very_many_keys_leave_others_their_turn(workers: int) -> None:
    done = 0

    async def reconcile(key: str) -> None:
        nonlocal done
        until = time.monotonic() + 0.0002
        while time.monotonic() < until:
            pass
        done += 1

    loop = Loop("t", reconcile, workers=workers)
    for number in range(500):
        loop.add(str(number))
    steps = []
    async with running(loop):
        while done < 500:
            before = done
            await asyncio.sleep(0)
            steps.append(done - before)
    assert max(steps) <= 4 * workers
