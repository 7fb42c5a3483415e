"""What much state weighs: the server's memory with very many Services, slices and pods as objects, and how long a
start with them takes.

    .venv/bin/python bench/state_bench.py [--services 10000] [--slices 2] [--pods 10000]

A server process as a cluster's (store, API, controllers, scheduler, advice) without a node. Goals: 150 MB with 10,000
Services, 20,000 slices and 10,000 pods, 60 MB empty, and 1.5 s from the start of the process to its first answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from switchboard.client import Client
from switchboard.client.http import HttpTransport
from switchboard.client.kubeconfig import Access
from switchboard.client.resources import ENDPOINTSLICES, LEASES, NAMESPACES, NODES, PODS, SERVICES
from switchboard.cluster import processes, roles
from switchboard.transport.http import HttpClient

Object = dict[str, Any]
_NAMESPACE, _NODE = "bench", "elsewhere"
_AT_REST = 12.0  # seconds: two looks of `resting`
_CLIENTS = 16


def server(arguments: list[str]) -> int:
    """The role of a server: `server STORE SOCKET`."""
    return roles.run(lambda: _serve(*map(Path, arguments)))


async def _serve(path: Path, socket: Path) -> None:
    from switchboard.api.app import App
    from switchboard.api.identity import LOOPBACK
    from switchboard.api.keyspace import index
    from switchboard.api.settings import Settings
    from switchboard.cluster import wiring
    from switchboard.cluster.config import ClusterConfig
    from switchboard.cluster.serve import client_as
    from switchboard.store.store import Store
    from switchboard.transport.server import Server

    config = ClusterConfig("bench", path.parent, path.parent, path.parent)
    config.pki.mkdir(exist_ok=True)
    (config.pki / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    store = Store.open(path, index=index)
    app = App(store, Settings())
    await app.start()
    listener = Server(lambda request: app.handle_as(LOOPBACK, request))
    try:
        await listener.listen_unix(str(socket))
        async with asyncio.TaskGroup() as group:
            for name, job in wiring.server_jobs(lambda user: client_as(app, user), app, config):
                group.create_task(job, name=name)
    finally:
        await listener.close(0.5)
        await app.stop()
        await store.close()


class Process:
    """A server in a process of its own, with the environment that a cluster gives it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "api.sock"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        access = Access("http://bench", None, lambda: "")
        self.client = Client(HttpTransport(access, HttpClient(unix=str(self.socket))), user_agent="bench")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> float:
        """Seconds until it answers."""
        begun = time.perf_counter()
        argv = processes.python("state_bench", "server")
        environment = {**os.environ, **processes.MEMORY}
        command = [argv[0], *argv[1:-1], f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); {argv[-1]}"]
        self._process = await asyncio.create_subprocess_exec(
            *command, str(self._folder / "store.db"), str(self.socket), env=environment
        )
        while not await self._answers():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return time.perf_counter() - begun

    async def _answers(self) -> bool:
        try:
            return (await self.client.raw("GET", "/readyz")).status == 200
        except Exception:
            return False

    async def stop(self) -> None:
        """End it as a supervisor does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        await self._process.wait()

    def memory(self) -> str:
        """RSS now, and the most it was."""
        found = Path(f"/proc/{self.pid}/status").read_text()
        now, most = (int(re.findall(rf"{name}:\s+(\d+)", found)[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
        return f"RSS {now:.1f} MB (at most {most:.1f})"

    def used(self) -> float:
        """Seconds on processors."""
        from switchboard.cluster.resting import processor_time

        return processor_time(self.pid)

    async def rest(self) -> None:
        """Wait until it has been quiet for so long that it counts as at rest."""
        before = -1.0
        while self.used() - before > 0.2:
            before = self.used()
            await asyncio.sleep(_AT_REST)


def service(i: int) -> Object:
    """A Service whose slices are written by hand."""
    labels = {"app": f"app-{i}", "app.kubernetes.io/part-of": "bench"}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {"metadata": {"name": f"service-{i}", "labels": labels}, "spec": {"ports": ports}}


def slice_of(owner: Object, i: int, number: int) -> Object:
    """One of its slices, with two endpoints."""
    name = owner["metadata"]["name"]
    reference = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": owner["metadata"]["uid"]}
    pods = [(2 * i + turn) % 10_000 for turn in (0, 1)]
    return {
        "metadata": {
            "generateName": f"{name}-",
            "labels": {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "bench"},
            "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [f"10.{64 + number}.{pod // 250}.{pod % 250 + 1}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": _NODE,
                "targetRef": {"kind": "Pod", "namespace": _NAMESPACE, "name": f"pod-{pod}"},
            }
            for pod in pods
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def pod(i: int) -> Object:
    """A pod as a Deployment's, bound already."""
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5}
    container = {
        "name": "web",
        "image": "registry.example/web:1.2.3",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "resources": resources,
        "readinessProbe": probe,
    }
    labels = {"app": f"pods-{i % 500}", "pod-template-hash": f"{i % 500:010x}"}
    return {
        "metadata": {"name": f"pod-{i}", "labels": labels},
        "spec": {"nodeName": _NODE, "containers": [container]},
    }


