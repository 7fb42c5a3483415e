import base64
from typing import Any

import pytest
from shapes import REGISTRY, container, made, pod_spec, settled

from switchboard.objects import defaults
from switchboard.objects.defaults.pods import pull_policy


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("registry.local:5000/team/app", "Always"),
        ("registry.local:5000/team/app:v1", "IfNotPresent"),
        ("nginx@sha256:" + "a" * 64, "IfNotPresent"),
        ("nginx:latest@sha256:" + "a" * 64, "Always"),
    ],
)
def test_pull_policy(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def test_pod() -> None:
    spec = settled(made("v1", "Pod", spec=pod_spec()))["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["dnsPolicy"] == "ClusterFirst"
    assert spec["schedulerName"] == "default-scheduler"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["securityContext"] == {}
    assert spec["enableServiceLinks"] is True
    assert spec["containers"][0] == {
        "name": "c",
        "image": "nginx:1",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }


def test_template_is_not_a_pod() -> None:
    spec = settled(made("apps/v1", "Deployment", spec={"template": {"spec": pod_spec()}}))["spec"]
    assert "enableServiceLinks" not in spec["template"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)


def test_a_negative_grace_period_is_one_second_in_pods_only() -> None:
    spec = {"containers": [{"name": "c", "image": "x"}], "terminationGracePeriodSeconds": -1}
    assert settled(made("v1", "Pod", spec=spec))["spec"]["terminationGracePeriodSeconds"] == 1
    template = settled(made("apps/v1", "Deployment", spec={"template": {"spec": spec}}))["spec"]["template"]
    assert template["spec"]["terminationGracePeriodSeconds"] == -1


def test_recreate_gets_no_rolling_update() -> None:
    spec = settled(made("apps/v1", "Deployment", spec={"strategy": {"type": "Recreate"}, "template": {}}))["spec"]
    assert spec["strategy"] == {"type": "Recreate"}


def test_probes_and_downward_api() -> None:
    body = container(
        livenessProbe={"httpGet": {"port": 80}},
        readinessProbe={"grpc": {"port": 1}, "periodSeconds": 3},
        lifecycle={"preStop": {"httpGet": {"port": 1}}},
        env=[
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
        ports=[{"containerPort": 80}],
    )
    made_container = settled(made("v1", "Pod", spec=body))["spec"]["containers"][0]
    assert made_container["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert made_container["readinessProbe"]["grpc"] == {"port": 1, "service": ""}
    assert made_container["readinessProbe"]["periodSeconds"] == 3
    assert made_container["lifecycle"]["preStop"]["httpGet"] == {"port": 1, "path": "/", "scheme": "HTTP"}
    assert made_container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert made_container["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"] == "0"
    assert made_container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


def test_requests_follow_limits_in_pods_only() -> None:
    body = container(resources={"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})
    requests = settled(made("v1", "Pod", spec=body))["spec"]["containers"][0]["resources"]["requests"]
    assert requests == {"cpu": "500m", "memory": "1Gi"}
    inner = settled(made("apps/v1", "ReplicaSet", spec={"template": {"spec": body}}))["spec"]["template"]["spec"]
    assert inner["containers"][0]["resources"]["requests"] == {"cpu": "500m"}


def test_host_network_ports_and_accounts() -> None:
    body = container(ports=[{"containerPort": 80}]) | {"hostNetwork": True, "serviceAccount": "robot"}
    spec = settled(made("v1", "Pod", spec=body))["spec"]
    assert spec["containers"][0]["ports"][0]["hostPort"] == 80
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "robot"


def test_volumes() -> None:
    volumes = [
        {"name": "none"},
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "h", "hostPath": {"path": "/x"}},
        {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        {"name": "d", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    none, secret, host, projected, downward = settled(made("v1", "Pod", spec=pod_spec(volumes=volumes)))["spec"][
        "volumes"
    ]
    assert none == {"name": "none", "emptyDir": {}}
    assert secret["secret"]["defaultMode"] == 0o644
    assert host["hostPath"] == {"path": "/x", "type": ""}
    assert projected["projected"]["defaultMode"] == 0o644
    assert projected["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600
    assert downward["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"] == "v1"


def service(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = settled(made("v1", "Service", spec={"ports": [{"port": 80}], **spec}))["spec"]
    return found


def test_service() -> None:
    spec = service()
    assert spec == {
        "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
        "internalTrafficPolicy": "Cluster",
    }
    assert service(type="NodePort")["externalTrafficPolicy"] == "Cluster"
    assert service(externalIPs=["192.0.2.1"])["externalTrafficPolicy"] == "Cluster"
    assert service(type="LoadBalancer")["allocateLoadBalancerNodePorts"] is True
    assert service(sessionAffinity="ClientIP")["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert "sessionAffinityConfig" not in service(sessionAffinityConfig={"clientIP": {"timeoutSeconds": 5}})
    named = service(type="ExternalName", externalName="a.b", internalTrafficPolicy="Cluster")
    assert "internalTrafficPolicy" not in named


def test_secret_text_becomes_data() -> None:
    secret = settled(made("v1", "Secret", data={"a": "eA=="}, stringData={"a": "new", "b": "ü"}))
    assert "stringData" not in secret
    assert {key: base64.b64decode(value).decode() for key, value in secret["data"].items()} == {"a": "new", "b": "ü"}
    assert secret["type"] == "Opaque"


@pytest.mark.parametrize(
    ("obj", "path", "expected"),
    [
        (made("v1", "Namespace", "n"), "metadata.labels", {"kubernetes.io/metadata.name": "n"}),
        (made("v1", "Namespace", "n"), "status.phase", "Active"),
        (made("v1", "Endpoints", subsets=[{"ports": [{"port": 1}]}]), "subsets.0.ports.0.protocol", "TCP"),
        (made("discovery.k8s.io/v1", "EndpointSlice", ports=[{}]), "ports.0", {"name": "", "protocol": "TCP"}),
        (made("v1", "PersistentVolumeClaim"), "spec.volumeMode", "Filesystem"),
        (made("v1", "Node", status={"capacity": {"cpu": "4"}}), "status.allocatable", {"cpu": "4"}),
        (
            made("v1", "ReplicationController", spec={"template": {"metadata": {"labels": {"a": "b"}}}}),
            "spec.selector",
            {"a": "b"},
        ),
        (made("batch/v1", "Job", spec={"template": {}}), "spec.backoffLimit", 6),
        (made("batch/v1", "Job", spec={"template": {}}), "spec.completions", 1),
        (made("batch/v1", "CronJob", spec={}), "spec.concurrencyPolicy", "Allow"),
        (
            made("apps/v1", "DaemonSet", spec={}),
            "spec.updateStrategy.rollingUpdate",
            {"maxUnavailable": 1, "maxSurge": 0},
        ),
        (made("apps/v1", "StatefulSet", spec={}), "spec.podManagementPolicy", "OrderedReady"),
        (made("autoscaling/v2", "HorizontalPodAutoscaler"), "spec.metrics.0.resource.target.averageUtilization", 80),
        (
            made("networking.k8s.io/v1", "NetworkPolicy", spec={"egress": [{}]}),
            "spec.policyTypes",
            ["Ingress", "Egress"],
        ),
        (
            made("rbac.authorization.k8s.io/v1", "RoleBinding", subjects=[{"kind": "User", "name": "u"}]),
            "subjects.0.apiGroup",
            "rbac.authorization.k8s.io",
        ),
        (made("storage.k8s.io/v1", "StorageClass"), "reclaimPolicy", "Delete"),
        (made("scheduling.k8s.io/v1", "PriorityClass"), "preemptionPolicy", "PreemptLowerPriority"),
        (
            made("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec={"names": {"kind": "Foo"}}),
            "spec.names.listKind",
            "FooList",
        ),
        (
            made("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", webhooks=[{}]),
            "webhooks.0.timeoutSeconds",
            10,
        ),
        (
            made("v1", "LimitRange", spec={"limits": [{"type": "Container", "max": {"cpu": "2"}}]}),
            "spec.limits.0.defaultRequest",
            {"cpu": "2"},
        ),
        (made("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"), "spec.matchingPrecedence", 1000),
    ],
)
def test_other_kinds(obj: dict[str, Any], path: str, expected: Any) -> None:
    value: Any = settled(obj)
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else value[part]
    assert value == expected


def test_defaults_twice_are_defaults_once() -> None:
    for kind in REGISTRY:
        obj: dict[str, Any] = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "x"}}
        once = settled(obj)
        twice = settled(once)
        assert once == twice, kind
        defaults.apply(kind, twice)
        assert once == twice, kind
