"""The whole proxy between a misbehaving API and the kernel, which ends equal to the API whatever happens on the way."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from switchboard.client import Client, Disconnected
from switchboard.proxy.maps import empty_tables
from switchboard.proxy.nft import Nft, cleanup
from switchboard.proxy.objects import EndpointSlice, Service
from switchboard.proxy.plane import Plane
from switchboard.proxy.settings import ProxySettings
from switchboard.proxy.sync import Proxy, Way
from switchboard.testing.fakeapi import FakeApi
from switchboard.testing.netns import NODE4, OUT4, PODS, World
from switchboard.testing.services import endpoint, service, settings, slice_of

SERVICES, SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"
NODES, PODS_ = "/api/v1/nodes", "/api/v1/pods"
A, B, C = (PODS[name][0] for name in "abc")
VIP = "10.96.0.10"


class Running:
    """A proxy on the node with an API of its own."""

    def __init__(self, world: World, given: ProxySettings) -> None:
        self.world, self.api = world, FakeApi()
        self._given = given
        self._started = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._started.clear()
        self._thread = self.world.node.start(lambda: asyncio.run(self._main()))
        assert self._started.wait(20)

    async def _main(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.proxy = Proxy(Client(self.api), self._given)
        running = asyncio.create_task(self.proxy.run())
        ready = asyncio.create_task(self.proxy.ready.wait())
        await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
        self._started.set()
        await self._stop.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def stop(self) -> None:
        if self._thread is not None:
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)
            self._thread = None

    def do(self, fn: Callable[[], Any]) -> None:
        """Something on the API's own thread."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (fn(), done.set()))
        assert done.wait(10)

    def put(self, *objects: Service | EndpointSlice) -> None:
        def act() -> None:
            for one in objects:
                fields = msgspec.to_builtins(one)
                fields = {name: value for name, value in fields.items() if value is not None}
                meta = fields.pop("metadata")
                labels = {name: value for name, value in (meta.get("labels") or {}).items() if value}
                where = SERVICES if isinstance(one, Service) else SLICES
                self.api.put(where, meta["name"], meta["namespace"], metadata={"labels": labels}, **fields)

        self.do(act) if self._thread is not None else act()

    def remove(self, where: str, name: str) -> None:
        self.do(lambda: self.api.remove(where, name, "t"))

    def in_step(self) -> bool:
        """Whether the kernel read back is what a proxy would make of the API's objects from scratch."""
        want = Plane(self._given, _Nowhere(), (4, 6))  # type: ignore[arg-type]  # it is never committed
        for (where, namespace, name), raw in list(self.api._objects.items()):
            if where == SERVICES:
                one = msgspec.convert(raw, Service)
                slices = [
                    msgspec.convert(other, EndpointSlice)
                    for (kind, _, _), other in list(self.api._objects.items())
                    if kind == SLICES and other["metadata"]["labels"].get("kubernetes.io/service-name") == name
                ]
                want.service(f"{namespace}/{name}", one, slices)

        def look() -> bool:
            nft = Nft()
            try:
                for family, state in want.states.items():
                    state.changes()
                    kernel = nft.read(family, self._given.table)
                    if kernel is None or _meaning(kernel) != _meaning(state.live):
                        return False
                return True
            finally:
                nft.close()

        return self.world.node.run(look)


class _Nowhere:
    """Where a plane that only thinks would send."""


def _meaning(tables: list[dict[bytes, bytes]]) -> Any:
    """Where every address leads, without numbers: (map, key) -> chain and endpoints."""
    kinds, endpoints = tables[6], tables[8]
    out = {}
    for at in range(6):
        for key, data in tables[at].items():
            number = int.from_bytes(data, "little")
            chain = kinds.get((number & 0x3FFF).to_bytes(4, "little"), b"")
            base = (number & ~0x3FFF).to_bytes(4, "little")
            n = int(chain[1:]) if chain[:1] == b"n" and chain[1:].isdigit() else 0
            out[at, key] = chain, frozenset(endpoints.get(base + slot.to_bytes(4, "little")) for slot in range(n))
    return out, [len(table) for at, table in enumerate(tables) if at not in (6, 7)]  # kinds are kept for a while


