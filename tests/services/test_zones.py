"""Several nodes in several zones: a proxy alone on each of three hosts, one control plane, and who answers whom.

The hosts are network namespaces on a bridge of the cluster's private host. Their Node objects and pods are written as a
kubelet would write them; slices come from the controllers, or by hand where a test says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from switchboard.testing import netns
from switchboard.testing.cluster import ROOT, PrivateCluster
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
Object = dict[str, Any]
ZONES = {"a": "north", "b": "north", "c": "south"}
PODS = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "c2": "c", "c3": "c"}  # pod -> its host
HOSTS = {name: f"192.168.50.1{at}" for at, name in enumerate("abc", 1)}
ADDRESSES = {name: f"192.168.50.2{at}" for at, name in enumerate(PODS, 1)}
API, GATEWAY = "192.168.49.1", "192.168.50.1"
PORT = 8080
ZONE = "topology.kubernetes.io/zone"
# what kubelets do, so that the nodes stay in life
HEARTBEATS = """
while :; do for node in a b c; do
  now=$(date -u +%FT%T.%6NZ)
  kubectl -n kube-node-lease patch lease $node --type=merge -p "{\\"spec\\":{\\"renewTime\\":\\"$now\\"}}"
done; sleep 10; done"""


class Zones:
    """The hosts, and Services in front of the pods on them."""

    def __init__(self, cluster: PrivateCluster) -> None:
        self.cluster = cluster
        self.hosts = {name: netns.Space(f"zone-{name}") for name in HOSTS}
        self._wire()
        for pod, host in PODS.items():
            self.hosts[host].serve(pod, PORT, ADDRESSES[pod])
        self.apply(*(self._node(name) for name in HOSTS), *(self._lease(name) for name in HOSTS))
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "2"}}}
        for name in HOSTS:
            self.cluster.kubectl("patch", "node", name, "--subresource=status", "-p", json.dumps(ready))
        # the cluster's own node is in no zone and counts for none
        self.cluster.kubectl("label", "node", self.cluster.name, "node-role.kubernetes.io/control-plane=")
        self.apply(*(self._pod(name, host) for name, host in PODS.items()))
        for name in PODS:
            self.ready(name)
        self.processes = [cluster.popen("sh", "-c", HEARTBEATS, stdout=-3)]
        kubeconfig = cluster.folder / "from-elsewhere"
        kubeconfig.write_text(cluster.kubeconfig.read_text().replace("127.0.0.1", API))
        proxy = (str(ROOT / "switchboard"), "proxy", "--kubeconfig", str(kubeconfig), "--node-name")
        self.processes += [
            cluster.popen("nsenter", f"--net=/run/netns/{space.name}", "--", *proxy, name)
            for name, space in self.hosts.items()
        ]

    def _wire(self) -> None:
        bridge = self.cluster.host.name
        netns.ip("-n", bridge, "link", "add", "zones", "type", "bridge")
        netns.ip("-n", bridge, "addr", "add", f"{GATEWAY}/24", "dev", "zones")
        netns.ip("-n", bridge, "link", "set", "zones", "up")
        for name, space in self.hosts.items():
            space.ip("link", "add", "eth0", "type", "veth", "peer", "name", f"zone-{name}", "netns", bridge)
            for address in (HOSTS[name], *(ADDRESSES[pod] for pod, host in PODS.items() if host == name)):
                space.ip("addr", "add", f"{address}/24", "dev", "eth0")
            space.ip("link", "set", "eth0", "up")
            space.ip("route", "add", "default", "via", GATEWAY, "src", HOSTS[name])
            space.sysctl("net/ipv4/ip_forward", "1")
            netns.ip("-n", bridge, "link", "set", f"zone-{name}", "master", "zones", "up")

    def close(self) -> None:
        """End the proxies; the hosts go with what is in them."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)
        for space in self.hosts.values():
            space.close()

    # what there is

    def apply(self, *objects: Object) -> None:
        """`kubectl apply`."""
        items = [{"apiVersion": "v1"} | one for one in objects]
        self.cluster.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def _node(self, name: str) -> Object:
        return {"kind": "Node", "metadata": {"name": name, "labels": {ZONE: ZONES[name]}}}

    def _lease(self, name: str) -> Object:
        meta = {"name": name, "namespace": "kube-node-lease"}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {}}

    def _pod(self, name: str, host: str) -> Object:
        meta = {"name": name, "labels": {"app": "web", "on": host, "pod": name}}
        return {
            "kind": "Pod",
            "metadata": meta,
            "spec": {"nodeName": host, "containers": [{"name": "c", "image": "x"}]},
        }

    def ready(self, pod: str, status: str = "True") -> None:
        """Say of a pod what its kubelet would."""
        ip = ADDRESSES[pod]
        said = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        said |= {"conditions": [{"type": "Ready", "status": status}]}  # type: ignore[dict-item]
        self.cluster.kubectl("patch", "pod", pod, "--subresource=status", "-p", json.dumps({"status": said}))

    def label(self, kind: str, name: str, *labels: str) -> None:
        """`kubectl label --overwrite`."""
        self.cluster.kubectl("label", kind, name, "--overwrite", *labels)

    def service(self, name: str, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
        """A Service on port 80; in front of all pods, unless `selector` says otherwise (None: of nobody)."""
        whole = {"ports": [{"port": 80, "targetPort": PORT}], "selector": {"app": "web"}} | spec
        self.apply({"kind": "Service", "metadata": {"name": name, "annotations": annotations or {}}, "spec": whole})
        made: Object = self.cluster.get("service", name)["spec"]
        return made

    def slice(self, service: str, *endpoints: Object) -> None:
        """A slice made by hand."""
        meta = {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}}
        whole = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4"}
        self.apply(whole | {"ports": [{"port": PORT}], "endpoints": list(endpoints)})

    def endpoints(self, service: str) -> list[Object]:
        """What the controllers made of a Service."""
        words = ("endpointslices", "-l", f"kubernetes.io/service-name={service}")
        return [one for piece in self.cluster.get(*words)["items"] for one in piece["endpoints"] or ()]

    # who answers

    def who(self, host: str, address: str, port: int = 80) -> set[str]:
        """Who answers a host: pods' names, or what went wrong (which is enough to know)."""
        seen: set[str] = set()
        for _ in range(60):
            said = self.hosts[host].tcp(address, port, timeout=0.5).split()[0]
            seen.add(said)
            if said not in PODS:
                break
        return seen

    def until(self, address: str, port: int = 80, **wanted: Iterable[str]) -> None:
        """Wait until each of these hosts is answered by exactly these pods."""
        for host, pods in wanted.items():
            names, seen = set(pods), set[str]()
            deadline = time.monotonic() + 20
            while (seen := self.who(host, address, port)) != names:
                assert time.monotonic() < deadline, f"{host} is answered by {seen} rather than {names}"


