"""Every field of a Service as packets: who answers, and with which address the pod saw the client."""

from __future__ import annotations

import collections
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from switchboard.proxy.hostports import Pod, plan_pod
from switchboard.proxy.objects import EndpointSlice, Service
from switchboard.proxy.plane import Plane
from switchboard.testing.netns import FAR4, NODE4, NODE6, OUT4, OUT6, PODS, World
from switchboard.testing.services import endpoint, service, slice_of
from switchboard.testing.waiting import wait_for

VIP, VIP6 = "10.96.0.10", "fd00:96::10"
A, B, C = (PODS[name][0] for name in "abc")
LB = "192.168.78.5"
Apply = Callable[..., None]


@pytest.fixture
def apply(world: World, plane: Plane) -> Apply:
    """Make the node serve exactly this about one Service."""

    def fn(one: Service | None, *slices: EndpointSlice, name: str = "web") -> None:
        def act() -> None:
            plane.service(f"t/{name}", one, slices)
            plane.commit()

        world.node.run(act)

    return fn


def test_cluster_ip_from_a_pod_keeps_its_address(world: World, apply: Apply) -> None:
    apply(service("web"), slice_of("web", B))
    assert world.pods["a"].tcp(VIP, 80) == f"b {A}"
    assert world.pods["a"].udp(VIP, 80) == "refused"  # another protocol is another port


def test_cluster_ip_from_the_node_and_from_outside(world: World, apply: Apply) -> None:
    apply(service("web"), slice_of("web", B))
    assert world.node.tcp(VIP, 80) == f"b {NODE4}"
    assert world.out.tcp(VIP, 80) == "b 10.244.0.1"  # masqueraded: nobody else knows the way back


def test_udp(world: World, apply: Apply) -> None:
    apply(service("web", ports=[{"port": 53, "protocol": "UDP"}]), slice_of("web", B, protocol="UDP"))
    assert world.pods["a"].udp(VIP, 53) == f"b {A}"
    assert world.node.udp(VIP, 53) == f"b {NODE4}"
    assert world.out.udp(VIP, 53) == "b 10.244.0.1"


def test_hairpin_is_masqueraded(world: World, apply: Apply) -> None:
    apply(service("web"), slice_of("web", A))
    assert world.pods["a"].tcp(VIP, 80) == "a 10.244.0.1"


def test_spread_is_uniform(world: World, apply: Apply) -> None:
    apply(service("web"), slice_of("web", A, B, C))
    n = 600
    got = collections.Counter(world.node.tcp(VIP, 80)[0] for _ in range(n))
    expected = n / 3
    chi_squared = sum((got[name] - expected) ** 2 / expected for name in "abc")
    assert chi_squared < 18.42, got  # two degrees of freedom: one run in 10,000 fails by chance


def test_no_endpoints_is_refused_at_once(world: World, apply: Apply) -> None:
    ports = [
        {"port": 80, "nodePort": 30080, "name": ""},
        {"port": 53, "protocol": "UDP", "nodePort": 30053, "name": "dns"},
    ]
    apply(service("web", ports=ports, type="LoadBalancer", ingress=[LB]))
    for space in (world.pods["a"], world.node, world.out):
        # a process of the node itself has its datagram refused by its own kernel
        no = "refused" if space is not world.node else "Operation not permitted"
        assert space.tcp(VIP, 80) == "refused"
        assert space.udp(VIP, 53) == no
        assert space.tcp(NODE4, 30080) == "refused"
        assert space.udp(NODE4, 30053) == no
        assert space.tcp(LB, 80) == "refused"
    assert world.node.tcp("127.0.0.1", 30080) == "refused"


def test_unknown_port_and_unknown_cluster_ip_are_refused(world: World, apply: Apply) -> None:
    apply(service("web"), slice_of("web", B))
    for space in (world.pods["a"], world.node, world.out):
        assert space.tcp(VIP, 81) == "refused"
        assert space.tcp("10.96.7.7", 80) == "refused"


