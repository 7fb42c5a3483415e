"""Types of Services, every change from one to another: what is allocated, what is given back, who answers where."""

from __future__ import annotations

import json

import pytest

from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
WEB = {"a", "b", "c"}
PORTS = [{"port": 80, "targetPort": 8080, "name": "http"}]


def cname(space: Space, name: str) -> str:
    """What the resolver says about a Service's name."""
    return space.inside("client", f"nslookup {name}.{space.name}.svc.cluster.local; echo code $?", check=False)


def everywhere(space: Space, name: str, ip: str, node_port: int) -> None:
    """Reached by name, by ClusterIP and by the nodePort, from pods, the node, its own network and the host."""
    space.until_names(f"http://{name}/", WEB, times=30)
    node = space.cluster.ip
    for by in ("client", "hosted", "a"):
        assert space.names(f"http://{ip}/", by=by, times=40) == WEB, by
        assert space.names(f"http://{node}:{node_port}/", by=by, times=40) == WEB, by
    assert space.names(f"http://{ip}/", by="node", times=40) == WEB
    for by in ("node", "host"):
        assert space.names(f"http://{node}:{node_port}/", by=by, times=40) == WEB, by
    assert space.names(f"http://127.0.0.1:{node_port}/", by="node", times=40) == WEB
    assert space.names(f"http://localhost:{node_port}/", by="hosted", times=40) == WEB