@pytest.fixture(scope="module")
def zones(stand_in_images: Path) -> Iterator[Zones]:
    with PrivateCluster() as cluster:
        made = Zones(cluster)
        try:
            yield made
        finally:
            made.close()


def on(*hosts: str) -> set[str]:
    """Pods on these hosts."""
    return {pod for pod, host in PODS.items() if host in hosts}


def by_hand(pod: str, hints: Object | None = None, **conditions: bool) -> Object:
    """An endpoint of a slice."""
    made: Object = {"addresses": [ADDRESSES[pod]], "nodeName": PODS[pod], "conditions": conditions}
    return made | ({"hints": hints} if hints else {})


def for_zones(*names: str) -> Object:
    return {"forZones": [{"name": name} for name in names]}


def for_nodes(*names: str) -> Object:
    return {"forNodes": [{"name": name} for name in names]}


def test_without_a_preference_everybody_answers_everybody(zones: Zones) -> None:
    ip = zones.service("plain")["clusterIP"]
    zones.until(ip, a=PODS, b=PODS, c=PODS)


@pytest.mark.parametrize("word", ["PreferSameZone", "PreferClose"])
def test_the_same_zone(zones: Zones, word: str) -> None:
    """Also for who comes to a nodePort: the node they come to decides. With nobody ready in a zone, others answer."""
    made = zones.service("zonal", type="NodePort", trafficDistribution=word, selector={"app": "web"})
    ip, node_port = made["clusterIP"], made["ports"][0]["nodePort"]
    zones.until(ip, a=on("a", "b"), b=on("a", "b"), c=on("c"))
    zones.until(HOSTS["c"], node_port, a=on("c"), b=on("c"), c=on("c"))
    zones.until(HOSTS["b"], node_port, c=on("a", "b"))
    for pod in on("c"):
        zones.ready(pod, "False")
    try:
        zones.until(ip, a=on("a", "b"), c=on("a", "b"))
    finally:
        for pod in on("c"):
            zones.ready(pod)
    zones.until(ip, a=on("a", "b"), c=on("c"))


