from typing import Any

import pytest
from shapes import changed, container, made, pod_spec, problems


def pod(**spec: Any) -> dict[str, Any]:
    return made("v1", "Pod", "p", spec=pod_spec(**spec))


def with_container(**more: Any) -> dict[str, Any]:
    return made("v1", "Pod", "p", spec=container(**more))


def paths(errors: list[str]) -> list[str]:
    return [text.split(": ")[0] for text in errors]


@pytest.mark.parametrize(
    "obj",
    [
        pod(),
        with_container(
            env=[{"name": "A"}, {"name": "B.c d", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]
        ),
        with_container(envFrom=[{"configMapRef": {"name": "m"}}, {"prefix": "X_", "secretRef": {"name": "s"}}]),
        with_container(ports=[{"containerPort": 80, "name": "http"}, {"containerPort": 80, "protocol": "UDP"}]),
        with_container(readinessProbe={"exec": {"command": ["true"]}, "successThreshold": 2}),
        with_container(
            resources={
                "limits": {"cpu": "1", "example.com/gpu": "2"},
                "requests": {"cpu": "500m", "example.com/gpu": "2"},
            }
        ),
        pod(
            initContainers=[
                {"name": "i", "image": "x", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}}
            ]
        ),
        pod(
            tolerations=[
                {"operator": "Exists"},
                {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5},
            ]
        ),
        pod(
            dnsPolicy="None",
            dnsConfig={"nameservers": ["192.0.2.1"], "searches": ["a_b.c", "."], "options": [{"name": "ndots"}]},
        ),
        pod(securityContext={"runAsUser": 0, "fsGroup": 1, "sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}),
        pod(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
    ],
)
def test_fine(obj: dict[str, Any]) -> None:
    assert problems(obj) == []


@pytest.mark.parametrize(
    ("obj", "errors"),
    [
        (pod(containers=[]), ["spec.containers: Required value"]),
        (with_container(image=""), ["spec.containers[0].image: Required value"]),
        (
            with_container(image=" x"),
            ['spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace'],
        ),
        (pod(initContainers=[{"name": "c", "image": "x"}]), ['spec.initContainers[0].name: Duplicate value: "c"']),
        (
            pod(restartPolicy="Maybe"),
            ['spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"'],
        ),
        (with_container(ports=[{"name": "a"}]), ["spec.containers[0].ports[0].containerPort: Required value"]),
        (
            with_container(ports=[{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]),
            ['spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//5"'],
        ),
        (
            with_container(env=[{"name": "a", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            ['spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        (
            with_container(env=[{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.bogus"}}}]),
            [
                'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.bogus": '
                "error converting fieldPath: field label not supported: spec.bogus"
            ],
        ),
        (
            with_container(livenessProbe={}),
            ["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            with_container(livenessProbe={"tcpSocket": {"port": 1}, "successThreshold": 2}),
            ["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            with_container(readinessProbe={"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}),
            ["spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
        ),
        (
            with_container(volumeMounts=[{"name": "v", "mountPath": "/x"}]),
            ['spec.containers[0].volumeMounts[0].name: Not found: "v"'],
        ),
        (
            with_container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]),
            ["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]),
            ["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
        ),
        (pod(hostname="a.b"), ['spec.hostname: Invalid value: "a.b": must not contain dots']),
        (pod(dnsPolicy="None"), ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
        (
            pod(ephemeralContainers=[{"name": "e", "image": "x"}]),
            ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
        (
            pod(schedulingGates=[{"name": "a.b/c"}], nodeName="n"),
            ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        ),
        (
            pod(tolerations=[{"key": "a", "tolerationSeconds": 1}]),
            [
                "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when "
                "`tolerationSeconds` is set"
            ],
        ),
        (
            pod(activeDeadlineSeconds=0),
            ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
    ],
)
def test_refused(obj: dict[str, Any], errors: list[str]) -> None:
    assert problems(obj) == errors


def test_updates_of_a_pod() -> None:
    assert changed(pod(), with_container(image="nginx:2")) == []
    assert changed(pod(), pod(tolerations=[{"operator": "Exists"}])) == []
    assert changed(pod(activeDeadlineSeconds=9), pod(activeDeadlineSeconds=5)) == []
    assert paths(changed(pod(), pod(nodeName="n"))) == ["spec"]
    assert paths(changed(pod(), with_container(args=["x"]))) == ["spec"]
    assert changed(pod(activeDeadlineSeconds=5), pod(activeDeadlineSeconds=9)) == [
        "spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"
    ]
    two = pod(containers=[{"name": "c", "image": "nginx:1"}, {"name": "d", "image": "x"}])
    assert changed(pod(), two) == ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    assert paths(changed(pod(tolerations=[{"operator": "Exists"}]), pod())) == ["spec.tolerations"]


def test_scheduling_gates_only_go() -> None:
    old = pod(schedulingGates=[{"name": "a/b"}])
    assert changed(old, pod()) == []
    assert paths(changed(old, pod(schedulingGates=[{"name": "c/d"}]))) == ["spec.schedulingGates[0].name"]


def test_ephemeral_containers_are_only_added() -> None:
    one, other = {"name": "e", "image": "x"}, {"name": "f", "image": "y"}
    old, sub = pod(ephemeralContainers=[one]), "ephemeralcontainers"
    assert changed(old, pod(ephemeralContainers=[one, other]), sub) == []
    assert paths(changed(old, pod(ephemeralContainers=[other]), sub)) == ["spec.ephemeralContainers"]
    assert paths(changed(old, pod(ephemeralContainers=[{**one, "image": "z"}]), sub)) == ["spec.ephemeralContainers"]
    ported = {**other, "ports": [{"containerPort": 1}]}
    assert paths(changed(old, pod(ephemeralContainers=[one, ported]), sub)) == ["spec.ephemeralContainers[1].ports"]


def test_resize_touches_resources_only() -> None:
    old = with_container(resources={"requests": {"cpu": "1"}})
    assert changed(old, with_container(resources={"requests": {"cpu": "2"}}), "resize") == []
    assert paths(changed(old, with_container(resources={"requests": {"cpu": "1"}}, image="x:2"), "resize")) == ["spec"]


def test_resize_keeps_names_quality_of_service_and_what_was_set() -> None:
    def asked(much: str, big: str, **limits: str) -> dict[str, Any]:
        return {"requests": {"cpu": much, "memory": big}, **({"limits": limits} if limits else {})}

    old = with_container(resources=asked("1", "1Gi", cpu="2", memory="2Gi"))
    assert changed(old, with_container(resources=asked("2", "2Gi", cpu="2", memory="2Gi")), "resize") == [
        'metadata: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'
    ]
    assert changed(old, with_container(resources=asked("1", "1Gi", cpu="2")), "resize") == [
        "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"
    ]
    asking = with_container(resources=asked("1", "1Gi"))
    assert changed(asking, with_container(resources={"requests": {"cpu": "1"}}), "resize") == [
        "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"
    ]
    one, other = {"name": "a", "image": "x"}, {"name": "b", "image": "x"}
    both = pod(containers=[one, other])
    assert changed(both, pod(containers=[other, one]), "resize") == [
        f"spec.containers[{i}].name: Forbidden: containers may not be renamed or reordered on resize" for i in (0, 1)
    ]
    assert changed(both, pod(containers=[one]), "resize") == [
        "spec.containers: Forbidden: containers may not be added or removed on resize"
    ]


def test_resize_of_the_pod_as_a_whole() -> None:
    def whole(**resources: dict[str, str]) -> dict[str, Any]:
        return pod(containers=[{"name": "a", "image": "x"}], **({"resources": resources} if resources else {}))

    old = whole(requests={"cpu": "1"}, limits={"cpu": "2"})
    assert changed(old, whole(requests={"cpu": "2"}, limits={"cpu": "4", "memory": "1Gi"}), "resize") == []
    assert changed(old, whole(requests={"cpu": "1"}), "resize") == [
        "spec.resources.limits: Forbidden: pod-level resource limits cannot be removed"
    ]
    (*_, last) = changed(old, whole(), "resize")
    assert last == "spec.resources: Forbidden: pod-level resources cannot be removed"
    huge = whole(requests={"cpu": "1", "hugepages-2Mi": "2Mi"}, limits={"cpu": "2", "hugepages-2Mi": "2Mi"})
    assert changed(old, huge, "resize") == ["spec: Forbidden: only cpu and memory resources are mutable at pod-level"]
    small = pod(containers=[{"name": "a", "image": "x", "resources": {"requests": {"cpu": "1"}}}])
    small["spec"]["resources"] = {"requests": {"cpu": "2"}}
    less = {**small, "spec": {**small["spec"], "resources": {"requests": {"cpu": "500m"}}}}
    assert paths(changed(small, less, "resize")) == ["spec.resources.requests[cpu]"]


def test_ended_containers_run_again_where_one_may_restart_all() -> None:
    def state(**state: object) -> dict[str, Any]:
        return {"containerStatuses": [{"name": "d", "state": state}]}

    def said(*rules: dict[str, Any]) -> list[str]:
        source = {"name": "c", "image": "x", "restartPolicy": "Never", "restartPolicyRules": list(rules)}
        it = pod(containers=[source, {"name": "d", "image": "x"}], restartPolicy="Never")
        return changed(
            {**it, "status": state(terminated={"exitCode": 0})}, {**it, "status": state(running={})}, "status"
        )

    rule = {"exitCodes": {"operator": "In", "values": [1]}}
    assert paths(said({**rule, "action": "Restart"})) == ["status.containerStatuses[0].state"]
    assert said({**rule, "action": "RestartAllContainers"}) == []


def test_resources_of_a_pod_as_a_whole() -> None:
    def said(requests: dict[str, str], limits: dict[str, str], **own: str) -> list[str]:
        spec = container(resources={"requests": own, "limits": own} if own else {})
        return problems(made("v1", "Pod", "p", spec={**spec, "resources": {"requests": requests, "limits": limits}}))

    assert said({"cpu": "1", "memory": "1Gi"}, {"cpu": "2"}, cpu="1") == []
    assert said({"cpu": "1500m"}, {}, cpu="2") == [
        'spec.resources.requests[cpu]: Invalid value: "1500m": must be greater than or equal to aggregate container '
        "requests of 2"
    ]
    assert said({"memory": "2Gi"}, {"memory": "2Gi"}, memory="3Gi")[1:] == [
        'spec.containers[0].resources.limits[memory]: Invalid value: "3Gi": must be less than or equal to pod limits '
        "of 2Gi"
    ]
    assert paths(said({"ephemeral-storage": "1Gi"}, {}))[0] == "spec.resources.requests[ephemeral-storage]"


def test_an_overridden_hostname() -> None:
    def said(**more: object) -> list[str]:
        return paths(problems(pod(**{"hostnameOverride": "my.host", **more})))

    assert said() == []
    for more in ({"hostNetwork": True}, {"setHostnameAsFQDN": True}, {"hostnameOverride": "A_b"}):
        assert said(**more) == ["spec.hostnameOverride"]
    assert "spec.hostnameOverride" in said(hostnameOverride="a" * 65)


def test_status_addresses() -> None:
    bad = {**pod(), "status": {"podIPs": [{"ip": "foo"}]}}
    assert changed(pod(), bad, "status")[0].startswith('status.podIPs[0]: Invalid value: "foo": must be a valid IP')