def test_node_port_is_reached_from_everywhere(space: Space) -> None:
    made = space.service("np", *PORTS, selector={"app": "web"}, type="NodePort")["spec"]
    port = made["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767 and made["clusterIPs"] == [made["clusterIP"]]
    assert made["externalTrafficPolicy"] == "Cluster" and made["internalTrafficPolicy"] == "Cluster"
    everywhere(space, "np", made["clusterIP"], port)
    twin = {"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]}
    body = {"kind": "Service", "metadata": {"name": "np2"}, "spec": twin}
    assert "provided port is already allocated" in space.refused("apply", "-f", "-", given=body)


def test_external_name_to_cluster_ip_to_node_port(space: Space) -> None:
    made = space.service("wander", type="ExternalName", externalName="np.services.svc.cluster.local")["spec"]
    assert not made.get("clusterIP") and not made.get("clusterIPs") and not made.get("ipFamilies")
    assert "canonical name" in cname(space, "wander") and "code 0" in cname(space, "wander")
    change = {"type": "ClusterIP", "externalName": None, "ports": PORTS, "selector": {"app": "web"}}
    spec = space.patch("service", "wander", {"spec": change})["spec"]
    assert spec["clusterIP"] and "nodePort" not in spec["ports"][0]
    assert space.get("ipaddress", spec["clusterIP"])["spec"]["parentRef"]["name"] == "wander"
    space.until_names("http://wander/", WEB, times=30)
    after = space.patch("service", "wander", {"spec": {"type": "NodePort"}})["spec"]
    assert after["clusterIP"] == spec["clusterIP"]
    everywhere(space, "wander", after["clusterIP"], after["ports"][0]["nodePort"])


def test_node_port_to_external_name_gives_everything_back(space: Space) -> None:
    made = space.service("leave", *PORTS, selector={"app": "web"}, type="NodePort")
    ip, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    space.until_names(f"http://{ip}/", WEB, times=30)
    # as clients do: everything the Service had is sent back
    made["spec"] |= {"type": "ExternalName", "externalName": "np.services.svc.cluster.local"}
    space.kubectl("replace", "-f", "-", given=json.dumps(made))
    spec = space.get("service", "leave")["spec"]
    assert not spec.get("clusterIP") and not spec.get("clusterIPs")
    assert all("nodePort" not in p for p in spec.get("ports") or ())
    assert "notfound" in space.refused("get", "ipaddress", ip).lower().replace(" ", "")
    # the address is nobody's now, and the port may be another's
    wait_for(lambda: space.fetch(f"http://{ip}/", by="client") == ["curl:7"], what="a refusal")
    space.service("heir", {"port": 80, "targetPort": 8080, "nodePort": port}, selector={"app": "web"}, type="NodePort")
    space.until_names(f"http://{space.cluster.ip}:{port}/", WEB, times=30, by="host")
    assert "code 0" in cname(space, "leave")


def test_cluster_ip_to_external_name_with_the_old_address_sent_back(space: Space) -> None:
    made = space.service("rename", *PORTS, selector={"app": "web"})
    space.patch(
        "service", "rename", {"spec": {"type": "ExternalName", "externalName": "np.services.svc.cluster.local"}}
    )
    spec = space.get("service", "rename")["spec"]
    assert not spec.get("clusterIP") and made["spec"]["clusterIP"]
    wait_for(lambda: "canonical name" in cname(space, "rename"), what="the CNAME")


def test_load_balancer_and_back(space: Space) -> None:
    made = space.service("lb", *PORTS, selector={"app": "web"}, type="LoadBalancer")
    entry = wait_for(
        lambda: (space.get("service", "lb")["status"].get("loadBalancer") or {}).get("ingress"), what="an address"
    )[0]
    assert entry["ipMode"] == "VIP" and entry["ports"] == [{"port": 80, "protocol": "TCP"}]
    for by in ("host", "client", "node"):
        space.until_names(f"http://{entry['ip']}/", WEB, times=30, by=by)
    everywhere(space, "lb", made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"])
    reasons = {e["reason"] for e in space.items("events") if e["involvedObject"]["name"] == "lb"}
    assert {"EnsuringLoadBalancer", "EnsuredLoadBalancer"} <= reasons
    spec = space.patch("service", "lb", {"spec": {"type": "ClusterIP"}})["spec"]
    assert "nodePort" not in spec["ports"][0] and "allocateLoadBalancerNodePorts" not in spec
    assert "externalTrafficPolicy" not in spec
    wait_for(lambda: not (space.get("service", "lb")["status"].get("loadBalancer") or {}).get("ingress"))
    wait_for(lambda: space.fetch(f"http://{entry['ip']}/", by="host")[0].startswith("curl:"), what="nobody there")
    space.until_names(f"http://{spec['clusterIP']}/", WEB, times=30)
    wait_for(lambda: not space.get("service", "lb")["metadata"].get("finalizers"), what="the end of clean-up")


def test_a_load_balancer_that_is_deleted_gives_everything_back(space: Space) -> None:
    """Its finalizer is gone as soon as its address is free; what it had can be had again."""
    made = space.service("brief", *PORTS, selector={"app": "web"}, type="LoadBalancer")["spec"]
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    ip = wait_for(lambda: space.kubectl("get", "service", "brief", "-o", path), what="an address")
    assert space.get("service", "brief")["metadata"]["finalizers"] == ["service.kubernetes.io/load-balancer-cleanup"]
    space.kubectl("delete", "service", "brief", "--timeout=5s")
    wait_for(lambda: space.fetch(f"http://{ip}/", by="host")[0].startswith("curl:"), what="nobody there")
    port = PORTS[0] | {"nodePort": made["ports"][0]["nodePort"]}
    space.service("next", port, selector={"app": "web"}, type="LoadBalancer", clusterIP=made["clusterIP"])
    wait_for(lambda: space.kubectl("get", "service", "next", "-o", path) == ip, what="the same address")


def test_headless_is_names_of_pods(space: Space) -> None:
    made = space.service("heads", *PORTS, selector={"app": "web"}, clusterIP="None")["spec"]
    assert made["clusterIPs"] == ["None"]
    wanted = {space.ip(name) for name in WEB}
    look = "nslookup heads.services.svc.cluster.local | grep -A99 Name: | grep ^Address"
    wait_for(lambda: {line.split()[-1] for line in space.inside("client", look, check=False).splitlines()} == wanted)
    assert space.names("http://heads:8080/", times=4) <= WEB
    said = space.refused(
        "patch", "service", "heads", "-p", '{"spec":{"clusterIP":"10.96.7.7","clusterIPs":["10.96.7.7"]}}'
    )
    assert "may not change once set" in said


def test_an_address_may_be_chosen_but_only_once(space: Space) -> None:
    space.service("chosen", *PORTS, selector={"app": "web"}, clusterIP="10.96.77.7")
    space.until_names("http://10.96.77.7/", WEB, times=30)
    body = {
        "kind": "Service",
        "metadata": {"name": "again"},
        "spec": {"clusterIP": "10.96.77.7", "ports": [{"port": 1}]},
    }
    assert "already allocated" in space.refused("apply", "-f", "-", given=body)
    body["spec"]["clusterIP"] = "10.1.2.3"
    assert "does not match the current range" in space.refused("apply", "-f", "-", given=body)


@pytest.mark.parametrize(("policy", "accepted"), [("PreferDualStack", True), ("RequireDualStack", False)])
def test_two_families_on_a_cluster_of_one(space: Space, policy: str, accepted: bool) -> None:
    """As upstream: preferring is a wish, requiring is refused."""
    name = policy.lower()
    body = {"kind": "Service", "metadata": {"name": name}, "spec": {"ipFamilyPolicy": policy, "ports": PORTS}}
    body["spec"] |= {"selector": {"app": "web"}}
    if not accepted:
        said = space.refused("apply", "-f", "-", given=body)
        assert "this cluster is not configured for dual-stack services" in said
        return
    space.apply(body)
    spec = space.get("service", name)["spec"]
    assert spec["ipFamilyPolicy"] == policy and spec["ipFamilies"] == ["IPv4"] and len(spec["clusterIPs"]) == 1
    space.until_names(f"http://{spec['clusterIP']}/", WEB, times=30)