def running(i: int) -> Object:
    """The status that a node's agent writes."""
    at = f"2026-01-01T{i // 3600 % 24:02}:{i // 60 % 60:02}:{i % 60:02}Z"
    address = f"10.64.{i // 250}.{i % 250 + 1}"
    names = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "conditions": [{"type": name, "status": "True", "lastTransitionTime": at} for name in names],
        "hostIP": "192.168.49.9",
        "hostIPs": [{"ip": "192.168.49.9"}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": at,
        "containerStatuses": [
            {
                "name": "web",
                "image": "registry.example/web:1.2.3",
                "imageID": f"registry.example/web@sha256:{7:064x}",
                "containerID": f"containerd://{i:064x}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": at}},
            }
        ],
    }


async def fill(client: Client, options: argparse.Namespace) -> None:
    """Make all of it, as clients and a node's agent would."""
    await client.create(NAMESPACES, {"metadata": {"name": _NAMESPACE}})
    await client.create(NODES, {"metadata": {"name": _NODE}})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    await client.patch(NODES, _NODE, {"status": {"conditions": [ready]}}, subresource="status")
    lease = {"metadata": {"name": _NODE}, "spec": {"holderIdentity": _NODE, "leaseDurationSeconds": 40}}
    await client.create(LEASES, lease, "kube-node-lease")

    async def some_services(first: int) -> None:
        for i in range(first, options.services, _CLIENTS):
            owner = await client.create(SERVICES, service(i), _NAMESPACE)
            for number in range(options.slices):
                await client.create(ENDPOINTSLICES, slice_of(owner, i, number), _NAMESPACE)

    async def some_pods(first: int) -> None:
        for i in range(first, options.pods, _CLIENTS):
            await client.create(PODS, pod(i), _NAMESPACE)
            status = {"status": running(i)}
            await client.patch(PODS, f"pod-{i}", status, _NAMESPACE, kind="strategic", subresource="status")

    await asyncio.gather(*(some_services(first) for first in range(_CLIENTS)))
    await asyncio.gather(*(some_pods(first) for first in range(_CLIENTS)))


async def stay_alive(client: Client) -> None:
    """Renew the node's lease, or its pods are taken for lost."""
    while True:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        try:
            await client.patch(LEASES, _NODE, {"spec": {"renewTime": now}}, "kube-node-lease")
        except Exception:  # no node yet, or no server just now
            pass
        await asyncio.sleep(5)


async def main(options: argparse.Namespace) -> None:
    """Print what it takes: empty, filled, started anew."""
    with tempfile.TemporaryDirectory() as folder:
        process = Process(Path(folder))
        alive = asyncio.create_task(stay_alive(process.client))
        print(f"empty: first answer {await process.start():.2f} s after the start", flush=True)
        try:
            await process.rest()
            print(f"at rest: {process.memory()}", flush=True)
            begun, used = time.perf_counter(), process.used()
            await fill(process.client, options)
            took, used = time.perf_counter() - begun, process.used() - used
            what = f"{options.services} Services, {options.services * options.slices} slices, {options.pods} pods"
            print(f"{what} made in {took:.1f} s ({used:.1f} s of the server): {process.memory()}", flush=True)
            await process.rest()
            print(f"at rest: {process.memory()}", flush=True)
            await process.stop()
            print(f"with them: first answer {await process.start():.2f} s after the start", flush=True)
            await process.rest()
            print(f"at rest: {process.memory()}, {process.used():.2f} s of processors", flush=True)
        finally:
            alive.cancel()
            await process.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--slices", type=int, default=2, help="of each Service")
    parser.add_argument("--pods", type=int, default=10_000)
    asyncio.run(main(parser.parse_args()))