def test_node_port_everywhere(world: World, apply: Apply) -> None:
    apply(service("web", ports=[{"port": 80, "nodePort": 30080}], type="NodePort"), slice_of("web", B))
    assert world.out.tcp(NODE4, 30080) == "b 10.244.0.1"
    assert world.node.tcp(NODE4, 30080) == f"b {NODE4}"
    assert world.node.tcp("127.0.0.1", 30080) == "b 10.244.0.1"
    assert world.pods["a"].tcp(NODE4, 30080) == f"b {A}"
    assert world.pods["a"].tcp("10.244.0.1", 30080) == f"b {A}"
    assert world.pods["b"].tcp(NODE4, 30080) == "b 10.244.0.1"  # hairpin


def test_udp_node_port_on_localhost(world: World, apply: Apply) -> None:
    ports = [{"port": 53, "protocol": "UDP", "nodePort": 30053}]
    apply(service("web", ports=ports, type="NodePort"), slice_of("web", B, protocol="UDP"))
    assert world.node.udp("127.0.0.1", 30053) == "b 10.244.0.1"
    assert world.out.udp(NODE4, 30053) == "b 10.244.0.1"


def test_nobody_outside_reaches_loopback(world: World, apply: Apply) -> None:
    apply(service("web", ports=[{"port": 80, "nodePort": 30080}], type="NodePort"), slice_of("web", B))
    stop = world.node.serve("node", 7777, "127.0.0.1")
    world.out.sysctl("net/ipv4/conf/all/route_localnet", "1")
    world.out.ip("route", "add", "127.7.0.0/16", "via", NODE4)
    try:
        assert world.node.tcp("127.0.0.1", 7777) == "node 127.0.0.1"
        for port in (7777, 30080):
            assert world.out.tcp("127.7.0.1", port, source=OUT4, timeout=0.3) == "silent"
    finally:
        world.out.ip("route", "del", "127.7.0.0/16")
        stop()


def test_load_balancer_and_external_ip(world: World, apply: Apply) -> None:
    apply(service("web", type="LoadBalancer", ingress=[LB], externalIPs=["203.0.113.9"]), slice_of("web", B))
    for address in (LB, "203.0.113.9"):
        assert world.out.tcp(address, 80) == "b 10.244.0.1"
        assert world.pods["a"].tcp(address, 80) == f"b {A}"


def test_ip_mode_proxy_is_not_ours(world: World, apply: Apply) -> None:
    apply(service("web", type="LoadBalancer", ingress=[{"ip": LB, "ipMode": "Proxy"}]), slice_of("web", B))
    assert world.out.tcp(LB, 80, timeout=0.3) != f"b {OUT4}"
    assert not world.out.tcp(LB, 80, timeout=0.3).startswith("b")


def test_external_policy_local_keeps_the_client(world: World, apply: Apply) -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    one = service("web", ports=ports, type="LoadBalancer", ingress=[LB], externalTrafficPolicy="Local")
    apply(one, slice_of("web", endpoint(B), endpoint("10.244.9.9", "node-2")))
    for _ in range(6):
        assert world.out.tcp(LB, 80) == f"b {OUT4}"
        assert world.out.tcp(NODE4, 30080) == f"b {OUT4}"


def test_external_policy_local_without_local_says_no(world: World, apply: Apply) -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    one = service("web", ports=ports, type="LoadBalancer", ingress=[LB], externalTrafficPolicy="Local")
    apply(one, slice_of("web", endpoint(B, "node-2")))
    assert world.out.tcp(LB, 80) == "refused"
    assert world.out.tcp(NODE4, 30080) == "refused"
    assert world.pods["a"].tcp(LB, 80) == f"b {A}"  # from inside every endpoint counts
    assert world.pods["a"].tcp(VIP, 80) == f"b {A}"


