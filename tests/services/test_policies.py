"""Traffic policies, source ranges, external addresses, load balancers of ours and of others, health."""

from __future__ import annotations

import json
from typing import Any

import pytest

from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
WEB = {"a", "b", "c"}
SELECTOR = {"app": "web"}
HOST = "192.168.49.1"


def ingress(space: Space, name: str) -> list[dict[str, Any]]:
    found = (space.get("service", name).get("status") or {}).get("loadBalancer") or {}
    return found.get("ingress") or []


def until_ingress(space: Space, name: str) -> str:
    return str(wait_for(lambda: ingress(space, name), what="an address")[0]["ip"])


def askers(space: Space, url: str, by: str) -> set[str]:
    """Addresses the pods saw."""
    return {line.split()[1] for line in space.fetch(url, by=by, times=10)}


def test_local_keeps_the_client_and_tells_its_health(space: Space) -> None:
    made = space.service("near", 80, selector=SELECTOR, type="LoadBalancer", externalTrafficPolicy="Local")["spec"]
    ip, health = until_ingress(space, "near"), made["healthCheckNodePort"]
    url = f"http://{space.cluster.ip}:{made['ports'][0]['nodePort']}/"
    space.until_names(url, WEB, by="host", times=30)
    host = space.cluster.run("ip", "-4", "-o", "addr", "show", "to", f"{space.cluster.ip}/24").stdout.split()[3]
    own = host.split("/")[0]
    assert askers(space, url, "host") == {own}
    assert askers(space, f"http://{ip}/", "host") == {own}
    assert askers(space, url, "client") == {space.ip("client")}

    def healthy() -> tuple[str, Any]:
        said = space.cluster.run("curl", "-s", "-w", "\n%{http_code}", f"http://{space.cluster.ip}:{health}/").stdout
        body, _, code = said.rpartition("\n")
        return code, json.loads(body)

    code, body = healthy()
    assert code == "200" and body["localEndpoints"] == 3 and body["service"]["name"] == "near"
    space.patch("service", "near", {"spec": {"selector": {"app": "nobody"}}})
    wait_for(lambda: healthy()[0] == "503", what="not healthy")
    assert healthy()[1]["localEndpoints"] == 0
    wait_for(lambda: space.fetch(url, by="host")[0] == "curl:7", what="a refusal rather than silence")
    changed = space.patch("service", "near", {"spec": {"externalTrafficPolicy": "Cluster", "selector": SELECTOR}})[
        "spec"
    ]
    assert "healthCheckNodePort" not in changed
    space.until_names(url, WEB, by="host", times=30)
    assert own not in askers(space, url, "host")  # masqueraded


def test_nothing_local_is_refused_inside(space: Space) -> None:
    """internalTrafficPolicy Local with an endpoint of another node: no answer from here, and no hang."""
    ports = {"port": 80, "name": "x"}
    ip = space.service("inner", ports, internalTrafficPolicy="Local")["spec"]["clusterIP"]
    meta = {"name": "inner-1", "labels": {"kubernetes.io/service-name": "inner"}}
    piece = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4"}
    piece |= {"ports": [{"name": "x", "port": 8080}]}
    far = {"addresses": [space.ip("a")], "nodeName": "elsewhere"}
    space.apply(piece | {"endpoints": [far]})
    for by in ("client", "node"):
        wait_for(lambda by=by: space.fetch(f"http://{ip}/", by=by) == ["curl:7"])  # type: ignore[misc]
    near = {"addresses": [space.ip("b")], "nodeName": space.cluster.name}
    space.apply(piece | {"endpoints": [far, near]})
    space.until_names(f"http://{ip}/", {"b"}, times=20)
    space.patch("service", "inner", {"spec": {"internalTrafficPolicy": "Cluster"}})
    space.until_names(f"http://{ip}/", {"a", "b"}, times=30)


def test_source_ranges_keep_others_out(space: Space) -> None:
    own = space.ip("client")
    space.service("fenced", 80, selector=SELECTOR, type="LoadBalancer", loadBalancerSourceRanges=[f"{own}/32"])
    ip = until_ingress(space, "fenced")
    cluster_ip = space.get("service", "fenced")["spec"]["clusterIP"]
    space.until_names(f"http://{ip}/", WEB, times=30)
    for by in ("other", "host"):
        assert space.fetch(f"http://{ip}/", by=by)[0].startswith("curl:"), by
    assert space.names(f"http://{cluster_ip}/", by="other", times=5) <= WEB  # only the load balancer is fenced
    space.patch("service", "fenced", {"spec": {"loadBalancerSourceRanges": None}})
    space.until_names(f"http://{ip}/", WEB, times=30, by="host")


def test_external_addresses(space: Space) -> None:
    """An address from elsewhere that is routed to the node, and the node's own."""
    node = space.cluster.ip
    port = {"port": 8088, "targetPort": 8080}
    made = space.service("ext", port, selector=SELECTOR, externalIPs=["192.0.2.10", node])
    assert made["spec"]["type"] == "ClusterIP"
    space.cluster.run("ip", "route", "add", "192.0.2.10/32", "via", node)
    for by in ("client", "host"):
        space.until_names("http://192.0.2.10:8088/", WEB, by=by, times=30)
    for by in ("client", "hosted", "node", "host"):
        space.until_names(f"http://{node}:8088/", WEB, by=by, times=30)
    space.patch("service", "ext", {"spec": {"externalIPs": None}})
    wait_for(lambda: space.fetch(f"http://{node}:8088/", by="host") == ["curl:7"])


def test_a_load_balancer_without_node_ports(space: Space) -> None:
    made = space.service("bare", 80, selector=SELECTOR, type="LoadBalancer", allocateLoadBalancerNodePorts=False)[
        "spec"
    ]
    assert "nodePort" not in made["ports"][0]
    space.until_names(f"http://{until_ingress(space, 'bare')}/", WEB, by="host", times=30)


def test_a_foreign_class_is_left_alone(space: Space) -> None:
    """No address of ours; what its own controller writes into the status is kept and carries packets."""
    space.service("foreign", 80, selector=SELECTOR, type="LoadBalancer", loadBalancerClass="example.com/internal-vip")
    space.service("ours", 80, selector=SELECTOR, type="LoadBalancer")
    until_ingress(space, "ours")  # the controller has come by
    assert ingress(space, "foreign") == []
    status = {
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
        "metadata": {"annotations": {"seen": "1"}},
    }
    words = ("patch", "service", "foreign", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    space.kubectl(*words)
    now = space.get("service", "foreign")
    assert now["metadata"]["annotations"]["seen"] == "1"
    assert now["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    space.until_names("http://203.0.113.1/", WEB, times=30)
    said = space.refused("patch", "service", "foreign", "--type=merge", "-p", '{"spec":{"loadBalancerClass":"b/c"}}')
    assert "may not change once set" in said


def test_a_spent_pool_is_said_and_mended(space: Space) -> None:
    """A wish that cannot be met is an Event that says why; when the address is free, it is given."""
    space.service("first", 80, selector=SELECTOR, type="LoadBalancer")
    ip = until_ingress(space, "first")
    space.service("second", 80, selector=SELECTOR, type="LoadBalancer", loadBalancerIP=ip)

    def said() -> list[str]:
        return [
            e["message"]
            for e in space.items("events")
            if e["involvedObject"]["name"] == "second" and e["reason"] == "SyncLoadBalancerFailed"
        ]

    wait_for(lambda: any(ip in line for line in said()), what="the Event")
    space.kubectl("delete", "service", "first")
    assert until_ingress(space, "second") == ip
