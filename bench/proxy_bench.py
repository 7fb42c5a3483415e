#!/usr/bin/env python3
"""The Service proxy's figures, in namespaces of its own: `bench/proxy_bench.py [load] [one] [rss] [plane] [big]`
(default: all).

load   10,000 and 30,000 Services x 2 endpoints: from a decoded list into an empty kernel, and a restart over what is
there one    one change at that size: from the informer's call to the kernel's answer, and to the first accepted
connection rss    memory of a process that holds 10,000 Services (informers and all) big    one Service with 5,000
endpoints: made, and changed by one plane  connections through a ClusterIP against straight to the pod: new ones, and
requests on kept-alive ones (A B A B)
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import msgspec

from switchboard.client import Client
from switchboard.proxy import netlink
from switchboard.proxy.nft import Nft, cleanup
from switchboard.proxy.objects import EndpointSlice, Service
from switchboard.proxy.plane import Plane
from switchboard.testing.fakeapi import FakeApi
from switchboard.testing.netns import NODE4, PODS, World
from switchboard.testing.services import service, settings, slice_of

B = PODS["b"][0]


def raw(i: int) -> tuple[bytes, bytes]:
    """A Service and its slice as the API would send them, with what real ones carry besides."""
    name = f"service-{i}"
    ip = f"10.96.{i // 250}.{i % 250 + 1}"
    meta = {
        "name": name,
        "namespace": "scale",
        "uid": f"00000000-0000-0000-0000-{i:012}",
        "resourceVersion": str(1000 + i),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": name},
        "annotations": {"note": "x" * 40},
    }
    spec = {
        "clusterIP": ip,
        "clusterIPs": [ip],
        "type": "ClusterIP",
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        "selector": {"app": name},
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }
    hosts = [B, f"10.244.{i // 250}.{i % 250 + 1}"]
    slice_ = {
        "metadata": {**meta, "name": f"{name}-abcde", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [host],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": "node-2",
                "targetRef": {"kind": "Pod", "namespace": "scale", "name": f"{name}-{host}"},
            }
            for host in hosts
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }
    encode = msgspec.json.encode
    return encode({"metadata": meta, "spec": spec, "status": {"loadBalancer": {}}}), encode(slice_)


def quantile(times: list[float], q: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * q))] * 1e3


def report(what: str, times: list[float]) -> None:
    print(
        f"{what}: p50 {quantile(times, 0.5):.2f} ms, p99 {quantile(times, 0.99):.2f} ms, max {max(times) * 1e3:.2f} ms",
        flush=True,
    )


def fill(n: int) -> tuple[Plane, float, float, float, float]:
    services, slices = msgspec.json.Decoder(Service), msgspec.json.Decoder(EndpointSlice)
    texts = [raw(i) for i in range(n)]
    started, cpu = time.perf_counter(), time.thread_time()
    objects = [(services.decode(a), slices.decode(b)) for a, b in texts]
    decoded = time.perf_counter()
    plane = Plane(settings(), Nft())
    plane.prior()
    for one, slice_ in objects:
        plane.service(f"scale/{one.metadata.name}", one, [slice_])
    planned = time.perf_counter()
    plane.commit()
    done, cpu = time.perf_counter(), time.thread_time() - cpu
    return plane, decoded - started, planned - decoded, done - planned, cpu


def prepare() -> None:
    cleanup()
    netlink.set_sysctls(localhost=True)
    netlink.reach_services(settings().service_cidrs, [socket.inet_aton(NODE4)])


def load(world: World) -> None:
    for n in (10_000, 30_000):
        world.node.run(prepare)
        plane, decode, plan, kernel, cpu = world.node.run(lambda n=n: fill(n))
        plane.nft.close()
        total = decode + plan + kernel
        print(
            f"load {n}: {total:.2f} s (decode {decode:.2f}, plan {plan:.2f}, kernel {kernel:.2f}; {cpu:.2f} s of CPU)",
            flush=True,
        )
        plane, decode, plan, kernel, cpu = world.node.run(lambda n=n: fill(n))
        total = decode + plan + kernel
        parts = f"plan with read-back {plan:.2f}, kernel compared {kernel:.2f}; {cpu:.2f} s of CPU"
        print(f"restart over {n}: {total:.2f} s ({parts})", flush=True)
        one(world, plane, n)
        plane.nft.close()
    world.node.run(cleanup)


def one(world: World, plane: Plane, n: int) -> None:
    new, flip, first = [], [], []
    for i in range(60):
        vip = f"10.96.250.{i + 1}"

        def add(vip: str = vip, i: int = i) -> None:
            plane.service(f"t/more-{i}", service(f"more-{i}", vip), [slice_of(f"more-{i}", B)])
            plane.commit()

        started = time.perf_counter()
        world.node.run(add)
        new.append(time.perf_counter() - started)
        started = time.perf_counter()
        assert world.node.tcp(vip, 80)[0] == "b"
        first.append(time.perf_counter() - started)

        def change(vip: str = vip, i: int = i) -> None:
            plane.service(f"t/more-{i}", service(f"more-{i}", vip), [slice_of(f"more-{i}", B, "10.244.0.99")])
            plane.commit()

        started = time.perf_counter()
        world.node.run(change)
        flip.append(time.perf_counter() - started)
        time.sleep(0.01)  # the kernel frees what a change took out behind our back
    report(f"one more Service at {n}", new)
    report(f"one more endpoint at {n}", flip)
    report(f"first connection at {n}", first)


def big(world: World) -> None:
    hosts = [f"10.244.{i // 250}.{i % 250 + 1}" for i in range(5000)]
    slices = [slice_of("big", *hosts[i : i + 100]) for i in range(0, 5000, 100)]

    def run() -> tuple[float, list[float]]:
        plane = Plane(settings(), Nft())
        plane.commit()
        started = time.perf_counter()
        plane.service("t/big", service("big"), slices)
        plane.commit()
        made, times = time.perf_counter() - started, []
        for i in range(40):
            less = [slice_of("big", *hosts[:99]), *slices[1:]] if i % 2 == 0 else slices
            started = time.perf_counter()
            plane.service("t/big", service("big"), less)
            plane.commit()
            times.append(time.perf_counter() - started)
            time.sleep(0.01)
        plane.nft.close()
        cleanup()
        return made, times

    made, times = world.node.run(run)
    print(f"5,000 endpoints made in {made * 1e3:.1f} ms")
    report("one of 5,000 endpoints", times)


RSS = """
import asyncio, gc, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import proxy_bench as bench
def status(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1]) / 1024
asyncio.run(bench.hold(int(sys.argv[2]), status))
"""


async def hold(n: int, status: Any) -> None:
    """A whole proxy over an API that answers a list of n, from another process so that only the proxy is weighed."""
    from switchboard.client.kubeconfig import Access
    from switchboard.proxy.sync import Proxy

    del Access
    proxy = Proxy(Client(PagedApi(n)), settings(health_address=""))  # type: ignore[arg-type]
    before = status()
    started = time.perf_counter()
    task = asyncio.create_task(proxy.run())
    await asyncio.wait_for(proxy.ready.wait(), 60)
    took = time.perf_counter() - started
    cpu = time.process_time()
    await asyncio.sleep(2)
    idle = (time.process_time() - cpu) / 2
    print(
        f"rss {n}: {status():.1f} MB (before {before:.1f}), ready after {took:.2f} s, idle CPU {idle * 100:.2f} %",
        flush=True,
    )
    task.cancel()


class PagedApi(FakeApi):
    """Answers lists page by page without keeping the objects."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self._n = n

    async def request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Any:
        from switchboard.client import Reply

        for at, plural in enumerate(("services", "endpointslices")):
            if f"/{plural}" in target:
                start = int(target.rpartition("continue=")[2].partition("&")[0]) if "continue=" in target else 0
                end = min(self._n, start + 1000)
                meta = b'{"resourceVersion":"1"' + (b',"continue":"%d"}' % end if end < self._n else b"}")
                items = b",".join(raw(i)[at] for i in range(start, end))
                return Reply(200, {}, b'{"metadata":' + meta + b',"items":[' + items + b"]}")
        return await super().request(method, target, headers, body)