def test_internal_policy_local(world: World, apply: Apply) -> None:
    one = service("web", internalTrafficPolicy="Local")
    apply(one, slice_of("web", endpoint(B), endpoint("10.244.9.9", "node-2")))
    assert {world.pods["a"].tcp(VIP, 80) for _ in range(6)} == {f"b {A}"}
    apply(one, slice_of("web", endpoint(B, "node-2")))
    assert world.pods["a"].tcp(VIP, 80) == "refused"


def test_source_ranges(world: World, apply: Apply) -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    ranges = [f"{OUT4}/32", "10.0.0.0/8"]
    apply(
        service("web", ports=ports, type="LoadBalancer", ingress=[LB], loadBalancerSourceRanges=ranges),
        slice_of("web", B),
    )
    assert world.out.tcp(LB, 80, source=OUT4) == "b 10.244.0.1"
    assert world.out.tcp(LB, 80, source=FAR4, timeout=0.3) == "silent"
    assert world.pods["a"].tcp(LB, 80) == f"b {A}"
    assert world.out.tcp(NODE4, 30080, source=FAR4) == "b 10.244.0.1"  # only the balancer's address is guarded
    apply(
        service("web", ports=ports, type="LoadBalancer", ingress=[LB], loadBalancerSourceRanges=[f"{FAR4}/32"]),
        slice_of("web", B),
    )
    assert world.out.tcp(LB, 80, source=OUT4, timeout=0.3) == "silent"
    assert world.out.tcp(LB, 80, source=FAR4) == "b 10.244.0.1"


def test_source_ranges_that_overlap(world: World, apply: Apply) -> None:
    """What one Service asks for is no reason to refuse everything: the kernel takes no set with overlaps."""

    def guarded(*ranges: str) -> Service:
        return service("web", type="LoadBalancer", ingress=[LB], loadBalancerSourceRanges=list(ranges))

    apply(guarded("0.0.0.0/0", "10.0.0.0/8", "192.168.77.0/24", f"{OUT4}/32"), slice_of("web", B))
    assert world.out.tcp(LB, 80) == "b 10.244.0.1"
    apply(guarded("192.168.77.0/31", f"{OUT4}/32", "192.168.77.0/32"), slice_of("web", B))
    assert world.out.tcp(LB, 80, source=OUT4) == "b 10.244.0.1"
    assert world.out.tcp(LB, 80, source=FAR4, timeout=0.3) == "silent"
    apply(service("other", "10.96.0.11"), slice_of("other", C), name="other")
    assert world.out.tcp("10.96.0.11", 80) == "c 10.244.0.1"


def test_a_cluster_ip_is_its_services_alone(world: World, apply: Apply) -> None:
    """Whoever names it among its externalIPs gets nothing of its traffic, whatever came first."""

    def both(*order: str) -> None:
        for name in order:
            taker = service("a", "10.96.0.11", externalIPs=[VIP])
            one = service("web") if name == "web" else taker
            apply(one, slice_of(name, B if name == "web" else C), name=name)

    for order in (("web", "a"), ("a", "web")):
        both(*order)
        for space in (world.out, world.node, world.pods["a"]):
            assert space.tcp(VIP, 80)[0] == "b"
        apply(None, name=order[0])
        apply(None, name=order[1])


def test_affinity_is_kept_across_changes_and_frontends(world: World, apply: Apply) -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    one = service("web", ports=ports, type="NodePort", sessionAffinity="ClientIP")
    apply(one, slice_of("web", A, B, C))
    first = world.out.tcp(VIP, 80)[0]
    assert {world.out.tcp(VIP, 80)[0] for _ in range(10)} == {first}
    assert {world.out.tcp(NODE4, 30080)[0] for _ in range(5)} == {first}
    seen = {world.out.tcp(VIP, 80, source=source)[0] for source in (OUT4, FAR4)}
    assert seen <= set("abc")
    rest = [PODS[name][0] for name in "abc" if name != first]
    apply(one, slice_of("web", PODS[first][0], rest[0]))
    assert {world.out.tcp(VIP, 80)[0] for _ in range(10)} == {first}
    apply(one, slice_of("web", *rest))
    second = world.out.tcp(VIP, 80)[0]
    assert second != first
    assert {world.out.tcp(VIP, 80)[0] for _ in range(10)} == {second}
    apply(one, slice_of("web", A, B, C))
    assert {world.out.tcp(VIP, 80)[0] for _ in range(10)} == {second}


