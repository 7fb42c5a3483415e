"""Warning headers: what a write says about its object, and when."""

from typing import Any

import pytest

from switchboard.api.addresswarnings import of_address, of_cidr
from switchboard.testing.apiserver import ApiServer

MERGE = {"content-type": "application/merge-patch+json"}
PODS = "/api/v1/namespaces/ns/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/ns/deployments"
ENV = {"name": "A", "value": "x"}


async def warned(
    api: ApiServer, method: str, target: str, body: Any, headers: dict[str, str] | None = None
) -> list[str]:
    """The texts of the Warning headers of an accepted request."""
    response = await api.request(method, target, body, headers)
    assert response.status in (200, 201), response.body
    texts = [value for name, value in response.headers if name == "warning"]
    assert all(text.startswith('299 - "') for text in texts)
    return [text[len('299 - "') : -1].replace('\\"', '"') for text in texts]


@pytest.fixture(autouse=True)
async def account(api: ApiServer) -> None:
    """What pods need in their namespace."""
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})


def container(name: str = "c", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "i", **more}


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container()], **spec}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


PORT = {"containerPort": 80}
AFFINITY = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "k"}]}}
SPREAD = {"maxSkew": 1, "topologyKey": "failure-domain.beta.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
ITEMS = [{"key": "a", "path": "p"}, {"key": "b", "path": "p/q"}]
TOKEN = {"serviceAccountToken": {"path": "p"}}
FRACTION = 'fractional byte value "128m" is invalid, must be an integer'
BY_NAME = "services and probes that select ports by name will use"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"nodeSelector": {"node-role.kubernetes.io/master": ""}},
         ['spec.nodeSelector[node-role.kubernetes.io/master]: use "node-role.kubernetes.io/control-plane" instead']),
        ({"topologySpreadConstraints": [SPREAD]},
         ["spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since "
          'v1.17; use "topology.kubernetes.io/zone" instead',
          "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod"]),
        ({"affinity": AFFINITY},
         ["spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null "
          "labelSelector results in matching no pod"]),
        ({"hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]}, ['spec.hostAliases[1].ip: duplicate ip "1.2.3.4"']),
        ({"imagePullSecrets": [{"name": "s"}, {"name": "s"}]}, ['spec.imagePullSecrets[1].name: duplicate name "s"']),
        ({"containers": [container(ports=[PORT, PORT])]},
         ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"]),
        ({"containers": [container(ports=[PORT, {**PORT, "hostPort": 80}])]},
         ["spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"]),
        ({"containers": [container(ports=[{**PORT, "hostPort": 80}, {**PORT, "hostPort": 80, "hostIP": "1.1.1.1"}])]},
         ["spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"]),
        ({"containers": [container(ports=[{**PORT, "hostIP": "1.1.1.1"}])]},
         ["spec.containers[0].ports[0]: hostIP set without hostPort: "
          "{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.1.1.1}"]),
        ({"containers": [container("a", ports=[{"containerPort": 1, "name": "n"}]),
                         container("b", ports=[{"containerPort": 2, "name": "n"}])]},
         [f'spec.containers[1].ports[0]: duplicate port name "n" with spec.containers[0].ports[0], {BY_NAME} '
          "spec.containers[0].ports[0]"]),
        ({"containers": [container(env=[ENV, {"name": "A", "value": "y"}])]},
         ['spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply']),
        ({"containers": [container(env=[ENV, {"name": "A", "value": "$(A)y"}])]}, []),
        ({"containers": [container(resources={"limits": {"memory": "128m"}})]},
         [f"spec.containers[0].resources.{field}[memory]: {FRACTION}" for field in ("limits", "requests")]),
        ({"volumes": [{"name": "v", "configMap": {"name": "m", "items": ITEMS}}]},
         ['volume "v" (ConfigMap "m"): overlapping paths: "p/q" with "p"']),
        ({"volumes": [{"name": "v", "projected": {"sources": [TOKEN, {"secret": {"name": "s", "items": ITEMS[1:]}}]}}]},
         ['volume "v" (Projected): overlapping paths: "p/q" (Secret "s") with "p" (ServiceAccountToken)']),
        ({"volumes": [{"name": "v", "rbd": {"monitors": ["m"], "image": "i"}}]},
         ["spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+"]),
    ],
)  # fmt: skip
async def test_pod_specs(api: ApiServer, spec: dict[str, Any], expected: list[str]) -> None:
    pod = {"metadata": {"name": "warned"}, "spec": {"containers": [container()], **spec}}
    assert await warned(api, "POST", f"{PODS}?dryRun=All", pod) == expected


async def test_a_changed_pod_is_not_warned_about(api: ApiServer) -> None:
    pod = {"metadata": {"name": "two.words"}, "spec": {"containers": [container(env=[ENV, ENV])]}}
    name, env = await warned(api, "POST", PODS, pod)
    assert name.startswith("metadata.name: this is used in the Pod's hostname, which can result in surprising")
    assert name.endswith("a DNS label is recommended: [must not contain dots]") and "env[1]" in env
    change = {"metadata": {"labels": {"a": "b"}}}
    assert await warned(api, "PATCH", f"{PODS}/two.words", change, MERGE) == []


async def test_a_template_is_warned_about_when_the_spec_changes(api: ApiServer) -> None:
    old = (
        'spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'
    )
    wanted = deployment("d", nodeSelector={"beta.kubernetes.io/os": "linux"})
    assert await warned(api, "POST", DEPLOYMENTS, wanted) == [old]
    change: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}}
    assert await warned(api, "PATCH", f"{DEPLOYMENTS}/d", change, MERGE) == []
    assert await warned(api, "PATCH", f"{DEPLOYMENTS}/d", {"spec": {"replicas": 3}}, MERGE) == [old]


