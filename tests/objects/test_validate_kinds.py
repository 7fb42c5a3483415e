import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import REGISTRY, changed, made, pod_spec, problems, settled

from switchboard.objects import names, validate
from switchboard.objects.errors import FieldError, StatusError
from switchboard.objects.types import definitions

LABELED = {"metadata": {"labels": {"app": "a"}}, "spec": pod_spec()}
SELECTOR = {"matchLabels": {"app": "a"}}


def workload(kind: str, name: str = "w", **spec: Any) -> dict[str, Any]:
    return made("apps/v1", kind, name, spec={"selector": SELECTOR, "template": LABELED, **spec})


def paths(errors: list[str]) -> list[str]:
    return [text.split(": ")[0] for text in errors]


MISMATCH = 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'
BAD_LABEL = "metadata.name: Invalid value: "


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"])
def test_workloads(kind: str) -> None:
    assert problems(workload(kind)) == []
    assert problems(workload(kind, selector={"matchLabels": {"app": "b"}})) == [MISMATCH]
    never = {**LABELED, "spec": pod_spec(restartPolicy="Never")}
    assert problems(workload(kind, template=never)) == [
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'
    ]
    assert changed(workload(kind), workload(kind)) == []


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet"])
def test_selectors_do_not_change(kind: str) -> None:
    template = {"metadata": {"labels": {"app": "a", "b": "c"}}, "spec": pod_spec()}
    old = workload(kind, template=template)
    new = workload(kind, template=template, selector={"matchLabels": {"b": "c"}})
    assert changed(old, new) == ['spec.selector: Invalid value: {"matchLabels":{"b":"c"}}: field is immutable']


def test_deployment_details() -> None:
    assert problems(workload("Deployment", selector=None)) == ["spec.selector: Required value", MISMATCH]
    assert problems(workload("Deployment", selector={})) == [
        "spec.selector: Invalid value: {}: empty selector is invalid for deployment"
    ]
    zero = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
    assert paths(problems(workload("Deployment", strategy=zero))) == ["spec.strategy.rollingUpdate.maxUnavailable"]
    assert paths(problems(workload("Deployment", progressDeadlineSeconds=1, minReadySeconds=1))) == [
        "spec.progressDeadlineSeconds"
    ]
    bad = {**workload("Deployment"), "status": {"replicas": 1, "readyReplicas": 2}}
    assert changed(workload("Deployment"), bad, "status") == [
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
    ]


def test_stateful_set_changes() -> None:
    assert changed(workload("StatefulSet"), workload("StatefulSet", replicas=5)) == []
    assert paths(changed(workload("StatefulSet"), workload("StatefulSet", serviceName="x"))) == ["spec"]


def job(**spec: Any) -> dict[str, Any]:
    return made("batch/v1", "Job", "j", spec={"template": {"spec": pod_spec(restartPolicy="Never")}, **spec})


def cron(schedule: str, **spec: Any) -> dict[str, Any]:
    return made("batch/v1", "CronJob", "c", spec={"schedule": schedule, "jobTemplate": {"spec": job()["spec"]}, **spec})