def test_affinity_ends_with_its_time(world: World, apply: Apply) -> None:
    config = {"clientIP": {"timeoutSeconds": 1}}
    apply(service("web", sessionAffinity="ClientIP", sessionAffinityConfig=config), slice_of("web", A, B, C))
    got = collections.Counter()
    deadline = time.monotonic() + 20
    while len(got) < 2 and time.monotonic() < deadline:
        got[world.node.tcp(VIP, 80)[0]] += 1
        assert got.total() < 25
        time.sleep(1.1)  # the time to pass is what is tested
    assert len(got) > 1


def test_terminating_endpoints_are_the_last_resort(world: World, apply: Apply) -> None:
    leaving = endpoint(B, ready=False, serving=True, terminating=True)
    apply(service("web"), slice_of("web", endpoint(C), leaving))
    assert {world.pods["a"].tcp(VIP, 80) for _ in range(8)} == {f"c {A}"}
    apply(service("web"), slice_of("web", endpoint(C, ready=False), leaving))
    assert world.pods["a"].tcp(VIP, 80) == f"b {A}"
    apply(service("web"), slice_of("web", endpoint(C, ready=False)))
    assert world.pods["a"].tcp(VIP, 80) == "refused"


def test_an_open_connection_outlives_its_endpoint(world: World, apply: Apply) -> None:
    listener = world.pods["b"].run(lambda: socket.create_server((B, 9000)))
    with listener:
        apply(service("web"), slice_of("web", B, port=9000))
        client = world.pods["a"].run(lambda: socket.create_connection((VIP, 80), 2))
        server, _ = listener.accept()
        apply(service("web"), slice_of("web", C))
        server.sendall(b"still here")
        assert client.recv(100) == b"still here"
        client.sendall(b"and back")
        assert server.recv(100) == b"and back"
        apply(None)
        client.sendall(b"even now")
        assert server.recv(100) == b"even now"
        client.close()
        server.close()


@pytest.mark.parametrize(("vip", "node", "family"), [(VIP, NODE4, 0), (VIP6, NODE6, 1)])
def test_udp_flow_follows_its_endpoint(
    world: World, plane: Plane, apply: Apply, vip: str, node: str, family: int
) -> None:
    from switchboard.proxy.conntrack import Conntrack

    table = world.node.run(Conntrack)

    def forget() -> None:
        table.delete(plane.stale_flows())

    def web(*names: str) -> EndpointSlice:
        return slice_of("web", *(PODS[name][family] for name in names), protocol="UDP")

    one = service("web", vip, ports=[{"port": 53, "protocol": "UDP", "nodePort": 30053}], type="NodePort")
    other = service("other", vip, ports=[{"port": 54, "protocol": "UDP"}])
    ask = [
        lambda: world.pods["a"].udp(vip, 53, source_port=5000),
        lambda: world.out.udp(node, 30053, source_port=5001),
        lambda: world.node.udp(vip, 53, source_port=5002),
    ]
    apply(other, slice_of("other", PODS["a"][family], PODS["b"][family], protocol="UDP"), name="other")
    elsewhere = {world.out.udp(vip, 54, source_port=5003)[0]}
    apply(one, web("b"))
    world.node.run(forget)
    assert [fn()[0] for fn in ask] == ["b"] * 3
    apply(one, web("c"))
    world.node.run(forget)
    assert [fn()[0] for fn in ask] == ["c"] * 3
    # one endpoint more or less elsewhere leaves a flow where it is
    apply(one, web("b", "c"))
    world.node.run(forget)
    assert [fn()[0] for fn in ask] == ["c"] * 3
    for _ in range(6):  # and nobody else's flow was meant
        elsewhere.add(world.out.udp(vip, 54, source_port=5003)[0])
    assert len(elsewhere) == 1
    table.close()


