"""Which endpoints take part, by table."""

from __future__ import annotations

from typing import Any

import pytest

from switchboard.proxy.health import Health
from switchboard.proxy.hostports import Pod, matters, plan_pod
from switchboard.proxy.services import Node, is_ours, of_service, pack, plan, source_ranges, sticky_seconds, target
from switchboard.testing.services import endpoint, service, slice_of

HERE, ELSEWHERE = "node-1", "node-2"


def goes_to(node: Node, *endpoints: dict[str, Any], **spec: Any) -> tuple[list[str], list[str]]:
    """(cluster endpoints, local endpoints) of a Service with these, as last bytes of their addresses."""
    plans = plan(
        service("web", externalTrafficPolicy="Local", externalIPs=["9.9.9.9"], **spec),
        [slice_of("web", *endpoints)],
        4,
        node,
    )
    return tuple([str(one[3]) for one in some] for some in (plans[0].cluster, plans[0].local))  # type: ignore[return-value]


def hinted(
    address: str, *, zones: tuple[str, ...] = (), nodes: tuple[str, ...] = (), **conditions: bool
) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    if zones:
        hints["forZones"] = [{"name": zone} for zone in zones]
    if nodes:
        hints["forNodes"] = [{"name": name} for name in nodes]
    return {**endpoint(address, ELSEWHERE, **conditions), "hints": hints}


CASES = {
    "ready ones": (
        [endpoint("1.1.1.1"), endpoint("1.1.1.2", ELSEWHERE), endpoint("1.1.1.3", ready=False)],
        ["1", "2"],
        ["1"],
    ),
    "absent conditions are ready": ([{"addresses": ["1.1.1.1"]}], ["1"], []),
    "terminating only as last resort": (
        [endpoint("1.1.1.1", ready=False, serving=True, terminating=True), endpoint("1.1.1.2", ELSEWHERE)],
        ["2"],
        ["1"],
    ),
    "last resort": ([endpoint("1.1.1.1", ready=False, serving=True, terminating=True)], ["1"], ["1"]),
    "not serving": ([endpoint("1.1.1.1", ready=False, serving=False, terminating=True)], [], []),
    "unready": ([endpoint("1.1.1.1", ready=False, serving=True, terminating=False)], [], []),
    "zone hints": (
        [hinted("1.1.1.1", zones=("z1",)), hinted("1.1.1.2", zones=("z2", "z1")), hinted("1.1.1.3", zones=("z2",))],
        ["1", "2"],
        [],
    ),
    "one without hint": ([hinted("1.1.1.1", zones=("z1",)), hinted("1.1.1.2")], ["1", "2"], []),
    "unready without hint does not count": (
        [hinted("1.1.1.1", zones=("z1",)), hinted("1.1.1.2", ready=False), hinted("1.1.1.3", zones=("z2",))],
        ["1"],
        [],
    ),
    "no hint for this zone": ([hinted("1.1.1.1", zones=("z2",)), hinted("1.1.1.2", zones=("z3",))], ["1", "2"], []),
    "node hints before zone hints": (
        [hinted("1.1.1.1", zones=("z1",), nodes=(HERE,)), hinted("1.1.1.2", zones=("z1",), nodes=(ELSEWHERE,))],
        ["1"],
        [],
    ),
    "no hint for this node": (
        [hinted("1.1.1.1", zones=("z1",), nodes=("x",)), hinted("1.1.1.2", zones=("z2",), nodes=("y",))],
        ["1"],
        [],
    ),
    "garbage": ([endpoint("not-an-address"), {"addresses": []}, endpoint("1.1.1.2")], ["2"], ["2"]),
    "twins": ([endpoint("1.1.1.1", ready=False), endpoint("1.1.1.1")], ["1"], ["1"]),
}


@pytest.mark.parametrize("name", CASES)
def test_which_endpoints_take_part(name: str) -> None:
    endpoints, cluster, local = CASES[name]
    assert goes_to(Node(HERE, "z1"), *endpoints) == (cluster, local)


def test_hints_need_a_known_zone() -> None:
    endpoints = [hinted("1.1.1.1", zones=("z1",)), hinted("1.1.1.2", zones=("z2",))]
    assert goes_to(Node(HERE), *endpoints)[0] == ["1", "2"]


@pytest.mark.parametrize(
    ("spec", "ours"),
    [
        ({}, True),
        ({"clusterIP": "None"}, False),
        ({"clusterIP": ""}, False),
        ({"type": "ExternalName"}, False),
    ],
)
def test_whose_service(spec: dict[str, Any], ours: bool) -> None:
    one = service("web")
    assert one.spec is not None
    for name, value in spec.items():
        setattr(one.spec, name, value)
    assert is_ours(one) is ours
    assert bool(plan(one, [], 4, Node(HERE))) is ours


def test_foreign_proxy() -> None:
    import msgspec

    from switchboard.proxy.objects import EndpointSlice, Service

    labels = {"service.kubernetes.io/service-proxy-name": "other", "kubernetes.io/service-name": "web"}
    one = service("web")
    one.metadata = msgspec.convert({"name": "web", "namespace": "t", "labels": labels}, type(one.metadata))
    assert not is_ours(one)
    assert (
        of_service(msgspec.convert({"metadata": {"name": "x", "namespace": "t", "labels": labels}}, EndpointSlice))
        == ""
    )
    assert isinstance(one, Service)