def rss(world: World) -> None:
    for n in (10, 10_000, 30_000):
        world.node.run(cleanup)
        command = ["ip", "netns", "exec", world.node.name, sys.executable, "-c", RSS, os.path.abspath(__file__), str(n)]
        subprocess.run(command, check=True)
    world.node.run(cleanup)


def http(sock: socket.socket, count: int) -> None:
    for _ in range(count):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(4096)


def serve(world: World) -> None:
    """A small HTTP server in pod b, in a process of its own."""
    code = (
        "import asyncio,uvloop\n"
        "class P(asyncio.Protocol):\n"
        " def connection_made(s,t): s.t=t\n"
        " def data_received(s,d):\n"
        "  n=d.count(b'\\r\\n\\r\\n')\n"
        "  s.t.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok'*n)\n"
        "async def m():\n"
        " loop=asyncio.get_running_loop()\n"
        f" s=await loop.create_server(P,'{B}',9500,backlog=4096)\n"
        " print('up',flush=True); await s.serve_forever()\n"
        "uvloop.run(m())\n"
    )
    command = ["ip", "netns", "exec", world.pods["b"].name, sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    world.server = process  # type: ignore[attr-defined]


def rate(world: World, address: tuple[str, int], *, fresh: bool, seconds: float = 1.5) -> float:
    def run() -> float:
        count, started = 0, time.perf_counter()
        if not fresh:
            with socket.create_connection(address) as sock:
                while time.perf_counter() - started < seconds:
                    http(sock, 50)
                    count += 50
        else:
            while time.perf_counter() - started < seconds:
                with socket.create_connection(address) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    http(sock, 1)
                count += 1
        return count / (time.perf_counter() - started)

    return world.node.run(run)


def plane(world: World) -> None:
    def make() -> Plane:
        prepare()
        made = Plane(settings(), Nft())
        made.service("t/web", service("web"), [slice_of("web", B, port=9500)])
        made.commit()
        return made

    world.node.run(make)
    serve(world)
    try:
        for fresh, name, goal in ((True, "new connections", 0.75), (False, "kept-alive requests", 0.95)):
            straight, through = [], []
            for _ in range(4):
                straight.append(rate(world, (B, 9500), fresh=fresh))
                through.append(rate(world, ("10.96.0.10", 80), fresh=fresh))
            a, b = max(straight), max(through)
            print(
                f"{name}: straight {a:.0f}/s, through the Service {b:.0f}/s, ratio {b / a:.3f} (goal {goal})",
                flush=True,
            )
    finally:
        world.server.kill()  # type: ignore[attr-defined]
        world.node.run(cleanup)


def main() -> None:
    parts = {"load": load, "big": big, "rss": rss, "plane": plane}
    chosen = [part for part in sys.argv[1:] if part in parts] or list(parts)
    world = World()
    try:
        for part in chosen:
            parts[part](world)
    finally:
        world.close()


if __name__ == "__main__":
    threading.stack_size(1 << 20)
    main()
