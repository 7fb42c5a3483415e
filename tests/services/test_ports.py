"""Several ports, one number in two protocols, names that are other numbers in other pods, UDP."""

from __future__ import annotations

import subprocess
import threading

import pytest

from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
WEB = {"a", "b", "c"}
SELECTOR = {"app": "web"}


def test_named_target_ports_of_different_pods(space: Space) -> None:
    """Each port of the Service leads to the pod that has it; a name that is two numbers makes two slices."""
    one = space.pod("one", "http:9001", ports=[{"name": "p1", "containerPort": 9001}], labels={"multi": "yes"})
    two = space.pod("two", "http:9002", ports=[{"name": "p2", "containerPort": 9002}], labels={"multi": "yes"})
    three = space.pod("three", "http:9003", ports=[{"name": "p1", "containerPort": 9003}], labels={"multi": "yes"})
    space.apply(one, two)
    ports = [{"port": 80, "targetPort": "p1", "name": "x"}, {"port": 81, "targetPort": "p2", "name": "y"}]
    ip = space.service("multi", *ports, selector={"multi": "yes"})["spec"]["clusterIP"]
    space.until_names(f"http://{ip}:80/", {"one"}, times=10)
    space.until_names(f"http://{ip}:81/", {"two"}, times=10)
    assert space.fetch(f"http://{ip}:82/") == ["curl:7"]
    space.apply(three)
    space.until_names(f"http://{ip}:80/", {"one", "three"}, times=30)
    slices = space.items("endpointslices", "kubernetes.io/service-name=multi")
    numbers = sorted((p["name"], p["port"]) for piece in slices for p in piece["ports"])
    assert ("x", 9001) in numbers and ("x", 9003) in numbers and ("y", 9002) in numbers
    subsets = space.get("endpoints", "multi")["subsets"]
    assert {
        (a["targetRef"]["name"], p["name"], p["port"]) for s in subsets for a in s["addresses"] for p in s["ports"]
    } == {("one", "x", 9001), ("three", "x", 9003), ("two", "y", 9002)}
    space.kubectl("delete", "endpointslices", "-l", "kubernetes.io/service-name=multi")
    space.until_names(f"http://{ip}:80/", {"one", "three"}, times=30)  # made anew


def test_one_number_in_two_protocols(space: Space) -> None:
    """Each goes on while the other is dropped, and comes back."""
    tcp = {"port": 80, "protocol": "TCP", "targetPort": 8080, "name": "tcp"}
    udp = {"port": 80, "protocol": "UDP", "targetPort": 8081, "name": "udp"}
    made = space.service("both", tcp, udp, selector=SELECTOR)
    ip, version = made["spec"]["clusterIP"], int(made["metadata"]["resourceVersion"])

    def speaks() -> tuple[bool, bool]:
        heard = space.datagrams(ip, 80)[0].split()[0] in WEB
        return space.names(f"http://{ip}/") <= WEB, heard

    wait_for(lambda: speaks() == (True, True), what="both")
    changed = space.patch("service", "both", {"spec": {"ports": [tcp]}})
    assert int(changed["metadata"]["resourceVersion"]) > version
    wait_for(lambda: speaks() == (True, False), what="TCP alone")
    space.patch("service", "both", {"spec": {"ports": [udp]}})
    wait_for(lambda: speaks() == (False, True), what="UDP alone")
    space.patch("service", "both", {"spec": {"ports": [tcp, udp]}})
    wait_for(lambda: speaks() == (True, True), what="both again")


def test_datagrams_follow_the_endpoints(space: Space) -> None:
    """From pods, the node and its nodePort; a flow whose endpoint goes finds the next one."""
    port = {"port": 53, "protocol": "UDP", "targetPort": 8081}
    made = space.service("udp", port, selector=SELECTOR, type="NodePort")["spec"]
    ip, node_port = made["clusterIP"], made["ports"][0]["nodePort"]
    for by in ("client", "hosted", "node", "a"):
        wait_for(lambda by=by: {s.split()[0] for s in space.datagrams(ip, 53, by=by)} <= WEB)  # type: ignore[misc]
    for by in ("client", "hosted", "host", "node"):
        assert space.datagrams(space.cluster.ip, node_port, by=by)[0].split()[0] in WEB
    assert space.datagrams("127.0.0.1", node_port, by="node")[0].split()[0] in WEB
    one_socket = (
        "import socket,sys\ns=socket.socket(2,2); s.bind(('',4321)); s.settimeout(0.3); s.connect((sys.argv[1],53))\n"
        "for _ in range(3):\n"
        "    s.send(b'?')\n    try: print(s.recv(99).decode().split()[0]); break\n    except OSError: pass\n"
    )
    first = space.kubectl("exec", "client", "--", "python3", "-c", one_socket, ip).split()[-1]
    space.kubectl("label", "pod", first, "app=gone", "--overwrite")
    try:
        wait_for(lambda: len(space.endpoints("udp")) == 2)
        wait_for(lambda: space.kubectl("exec", "client", "--", "python3", "-c", one_socket, ip).split()[-1:] != [first])
        assert space.kubectl("exec", "client", "--", "python3", "-c", one_socket, ip).split()[-1] in WEB - {first}
    finally:
        space.kubectl("label", "pod", first, "app=web", "--overwrite")
    wait_for(lambda: len(space.endpoints("udp")) == 3)