def test_ports_meet_by_name_and_protocol() -> None:
    ports = [
        {"port": 80, "name": "http"},
        {"port": 80, "name": "quic", "protocol": "UDP"},
        {"port": 81, "name": "other"},
    ]
    slices = [
        slice_of("web", "1.1.1.1", port=8080, name="http"),
        slice_of("web", "1.1.1.2", port=8081, name="quic", protocol="UDP"),
    ]
    found = {one.name: one.cluster for one in plan(service("web", ports=ports), slices, 4, Node(HERE))}
    assert found == {
        "http/TCP": (target(b"\1\1\1\1", 8080),),
        "quic/UDP": (target(b"\1\1\1\2", 8081),),
        "other/TCP": (),
    }


def test_families_do_not_mix() -> None:
    one = service("web", ["10.96.0.1", "fd00::1"])
    slices = [slice_of("web", "1.1.1.1"), slice_of("web", "fd00::2")]
    assert [len(p.cluster) for family in (4, 6) for p in plan(one, slices, family, Node(HERE))] == [1, 1]
    assert plan(service("web", "10.96.0.1"), slices, 6, Node(HERE)) == []


def test_source_ranges_are_cut_to_their_prefix() -> None:
    one = service("web", loadBalancerSourceRanges=["10.1.2.3/8", " 1.2.3.4/32 ", "fd00::/8", "junk", "5.5.5.5/x"])
    assert one.spec is not None
    assert set(source_ranges(one.spec, 4)) == {(bytes([10, 0, 0, 0]), 8), (bytes([1, 2, 3, 4]), 32)}


def test_source_ranges_never_overlap() -> None:
    ranges = ["10.1.0.0/16", "10.0.0.0/8", "10.1.2.3/32", "10.0.0.0/8", "11.0.0.0/8", "1.2.3.4/33", "1.2.3.4/²", "/"]
    one = service("web", loadBalancerSourceRanges=ranges)
    assert one.spec is not None
    assert source_ranges(one.spec, 4) == ((bytes([10, 0, 0, 0]), 7),)


@pytest.mark.parametrize(("given", "seconds"), [(None, 10800), (-4, 1), (5, 5), (10**15, 86400)])
def test_how_long_a_client_is_remembered(given: int | None, seconds: int) -> None:
    config = {"clientIP": {"timeoutSeconds": given}}
    one = service("web", sessionAffinity="ClientIP", sessionAffinityConfig=config)
    assert one.spec is not None
    assert sticky_seconds(one.spec) == seconds


def test_faithful_drops_where_we_refuse() -> None:
    one = service("web", internalTrafficPolicy="Local")
    slices = [slice_of("web", endpoint("1.1.1.1", ELSEWHERE))]
    assert plan(one, slices, 4, Node(HERE))[0].no_local == "refuse"
    assert plan(one, slices, 4, Node(HERE, faithful=True))[0].no_local == "deny"
    assert plan(one, [], 4, Node(HERE, faithful=True))[0].no_local == "refuse"


@pytest.mark.parametrize(
    ("status", "host_network", "count"),
    [("Running", False, 1), ("Pending", False, 1), ("Succeeded", False, 0), ("Running", True, 0)],
)
def test_which_pods_have_host_ports(status: str, host_network: bool, count: int) -> None:
    import msgspec

    pod = msgspec.convert(
        {
            "metadata": {"name": "p", "namespace": "t"},
            "spec": {
                "hostNetwork": host_network,
                "containers": [{"ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}],
            },
            "status": {"phase": status, "podIPs": [{"ip": "10.244.0.9"}]},
        },
        Pod,
    )
    assert len(plan_pod(pod, 4)) == count
    assert plan_pod(pod, 6) == []


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        (None, {b""}),
        ("", {b""}),
        ("0.0.0.0", {b""}),
        ("::", {b""}),
        ("0:0:0:0:0:0:0:0", {b""}),
        ("192.168.1.2", {bytes([192, 168, 1, 2])}),
        ("fd00::1", set()),
        ("localhost", set()),
    ],
)
def test_where_a_host_port_answers(host: str | None, addresses: set[bytes]) -> None:
    import msgspec

    port = {"containerPort": 80, "hostPort": 8080, "hostIP": host}
    spec = {"containers": [{"ports": [port]}]}
    status = {"phase": "Running", "podIPs": [{"ip": "10.244.0.9"}]}
    pod = msgspec.convert({"metadata": {"name": "p", "namespace": "t"}, "spec": spec, "status": status}, Pod)
    assert {front.address for one in plan_pod(pod, 4) for front in one.fronts} == addresses


def test_pack() -> None:
    assert pack("1.2.3.4", 4) == b"\1\2\3\4"
    assert pack("1.2.3.4", 6) is None
    assert pack("fd00::1", 4) is None
    assert pack("", 4) is None
    assert pack("1.2.3", 4) is None


def test_which_changes_of_pods_concern_host_ports() -> None:
    import msgspec

    def pod(*, ports: bool, phase: str = "Running", **meta: str) -> Pod:
        port = {"containerPort": 80, **({"hostPort": 8080} if ports else {})}
        spec = {"containers": [{"ports": [{"containerPort": 1}]}, {"ports": [port]}]}
        return msgspec.convert({"metadata": {"name": "p", **meta}, "spec": spec, "status": {"phase": phase}}, Pod)

    some, none = pod(ports=True), pod(ports=False)
    assert matters(None, some)
    assert matters(some, None)
    assert matters(some, pod(ports=True, phase="Succeeded"))
    assert not matters(some, pod(ports=True))
    assert not matters(None, none)
    assert not matters(none, pod(ports=False, phase="Succeeded"))
    assert matters(some, none)
    assert matters(none, some)


@pytest.mark.parametrize("port", [-1, 0, 65536, 10**30])
def test_a_health_check_port_that_is_none_is_not_opened(port: int) -> None:
    health = Health("")
    one = service("web", type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=port)
    health.update("t/web", one, (), Node(HERE))
    assert not health._local
