from typing import Any

import pytest
from shapes import changed, made, problems


def service(name: str = "s", **spec: Any) -> dict[str, Any]:
    return made("v1", "Service", name, spec={"ports": [{"port": 80}], **spec})


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"type": "NodePort"},
        {"type": "LoadBalancer", "loadBalancerClass": "example.com/vip"},
        {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30000},
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
        {"type": "ExternalName", "externalName": "example.com.", "ports": []},
        {"clusterIP": "None", "clusterIPs": ["None"], "ports": []},
        {"sessionAffinity": "ClientIP"},
        {"externalIPs": ["192.0.2.7"]},
        {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b", "protocol": "UDP"}]},
        {"trafficDistribution": "PreferSameZone"},
    ],
)
def test_fine(spec: dict[str, Any]) -> None:
    assert problems(service(**spec)) == []


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        ({"ports": []}, ["spec.ports: Required value"]),
        (
            {"ports": [{"port": 0}]},
            [
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            {"ports": [{"port": 1}, {"port": 2}]},
            ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
        ),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}, ['spec.ports[1].name: Duplicate value: "a"']),
        ({"ports": [{"port": 1, "name": "a.b"}]}, ['spec.ports[0].name: Invalid value: "a.b": must not contain dots']),
        (
            {"ports": [{"port": 1, "protocol": "ICMP"}]},
            ['spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'],
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
            [
                'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,'
                '"TargetPort":0,"NodePort":0}'
            ],
        ),
        (
            {"ports": [{"port": 80, "nodePort": 30001}]},
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            {"type": "Internal"},
            [
                'spec.type: Unsupported value: "Internal": supported values: "ClusterIP", '
                '"ExternalName", "LoadBalancer", "NodePort"'
            ],
        ),
        ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
        (
            {"type": "NodePort", "clusterIP": "None", "clusterIPs": ["None"]},
            ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        ),
        (
            {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]},
            ['spec.clusterIPs: Invalid value: ["10.0.0.2"]: first value must match `clusterIP`'],
        ),
        (
            {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]},
            [
                'spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2"]: may specify no more than '
                "one IP for each IP family"
            ],
        ),
        (
            {"externalTrafficPolicy": "Local"},
            ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
        ),
        (
            {"externalIPs": ["127.0.0.1"]},
            [
                'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range '
                "(127.0.0.0/8, ::1/128)"
            ],
        ),
        (
            {"loadBalancerClass": "a/b"},
            ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
        ),
        (
            {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1/8"]},
            [
                'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.1/8": must not have bits '
                "set beyond the prefix length"
            ],
        ),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
            [
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: "
                "must be greater than 0 and less than 86400"
            ],
        ),
        (
            {"internalTrafficPolicy": "Near"},
            ['spec.internalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"'],
        ),
    ],
)
def test_refused(spec: dict[str, Any], errors: list[str]) -> None:
    assert problems(service(**spec)) == errors


def test_name_is_a_label() -> None:
    assert problems(service("a.b")) == ['metadata.name: Invalid value: "a.b": must not contain dots']
    assert problems(service("a" * 64)) == [
        f'metadata.name: Invalid value: "{"a" * 64}": must be no more than 63 characters'
    ]


def kept(**spec: Any) -> dict[str, Any]:
    return service(**{"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"], **spec})


def test_addresses_do_not_change() -> None:
    assert changed(kept(), kept()) == []
    other = kept(clusterIP="10.96.0.8", clusterIPs=["10.96.0.8"])
    assert changed(kept(), other) == ['spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set']


def test_class_does_not_change_while_it_balances() -> None:
    old = kept(type="LoadBalancer", loadBalancerClass="x/y")
    assert changed(old, kept(type="LoadBalancer", loadBalancerClass="x/z")) == [
        'spec.loadBalancerClass: Invalid value: "x/z": may not change once set'
    ]
    assert changed(old, kept()) == []


def test_becoming_external_gives_the_address_up() -> None:
    new = service(type="ExternalName", externalName="a.b", ports=[])
    assert changed(kept(), new) == []


def test_status() -> None:
    old = kept(type="LoadBalancer")
    fine = {**old, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}}
    assert changed(old, fine, "status") == []
    bad = {**old, "status": {"loadBalancer": {"ingress": [{"hostname": "Bad_"}, {"ip": "x", "ipMode": "Odd"}]}}}
    found = changed(old, bad, "status")
    assert [text.split(":")[0] for text in found] == [
        "status.loadBalancer.ingress[0].hostname",
        "status.loadBalancer.ingress[1].ip",
        "status.loadBalancer.ingress[1].ipMode",
    ]
    plain = {**kept(), "status": fine["status"]}
    assert changed(kept(), plain, "status") == [
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is LoadBalancer"
    ]


def test_the_kubelet_port_is_not_exposed_and_topology_annotations_agree() -> None:
    notes = {"service.kubernetes.io/topology-aware-hints": "Auto", "service.kubernetes.io/topology-mode": "Disabled"}
    spec = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": True, "ports": [{"port": 10250}]}
    assert problems(made("v1", "Service", metadata={"annotations": notes}, spec=spec)) == [
        'metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "Disabled": '
        "must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified",
        "spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet",
    ]