def test_datagrams_to_a_pod_in_the_nodes_network(space: Space) -> None:
    """Its socket is bound to no address: the answer comes from the address that was asked, through the Service, its
    nodePort and straight. The same for TCP, and clients' addresses stay."""
    space.apply(space.pod("on-host", "http:18080", "udp:18081", hostNetwork=True))
    space.ready("on-host")
    udp = {"port": 53, "protocol": "UDP", "targetPort": 18081, "name": "udp"}
    tcp = {"port": 80, "targetPort": 18080, "name": "tcp"}
    made = space.service("on-host", udp, tcp, selector={"pod": "on-host"}, type="NodePort")["spec"]
    ip, (udp_port, tcp_port) = made["clusterIP"], (port["nodePort"] for port in made["ports"])
    client, node = space.ip("client"), space.cluster.ip
    space.until_names(f"http://{ip}/", {"on-host"})
    for address, udp_at, tcp_at in ((ip, 53, 80), (node, udp_port, tcp_port), (node, 18081, 18080)):
        assert space.datagrams(address, udp_at) == [f"on-host {client}"]
        assert space.fetch(f"http://{address}:{tcp_at}/")[0].split()[:2] == ["on-host", client]
        assert space.datagrams(address, udp_at, by="node")[0].split()[0] == "on-host"
        assert space.datagrams(address, udp_at, by="hosted")[0].split()[0] == "on-host"
    assert space.datagrams(node, udp_port, by="host")[0].split()[0] == "on-host"
    assert space.datagrams(node, 18081, by="host")[0].split()[0] == "on-host"
    space.delete("pod", "on-host")


def test_the_node_comes_to_pods_with_its_own_address(space: Space) -> None:
    """Straight and through a Service: processes of the node, and so probes, too."""
    ip, made = space.ip("a"), space.service("seen", 80, selector={"pod": "a"})["spec"]
    space.until_names(f"http://{made['clusterIP']}/", {"a"})
    for url in (f"http://{ip}:8080/", f"http://{made['clusterIP']}/"):
        for by in ("node", "hosted"):
            assert space.fetch(url, by=by)[0].split()[:2] == ["a", space.cluster.ip]
    assert space.datagrams(ip, 8081, by="node") == [f"a {space.cluster.ip}"]


def test_pods_and_nodes_reach_every_pod(space: Space) -> None:
    """Straight, by HTTP and UDP, from a pod, from a pod in the node's network, from the node."""
    for name in WEB:
        ip = space.ip(name)
        for by in ("client", "hosted", "node"):
            assert space.fetch(f"http://{ip}:8080/", by=by)[0].split()[0] == name
            assert space.datagrams(ip, 8081, by=by)[0].split()[0] == name
        assert space.fetch(f"http://{ip}:8080/", by="client")[0].split()[1] == space.ip("client")


def test_a_pod_reaches_itself_through_its_service(space: Space) -> None:
    made = space.service("self", {"port": 80, "targetPort": 8080}, selector={"pod": "a"})["spec"]
    space.until_names(f"http://{made['clusterIP']}/", {"a"}, by="a", times=5)


