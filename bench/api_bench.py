"""The API over TLS, on a bare server of its own: `python bench/api_bench.py [SECONDS]`. Needs `wrk` (Debian).

Goals (16 clients where not said): get >= 20,000/s, list of 500 (4 clients) >= 1,500/s, durable create >= 8,000/s, patch
of one object (4 clients) >= 2,500/s, p99 of a single create <= 5 ms; an event reaches 1,000 watchers in <= 50 ms;
memory <= 60 MB empty and <= 150 MB with 10,000 Services, 20,000 EndpointSlices and 10,000 pods (here: ConfigMaps of
a pod's size); start with those <= 1.5 s. Everything stays on 127.0.0.1, and the client takes its share of the cores.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from switchboard.testing.apiserver import ApiServer

BENCH = "/api/v1/namespaces/bench/"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices"
POST = """wrk.method = "POST"
local n = 0
function request()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"metadata":{"name":"w-%s-' .. n .. '"},"data":{"k":"v"}}')
end
"""
PATCH = """wrk.method = "PATCH"; wrk.headers["Content-Type"] = "application/merge-patch+json"
local n = 0
function request()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"metadata":{"annotations":{"n":"' .. n .. '"}}}')
end
"""
SERVER = """import asyncio, gc, json, sys, time
began = time.perf_counter()
sys.setswitchinterval(0.0005)  # as cluster/roles.py sets them
gc.set_threshold(20_000, 20, 20)
from pathlib import Path
import uvloop
from switchboard.testing.apiserver import ApiServer

async def serve():
    async with ApiServer(tls=True, path=Path(sys.argv[1])) as api:
        print(json.dumps({"url": api.url, "token": api.token, "seconds": time.perf_counter() - began}), flush=True)
        await asyncio.to_thread(sys.stdin.read)

uvloop.run(serve())
"""


@contextmanager
def server(store: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """A server process over the store file `store`: what it says of itself, and its process id."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            yield json.loads(process.stdout.readline()), process.pid
        finally:
            process.stdin.close()


def resident(pid: int) -> float:
    """Resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def cpu(pid: int) -> float:
    """Seconds of CPU a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def load(label: str, seconds: int, clients: int, where: tuple[str, str, int], script: str = "") -> None:
    """Run wrk against (URL, token, process id) and print a line."""
    url, token, pid = where
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f'wrk.headers["Authorization"] = "Bearer {token}"\n')
        file.write(f'wrk.headers["Content-Type"] = "application/json"\n{script}')
        file.flush()
        before = cpu(pid)
        text = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", file.name, url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    words = {line.split()[0]: line.split()[1] for line in text.splitlines() if len(line.split()) > 1}
    count = next(int(line.split()[0]) for line in text.splitlines() if "requests in" in line)
    micros = (cpu(pid) - before) / max(count, 1) * 1e6
    bad = " ".join(line.strip() for line in text.splitlines() if "Non-2xx" in line)
    rate = float(words["Requests/sec:"])
    print(f"{label:<34} {rate:>9,.0f} /s  p50 {words['50%']:>8} p99 {words['99%']:>8}  {micros:4.0f} us CPU {bad}")


def labelled(number: int) -> dict[str, Any]:
    """One of the ConfigMaps that are got and listed."""
    return {"metadata": {"name": f"cm-{number}", "labels": {"app": "web"}}, "data": {"k": "x" * 300}}


def slice_of(service: str, name: str) -> dict[str, Any]:
    """An EndpointSlice with two endpoints."""
    ready = {"addresses": ["10.244.0.5"], "conditions": {"ready": True}}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [ready, {**ready, "zone": "b"}],
    }


async def fill(api: ApiServer, count: int) -> None:
    """`count` Services, twice as many slices, and as many ConfigMaps of a pod's size, by eight writers."""

    async def post(path: str, body: dict[str, Any]) -> None:
        status, answer = await api.call("POST", path, body)
        assert status == 201, answer

    async def writer(first: int) -> None:
        for i in range(first, count, 8):
            ports = {"ports": [{"name": "http", "port": 80}]}
            await post(f"{BENCH}services", {"metadata": {"name": f"s-{i}"}, "spec": ports})
            await post(SLICES, slice_of(f"s-{i}", f"s-{i}-a"))
            await post(SLICES, slice_of(f"s-{i}", f"s-{i}-b"))
            await post(f"{BENCH}configmaps", {"metadata": {"name": f"p-{i}"}, "data": {"k": "x" * 1500}})

    await asyncio.gather(*[writer(first) for first in range(8)])


async def fan_out(api: ApiServer, watchers: int = 1000) -> float:
    """Milliseconds from the write of one event until the last of so many watchers over sockets has read it."""
    going, arrived, everyone = 0, 0, asyncio.Event()

    async def watch() -> None:
        nonlocal going, arrived
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        head = f"GET {BENCH}secrets?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        going += 1
        if going == watchers:
            everyone.set()
        await reader.readuntil(b"ADDED")
        arrived += 1
        if arrived == watchers:
            everyone.set()
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(watchers):
            group.create_task(watch())
        await everyone.wait()
        everyone.clear()
        began = time.perf_counter()
        await api.call("POST", f"{BENCH}secrets", {"metadata": {"name": "seen"}})
        await everyone.wait()
        return (time.perf_counter() - began) * 1000


async def prepare(path: Path, count: int) -> None:
    """A store with the namespace, the ConfigMaps that are listed and, if asked, the large state."""
    async with ApiServer(path=path) as api:
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "bench"}})
        for i in range(1, 501):
            await api.call("POST", f"{BENCH}configmaps", labelled(i))
        if count:
            began = time.perf_counter()
            await fill(api, count)
            print(f"{count:,} Services, {2 * count:,} slices in process: {time.perf_counter() - began:.1f} s")
        else:
            print(f"an event to 1,000 watchers (plain HTTP, in one process): {await fan_out(api):.1f} ms")


def main() -> None:
    """Measure and print."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="api-bench-") as folder:
        path = Path(folder) / "small.db"
        uvloop.run(prepare(path, 0))
        with server(path) as (said, pid):
            print(f"memory with 500 ConfigMaps: {resident(pid):.0f} MB")
            maps = f"{said['url']}{BENCH}configmaps"
            token = said["token"]
            load("the version (no object)", seconds, 16, (f"{said['url']}/version", token, pid))
            load("get, 16 clients", seconds, 16, (f"{maps}/cm-1", token, pid))
            load("list of 500, 4 clients", seconds, 4, (f"{maps}?labelSelector=app%3Dweb", token, pid))
            load("create, 1 client", seconds, 1, (maps, token, pid), POST % "one")
            load("create, 16 clients", seconds, 16, (maps, token, pid), POST % "many")
            load("patch of one object, 4 clients", seconds, 4, (f"{maps}/cm-2", token, pid), PATCH)
            print(f"memory afterwards: {resident(pid):.0f} MB")
        path = Path(folder) / "large.db"
        uvloop.run(prepare(path, 10_000))
        with server(path) as (said, pid):
            print(f"start with that state: {said['seconds']:.2f} s, memory {resident(pid):.0f} MB")


if __name__ == "__main__":
    main()
