"""What the controllers and the scheduler cost and how fast they are, in one process with the API (no containers).

    python bench/controllers_bench.py [--pods 3] [--services 0]

Prints memory of the whole process, pods created and bound, a label flip until the slice's write is seen, and Services
created with their slices and Endpoints.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from switchboard.api.app import App
from switchboard.api.identity import LOOPBACK
from switchboard.api.keyspace import index
from switchboard.api.settings import Settings
from switchboard.client import Cache, Client, Informer
from switchboard.client.resources import DEPLOYMENTS, ENDPOINTS, ENDPOINTSLICES, NAMESPACES, NODES, PODS, SERVICES
from switchboard.cluster.loopback import Loopback
from switchboard.controllers.run import ControllerSettings, run_controllers
from switchboard.scheduler.run import run_scheduler
from switchboard.store.store import Store


def rss() -> float:
    """Resident memory of this process in MB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def until(look: Any, pause: float = 0.001) -> None:
    while not await look():  # noqa: ASYNC110
        await asyncio.sleep(pause)


async def node(client: Client) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": "t"}})
    await client.create(NODES, {"metadata": {"name": "n1"}})
    room = {"status": {"allocatable": {"cpu": "64", "memory": "64Gi", "pods": "20000"}}}
    await client.patch(NODES, "n1", room, subresource="status")
    await client.patch(NODES, "n1", {"spec": {"taints": None}})


async def pods(client: Client, number: int) -> list[Any]:
    port = {"selector": {"app": "x"}, "ports": [{"port": 80}]}
    await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": port}, "t")
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": number, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    start = time.perf_counter()
    await client.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec}, "t")
    found: list[Any] = []

    async def bound() -> bool:
        found[:] = (await client.list(PODS, "t"))["items"]
        return len(found) == number and all(pod["spec"].get("nodeName") for pod in found)

    await until(bound, 0.001 * number)
    print(f"{number} pods created and bound: {(time.perf_counter() - start) * 1000:.1f} ms")
    for i, pod in enumerate(found):
        ip = f"10.244.{i // 250}.{i % 250 + 1}"
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        status["conditions"] = [{"type": "Ready", "status": "True"}]
        name = pod["metadata"]["name"]
        await client.patch(PODS, name, {"status": status}, "t", kind="strategic", subresource="status")
    return found


async def flips(client: Client, name: str) -> None:
    informer = Informer[Any](client, ENDPOINTSLICES)
    task = asyncio.create_task(informer.run())
    await informer.synced.wait()
    await asyncio.sleep(0.5)
    seen, took = asyncio.Event(), []
    informer.on_change(lambda old, new: seen.set())
    for i in range(60):
        seen.clear()
        start = time.perf_counter()
        # Without the hash label its ReplicaSet has let go of it, so that this measures slices and nothing else.
        labels = {"app": "x" if i % 2 else "y", "pod-template-hash": None}
        await client.patch(PODS, name, {"metadata": {"labels": labels}}, "t")
        await asyncio.wait_for(seen.wait(), 5)
        took.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(0.05)
    took.sort()
    print(f"label flip -> slice seen: p50 {statistics.median(took):.2f} ms, p95 {took[int(len(took) * 0.95)]:.2f} ms")
    task.cancel()


async def services(client: Client, cache: Cache, number: int) -> None:
    async def some(first: int) -> None:
        for i in range(first, number, 8):
            spec = {"selector": {"app": f"a{i}"}, "ports": [{"port": 80}]}
            await client.create(SERVICES, {"metadata": {"name": f"s{i}"}, "spec": spec}, "t")

    start = time.perf_counter()
    await asyncio.gather(*(some(first) for first in range(8)))
    print(f"{number} Services created (8 clients): {time.perf_counter() - start:.2f} s")

    async def followed() -> bool:
        return all(len(cache.informer(res).items()) >= number for res in (ENDPOINTSLICES, ENDPOINTS))

    await until(followed, 0.05)
    print(f"... with their slices and Endpoints: {time.perf_counter() - start:.2f} s; RSS {rss():.1f} MB")


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store.db", index=index)
        app = App(store, Settings())
        await app.start()
        client = Client(Loopback(app, LOOPBACK))
        cache = Cache(client)
        jobs = (
            cache.run(),
            run_controllers(client, ControllerSettings(), cache=cache),
            run_scheduler(client, cache=cache),
        )
        tasks = [asyncio.create_task(job) for job in jobs]
        await asyncio.sleep(1)
        gc.collect()
        print(f"API, controllers and scheduler, empty: RSS {rss():.1f} MB")
        await node(client)
        found = await pods(client, arguments.pods)
        await flips(client, found[0]["metadata"]["name"])
        if arguments.services:
            await services(client, cache, arguments.services)
        before = time.process_time()
        await asyncio.sleep(3)
        print(f"idle: {(time.process_time() - before) / 3 * 100:.2f} % of a core, RSS {rss():.1f} MB")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await app.stop()
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=3)
    parser.add_argument("--services", type=int, default=0)
    uvloop.run(main(parser.parse_args()))