def test_the_same_node_then_the_same_zone_then_anybody(zones: Zones) -> None:
    ip = zones.service("nodal", trafficDistribution="PreferSameNode")["clusterIP"]
    zones.until(ip, a=on("a"), b=on("b"), c=on("c"))
    zones.ready("b1", "False")
    try:
        zones.until(ip, b=on("a"), c=on("c"))
        zones.cluster.kubectl("patch", "service", "nodal", "-p", '{"spec":{"selector":{"on":"c"}}}')
        zones.until(ip, a=on("c"), b=on("c"), c=on("c"))
        zones.cluster.kubectl(
            "patch", "service", "nodal", "-p", '{"spec":{"trafficDistribution":null,"selector":null}}'
        )
    finally:
        zones.ready("b1")


def test_a_node_that_moves_to_another_zone(zones: Zones) -> None:
    """Its proxy and the hints of its pods follow while everything runs."""
    ip = zones.service("moving", trafficDistribution="PreferSameZone")["clusterIP"]
    zones.until(ip, b=on("a", "b"), c=on("c"))
    zones.label("node", "b", f"{ZONE}=south")
    try:
        zones.until(ip, a=on("a"), b=on("b", "c"), c=on("b", "c"))
        zones.label("node", "b", f"{ZONE}-")
        # who is in no zone asks everybody; its endpoint is for no zone, so nobody can go by zones
        zones.until(ip, a=PODS, b=PODS, c=PODS)
    finally:
        zones.label("node", "b", f"{ZONE}=north")
    zones.until(ip, a=on("a", "b"), b=on("a", "b"), c=on("c"))


def test_hints_by_hand(zones: Zones) -> None:
    ip = zones.service("hinted", selector=None)["clusterIP"]
    north, south = for_zones("north"), for_zones("south")
    zones.slice("hinted", by_hand("a1", south), by_hand("b1", for_zones("north", "south")), by_hand("c1", north))
    zones.until(ip, a={"b1", "c1"}, b={"b1", "c1"}, c={"a1", "b1"})
    # a zone that nobody is meant for, and one that nobody is in
    zones.slice("hinted", by_hand("a1", north), by_hand("c1", for_zones("west")))
    zones.until(ip, a={"a1"}, b={"a1"}, c={"a1", "c1"})
    # one ready endpoint without a hint: nobody goes by hints; not ready, it does not count
    zones.slice("hinted", by_hand("a1", north), by_hand("c1", south), by_hand("c2"))
    zones.until(ip, a={"a1", "c1", "c2"}, c={"a1", "c1", "c2"})
    zones.slice("hinted", by_hand("a1", north), by_hand("c1", south), by_hand("c2", ready=False))
    zones.until(ip, a={"a1"}, c={"c1"})
    # nodes come before zones, and zones serve the node that nobody is meant for
    zones.slice(
        "hinted",
        by_hand("a1", north | for_nodes("c")),
        by_hand("a2", north | for_nodes("a")),
        by_hand("c1", south | for_nodes("a")),
    )
    zones.until(ip, a={"a2", "c1"}, b={"a1", "a2"}, c={"a1"})


def test_a_move_with_hints_that_stay(zones: Zones) -> None:
    """Nothing but the Node changes: the proxy looks again by itself."""
    ip = zones.service("staying", selector=None)["clusterIP"]
    zones.slice("staying", by_hand("a1", for_zones("north")), by_hand("c1", for_zones("south")))
    zones.until(ip, b={"a1"}, c={"c1"})
    zones.label("node", "b", f"{ZONE}=south")
    try:
        zones.until(ip, a={"a1"}, b={"c1"}, c={"c1"})
        zones.label("node", "b", f"{ZONE}-")
        zones.until(ip, a={"a1"}, b={"a1", "c1"}, c={"c1"})
    finally:
        zones.label("node", "b", f"{ZONE}=north")