@pytest.mark.parametrize(("vip", "family"), [(VIP, 0), (VIP6, 1)])
def test_who_is_talked_to_through_a_service(world: World, plane: Plane, apply: Apply, vip: str, family: int) -> None:
    from switchboard.proxy.conntrack import Conntrack

    version = [socket.AF_INET, socket.AF_INET6][family]
    mine, other = (socket.inet_pton(version, PODS[name][family]) for name in "bc")
    table = world.node.run(Conntrack)
    with world.pods["b"].run(lambda: socket.create_server((PODS["b"][family], 9010), family=version)) as listener:
        apply(service("web", vip), slice_of("web", PODS["b"][family], port=9010))
        wait_for(lambda: table.talking(mine) == 0)  # connections of other tests fall silent
        with world.pods["a"].run(lambda: socket.create_connection((vip, 80), 2)), listener.accept()[0]:
            assert (table.talking(mine), table.talking(other)) == (1, 0)
        wait_for(lambda: table.talking(mine) == 0)
        world.out.ip("route", "add", PODS["b"][family], "via", (NODE4, NODE6)[family])
        near, straight = world.node.run(lambda: plane.near(mine)), (PODS["b"][family], 9010)
        try:
            # what another node's proxy sends here looks like this; what the node and its pods do is no Service's
            for space, found in ((world.node, 0), (world.pods["a"], 0), (world.out, 1)):
                with space.run(lambda: socket.create_connection(straight, 2)), listener.accept()[0]:
                    assert table.talking(mine, near) == found, space.name
        finally:
            world.out.ip("route", "del", PODS["b"][family])
    table.close()


def test_udp_flow_past_a_service_that_comes_later(world: World, plane: Plane, apply: Apply) -> None:
    from switchboard.proxy.conntrack import Conntrack

    table = world.node.run(Conntrack)
    stop = world.node.serve("node", 30053, NODE4)
    try:
        assert world.out.udp(NODE4, 30053, source_port=5003) == f"node {OUT4}"
        one = service("web", ports=[{"port": 53, "protocol": "UDP", "nodePort": 30053}], type="NodePort")
        apply(one, slice_of("web", C, protocol="UDP"))
        world.node.run(lambda: table.delete(plane.stale_flows()))
        assert world.out.udp(NODE4, 30053, source_port=5003)[0] == "c"
    finally:
        stop()
        table.close()


def test_host_network_endpoint(world: World, apply: Apply) -> None:
    stop = world.node.serve("node", 9100)
    try:
        apply(
            service("web", ports=[{"port": 80, "nodePort": 30080}], type="NodePort"), slice_of("web", NODE4, port=9100)
        )
        assert world.pods["a"].tcp(VIP, 80) == f"node {A}"
        assert world.node.tcp(VIP, 80).startswith("node ")
        assert world.node.tcp("127.0.0.1", 30080).startswith("node ")
        assert world.out.tcp(NODE4, 30080) == f"node {OUT4}"
    finally:
        stop()


def test_named_ports_lead_to_their_own_endpoints(world: World, apply: Apply) -> None:
    ports = [{"port": 80, "name": "one"}, {"port": 81, "name": "two"}]
    apply(service("web", ports=ports), slice_of("web", A, name="one"), slice_of("web", B, name="two"))
    assert world.pods["c"].tcp(VIP, 80) == f"a {C}"
    assert world.pods["c"].tcp(VIP, 81) == f"b {C}"