@pytest.mark.parametrize(
    ("obj", "errors"),
    [
        (job(), []),
        (job(parallelism=-1), ["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"]),
        (job(completionMode="Indexed"), []),
        (
            job(completionMode="Indexed", parallelism=1),
            ["spec.completions: Required value: when completion mode is Indexed"],
        ),
        (
            job(template={"spec": pod_spec()}),
            ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
        ),
        (cron("*/5 * * * *", timeZone="Europe/Berlin"), []),
        (cron("x"), ['spec.schedule: Invalid value: "x": expected exactly 5 fields, found 1: [x]']),
        (cron("@daily", timeZone="No/Where"), ['spec.timeZone: Invalid value: "No/Where": unknown time zone No/Where']),
        (made("policy/v1", "PodDisruptionBudget", spec={"minAvailable": "50%"}), []),
        (
            made("policy/v1", "PodDisruptionBudget", spec={"minAvailable": "101%"}),
            ['spec.minAvailable: Invalid value: "101%": must not be greater than 100%'],
        ),
        (made("v1", "ConfigMap", data={"a b": ""}), None),
        (
            made("v1", "ConfigMap", data={"a": ""}, binaryData={"a": "eA=="}),
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        (
            made("v1", "Secret", type="kubernetes.io/tls"),
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            made("v1", "Secret", data={"a": base64.b64encode(b"x" * 1048577).decode()}),
            ["data: Too long: may not be more than 1048576 bytes"],
        ),
        (made("v1", "Namespace", "a.b"), ['metadata.name: Invalid value: "a.b": must not contain dots']),
        (
            made("v1", "Node", spec={"taints": [{"key": "a", "effect": "Never"}]}),
            [
                'spec.taints[0].effect: Unsupported value: "Never": supported values: "NoSchedule", '
                '"PreferNoSchedule", "NoExecute"'
            ],
        ),
        (
            made("v1", "ResourceQuota", spec={"hard": {"pods": "1500m"}}),
            ['spec.hard[pods]: Invalid value: "1500m": must be an integer'],
        ),
        (
            made(
                "v1", "LimitRange", spec={"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}
            ),
            None,
        ),
        (
            made("coordination.k8s.io/v1", "Lease", spec={"leaseDurationSeconds": 0}),
            ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        ),
        (
            made("v1", "Endpoints", subsets=[{}]),
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
        ),
        (
            made("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv6", endpoints=[{"addresses": ["192.0.2.1"]}]),
            ['endpoints[0].addresses: Invalid value: "192.0.2.1": must be an IPv6 address'],
        ),
        (
            made("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": []}]),
            ["endpoints[0].addresses: Required value: must contain at least 1 address"],
        ),
        (
            made(
                "networking.k8s.io/v1",
                "IPAddress",
                "192.0.2.1",
                spec={"parentRef": {"resource": "services", "name": "x"}},
            ),
            [],
        ),
        (
            made(
                "networking.k8s.io/v1",
                "IPAddress",
                "fe80::0:1",
                spec={"parentRef": {"resource": "services", "name": "x"}},
            ),
            ['metadata.name: Invalid value: "fe80::0:1": must be in canonical form ("fe80::1")'],
        ),
        (
            made(
                "networking.k8s.io/v1",
                "IPAddress",
                "192.0.2.1",
                spec={"parentRef": {"group": "A_", "resource": "a/b", "name": "c%d", "namespace": ".."}},
            ),
            [
                'spec.parentRef.group: Invalid value: "A_": a lowercase RFC 1123 subdomain must consist of lower case '
                "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
                "'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?"
                r"(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'",
                "spec.parentRef.name: Invalid value: \"c%d\": may not contain '%'",
                "spec.parentRef.namespace: Invalid value: \"..\": may not be '..'",
            ],
        ),
        (
            made("networking.k8s.io/v1", "ServiceCIDR", spec={"cidrs": ["10.0.0.0/8", "192.0.2.0/24"]}),
            [
                'spec.cidrs: Invalid value: {"CIDRs":["10.0.0.0/8","192.0.2.0/24"]}: may specify no more than one IP '
                "for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            ],
        ),
        (
            made(
                "networking.k8s.io/v1",
                "Ingress",
                spec={
                    "rules": [
                        {
                            "http": {
                                "paths": [
                                    {
                                        "path": "x",
                                        "pathType": "Prefix",
                                        "backend": {"service": {"name": "s", "port": {"number": 80}}},
                                    }
                                ]
                            }
                        }
                    ]
                },
            ),
            ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path'],
        ),
        (
            made("networking.k8s.io/v1", "NetworkPolicy", spec={"ingress": [{"from": [{}]}]}),
            ["spec.ingress[0].from[0]: Required value: must specify a peer"],
        ),
        (
            made(
                "rbac.authorization.k8s.io/v1",
                "Role",
                "system:any.Name",
                rules=[{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
            ),
            [],
        ),
        (made("rbac.authorization.k8s.io/v1", "Role", rules=[{}]), None),
        (
            made("rbac.authorization.k8s.io/v1", "Role", "a/b"),
            ["metadata.name: Invalid value: \"a/b\": may not contain '/'"],
        ),
        (made("storage.k8s.io/v1", "StorageClass"), ["provisioner: Required value"]),
        (
            made("scheduling.k8s.io/v1", "PriorityClass", value=2000000000),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        (
            made(
                "v1",
                "PersistentVolumeClaim",
                spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            ),
            [],
        ),
        (
            made("v1", "PersistentVolume", spec={"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}),
            ["spec: Required value: must specify a volume type"],
        ),
        (
            made(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                spec={"maxReplicas": 0, "scaleTargetRef": {"kind": "Deployment", "name": "d"}},
            ),
            None,
        ),
        (made("storage.k8s.io/v1", "CSIDriver"), []),
    ],
)
def test_kinds(obj: dict[str, Any], errors: list[str] | None) -> None:
    found = problems(obj)
    if errors is None:
        assert found
    else:
        assert found == errors


@pytest.mark.parametrize(
    ("old", "new", "errors"),
    [
        (
            made("v1", "ConfigMap", immutable=True, data={"a": "1"}),
            made("v1", "ConfigMap", immutable=True, data={"a": "2"}),
            ["data"],
        ),
        (made("v1", "ConfigMap", immutable=True), made("v1", "ConfigMap"), ["immutable"]),
        (made("v1", "Secret"), made("v1", "Secret", type="x"), ["type"]),
        (job(), job(completions=3), ["spec.completions"]),
        (job(parallelism=1), job(parallelism=3), []),
        (job(), job(template={"spec": pod_spec(restartPolicy="OnFailure")}), ["spec.template"]),
        (
            made("storage.k8s.io/v1", "StorageClass", provisioner="a/b"),
            made("storage.k8s.io/v1", "StorageClass", provisioner="a/c"),
            ["provisioner"],
        ),
    ],
)
def test_updates(old: dict[str, Any], new: dict[str, Any], errors: list[str]) -> None:
    assert paths(changed(old, new)) == errors


def test_metadata() -> None:
    def config(**meta: Any) -> list[str]:
        return paths(problems(made("v1", "ConfigMap", metadata=meta)))

    assert config(labels={"a.b/c": "d"}, annotations={"UPPER.example.com/x": "any value"}, finalizers=["a.b/c"]) == []
    assert config(labels={"a b": "c"}) == ["metadata.labels"]
    assert config(labels={"a": "c d"}) == ["metadata.labels"]
    assert config(annotations={"a": "x" * 262144}) == ["metadata.annotations"]
    assert config(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]) == [
        "metadata.ownerReferences[0].uid"
    ]
    assert config(namespace="Bad_") == ["metadata.namespace"]
    assert config(generation=-1) == ["metadata.generation"]
    assert paths(problems(made("v1", "Node", metadata={"namespace": "x"}))) == ["metadata.namespace"]


def test_metadata_does_not_change() -> None:
    old = made("v1", "ConfigMap")
    assert paths(changed(old, made("v1", "ConfigMap", metadata={"uid": "other"}))) == ["metadata.uid"]
    assert paths(changed(old, made("v1", "ConfigMap", metadata={"deletionTimestamp": "2024-01-01T00:00:00Z"}))) == [
        "metadata.deletionTimestamp"
    ]
    gone = {"deletionTimestamp": "2024-01-01T00:00:00Z"}
    more = made("v1", "ConfigMap", metadata={**gone, "finalizers": ["a/b"]})
    assert changed(made("v1", "ConfigMap", metadata=gone), more) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"a/b"}'
    ]


CRD_SPEC = {
    "group": "example.com",
    "scope": "Namespaced",
    "names": {"plural": "widgets", "kind": "Widget"},
    "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
}


def definition(name: str = "widgets.example.com", **spec: Any) -> list[str]:
    obj = settled(made("apiextensions.k8s.io/v1", "CustomResourceDefinition", name, spec={**CRD_SPEC, **spec}))
    obj["status"] = {"storedVersions": ["v1"]}
    kind = REGISTRY.of(obj["apiVersion"], obj["kind"])
    assert kind is not None
    return [str(error) for error in validate.create(kind, obj)]


def test_definitions() -> None:
    assert definition() == []
    assert paths(definition("gadgets.example.com")) == ["metadata.name"]
    assert definition(scope="Odd") == [
        'spec.scope: Unsupported value: "Odd": supported values: "Cluster", "Namespaced"'
    ]
    untyped = {"type": "object", "properties": {"a": {}}}
    versions = [{**CRD_SPEC["versions"][0], "schema": {"openAPIV3Schema": untyped}}]  # type: ignore[index]
    assert definition(versions=versions) == [
        "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be "
        "empty for specified object fields"
    ]
    assert paths(definition(versions=[])) == ["spec.versions"]


def test_kinds_without_own_rules_follow_the_table() -> None:
    hook = made("resource.k8s.io/v1", "ResourceClaim", spec={"devices": {"requests": [{}]}})
    assert "spec.devices.requests[0].name: Required value" in problems(hook)


def test_every_kind_can_be_checked_empty() -> None:
    for kind in REGISTRY:
        obj = settled({"apiVersion": kind.api_version, "kind": kind.kind})
        for found in (
            validate.create(kind, obj),
            validate.update(kind, obj, obj),
            validate.update(kind, obj, obj, "status"),
        ):
            assert all(isinstance(error, FieldError) for error in found), kind


def _well_typed(body: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if "$ref" in body:
        name = body["$ref"]
        if name.endswith("IntOrString"):
            return st.integers(-2, 9) | st.sampled_from(["a", "5%", ""])
        if name.endswith("Quantity"):
            return st.sampled_from(["1", "-1", "500m", "1Gi"])
        if name.endswith("Time"):
            return st.just("2024-01-01T00:00:00Z")
        body = definitions()[name]
    if "properties" in body and depth > 0:
        fields = sorted(body["properties"])
        return st.lists(st.sampled_from(fields), max_size=6, unique=True).flatmap(
            lambda chosen: st.fixed_dictionaries(
                {name: _well_typed(body["properties"][name], depth - 1) for name in chosen}
            )
        )
    kind = body.get("type")
    if kind == "array":
        return st.lists(_well_typed(body.get("items", {}), depth - 1), max_size=2)
    if kind == "object":
        inner = body.get("additionalProperties")
        return (
            st.dictionaries(st.sampled_from(["a", "cpu", "B d"]), _well_typed(inner, depth - 1), max_size=2)
            if inner
            else st.just({})
        )
    if kind == "string":
        return st.sampled_from(body.get("enum") or ["", "a", "B_", "10.0.0.1", "None", "/x", "eA=="])
    return {"integer": st.integers(-1, 3), "boolean": st.booleans()}.get(kind or "", st.just("x"))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_is_well_typed_is_judged_without_a_crash(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(REGISTRY, key=lambda k: (k.group, k.version, k.kind))))
    assert kind.definition is not None
    obj = data.draw(_well_typed(definitions()[kind.definition], 6))
    obj.update(apiVersion=kind.api_version, kind=kind.kind)
    try:
        obj = settled(obj)
    except StatusError as error:
        assert error.code == 400
        return
    for found in (
        validate.create(kind, obj),
        validate.update(kind, obj, obj),
        validate.update(kind, obj, obj, "status"),
    ):
        assert all(error.field is not None and error.message for error in found)


BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


@pytest.mark.parametrize(
    ("text", "unambiguous", "canonical"),
    [
        ("1.0.0.0/8", "", ""),
        ("0.0.0.0/0", "", ""),
        ("2001:4860:4860::/48", "", ""),
        ("::1/128", "", ""),
        ("2a00:79e0:2:0::/64", "", 'must be in canonical form ("2a00:79e0:2::/64")'),
        ("2001:DB8::/64", "", 'must be in canonical form ("2001:db8::/64")'),
        ("1.1.01.0/24", "must not have leading 0s in IP", "must not have leading 0s in IP"),
        ("192.168.0.0/016", "must not have leading 0s in prefix length", "must not have leading 0s in prefix length"),
        *(
            (text, told, told)
            for told, texts in (
                ("must not have an IPv4-mapped IPv6 address", ("::ffff:1.1.1.0/24", "::ffff:1.1.1.0/120")),
                ("must not have bits set beyond the prefix length", ("1.2.3.4/24", "2001:db8::1/64")),
                (BAD_CIDR, ("", "a", "1.2.3.4", "192.168.0.1/healthz", "192.168.0.1/0/99", "192.168.0.0/-16")),
                (BAD_CIDR, ("192.168.0.0/+16", "1.2.3.0/33", "::/129", "1.2.3.0/\u0662", "1.0.0.0/" + 5000 * "8")),
                ("must not have leading 0s in prefix length", ("1.0.0.0/" + 5000 * "0" + "8",)),
            )
            for text in texts
        ),
    ],
)
def test_networks(text: str, unambiguous: str, canonical: str) -> None:
    assert names.cidr(text) == ([unambiguous] if unambiguous else [])
    assert names.canonical_cidr(text) == ([canonical] if canonical else [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1.2.3.4", ""),
        ("::", ""),
        ("0:0:0:0:0:0:0:0", 'must be in canonical form ("::")'),
        ("1234::ABCD", 'must be in canonical form ("1234::abcd")'),
        ("1.1.1.01", "must not have leading 0s"),
        ("::ffff:1.1.1.1", "must not be an IPv4-mapped IPv6 address"),
        *((text, names.BAD_IP) for text in ("", "1.2.3.400", "1.2.3.4:80", "[::1]", "fe80::1%eth0", "1.2.3.0/24")),
    ],
)
def test_canonical_addresses(text: str, told: str) -> None:
    assert names.canonical_ip(text) == ([told] if told else [])