def test_terminating_endpoints_are_the_last_resort_of_everybody(zones: Zones) -> None:
    """Their hints mean nothing, and a ready one far away comes before a near one that ends."""
    ip = zones.service("ending", selector=None)["clusterIP"]
    ending = {"ready": False, "serving": True, "terminating": True}
    north, south = for_zones("north"), for_zones("south")
    zones.slice("ending", by_hand("a1", north, **ending), by_hand("c1", south))
    zones.until(ip, a={"c1"}, c={"c1"})
    zones.slice("ending", by_hand("a1", north, **ending), by_hand("c1", south, **ending))
    zones.until(ip, a={"a1", "c1"}, c={"a1", "c1"})


def test_local_policies(zones: Zones) -> None:
    """Own endpoints alone, whatever hints say; the node itself gets everybody through its nodePort."""
    more = {"type": "NodePort", "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"}
    made = zones.service("local", selector={"on": "a"}, trafficDistribution="PreferSameZone", **more)
    ip, node_port = made["clusterIP"], made["ports"][0]["nodePort"]
    zones.until(ip, a=on("a"), b={"refused"}, c={"refused"})
    zones.until(HOSTS["a"], node_port, b=on("a"), c=on("a"))
    zones.until(HOSTS["b"], node_port, a={"refused"}, c={"refused"}, b=on("a"))
    # the client's address stays under Local, and is the node's under Cluster
    seen = {zones.hosts["c"].tcp(HOSTS["a"], node_port).split()[1] for _ in range(10)}
    assert seen == {HOSTS["c"]}
    zones.cluster.kubectl("patch", "service", "local", "-p", '{"spec":{"externalTrafficPolicy":"Cluster"}}')
    zones.until(HOSTS["b"], node_port, a=on("a"), c=on("a"))
    assert {zones.hosts["c"].tcp(HOSTS["b"], node_port).split()[1] for _ in range(10)} == {HOSTS["b"]}
    zones.cluster.kubectl("patch", "service", "local", "-p", '{"spec":{"internalTrafficPolicy":"Cluster"}}')
    zones.until(ip, a=on("a"), b=on("a"), c=on("a"))


def test_each_node_tells_load_balancers_of_its_own_endpoints(zones: Zones) -> None:
    more = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/none"}
    made = zones.service("healthy", selector={"on": "c"}, **more)
    port = made["healthCheckNodePort"]

    def said() -> list[tuple[str, int]]:
        words = ("curl", "-s", "-m", "2", "-w", "\n%{http_code}")
        found = []
        for ip in HOSTS.values():
            body, _, code = zones.cluster.run(*words, f"http://{ip}:{port}/", check=False).stdout.rpartition("\n")
            found.append((code, json.loads(body)["localEndpoints"] if body else -1))
        return found

    wait_for(lambda: said() == [("503", 0), ("503", 0), ("200", 3)], what="each node's own count")


def test_topology_mode_auto(zones: Zones) -> None:
    """Packets follow the hints that the controller gives by the zones' CPU."""
    ip = zones.service("auto", {"service.kubernetes.io/topology-mode": "Auto"})["clusterIP"]

    def meant(zone: str) -> set[str]:
        names = {ip: pod for pod, ip in ADDRESSES.items()}
        return {names[one["addresses"][0]] for one in zones.endpoints("auto") if one.get("hints") == for_zones(zone)}

    # the north has two thirds of the CPU and half of the pods: one of the south's serves it
    wait_for(lambda: len(meant("north")) == 4 and len(meant("south")) == 2, what="hints")
    assert meant("north") > on("a", "b")
    zones.until(ip, a=meant("north"), b=meant("north"), c=meant("south"))
    # fewer pods than zones need: no hints, and everybody answers
    zones.cluster.kubectl("patch", "service", "auto", "-p", '{"spec":{"selector":{"pod":"c1"}}}')
    zones.until(ip, a={"c1"}, c={"c1"})
    assert not meant("north") and not meant("south")