def test_dual_stack(world: World, apply: Apply) -> None:
    one = service("web", [VIP, VIP6], ports=[{"port": 80, "nodePort": 30080}], type="NodePort")
    apply(one, slice_of("web", B), slice_of("web", PODS["b"][1]))
    a6 = PODS["a"][1]
    assert world.pods["a"].tcp(VIP, 80) == f"b {A}"
    assert world.pods["a"].tcp(VIP6, 80) == f"b {a6}"
    assert world.out.tcp(VIP6, 80) == "b fd00:244::1"
    assert world.out.tcp(NODE6, 30080) == "b fd00:244::1"
    assert world.node.tcp(VIP6, 80).startswith("b ")
    assert world.pods["b"].tcp(VIP6, 80) == "b fd00:244::1"  # hairpin
    assert world.pods["a"].tcp(VIP6, 81) == "refused"
    assert world.pods["a"].udp(VIP6, 80) == "refused"
    sticky = service("web", [VIP6], ports=[{"port": 80}], sessionAffinity="ClientIP")
    apply(sticky, slice_of("web", *(PODS[name][1] for name in "abc")))
    assert len({world.out.tcp(VIP6, 80, source=OUT6)[0] for _ in range(10)}) == 1


def host_port_pod(address: str, *ports: dict[str, Any]) -> Pod:
    import msgspec

    return msgspec.convert(
        {
            "metadata": {"name": "p", "namespace": "t"},
            "spec": {"containers": [{"ports": list(ports)}]},
            "status": {"phase": "Running", "podIPs": [{"ip": address}]},
        },
        Pod,
    )


def test_host_ports(world: World, plane: Plane) -> None:
    def own(name: str, address: str, **port: Any) -> None:
        pod = host_port_pod(address, {"containerPort": 8080, **port})
        plane.owner(f"~pod/t/{name}", {family: plan_pod(pod, family) for family in (4, 6)})

    own("a", A, hostPort=54323, hostIP="127.0.0.1")
    own("b", B, hostPort=54323, hostIP=NODE4)
    own("c", C, hostPort=54323, hostIP=NODE4, protocol="UDP")
    own("d", B, hostPort=54400)
    world.node.run(plane.commit)
    assert world.node.tcp("127.0.0.1", 54323, source=NODE4)[0] == "a"
    assert world.node.tcp("127.0.0.1", 54323)[0] == "a"
    assert world.node.tcp(NODE4, 54323) == f"b {NODE4}"
    assert world.node.udp(NODE4, 54323) == f"c {NODE4}"
    assert world.out.tcp(NODE4, 54323) == f"b {OUT4}"
    assert world.out.tcp(NODE4, 54400) == f"b {OUT4}"
    assert world.node.tcp("127.0.0.1", 54400)[0] == "b"
    assert world.pods["b"].tcp(NODE4, 54400) == "b 10.244.0.1"


def test_egress_is_masqueraded_and_the_cluster_is_not(world: World, plane: Plane) -> None:
    stop = world.out.serve("out", 7000)
    try:
        assert world.pods["a"].tcp(OUT4, 7000) == f"out {NODE4}"
        assert world.pods["a"].tcp(B, 8080) == f"b {A}"
    finally:
        stop()


def crc32c(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def sctp_init(source_port: int, port: int) -> bytes:
    """The first packet of an association (RFC 9260, 3.3.2), by hand: the kernel at hand may have no SCTP sockets."""
    head = source_port.to_bytes(2, "big") + port.to_bytes(2, "big") + bytes(4)
    chunk = b"\1\0\0\x14" + b"tag!" + (65535).to_bytes(4, "big") + b"\0\1\0\1" + b"tsn!"
    return head + crc32c(head + bytes(4) + chunk) + chunk


def test_sctp(world: World, apply: Apply) -> None:
    one = service("web", ports=[{"port": 132, "protocol": "SCTP"}])

    def raw(protocol: int) -> Callable[[], socket.socket]:
        return lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)

    sender, heard, errors = (
        world.pods["a"].run(raw(132)),
        world.pods["b"].run(raw(132)),
        world.pods["a"].run(raw(1)),
    )
    with sender, heard, errors:
        for each in (heard, errors):
            each.settimeout(2)
        apply(one, slice_of("web", B, protocol="SCTP"))
        sender.sendto(sctp_init(4000, 132), (VIP, 0))
        packet = heard.recv(200)
        assert socket.inet_ntoa(packet[12:16]) == A
        assert int.from_bytes(packet[22:24], "big") == 8080
        assert packet[28:32] == crc32c(packet[20:28] + bytes(4) + packet[32:])  # mended, or nobody would listen
        apply(one)
        sender.sendto(sctp_init(4001, 132), (VIP, 0))
        assert errors.recv(200)[20:22] == b"\3\3"  # port unreachable


