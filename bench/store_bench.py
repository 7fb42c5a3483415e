"""The store alone: durable writes, latency, fan-out, lists, start and memory. `python bench/store_bench.py [FOLDER]`.

Goals: >= 15,000 durable puts/s with 16 writers; an event reaches 1,000 watchers in well under 50 ms; 40,000 objects
open in well under 1 s.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from switchboard.store.store import Store

VALUE = os.urandom(1200)


def show(what: str, value: float, unit: str) -> None:
    print(f"{what:<58} {value:>12,.2f} {unit}")


def resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def writers(store: Store, count: int = 16, each: int = 1000) -> None:
    async def write(number: int) -> None:
        for i in range(each):
            await store.put(f"/core/configmaps/bench/{number}-{i}", lambda r: VALUE, expect=None)

    start = time.perf_counter()
    await asyncio.gather(*[write(number) for number in range(count)])
    show(f"durable puts, {count} writers", count * each / (time.perf_counter() - start), "/s")


async def latency(store: Store) -> None:
    taken = []
    for i in range(500):
        start = time.perf_counter()
        await store.put(f"/core/configmaps/idle/{i}", lambda r: VALUE)
        taken.append((time.perf_counter() - start) * 1000)
    taken.sort()
    show("one put, idle, p50", taken[250], "ms")
    show("one put, idle, p99", taken[-5], "ms")


async def fan_out(store: Store, watchers: int = 1000) -> None:
    arrived = 0
    everyone = asyncio.Event()
    prefix = "/core/configmaps/fan/"

    async def read() -> None:
        nonlocal arrived
        async for _ in store.watch(prefix, store.revision):
            arrived += 1
            if arrived == watchers:
                everyone.set()

    tasks = [asyncio.create_task(read()) for _ in range(watchers)]
    await asyncio.sleep(0)
    for kind in ("tasks", "sinks"):
        worst = 0.0
        for i in range(20):
            arrived = 0
            everyone.clear()
            start = time.perf_counter()
            store.put(f"{prefix}{i}", lambda r: VALUE)
            await everyone.wait()
            worst = max(worst, (time.perf_counter() - start) * 1000)
        show(f"put -> all of {watchers} watchers ({kind}), worst of 20", worst, "ms")
        for task in tasks:
            task.cancel()
        if kind == "tasks":
            await asyncio.gather(*tasks, return_exceptions=True)

            def sink(events: object) -> None:
                nonlocal arrived
                arrived += 1
                if arrived == watchers:
                    everyone.set()

            for _ in range(watchers):
                store.subscribe(prefix, store.revision, sink)


async def lists(store: Store) -> None:
    await asyncio.gather(*[store.put(f"/core/configmaps/list/{i}", lambda r: VALUE) for i in range(500)])
    start = time.perf_counter()
    for _ in range(2000):
        store.scan("/core/configmaps/list/")
    show("scan of 500 among 17,000", 2000 / (time.perf_counter() - start), "/s")


async def big(folder: str) -> None:
    store = Store.open(f"{folder}/big.db")
    start = time.perf_counter()
    for i in range(0, 40_000, 500):
        await asyncio.gather(
            *[store.put(f"/core/{'ab'[i % 2]}/ns{n % 50}/o-{i}-{n}", lambda r: os.urandom(1200)) for n in range(500)]
        )
    show("40,000 objects written", time.perf_counter() - start, "s")
    await store.close()


def start_up(folder: str) -> None:
    before = resident()
    start = time.perf_counter()
    store = Store.open(f"{folder}/big.db")
    show("open with 40,000 objects", (time.perf_counter() - start) * 1000, "ms")
    show("memory they take (48 MB of it are their bytes)", resident() - before, "MB")
    assert store.count("/") == 40_000


async def run(folder: str) -> None:
    store = Store.open(f"{folder}/bench.db")
    await writers(store)
    await latency(store)
    await lists(store)
    await fan_out(store)
    await store.close()
    await big(folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        if os.fork() == 0:
            uvloop.run(run(place))
            os._exit(0)
        os.wait()
        start_up(place)
