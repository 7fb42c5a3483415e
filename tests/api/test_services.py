"""Services and the pools they draw from."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from switchboard.api.bootstrap import repair_addresses
from switchboard.api.claims import Claims
from switchboard.api.kinds.pools import PoolError, addresses_of, ports_of
from switchboard.api.settings import Settings
from switchboard.testing.apiserver import ApiServer

SERVICES = "/api/v1/namespaces/ns/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
MERGE = {"content-type": "application/merge-patch+json"}


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def names(api: ApiServer, target: str) -> set[str]:
    _, listed = await api.call("GET", target)
    return {item["metadata"]["name"] for item in listed["items"]}


async def test_an_address_is_an_object(api: ApiServer) -> None:
    status, made = await api.call("POST", SERVICES, service("s"))
    assert status == 201
    address = made["spec"]["clusterIP"]
    status, found = await api.call("GET", f"{ADDRESSES}/{address}")
    assert status == 200
    assert found["spec"]["parentRef"] == {"resource": "services", "namespace": "ns", "name": "s"}
    status, taken = await api.call("POST", SERVICES, service("t", clusterIP=address))
    assert status == 422 and "provided IP is already allocated" in taken["message"]
    await api.call("DELETE", SERVICES + "/s")
    assert (await api.call("GET", f"{ADDRESSES}/{address}"))[0] == 404
    assert (await api.call("POST", SERVICES, service("t", clusterIP=address)))[0] == 201


async def test_many_at_once_share_nothing(api: ApiServer) -> None:
    answers = await asyncio.gather(*(api.call("POST", SERVICES, service(f"s{i}", type="NodePort")) for i in range(60)))
    assert {status for status, _ in answers} == {201}
    assert len({body["spec"]["clusterIP"] for _, body in answers}) == 60
    assert len({body["spec"]["ports"][0]["nodePort"] for _, body in answers}) == 60
    assert all(body["spec"]["ports"][0]["nodePort"] >= 30086 for _, body in answers)  # the dynamic band


async def test_a_refused_service_gives_everything_back(api: ApiServer) -> None:
    before = await names(api, ADDRESSES)
    wanted = [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 99}]
    status, _ = await api.call("POST", SERVICES, service("s", type="NodePort", ports=wanted))
    assert status == 422
    status, _ = await api.call("POST", SERVICES, service("Bad_Name", type="NodePort", ports=wanted[:1]))
    assert status == 422
    assert await names(api, ADDRESSES) == before
    assert (await api.call("POST", SERVICES, service("s", type="NodePort", ports=wanted[:1])))[0] == 201
    assert (await api.call("POST", SERVICES, service("s", type="NodePort")))[0] == 409
    assert len(await names(api, ADDRESSES)) == len(before) + 1


async def test_changes_of_type(api: ApiServer) -> None:
    _, made = await api.call("POST", SERVICES, service("s", type="LoadBalancer", externalTrafficPolicy="Local"))
    spec = made["spec"]
    port, health, address = spec["ports"][0]["nodePort"], spec["healthCheckNodePort"], spec["clusterIP"]
    status, changed = await api.call("PATCH", SERVICES + "/s", {"spec": {"type": "ClusterIP"}}, MERGE)
    assert status == 200, changed
    assert changed["spec"]["clusterIP"] == address
    assert "nodePort" not in changed["spec"]["ports"][0] and "healthCheckNodePort" not in changed["spec"]
    assert "externalTrafficPolicy" not in changed["spec"]
    for free in (port, health):  # both may be taken again
        ports = [{"port": 80, "nodePort": free}]
        assert (await api.call("POST", SERVICES, service(f"t{free}", type="NodePort", ports=ports)))[0] == 201
    patch = {"spec": {"type": "ExternalName", "externalName": "a.b"}}
    status, external = await api.call("PATCH", SERVICES + "/s", patch, MERGE)
    assert status == 200 and "clusterIP" not in external["spec"]
    assert (await api.call("GET", f"{ADDRESSES}/{address}"))[0] == 404
    status, back = await api.call("PATCH", SERVICES + "/s", {"spec": {"type": "NodePort", "externalName": None}}, MERGE)
    assert status == 200 and back["spec"]["clusterIP"] and back["spec"]["ports"][0]["nodePort"]


async def test_dual_stack() -> None:
    async with ApiServer(settings=Settings(service_cidrs=("10.96.0.0/16", "fd00:10:96::/112"))) as api:
        services = "/api/v1/namespaces/default/services"
        _, made = await api.call("POST", services, service("s", ipFamilyPolicy="PreferDualStack"))
        assert made["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
        four, six = made["spec"]["clusterIPs"]
        assert four.startswith("10.96.") and six.startswith("fd00:10:96::")
        patch = {"spec": {"ipFamilyPolicy": "SingleStack"}}
        status, single = await api.call("PATCH", services + "/s", patch, MERGE)
        assert status == 200 and single["spec"]["clusterIPs"] == [four], single
        assert (await api.call("GET", f"{ADDRESSES}/{six}"))[0] == 404
        status, again = await api.call(
            "PATCH", services + "/s", {"spec": {"ipFamilyPolicy": "RequireDualStack"}}, MERGE
        )
        assert status == 200 and len(again["spec"]["clusterIPs"]) == 2


async def test_a_preferred_second_family_comes_when_something_is_changed(tmp_path: Path) -> None:
    """A cluster that becomes dual-stack leaves its Services as they are until they are touched."""
    services = "/api/v1/namespaces/default/services"
    store = tmp_path / "store.db"
    async with ApiServer(settings=Settings(service_cidrs=("10.96.0.0/16",)), path=store) as api:
        for name in ("a", "b"):
            _, made = await api.call("POST", services, service(name, ipFamilyPolicy="PreferDualStack"))
            assert made["spec"]["ipFamilies"] == ["IPv4"]
    async with ApiServer(settings=Settings(service_cidrs=("10.96.0.0/16", "fd00:10:96::/112")), path=store) as api:
        change: Any = {"metadata": {"labels": {"x": "y"}}}
        _, kept = await api.call("PATCH", services + "/a", change, MERGE)
        assert len(kept["spec"]["clusterIPs"]) == 1
        for name, change in (("a", {"type": "NodePort"}), ("b", {"ipFamilyPolicy": "RequireDualStack"})):
            status, more = await api.call("PATCH", f"{services}/{name}", {"spec": change}, MERGE)
            assert status == 200 and more["spec"]["ipFamilies"] == ["IPv4", "IPv6"], more
            assert len(more["spec"]["clusterIPs"]) == 2


async def test_traffic_from_outside_has_a_policy_as_long_as_there_is_any(api: ApiServer) -> None:
    for name, kind in (("c", "ClusterIP"), ("n", "NodePort")):
        _, made = await api.call("POST", SERVICES, service(name, type=kind, externalIPs=["192.0.2.1"]))
        assert made["spec"]["externalTrafficPolicy"] == "Cluster"
        made["spec"]["externalIPs"] = []
        status, changed = await api.call("PUT", f"{SERVICES}/{name}", made)
        assert status == 200 and ("externalTrafficPolicy" in changed["spec"]) == (kind == "NodePort"), changed


async def test_another_range_is_used_when_the_first_is_full() -> None:
    async with ApiServer(settings=Settings(service_cidrs=("10.96.0.0/29",))) as api:
        services = "/api/v1/namespaces/default/services"
        for i in range(5):  # six addresses, one of them for `kubernetes`
            assert (await api.call("POST", services, service(f"s{i}")))[0] == 201
        assert (await api.call("POST", services, service("late")))[0] == 500
        cidr = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}}
        assert (await api.call("POST", "/apis/networking.k8s.io/v1/servicecidrs", cidr))[0] == 201
        status, made = await api.call("POST", services, service("late"))
        assert status == 201 and made["spec"]["clusterIP"].startswith("10.97.0.")


async def test_ranges_under_load_are_filled_to_the_last_address_and_no_further() -> None:
    """Many at once, until both ranges are full; what is given back is there again, in whichever range."""
    async with ApiServer(settings=Settings(service_cidrs=("10.96.0.0/26",))) as api:
        services, cidrs = "/api/v1/namespaces/default/services", "/apis/networking.k8s.io/v1/servicecidrs"
        cidr = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/27"]}}
        assert (await api.call("POST", cidrs, cidr))[0] == 201
        made = await asyncio.gather(*(api.call("POST", services, service(f"s{i}")) for i in range(100)))
        good = {s["metadata"]["name"]: s["spec"]["clusterIP"] for status, s in made if status == 201}
        assert len(good) == 61 + 30 == len(set(good.values()))  # without `kubernetes`
        assert {status for status, _ in made} == {201, 500}
        for prefix in ("10.96.", "10.97."):
            name, ip = next((n, ip) for n, ip in good.items() if ip.startswith(prefix))
            assert (await api.call("DELETE", f"{services}/{name}"))[0] == 200
            await api.gone(f"{ADDRESSES}/{ip}")
            status, again = await api.call("POST", services, service(name))
            assert (status, again["spec"]["clusterIP"]) == (201, ip)
        assert (await api.call("DELETE", cidrs + "/more"))[0] == 200
        condition = (await api.call("GET", cidrs + "/more"))[1]["status"]["conditions"][0]
        async with asyncio.timeout(5):
            while condition["reason"] != "Terminating":
                await asyncio.sleep(0.005)
                condition = (await api.call("GET", cidrs + "/more"))[1]["status"]["conditions"][0]
        for name, ip in good.items():
            if ip.startswith("10.97."):
                assert (await api.call("DELETE", f"{services}/{name}"))[0] == 200
        await api.gone(cidrs + "/more")
        assert (await api.call("POST", services, service("late")))[0] == 500


async def test_a_start_repairs_addresses_and_ports(api: ApiServer) -> None:
    _, made = await api.call("POST", SERVICES, service("s", type="NodePort"))
    address, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    app = api.app
    app.pools.drop_address(address)  # a crash between two commits
    await app.pools.put_address("10.96.7.7", "ns", "gone")
    _, other = await api.call("POST", SERVICES, service("other"))
    mistaken = f"{ADDRESSES}/{other['spec']['clusterIP']}"
    app.pools.drop_address(other["spec"]["clusterIP"])
    await app.pools.put_address(other["spec"]["clusterIP"], "ns", "s")
    await asyncio.gather(*repair_addresses(app))
    app.pools.load()
    assert (await api.call("GET", f"{ADDRESSES}/{address}"))[0] == 200
    assert (await api.call("GET", mistaken))[1]["spec"]["parentRef"]["name"] == "other"
    await api.gone(f"{ADDRESSES}/10.96.7.7")
    with pytest.raises(PoolError, match="already allocated"):
        app.pools.take_port(port, Claims())


async def test_the_first_objects(api: ApiServer) -> None:
    assert await names(api, "/api/v1/namespaces") >= {"default", "kube-system", "kube-public", "kube-node-lease"}
    _, found = await api.call("GET", "/api/v1/namespaces/default/services/kubernetes")
    assert found["spec"]["clusterIP"] == "10.96.0.1"
    assert await names(api, "/apis/scheduling.k8s.io/v1/priorityclasses") == {
        "system-cluster-critical",
        "system-node-critical",
    }
    _, cidr = await api.call("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes")
    assert cidr["spec"]["cidrs"] == ["10.96.0.0/16"] and cidr["status"]["conditions"][0]["status"] == "True"


async def test_where_the_server_is_and_by_what_it_is_known() -> None:
    async with ApiServer(settings=Settings(advertise_address="192.0.2.1", root_ca="a certificate")) as api:
        _, info = await api.call("GET", "/api/v1/namespaces/kube-public/configmaps/cluster-info")
        assert "server: https://192.0.2.1:" in info["data"]["kubeconfig"]
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
        async with asyncio.timeout(5):
            while not (await api.call("GET", leases))[1]["items"]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        (lease,) = (await api.call("GET", leases))[1]["items"]
        assert lease["metadata"]["labels"]["apiserver.kubernetes.io/identity"] == "kube-apiserver"
        assert lease["spec"]["holderIdentity"].startswith(lease["metadata"]["name"] + "_")


async def test_advice_becomes_a_warning(api: ApiServer) -> None:
    api.app.advisers.append(lambda obj, old: [f"advice about {obj['metadata']['name']}"])
    response = await api.request("POST", SERVICES, service("s"))
    assert ("warning", '299 - "advice about s"') in response.headers


async def test_services_move_out_of_the_first_range(api: ApiServer) -> None:
    cidrs = "/apis/networking.k8s.io/v1/servicecidrs"
    assert (await api.call("POST", cidrs, {"metadata": {"name": "x"}, "spec": {"cidrs": ["10.97.0.0/24"]}}))[0] == 201
    _, old = await api.call("POST", SERVICES, service("old", clusterIP="10.96.7.7"))
    assert (await api.call("DELETE", cidrs + "/kubernetes"))[0] == 200
    for n in range(5):
        status, made = await api.call("POST", SERVICES, service(f"s{n}"))
        assert status == 201 and made["spec"]["clusterIP"].startswith("10.97.0.")
    assert (await api.call("POST", SERVICES, service("late", clusterIP="10.96.7.8")))[0] == 422
    status, kept = await api.call("PATCH", SERVICES + "/old", {"spec": {"type": "NodePort"}}, MERGE)
    assert status == 200 and kept["spec"]["clusterIP"] == old["spec"]["clusterIP"]


async def test_an_address_of_somebody_else_holds_no_range(api: ApiServer) -> None:
    cidrs = "/apis/networking.k8s.io/v1/servicecidrs"
    assert (await api.call("POST", cidrs, {"metadata": {"name": "x"}, "spec": {"cidrs": ["10.97.0.0/24"]}}))[0] == 201
    parent = {"group": "gateway.example.com", "resource": "gateways", "namespace": "ns", "name": "g"}
    foreign = {"metadata": {"name": "10.97.0.9"}, "spec": {"parentRef": parent}}
    assert (await api.call("POST", ADDRESSES, foreign))[0] == 201
    status, told = await api.call("POST", SERVICES, service("s", clusterIP="10.97.0.9"))
    assert status == 422 and "already allocated" in told["message"]
    assert (await api.call("DELETE", cidrs + "/x"))[0] == 200
    await api.gone(cidrs + "/x")
    assert (await api.call("GET", ADDRESSES + "/10.97.0.9"))[0] == 200


async def test_a_range_goes_when_nothing_needs_it(api: ApiServer) -> None:
    cidrs = "/apis/networking.k8s.io/v1/servicecidrs"
    assert (await api.call("POST", cidrs, {"metadata": {"name": "x"}, "spec": {"cidrs": ["10.99.0.0/24"]}}))[0] == 201
    status, made = await api.call("POST", SERVICES, service("s", clusterIP="10.99.0.7"))
    assert status == 201, made
    status, marked = await api.call("DELETE", cidrs + "/x")
    assert status == 200 and marked["metadata"]["deletionTimestamp"], marked
    status, _ = await api.call("POST", SERVICES, service("t", clusterIP="10.99.0.8"))
    assert status == 422  # nothing new out of a range that is on its way out
    assert (await api.call("DELETE", SERVICES + "/s"))[0] == 200
    await api.gone(cidrs + "/x")


@pytest.mark.parametrize("seed", range(4))
async def test_any_storm_leaves_exactly_what_services_hold(api: ApiServer, seed: int) -> None:
    """Creates, changes of every kind, refusals and deletions of a few names, all at once, by wishes that collide: in
    the end an IPAddress stands for each ClusterIP and a port is taken exactly when a Service has it."""
    draw = random.Random(seed)
    names_, ips, ports = [f"s{i}" for i in range(8)], [f"10.96.50.{i}" for i in range(1, 6)], list(range(30001, 30007))

    def spec() -> dict[str, Any]:
        kind = draw.choice(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])
        wish = {"port": 80, "name": "a", **({"nodePort": draw.choice(ports)} if kind[0] in "NL" else {})}
        more: dict[str, Any] = {"type": kind, "ports": [wish, {"port": 80, "protocol": "UDP", "name": "b"}]}
        if kind == "ExternalName":
            return {"type": kind, "externalName": draw.choice(["a.b", "-not a name-"])}
        if draw.random() < 0.5:
            more["clusterIP"] = draw.choice([*ips, "None", "10.7.7.7"])
        if kind == "LoadBalancer" and draw.random() < 0.5:
            more |= {"externalTrafficPolicy": "Local", "healthCheckNodePort": draw.choice([0, *ports])}
        return more

    async def one() -> int:
        name, what = draw.choice(names_), draw.random()
        if what < 0.35:
            return (await api.call("POST", SERVICES, {"metadata": {"name": name}, "spec": spec()}))[0]
        if what < 0.55:
            return (await api.call("DELETE", f"{SERVICES}/{name}"))[0]
        if what < 0.8:
            change: Any = {"type": draw.choice(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])}
            change["externalName"] = "c.d" if change["type"] == "ExternalName" else None
            return (await api.call("PATCH", f"{SERVICES}/{name}", {"spec": change}, MERGE))[0]
        body = {"metadata": {"name": name}, "spec": spec()}
        return (await api.call("PUT", f"{SERVICES}/{name}", body))[0]

    seen = Counter[int]()
    for _ in range(12):
        seen.update(await asyncio.gather(*(one() for _ in range(25))))
    assert {200, 201, 404, 409, 422} <= set(seen) <= {200, 201, 404, 409, 422, 500}, seen
    _, listed = await api.call("GET", "/api/v1/services")
    held = {ip: (s["metadata"]["namespace"], s["metadata"]["name"]) for s in listed["items"] for ip in addresses_of(s)}
    assert len(held) == sum(len(addresses_of(s)) for s in listed["items"])

    async def settled() -> bool:
        _, objects = await api.call("GET", ADDRESSES)
        owners = {o["metadata"]["name"]: o["spec"]["parentRef"] for o in objects["items"]}
        return {ip: (ref["namespace"], ref["name"]) for ip, ref in owners.items()} == held

    async with asyncio.timeout(5):
        while not await settled():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    taken = [port for s in listed["items"] for port in ports_of(s)]
    assert len(taken) == len(set(taken))
    low, high = api.app.settings.node_ports
    free = set()
    for port in range(low, high + 1):
        claims = Claims()
        try:
            api.app.pools.take_port(port, claims)
            free.add(port)
        except PoolError:
            pass
        claims.rollback()
    assert set(range(low, high + 1)) - free == set(taken)


def tcp_udp(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "t", "port": 53, **first}, {"name": "u", "port": 53, "protocol": "UDP", **second}]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"nodePort": 30054}, {"nodePort": 30054}, [30054, 30054]),
        ({}, {"nodePort": 30054}, [30054, 30054]),
        ({"nodePort": 30055}, {"nodePort": 30056}, [30055, 30056]),
        ({"nodePort": 30057}, {"port": 54, "nodePort": 30058}, [30057, 30058]),
        ({"nodePort": 30057}, {"port": 54, "nodePort": 30057}, "spec.ports[1].nodePort"),
    ],
)
async def test_one_node_port_serves_the_protocols_of_one_port(
    api: ApiServer, first: dict[str, Any], second: dict[str, Any], expected: Any
) -> None:
    status, made = await api.call("POST", SERVICES, service("s", type="NodePort", ports=tcp_udp(first, second)))
    if isinstance(expected, list):
        assert status == 201 and [p["nodePort"] for p in made["spec"]["ports"]] == expected
    else:
        assert status == 422 and [c["field"] for c in made["details"]["causes"]] == [expected], made
        assert "provided port is already allocated" in made["message"]


async def test_a_node_port_is_never_the_health_check_port_too(api: ApiServer) -> None:
    balanced = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    _, made = await api.call("POST", SERVICES, service("s", **balanced))
    health, mine = made["spec"]["healthCheckNodePort"], made["spec"]["ports"][0]["nodePort"]
    put = service("s", **balanced, ports=[{"port": 80, "nodePort": health}])
    assert (await api.call("PUT", SERVICES + "/s", put))[0] == 422
    status, told = await api.call("POST", SERVICES, service("t", **balanced, healthCheckNodePort=mine))
    wanted = f"failed to allocate requested HealthCheck NodePort {mine}: provided port is already allocated"
    assert status == 500 and told["message"] == f"Internal error occurred: {wanted}"


async def test_node_ports_asked_for_without_allocation_go_with_the_type(api: ApiServer) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30081}]
    lb = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": ports}
    status, made = await api.call("POST", SERVICES, service("s", **lb))
    assert status == 201 and [p.get("nodePort") for p in made["spec"]["ports"]] == [None, 30081]
    status, made = await api.call("PUT", SERVICES + "/s", {**made, "spec": {**made["spec"], "type": "ClusterIP"}})
    assert status == 200 and not any("nodePort" in p for p in made["spec"]["ports"]), made
    assert (await api.call("POST", SERVICES, service("t", type="NodePort", ports=ports[1:])))[0] == 201


@pytest.mark.parametrize(
    ("patch", "causes"),
    [
        ({"clusterIPs": ["10.96.0.77"]}, ["spec.clusterIPs: first value must match `clusterIP`"]),
        ({"clusterIP": "10.96.0.77"}, ["spec.clusterIPs[0]: may not change once set"]),
        ({"clusterIP": "10.96.0.77", "clusterIPs": None}, ["spec.clusterIPs: Required value"]),
        ({"clusterIP": "None"}, ["spec.clusterIPs[0]: may not change once set"]),
        ({"ipFamilies": ["IPv6"]}, ["spec.clusterIPs[0]: expected an IPv6 value as indicated by `ipFamilies[0]`"]),
        ({"ipFamilies": ["IPv4", "IPv6", "IPv4"]}, ["spec.ipFamilies[2]: Duplicate value"]),
    ],
)
async def test_what_is_said_about_changed_addresses(api: ApiServer, patch: dict[str, Any], causes: list[str]) -> None:
    assert (await api.call("POST", SERVICES, service("s")))[0] == 201
    status, told = await api.call("PATCH", SERVICES + "/s", {"spec": patch}, MERGE)
    found = [(c["field"], c["message"]) for c in told["details"]["causes"]]
    assert status == 422 and len(found) == len(causes), told
    for (field, message), expected in zip(found, causes, strict=True):
        at, _, text = expected.partition(": ")
        assert field == at and text in message


@pytest.mark.parametrize("address", ["10.96.0.0", "10.96.255.255", "192.0.2.1"])
async def test_an_address_outside_of_the_usable_part_of_a_range(api: ApiServer, address: str) -> None:
    """The first and the last of a range belong to nobody: recorded from Kubernetes 1.36."""
    status, told = await api.call("POST", SERVICES, service("s", clusterIP=address))
    why = f"failed to allocate IP {address}: the provided network does not match the current range"
    assert status == 422 and why in told["message"], told


async def test_a_deleted_address_of_a_standing_service_comes_back(api: ApiServer) -> None:
    _, made = await api.call("POST", SERVICES, service("s"))
    path = f"{ADDRESSES}/{made['spec']['clusterIP']}"
    before = (await api.call("GET", path))[1]["metadata"]["uid"]
    assert (await api.call("DELETE", path))[0] == 200
    async with asyncio.timeout(5):
        while not (await api.call("GET", "/api/v1/namespaces/ns/events"))[1]["items"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    status, again = await api.call("GET", path)
    assert status == 200 and again["metadata"]["uid"] != before
    assert again["spec"]["parentRef"] == {"resource": "services", "namespace": "ns", "name": "s"}
    (event,) = (await api.call("GET", "/api/v1/namespaces/ns/events"))[1]["items"]
    assert event["reason"] == "ClusterIPNotAllocated" and event["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert (await api.call("DELETE", SERVICES + "/s"))[0] == 200
    await api.gone(path)


@pytest.mark.parametrize(
    ("cidrs", "causes"),
    [
        (["10.7.0.0/24"], []),
        (["10.7.0.0/24", "fd07::/112"], []),
        (["10.8.0.0/24"], ["spec.cidrs[0]"]),
        (["fd07::/112", "10.7.0.0/24"], ["spec.cidrs[0]"]),
        ([], ["spec.cidrs", "spec.cidrs"]),
    ],
)
async def test_what_may_change_of_a_range(api: ApiServer, cidrs: list[str], causes: list[str]) -> None:
    path = "/apis/networking.k8s.io/v1/servicecidrs"
    assert (await api.call("POST", path, {"metadata": {"name": "x"}, "spec": {"cidrs": ["10.7.0.0/24"]}}))[0] == 201
    status, told = await api.call("PATCH", path + "/x", {"spec": {"cidrs": cidrs}}, MERGE)
    assert status == (422 if causes else 200), told
    assert [c["field"] for c in (told.get("details") or {}).get("causes", [])] == causes


async def test_what_an_external_name_says_of_node_ports_is_nobodys(api: ApiServer) -> None:
    ports = [{"port": 80, "nodePort": 30077}]
    assert (await api.call("POST", SERVICES, service("a", type="NodePort", ports=ports)))[0] == 201
    external = service("b", type="ExternalName", externalName="x.y", ports=ports)
    assert (await api.call("POST", SERVICES, external))[0] == 201
    change = {"spec": {"type": "NodePort", "externalName": None}}
    status, told = await api.call("PATCH", SERVICES + "/b", change, MERGE)
    assert status == 422 and "provided port is already allocated" in told["message"]
    assert (await api.call("DELETE", SERVICES + "/b"))[0] == 200
    assert (await api.call("POST", SERVICES, service("c", type="NodePort", ports=ports)))[0] == 422


async def test_endpoints_go_with_their_service(api: ApiServer) -> None:
    path = "/api/v1/namespaces/ns/endpoints"
    assert (await api.call("POST", SERVICES, service("s")))[0] == 201
    made = {"metadata": {"name": "s"}, "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}
    assert (await api.call("POST", path, made))[0] == 201
    assert (await api.call("DELETE", SERVICES + "/s?dryRun=All"))[0] == 200
    assert (await api.call("GET", path + "/s"))[0] == 200
    assert (await api.call("DELETE", SERVICES + "/s"))[0] == 200
    assert (await api.call("GET", path + "/s"))[0] == 404


async def test_the_old_topology_of_slices_is_not_written(api: ApiServer) -> None:
    path = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"
    endpoint = {"addresses": ["10.1.2.3"], "deprecatedTopology": {"no label": "-"}}
    made = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [endpoint], "ports": [{"port": 80}]}
    status, slice_ = await api.call("POST", path, made)
    assert status == 201 and slice_["endpoints"] == [{"addresses": ["10.1.2.3"], "conditions": {}}], slice_
    change = {"endpoints": [{"addresses": ["10.1.2.4"], "deprecatedTopology": {"a": "b"}}]}
    status, slice_ = await api.call("PATCH", path + "/s", change, MERGE)
    assert status == 200 and slice_["endpoints"][0].keys() == {"addresses", "conditions"}
    assert slice_["metadata"]["generation"] == 2


async def test_an_update_creates_what_is_absent_but_not_what_is_gone(api: ApiServer) -> None:
    absent = service("s")
    absent["metadata"]["resourceVersion"] = "7"
    status, made = await api.call("PUT", SERVICES + "/s", absent)
    assert status == 201, made
    assert (await api.call("DELETE", SERVICES + "/s"))[0] == 200
    status, told = await api.call("PUT", SERVICES + "/s", made)
    assert status == 409 and f"UID in precondition: {made['metadata']['uid']}" in told["message"], told
    assert (await api.call("GET", SERVICES + "/s"))[0] == 404


async def test_a_manifest_put_again_changes_nothing(api: ApiServer) -> None:
    """What was allocated stays where a client leaves it out: addresses, shared node ports, the health check's."""
    manifest = service("s", type="LoadBalancer", externalTrafficPolicy="Local", ports=tcp_udp({}, {}))
    _, made = await api.call("POST", SERVICES, manifest)
    assert len({p["nodePort"] for p in made["spec"]["ports"]}) == 1
    status, again = await api.call("PUT", SERVICES + "/s", manifest)
    assert status == 200 and again["spec"] == made["spec"]
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