async def test_services(api: ApiServer) -> None:
    services, ports = "/api/v1/namespaces/ns/services", [{"port": 80}]
    headless = {"clusterIP": "None", "ports": ports, "externalIPs": ["192.0.2.7"], "sessionAffinity": "ClientIP"}
    ignored = [
        "spec.externalIPs is ignored for headless services",
        "spec.SessionAffinity is ignored for headless services",
    ]
    assert await warned(api, "POST", services, {"metadata": {"name": "h"}, "spec": headless}) == ignored
    assert await warned(api, "PATCH", f"{services}/h", {"metadata": {"labels": {"a": "b"}}}, MERGE) == ignored
    named = {"type": "ExternalName", "externalName": "example.com", "externalIPs": ["192.0.2.7"]}
    expected = ['spec.externalIPs is ignored when spec.type is "ExternalName"']
    assert await warned(api, "POST", services, {"metadata": {"name": "n"}, "spec": named}) == expected


async def test_storage_and_ingress(api: ApiServer) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1500m"}}}
    body = {
        "metadata": {"name": "c", "annotations": {"volume.beta.kubernetes.io/storage-class": "s"}},
        "spec": claim,
    }
    assert await warned(api, "POST", "/api/v1/namespaces/ns/persistentvolumeclaims", body) == [
        "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; "
        'use "storageClassName" attribute instead',
        'spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer',
    ]
    ingresses = "/apis/networking.k8s.io/v1/namespaces/ns/ingresses"
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    annotations = {"kubernetes.io/ingress.class": "nginx"}
    body = {"metadata": {"name": "i", "annotations": annotations}, "spec": {"defaultBackend": backend}}
    text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
    assert await warned(api, "POST", ingresses, body) == [text]
    assert await warned(api, "PATCH", f"{ingresses}/i", {"metadata": {"labels": {"a": "b"}}}, MERGE) == []


async def test_too_many_warnings_are_cut(api: ApiServer) -> None:
    names = [f"{'long-name' * 25}{i}" for i in range(40)]
    env = [{"name": name, "value": value} for name in names for value in "xy"]
    pod = {"metadata": {"name": "many"}, "spec": {"containers": [container(env=env)]}}
    texts = await warned(api, "POST", f"{PODS}?dryRun=All", pod)
    assert {len(text) for text in texts} == {256} and len(texts) == 4096 // 256


def test_forms_of_addresses() -> None:
    later = "will be considered invalid in a future Kubernetes release"
    assert list(of_address("p", "1.2.3.4")) == list(of_address("p", "::1")) == list(of_address("p", "no")) == []
    assert list(of_address("p", "1.2.3.04")) == [f'p: non-standard IP address "1.2.3.04" {later}: use "1.2.3.4"']
    assert next(of_address("p", "::ffff:1.2.3.4")).endswith('use "1.2.3.4"')
    assert list(of_address("p", "2001:DB8::1")) == [
        'p: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")'
    ]
    assert list(of_cidr("p", "10.0.0.0/8")) == []
    assert list(of_cidr("p", "10.1.0.0/8")) == [
        'p: CIDR value "10.1.0.0/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)'
    ]
    assert list(of_cidr("p", "010.0.0.0/8")) == [f'p: non-standard CIDR value "010.0.0.0/8" {later}: use "10.0.0.0/8"']