def test_path_mtu(world: World, apply: Apply) -> None:
    """A segment too big for a link behind the Service is answered with an ICMP error that reaches the right pod."""
    apply(service("web", ports=[{"port": 80, "nodePort": 30080}], type="NodePort"), slice_of("web", B, port=9001))
    listener = world.pods["b"].run(lambda: socket.create_server((B, 9001)))
    world.node.ip("link", "set", "eth0", "mtu", "1280")
    size = 300_000
    try:
        with listener, world.out.run(lambda: socket.create_connection((NODE4, 30080), 2)) as client:
            server, _ = listener.accept()
            sending = threading.Thread(target=lambda: server.sendall(bytes(size)))
            sending.start()
            client.settimeout(5)
            got = 0
            while got < size:
                got += len(client.recv(1 << 16))
            sending.join()
            server.close()
    finally:
        world.node.ip("link", "set", "eth0", "mtu", "1500")


def test_datagrams_in_fragments(world: World, apply: Apply) -> None:
    apply(service("web", ports=[{"port": 53, "protocol": "UDP"}]), slice_of("web", B, protocol="UDP"))

    def ask() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.sendto(bytes(5000), (VIP, 53))
            return s.recv(100).decode()

    assert world.pods["a"].run(ask) == f"b {A}"


def test_foreign_tables_are_left_alone(world: World, apply: Apply) -> None:
    world.node.nft("add table ip docker; add chain ip docker c { type nat hook prerouting priority -100; }")
    world.node.nft("add rule ip docker c ip daddr 192.168.77.2 tcp dport 9999 dnat to 10.244.0.13:8080")
    try:
        apply(service("web"), slice_of("web", B))
        assert world.pods["a"].tcp(VIP, 80) == f"b {A}"
        assert world.out.tcp(NODE4, 9999) == f"c {OUT4}"
        apply(None)
        assert "dport 9999" in world.node.nft("list", "table", "ip", "docker")
    finally:
        world.node.nft("delete", "table", "ip", "docker")


def test_no_connection_is_lost_or_led_astray_by_changes(world: World, plane: Plane) -> None:
    """Counts go up and down, slots move, neighbours come and go, thousands of times: who connects meanwhile is answered
    by an endpoint of that very Service, always.
    """
    sticky = {"clientIP": {"timeoutSeconds": 60}}
    kinds: list[dict[str, Any]] = [{}, {"sessionAffinity": "ClientIP", "sessionAffinityConfig": sticky}]

    def turn(i: int) -> None:
        for at, spec in enumerate(kinds):
            hosts = [[A], [A, B], [B], [B, A]][(i + at) % 4]
            plane.service(f"t/s{at}", service(f"s{at}", f"10.96.0.{20 + at}", **spec), [slice_of(f"s{at}", *hosts)])
        other = service("other", "10.96.0.30") if i % 3 else None
        plane.service("t/other", other, [slice_of("other", C)] if other else [])
        plane.commit()

    world.node.run(lambda: turn(0))
    stop = threading.Event()
    turns = 0

    def churn() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            turn(turns)

    thread = world.node.start(churn)
    try:
        deadline = time.monotonic() + 3
        count = 0
        while time.monotonic() < deadline:
            for vip in ("10.96.0.20", "10.96.0.21"):
                got = world.pods["c"].tcp(vip, 80, timeout=0.9)  # a segment sent again comes after a second
                assert got in (f"a {C}", f"b {C}"), (got, vip, turns, count)
                count += 1
    finally:
        stop.set()
        thread.join()
    assert count > 200
    assert turns > 200