def eventually(fn: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not fn():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


@pytest.fixture
def running(world: World) -> Iterator[Running]:
    world.node.run(cleanup)
    made = Running(world, settings(health_address="127.0.0.1:10256"))
    yield made
    made.stop()
    world.node.run(cleanup)


def test_from_the_api_to_the_packet_and_back(world: World, running: Running) -> None:
    running.put(service("web"), slice_of("web", B))
    running.start()
    assert world.pods["a"].tcp(VIP, 80) == f"b {A}"
    running.put(slice_of("web", C))
    eventually(lambda: world.pods["a"].tcp(VIP, 80) == f"c {A}")
    running.remove(SLICES, "web-x")
    eventually(lambda: world.pods["a"].tcp(VIP, 80) == "refused")
    running.put(slice_of("web", B))
    eventually(running.in_step)
    running.remove(SERVICES, "web")
    eventually(running.in_step)
    assert not _meaning(world.node.run(lambda: _read()))[0]


def _read() -> list[dict[bytes, bytes]]:
    nft = Nft()
    try:
        return nft.read(4, "switchboard") or empty_tables()
    finally:
        nft.close()


def test_a_slice_before_its_service(world: World, running: Running) -> None:
    running.start()
    running.put(slice_of("web", B))
    running.put(service("web"))
    eventually(lambda: world.pods["a"].tcp(VIP, 80) == f"b {A}")


def test_a_restart_changes_nothing_and_drops_nothing(world: World, running: Running) -> None:
    running.put(service("web"), slice_of("web", A, B, C))
    running.start()
    running.put(slice_of("web", C, B))
    eventually(running.in_step)
    before = world.node.run(_read)
    running.stop()
    assert world.pods["a"].tcp(VIP, 80)[0] in "bc"  # rules stay while nobody is there
    running.start()
    assert world.node.run(_read) == before


def test_changes_while_it_was_away(world: World, running: Running) -> None:
    running.put(service("web"), slice_of("web", B), service("old", "10.96.0.11"))
    running.start()
    running.stop()
    running.api.remove(SERVICES, "old", "t")
    running.put(slice_of("web", C), service("new", "10.96.0.12"), slice_of("new", B))
    running.start()
    assert running.in_step()
    assert world.pods["a"].tcp("10.96.0.12", 80) == f"b {A}"


def test_flushed_rules_come_back(world: World, running: Running) -> None:
    running.put(service("web"), slice_of("web", B))
    running.start()
    world.node.nft("flush", "ruleset")
    eventually(lambda: world.pods["a"].tcp(VIP, 80, timeout=0.3) == f"b {A}")
    eventually(running.in_step)


def test_the_api_gone_for_a_while(world: World, running: Running) -> None:
    running.put(service("web"), slice_of("web", B))
    running.start()

    def lose() -> None:
        running.api.refuse.extend([Disconnected("gone")] * 12)
        running.api.cut()

    running.do(lose)
    running.put(slice_of("web", C))
    running.do(running.api.compact)
    assert world.pods["a"].tcp(VIP, 80)[0] in "bc"
    eventually(lambda: world.pods["a"].tcp(VIP, 80) == f"c {A}", 20)
    eventually(running.in_step)


def test_garbage_in_one_slice_harms_nobody_else(world: World, running: Running) -> None:
    running.put(service("web"), slice_of("web", B), service("bad", "10.96.0.66", externalIPs=["what", "999.1.1.1"]))
    running.start()

    def garbage(**fields: Any) -> None:
        labels = {"kubernetes.io/service-name": "bad"}
        running.do(lambda: running.api.put(SLICES, "bad", "t", metadata={"labels": labels}, **fields))

    ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
    garbage(addressType="IPv4", endpoints=[{"addresses": ["no"]}, {"addresses": []}, {}], ports=ports)
    garbage(addressType="IPv4", endpoints="text", ports=17)
    garbage(addressType="FQDN", endpoints=[{"addresses": ["a.example"]}], ports=ports)
    garbage(addressType="IPv4", endpoints=[{"addresses": [B]}], ports=[{"port": None}, {"port": 99999}])
    running.put(slice_of("web", C))
    eventually(lambda: world.pods["a"].tcp(VIP, 80) == f"c {A}")
    eventually(lambda: world.pods["a"].tcp("10.96.0.66", 80) == "refused")
    garbage(addressType="IPv4", endpoints=[{"addresses": [B]}], ports=ports)
    eventually(lambda: world.pods["a"].tcp("10.96.0.66", 80) == f"b {A}")


BAD_PORTS = (
    {"hostPort": 54501, "containerPort": 8080, "hostIP": "localhost"},
    {"hostPort": 99999, "containerPort": 8080},
    {"hostPort": -1, "containerPort": 8080},
    {"hostPort": 54501, "containerPort": 99999},
)
BAD_SERVICES: tuple[dict[str, Any], ...] = (
    {"ports": [{"port": 80, "nodePort": 99999}], "type": "NodePort"},
    {"ports": [{"port": -1}, {"port": 99999}]},
    {"ports": [{"port": 80}], "sessionAffinity": "ClientIP"}
    | {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": -4}}},
    {"ports": [{"port": 80}], "clusterIPs": ["nonsense"]},
    {"ports": [{"port": 80}, {"port": 80}], "externalIPs": [VIP, VIP]},
)


def test_garbage_in_pods_services_and_networks_harms_nobody_else(world: World, running: Running) -> None:
    """An API of others may hold what ours would refuse."""
    made = Running(world, settings(pod_cidrs=(), health_address=""))
    made.api.put(NODES, "node-1", spec={"podCIDRs": ["garbage", "10.244.0.0/24"]})
    made.api.put(
        "/apis/networking.k8s.io/v1/servicecidrs", "bad", spec={"cidrs": ["nonsense", "10.0.0.0/99", "10.98.0.1/16"]}
    )
    made.put(service("web"), slice_of("web", B))
    made.start()
    try:
        for at, port in enumerate((*BAD_PORTS, {"hostPort": 54502, "containerPort": 8080})):
            spec = {"nodeName": "node-1", "containers": [{"ports": [port]}]}
            status = {"phase": "Running", "podIPs": [{"ip": B}]}
            made.do(
                lambda at=at, spec=spec, status=status: made.api.put(PODS_, f"p{at}", "t", spec=spec, status=status)
            )
        eventually(lambda: world.out.tcp(NODE4, 54502) == f"b {OUT4}")
        for at, spec in enumerate(BAD_SERVICES):
            one = {"type": "ClusterIP", "clusterIP": f"10.96.3.{at}", "clusterIPs": [f"10.96.3.{at}"]} | spec
            made.do(lambda at=at, one=one: made.api.put(SERVICES, f"bad{at}", "t", spec=one))
            pieces = slice_of(f"bad{at}", A)
            made.put(pieces)
        made.put(slice_of("web", C))
        eventually(lambda: world.pods["a"].tcp(VIP, 80) == f"c {A}")
        assert world.pods["b"].tcp("10.96.3.2", 80) == f"a {B}"  # remembered, if only for a second
        assert "10.244.0.0/24" in world.node.nft("list", "set", "ip", "switchboard", "pods")
    finally:
        made.stop()


@pytest.mark.parametrize(
    "command",
    [
        "add table ip switchboard { flags dormant ; }",
        "add chain ip switchboard pre { policy drop ; }",
        "insert rule ip switchboard from_inside accept",
        "rename chain ip switchboard refuse nope",
        "flush map ip switchboard kinds",
        "delete table ip6 switchboard",
        "add element ip switchboard pods { 192.168.77.0/24 }",
        "add chain ip switchboard x { type filter hook prerouting priority -300 ; policy drop ; }",
    ],
)
def test_whatever_somebody_does_to_the_table_is_mended(world: World, running: Running, command: str) -> None:
    running.put(service("web"), slice_of("web", B))
    running.start()
    world.node.nft(command)
    eventually(lambda: world.pods["a"].tcp(VIP, 80, timeout=0.3) == f"b {A}")
    eventually(running.in_step)
    assert world.out.tcp(VIP, 80) == "b 10.244.0.1"
    assert world.out.tcp(VIP, 81) == "refused"
    listing = world.node.nft("list", "table", "ip", "switchboard")
    assert not [word for word in ("dormant", "policy drop", "chain x", "nope", "192.168.77") if word in listing]
    world.node.nft("list", "table", "ip6", "switchboard")


def test_a_thousand_changes_a_second(world: World, running: Running) -> None:
    running.put(*(service(f"s{i}", f"10.96.2.{i}") for i in range(40)))
    running.start()
    dice = random.Random(4)

    def storm() -> None:
        for i in range(40):
            hosts = dice.sample([A, B, C, "10.244.0.77", "10.244.0.78"], dice.randint(0, 5))
            running.api.put(
                SLICES,
                f"s{i}",
                "t",
                metadata={"labels": {"kubernetes.io/service-name": f"s{i}"}},
                addressType="IPv4",
                endpoints=[endpoint(host) for host in hosts],
                ports=[{"name": "", "port": 8080, "protocol": "TCP"}],
            )

    for _ in range(50):
        running.do(storm)
    eventually(running.in_step, 20)


def test_killed_in_the_middle_of_changes(world: World, running: Running) -> None:
    script = textwrap.dedent(
        """
        import itertools
        from switchboard.proxy.nft import Nft
        from switchboard.proxy.plane import Plane
        from switchboard.testing.services import service, settings, slice_of
        plane = Plane(settings(), Nft())
        for turn in itertools.count():
            for i in range(30):
                hosts = [f"10.244.0.{11 + (turn + i + j) % 3}" for j in range((turn * 7 + i) % 4)]
                plane.service(f"t/s{i}", service(f"s{i}", f"10.96.2.{i}"), [slice_of(f"s{i}", *hosts)])
            plane.commit()
            if turn == 3:
                print("going", flush=True)
        """
    )
    command = ["ip", "netns", "exec", world.node.name, sys.executable, "-c", script]
    for pause in (0.0, 0.013, 0.031):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"going\n"
            time.sleep(pause)  # anywhere in its work
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait()
        for i in range(30):
            # a packet goes to an endpoint of that Service or is refused, never into nothing
            assert world.node.tcp(f"10.96.2.{i}", 80)[0] in "abcr"
    running.put(*(service(f"s{i}", f"10.96.2.{i}") for i in range(30)), *(slice_of(f"s{i}", C) for i in range(30)))
    running.start()
    assert running.in_step()
    assert world.pods["a"].tcp("10.96.2.7", 80) == f"c {A}"


def test_node_tells_zone_and_networks(world: World, running: Running) -> None:
    running.stop()
    made = Running(world, settings(pod_cidrs=(), health_address=""))
    hints = [{**endpoint(ip, "node-2"), "hints": {"forZones": [{"name": zone}]}} for ip, zone in ((B, "z1"), (C, "z2"))]
    made.put(service("web"), slice_of("web", *hints))

    def node(zone: str) -> None:
        labels = {"topology.kubernetes.io/zone": zone}
        made.api.put(NODES, "node-1", metadata={"labels": labels}, spec={"podCIDRs": ["10.244.0.0/24"]})

    node("z1")
    made.start()
    try:
        assert {world.pods["a"].tcp(VIP, 80) for _ in range(6)} == {f"b {A}"}
        assert "10.244.0.0/24" in world.node.nft("list", "set", "ip", "switchboard", "pods")
        made.do(lambda: node("z2"))
        eventually(lambda: world.pods["a"].tcp(VIP, 80) == f"c {A}")
    finally:
        made.stop()


def test_host_ports_come_from_pods(world: World, running: Running) -> None:
    running.start()
    spec = {"nodeName": "node-1", "containers": [{"ports": [{"containerPort": 8080, "hostPort": 54500}]}]}
    running.do(lambda: running.api.put(PODS_, "p", "t", spec=spec, status={"phase": "Pending"}))
    status = {"phase": "Running", "podIPs": [{"ip": B}]}
    running.do(lambda: running.api.put(PODS_, "p", "t", spec=spec, status=status))
    eventually(lambda: world.out.tcp(NODE4, 54500) == f"b {OUT4}")
    running.do(lambda: running.api.remove(PODS_, "p", "t"))
    eventually(lambda: world.out.tcp(NODE4, 54500) == "refused")


def test_udp_flows_are_forgotten(world: World, running: Running) -> None:
    running.put(service("dns", ports=[{"port": 53, "protocol": "UDP"}]), slice_of("dns", B, protocol="UDP"))
    running.start()
    assert world.pods["a"].udp(VIP, 53, source_port=5300)[0] == "b"
    running.put(slice_of("dns", C, protocol="UDP"))
    eventually(lambda: world.pods["a"].udp(VIP, 53, source_port=5300)[0] == "c")
    running.stop()
    running.put(slice_of("dns", B, protocol="UDP"))  # while nobody looks
    assert world.pods["a"].udp(VIP, 53, source_port=5300)[0] == "c"
    running.start()
    eventually(lambda: world.pods["a"].udp(VIP, 53, source_port=5300)[0] == "b")


def test_health(world: World, running: Running) -> None:
    one = service(
        "web",
        ports=[{"port": 80, "nodePort": 30080}],
        type="LoadBalancer",
        externalTrafficPolicy="Local",
        healthCheckNodePort=32001,
    )
    running.put(one, slice_of("web", endpoint(B), endpoint(C, "node-2")))
    running.start()

    def ask(port: int, host: str = "127.0.0.1") -> tuple[int, Any, Any]:
        def get() -> tuple[int, Any, Any]:
            try:
                with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=2) as reply:
                    return reply.status, msgspec.json.decode(reply.read()), reply.headers
            except urllib.error.HTTPError as error:
                return error.code, msgspec.json.decode(error.read()), error.headers
            except OSError:
                return 0, {}, {}

        return world.node.run(get)

    eventually(lambda: ask(32001)[0] == 200)
    status, body, headers = ask(32001, NODE4)
    assert (status, headers["X-Load-Balancing-Endpoint-Weight"]) == (200, "1")
    assert body == {"service": {"namespace": "t", "name": "web"}, "localEndpoints": 1, "serviceProxyHealthy": True}
    other = slice_of("web", PODS["b"][1])  # the same pod's other address
    other.metadata.name = "web-6"
    running.put(other, slice_of("web", endpoint(B), endpoint(C)))
    eventually(lambda: ask(32001)[1].get("localEndpoints") == 2)
    running.remove(SLICES, "web-6")
    running.put(slice_of("web", endpoint(C, "node-2")))
    eventually(lambda: ask(32001)[0] == 503)
    assert ask(10256)[0] == 200
    running.remove(SERVICES, "web")
    eventually(lambda: ask(32001)[0] == 0)


def test_service_cidrs_of_the_api(world: World, running: Running) -> None:
    running.start()
    where = "/apis/networking.k8s.io/v1/servicecidrs"
    assert world.pods["a"].tcp("203.0.113.7", 80, timeout=0.3) != "refused"
    running.do(lambda: running.api.put(where, "more", spec={"cidrs": ["203.0.113.0/24", "fd00:97::/112"]}))
    try:
        eventually(lambda: world.pods["a"].tcp("203.0.113.7", 80, timeout=0.3) == "refused")
        # the node itself has a way there, and is refused by its own rules
        eventually(lambda: world.node.tcp("203.0.113.7", 80, timeout=0.3) == "refused")
        running.put(service("web", "203.0.113.7"), slice_of("web", B))
        eventually(lambda: world.node.tcp("203.0.113.7", 80) == f"b {NODE4}")
    finally:
        world.node.ip("route", "del", "203.0.113.0/24")
        world.node.ip("-6", "route", "del", "fd00:97::/112")


def test_whether_a_pod_may_still_get_connections(world: World, running: Running) -> None:
    def way(pod: str, namespace: str = "t") -> Way:
        return running.proxy.way_to(namespace, pod)

    ends = {"serving": True, "terminating": True}
    running.put(service("web"), slice_of("web", endpoint(B, terminating=False), endpoint(C)))
    running.start()
    assert (way(B), way(A), way(B, "elsewhere")) == (Way.CLOSING, Way.NONE, Way.NONE)
    assert way(C) is Way.KEPT  # a slice by hand, which may never say that a pod goes
    running.put(slice_of("web", endpoint(B, ready=False, **ends), endpoint(C)))
    eventually(lambda: way(B) is Way.NONE)
    assert {world.pods["a"].tcp(VIP, 80) for _ in range(6)} == {f"c {A}"}
    running.put(slice_of("web", endpoint(B, ready=True, **ends), endpoint(C)))  # publishNotReadyAddresses
    eventually(lambda: way(B) is Way.KEPT)