def test_no_endpoint_is_said_at_once(space: Space) -> None:
    """TCP reset and ICMP rather than silence, for a Service without endpoints and an address without Service."""
    made = space.service(
        "none",
        {"port": 80, "name": "t"},
        {"port": 80, "protocol": "UDP", "name": "u"},
        selector={"app": "nobody"},
        type="NodePort",
    )["spec"]
    ip = made["clusterIP"]
    for by in ("client", "hosted", "node"):
        wait_for(lambda by=by: space.fetch(f"http://{ip}/", by=by) == ["curl:7"])  # type: ignore[misc]
    assert space.datagrams(ip, 80)[0] == "error 111"
    assert space.fetch(f"http://{space.cluster.ip}:{made['ports'][0]['nodePort']}/", by="host") == ["curl:7"]
    assert space.fetch("http://10.96.222.222/") == ["curl:7"]
    space.patch(
        "service", "none", {"spec": {"selector": SELECTOR, "ports": [{"port": 80, "targetPort": 8080, "name": "t"}]}}
    )
    space.until_names(f"http://{ip}/", WEB, times=30)


def test_pods_that_are_not_ready(space: Space) -> None:
    """Left out, unless the Service publishes them; they are endpoints all the same."""
    ports = [{"name": "http", "containerPort": 8080}]
    pod = space.pod("early", "http:8080", ports=ports)
    pod["spec"]["containers"][0]["readinessProbe"] = {
        "exec": {"command": ["test", "-e", "/tmp/go"]},
        "periodSeconds": 1,
    }
    space.apply(pod)
    wait_for(lambda: space.get("pod", "early")["status"].get("podIP"))
    port = {"port": 80, "targetPort": "http"}
    strict = space.service("strict", port, selector={"pod": "early"})["spec"]["clusterIP"]
    eager = space.service("eager", port, selector={"pod": "early"}, publishNotReadyAddresses=True)["spec"]["clusterIP"]
    space.until_names(f"http://{eager}/", {"early"})
    assert space.fetch(f"http://{strict}/") == ["curl:7"]
    ((condition,),) = ([e["conditions"] for e in space.endpoints("strict")],)
    assert condition == {"ready": False, "serving": False, "terminating": False}
    assert space.endpoints("eager")[0]["conditions"] == {"ready": True, "serving": False, "terminating": False}
    assert space.get("endpoints", "strict")["subsets"][0]["notReadyAddresses"]
    space.inside("early", "touch /tmp/go")
    space.until_names(f"http://{strict}/", {"early"})


SEND = """
import socket
def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")
packet = (SOURCE).to_bytes(2, "big") + (PORT).to_bytes(2, "big") + bytes(4)
chunk = b"\\1\\0\\0\\x14" + b"tag!" + (65535).to_bytes(4, "big") + b"\\0\\1\\0\\1" + b"tsn!"
packet += crc32c(packet + bytes(4) + chunk) + chunk
socket.socket(socket.AF_INET, socket.SOCK_RAW, 132).sendto(packet, ("TO", 0))
"""
"""The first packet of an SCTP association (RFC 9260, 3.3.2), by hand: the kernel at hand may have no such sockets."""
LISTEN = """
import socket
heard = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
print("listening", flush=True)
while True:
    packet = heard.recv(200)
    print(int.from_bytes(packet[20:22], "big"), int.from_bytes(packet[22:24], "big"), flush=True)
"""


def test_sctp(space: Space) -> None:
    """Associations begin at the pod's port, by ClusterIP from a pod and by NodePort from the host."""
    port = {"port": 132, "protocol": "SCTP", "targetPort": 9132, "name": "s"}
    made = space.service("assoc", port, selector={"pod": "a"}, type="NodePort")["spec"]
    assert made["ports"][0]["protocol"] == "SCTP"
    words = ("kubectl", "-n", space.name, "exec", "a", "--", "timeout", "60", "python3", "-c", LISTEN)
    listener = space.cluster.popen(*words, stdout=subprocess.PIPE, text=True)
    assert listener.stdout
    try:
        assert listener.stdout.readline() == "listening\n"
        heard: list[str] = []
        reader = threading.Thread(target=lambda: heard.extend(listener.stdout or ()))
        reader.start()
        sources = iter(range(4000, 5000))

        def arrives(to: str, number: int, by: str) -> bool:
            source = next(sources)
            code = SEND.replace("SOURCE", str(source)).replace("PORT", str(number)).replace("TO", to)
            if by == "host":
                space.cluster.run("python3", "-c", code)
            else:
                space.inside(by, f"python3 -c '{code}'")
            return any(line.split()[1] == "9132" for line in heard)

        wait_for(lambda: arrives(made["clusterIP"], 132, "client"), what="an association of a pod")
        heard.clear()
        wait_for(lambda: arrives(space.cluster.ip, made["ports"][0]["nodePort"], "host"), what="one of the host")
    finally:
        listener.kill()
        listener.wait()
        reader.join()
