"""The admission chain: what is filled in, and what is refused with which words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.objects.podsecurity import LEVELS, violations
from switchboard.testing.apiserver import ApiServer

Object = dict[str, Any]
NS = "/api/v1/namespaces/ns"
MERGE = {"content-type": "application/merge-patch+json"}
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        await server.call("POST", f"{NS}/serviceaccounts", {"metadata": {"name": "default"}})
        yield server


def container(**more: Any) -> Object:
    return {"name": "c", "image": "i", **more}


async def pod(api: ApiServer, name: str = "p", containers: Any = None, **spec: Any) -> tuple[int, Any]:
    body = {"metadata": {"name": name}, "spec": {"containers": containers or [container()], **spec}}
    return await api.call("POST", f"{NS}/pods", body)


async def make(api: ApiServer, path: str, name: str, **body: Any) -> Any:
    status, answer = await api.call("POST", path, {"metadata": {"name": name, **body.pop("metadata", {})}, **body})
    assert status == 201, answer
    return answer


async def test_a_plain_pod_gets_priority_and_tolerations(api: ApiServer) -> None:
    _, made = await pod(api)
    assert (made["spec"]["priority"], made["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    expected = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in (NOT_READY, UNREACHABLE)
    ]
    assert made["spec"]["tolerations"] == expected
    own = [{"key": NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]
    _, made = await pod(api, "q", tolerations=own)
    assert made["spec"]["tolerations"] == [*own, expected[1]]


async def test_priority_classes(api: ApiServer) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await make(api, classes, "high", value=1000, preemptionPolicy="Never")
    _, made = await pod(api, priorityClassName="high")
    assert (made["spec"]["priority"], made["spec"]["preemptionPolicy"]) == (1000, "Never")
    status, answer = await pod(api, "q", priorityClassName="none")
    assert (status, answer["message"]) == (
        403,
        'pods "q" is forbidden: no PriorityClass with name none was found',
    )
    status, answer = await pod(api, "q", priorityClassName="high", priority=5)
    assert "the integer value of priority (5) must not be provided in pod spec" in answer["message"]
    await make(api, classes, "normal", value=7, globalDefault=True)
    _, made = await pod(api, "r")
    assert (made["spec"]["priorityClassName"], made["spec"]["priority"]) == ("normal", 7)
    body = {"metadata": {"name": "second"}, "value": 8, "globalDefault": True}
    status, answer = await api.call("POST", classes, body)
    assert status == 403
    assert "normal is already marked as default" in answer["message"]


async def test_limit_ranges_fill_in_and_refuse(api: ApiServer) -> None:
    item = {
        "type": "Container",
        "default": {"memory": "256Mi"},
        "defaultRequest": {"memory": "128Mi"},
        "max": {"memory": "1Gi"},
        "min": {"memory": "64Mi"},
        "maxLimitRequestRatio": {"memory": "2"},
    }
    claim = {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}
    await make(api, f"{NS}/limitranges", "l", spec={"limits": [item, claim]})
    _, made = await pod(api)
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "256Mi"},
        "requests": {"memory": "128Mi"},
    }
    note = made["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    assert note == "LimitRanger plugin set: memory request for container c; memory limit for container c"
    assert made["status"]["qosClass"] == "Burstable"
    big = container(resources={"limits": {"memory": "2Gi"}, "requests": {"memory": "32Mi"}})
    status, answer = await pod(api, "q", [big])
    assert status == 403
    assert answer["message"] == (
        'pods "q" is forbidden: [minimum memory usage per Container is 64Mi, but request is 32Mi, '
        "maximum memory usage per Container is 1Gi, but limit is 2Gi, "
        "memory max limit to request ratio per Container is 2, but provided ratio is 64.000000]"
    )
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    status, answer = await api.call("POST", f"{NS}/persistentvolumeclaims", {"metadata": {"name": "v"}, "spec": spec})
    assert status == 403
    assert "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi" in answer["message"]


async def quota(api: ApiServer, hard: Object, name: str = "q", **spec: Any) -> None:
    """A ResourceQuota as its controller has seen it."""
    await make(api, f"{NS}/resourcequotas", name, spec={"hard": hard, **spec})
    status = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
    assert (await api.call("PATCH", f"{NS}/resourcequotas/{name}/status", status, MERGE))[0] == 200


async def test_quotas_are_charged_and_refuse(api: ApiServer) -> None:
    await quota(api, {"pods": "2", "requests.cpu": "1", "count/configmaps": "1", "services.nodeports": "1"})
    cpu = [container(resources={"requests": {"cpu": "600m"}})]
    assert (await pod(api, "a", cpu))[0] == 201
    status, answer = await pod(api, "b", cpu)
    assert status == 403
    assert answer["message"] == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, '
        "limited: requests.cpu=1"
    )
    status, answer = await pod(api, "b")
    assert answer["message"] == 'pods "b" is forbidden: failed quota: q: must specify requests.cpu for: c'
    assert (await api.call("POST", f"{NS}/configmaps?dryRun=All", {"metadata": {"name": "m"}}))[0] == 201
    assert (await api.call("POST", f"{NS}/configmaps", {"metadata": {"name": "m"}}))[0] == 201
    assert (await api.call("POST", f"{NS}/configmaps", {"metadata": {"name": "n"}}))[0] == 403
    ports = {
        "spec": {"type": "ClusterIP", "ports": [{"port": 80}, {"port": 81, "name": "b"}, {"port": 82, "name": "c"}]}
    }
    ports["spec"]["ports"][0]["name"] = "a"
    await make(api, f"{NS}/services", "s", **ports)
    status, answer = await api.call("PATCH", f"{NS}/services/s", {"spec": {"type": "NodePort"}}, MERGE)
    assert status == 403
    assert (
        "requested: services.nodeports=3, used: services.nodeports=0, limited: services.nodeports=1"
        in answer["message"]
    )
    _, found = await api.call("GET", f"{NS}/resourcequotas/q")
    assert found["status"]["used"]["pods"] == "1"
    assert found["status"]["used"]["requests.cpu"] == "600m"


async def test_quota_scopes(api: ApiServer) -> None:
    await quota(api, {"pods": "0"}, "best", scopes=["BestEffort"])
    assert (await pod(api, "a"))[0] == 403
    assert (await pod(api, "b", [container(resources={"requests": {"cpu": "1m"}})]))[0] == 201
    selector = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
    await quota(api, {"pods": "0"}, "high", scopeSelector=selector)
    await make(api, "/apis/scheduling.k8s.io/v1/priorityclasses", "high", value=10)
    cpu = [container(resources={"requests": {"cpu": "1m"}})]
    assert (await pod(api, "c", cpu, priorityClassName="high"))[0] == 403
    assert (await pod(api, "d", cpu))[0] == 201


async def test_two_writers_cannot_both_have_the_last_place(api: ApiServer) -> None:
    import asyncio

    await quota(api, {"count/configmaps": "5"})
    codes = await asyncio.gather(
        *(api.call("POST", f"{NS}/configmaps", {"metadata": {"name": f"m{i}"}}) for i in range(20))
    )
    assert sorted(code for code, _ in codes) == [201] * 5 + [403] * 15


async def test_runtime_classes(api: ApiServer) -> None:
    scheduling = {"nodeSelector": {"kind": "vm"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}
    path = "/apis/node.k8s.io/v1/runtimeclasses"
    await make(api, path, "vm", handler="kata", overhead={"podFixed": {"cpu": "250m"}}, scheduling=scheduling)
    _, made = await pod(api, runtimeClassName="vm")
    assert made["spec"]["overhead"] == {"cpu": "250m"}
    assert made["spec"]["nodeSelector"] == {"kind": "vm"}
    assert {"key": "vm", "operator": "Exists"} in made["spec"]["tolerations"]
    status, answer = await pod(api, "q", runtimeClassName="none")
    assert (status, answer["message"]) == (403, 'pods "q" is forbidden: pod rejected: RuntimeClass "none" not found')
    status, answer = await pod(api, "q", runtimeClassName="vm", nodeSelector={"kind": "metal"})
    assert "conflict: runtimeClass.scheduling.nodeSelector[kind] = vm" in answer["message"]


async def test_default_classes_and_protection(api: ApiServer) -> None:
    notes = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    await make(api, "/apis/storage.k8s.io/v1/storageclasses", "fast", metadata=notes, provisioner="x")
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    made = await make(api, f"{NS}/persistentvolumeclaims", "v", spec=spec)
    assert made["spec"]["storageClassName"] == "fast"
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    made = await make(api, f"{NS}/persistentvolumeclaims", "w", spec={**spec, "storageClassName": ""})
    assert made["spec"]["storageClassName"] == ""
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    status, _ = await api.call("PATCH", f"{NS}/persistentvolumeclaims/v", more, MERGE)
    assert status == 422  # it is not bound
    notes = {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
    ingresses = "/apis/networking.k8s.io/v1"
    await make(api, f"{ingresses}/ingressclasses", "web", metadata=notes, spec={"controller": "example.com/c"})
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    made = await make(api, f"{ingresses}/namespaces/ns/ingresses", "i", spec={"defaultBackend": backend})
    assert made["spec"]["ingressClassName"] == "web"


async def test_service_account_rules(api: ApiServer) -> None:
    await make(
        api,
        f"{NS}/serviceaccounts",
        "quiet",
        automountServiceAccountToken=False,
        imagePullSecrets=[{"name": "pull"}],
    )
    _, made = await pod(api, serviceAccountName="quiet")
    assert "volumes" not in made["spec"]
    assert made["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    _, made = await pod(api, "q", serviceAccountName="quiet", automountServiceAccountToken=True)
    assert made["spec"]["volumes"][0]["name"].startswith("kube-api-access-")
    status, answer = await pod(api, "r", serviceAccountName="absent")
    assert status == 403
    assert 'serviceaccount "absent" not found' in answer["message"]


SAFE: Object = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        container(securityContext={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}),
    ],
}


async def test_pod_security(api: ApiServer) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    assert (await api.call("PATCH", "/api/v1/namespaces/ns", label, MERGE))[0] == 200
    status, answer = await pod(api)
    assert status == 403
    assert answer["message"] == (
        'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
        '(container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities '
        '(container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true '
        '(pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must '
        'set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )
    body = {"metadata": {"name": "safe"}, "spec": SAFE}
    assert (await api.call("POST", f"{NS}/pods", body))[0] == 201


async def test_pod_security_warns(api: ApiServer) -> None:
    await pod(api, "old", hostNetwork=True)
    labels = {"pod-security.kubernetes.io/warn": "baseline", "pod-security.kubernetes.io/enforce": "baseline"}
    patch = {"metadata": {"labels": labels}}
    response = await api.request("PATCH", "/api/v1/namespaces/ns", patch, MERGE)
    warnings = [value for name, value in response.headers if name == "warning"]
    assert "existing pods in namespace" in warnings[0]
    assert warnings[1] == '299 - "old: host namespaces"'
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"hostPID": True, "containers": [container()]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    body = {"metadata": {"name": "d"}, "spec": spec}
    response = await api.request("POST", "/apis/apps/v1/namespaces/ns/deployments", body)
    assert response.status == 201
    text = 'would violate PodSecurity \\"baseline:latest\\": host namespaces (hostPID=true)'
    assert ("warning", f'299 - "{text}"') in response.headers
    wrong = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "strict"}}}
    status, answer = await api.call("PATCH", "/api/v1/namespaces/ns", wrong, MERGE)
    assert status == 422
    assert "must be one of privileged, baseline, restricted" in answer["message"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"hostNetwork": True, "hostIPC": True}, "host namespaces (hostNetwork=true, hostIPC=true)"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
        (
            {"containers": [container(securityContext={"privileged": True})]},
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        (
            {"containers": [container(ports=[{"containerPort": 80, "hostPort": 80}])]},
            'hostPort (container "c" uses hostPort 80)',
        ),
        (
            {"containers": [container(securityContext={"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}})]},
            'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
        ),
        (
            {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
    ],
)
def test_baseline(spec: Object, text: str) -> None:
    assert violations("baseline", {}, {"containers": [container()], **spec}) == text
    assert violations("privileged", {}, spec) == ""


@given(st.fixed_dictionaries({}, optional={"hostNetwork": st.booleans(), "hostPID": st.booleans()}), st.booleans())
def test_whoever_keeps_to_restricted_keeps_to_baseline(spec: Object, privileged: bool) -> None:
    security = {**SAFE["containers"][0]["securityContext"], "privileged": privileged}
    made = {**SAFE, **spec, "containers": [container(securityContext=security)]}
    if not violations("restricted", {}, made):
        assert all(not violations(level, {}, made) for level in LEVELS)
