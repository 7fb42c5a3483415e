"""A pod's status from what was observed, and its environment and configuration: tables."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from switchboard.node import configs, cri
from switchboard.node.configs import dns_config, hosts_file, oom_score, qos_class, resources
from switchboard.node.environment import Referred, environment, expand
from switchboard.node.failures import ConfigFailure
from switchboard.node.fields import resource_field
from switchboard.node.observed import Container, Observed, Sandbox, ordered
from switchboard.node.register import status_patch
from switchboard.node.settings import NodeSettings
from switchboard.node.status import Circumstances, pod_status
from switchboard.node.telling import patch_of
from switchboard.objects.strategic import strategic_merge

Object = dict[str, Any]
END, RUN = cri.EXITED, cri.RUNNING


def pod(policy: str = "Always", **spec: Any) -> Object:
    containers = [{"name": "a", "image": "nginx:alpine"}]
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u-1", "generation": 1, "labels": {"app": "web"}},
        "spec": {"restartPolicy": policy, "containers": containers, "nodeName": "n", **spec},
    }


def box(name: str = "a", state: int = RUN, code: int = 0, attempt: int = 0) -> Container:
    return Container(f"{name}{attempt}", name, attempt, state, "s", started=50.0, finished=60.0, exit_code=code)


def seen(*containers: Container) -> Observed:
    return ordered([Sandbox("s", True, 1.0, 0, ["10.244.0.5"])], containers)


def how(**more: Any) -> Circumstances:
    given: Object = {
        "now": 100.0,
        "host_ips": ["192.168.49.2"],
        "started": {"a0": True, "a1": True},
        "ready": {"a0": True, "a1": True},
        "errors": {},
        "waiting": lambda name, ended: (0.0, 0.0),
    }
    return Circumstances(**(given | more))


def short(status: Object) -> str:
    """`Running ready a:running:1`: phase, readiness, each container with its state (and reason) and restarts."""
    ready = next(c["status"] for c in status["conditions"] if c["type"] == "Ready")
    said = []
    for c in [*status.get("initContainerStatuses", ()), *status["containerStatuses"]]:
        (kind, value), *_ = c["state"].items()
        said.append(f"{c['name']}:{value.get('reason', kind)}:{c['restartCount']}")
    return " ".join([status["phase"], "ready" if ready == "True" else "unready", *said])


INIT = {"initContainers": [{"name": "i"}]}
CRASH = {"waiting": lambda name, ended: (7.0, 80.0)}


@pytest.mark.parametrize(
    ("given_pod", "given_seen", "circumstances", "wanted"),
    [
        (pod(), Observed(), how(), "Pending unready a:ContainerCreating:0"),
        (pod(), seen(box()), how(), "Running ready a:running:0"),
        (pod(), seen(box()), how(ready={}), "Running unready a:running:0"),
        (pod(), seen(box()), how(terminating=True), "Running ready a:running:0"),
        (pod(), seen(box(state=END, code=1)), how(**CRASH), "Running unready a:CrashLoopBackOff:0"),
        (pod(), seen(box(attempt=1), box(state=END, code=1)), how(), "Running ready a:running:1"),
        (pod("Never"), seen(box(state=END)), how(), "Succeeded unready a:Completed:0"),
        (pod("Never"), seen(box(state=END, code=3)), how(), "Failed unready a:Error:0"),
        (pod(), seen(), how(errors={"a": ("ErrImagePull", "no")}), "Pending unready a:ErrImagePull:0"),
        (pod(**INIT), Observed(), how(), "Pending unready i:PodInitializing:0 a:PodInitializing:0"),
        (pod(**INIT), seen(box("i")), how(), "Pending unready i:running:0 a:PodInitializing:0"),
        (pod(**INIT), seen(box("i", END), box()), how(), "Running ready i:Completed:0 a:running:0"),
    ],
)
def test_phase_readiness_and_states(
    given_pod: Object, given_seen: Observed, circumstances: Circumstances, wanted: str
) -> None:
    assert short(pod_status(given_pod, given_seen, circumstances)) == wanted


def test_crash_loop_says_how_long_it_waits() -> None:
    status = pod_status(pod(), seen(box(state=END, code=1)), how(**CRASH))
    waiting = status["containerStatuses"][0]["state"]["waiting"]
    assert waiting["message"] == "back-off 1m20s restarting failed container=a pod=p_default(u-1)"
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1


def test_conditions_keep_their_time_and_those_of_others() -> None:
    first = pod_status(pod(), seen(box()), how())
    gate = {"type": "example.com/gate", "status": "True"}
    again = {**pod(), "status": {**first, "conditions": [*first["conditions"], gate]}}
    later = pod_status(again, seen(box()), how(now=999.0))
    assert later["conditions"] == [*first["conditions"], gate]
    assert later["podIP"] == "10.244.0.5" and later["hostIP"] == "192.168.49.2"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("x$(A)y$(A)", "x1y1"), ("$", "$"), ("$(A", "$(A")],
)
def test_expansion(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1"}) == wanted


def test_environment_of_every_source() -> None:
    container = {
        "name": "a",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "no", "optional": True}}],
        "env": [
            {"name": "PLAIN", "value": "x$(P_K)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "k"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        ],
        "resources": {"limits": {"cpu": "250m"}},
    }
    service = {
        "metadata": {"name": "my-db"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "sql", "port": 5432}]},
    }
    referred = Referred(
        {"cm": {"data": {"K": "v"}}}, {"sec": {"data": {"k": base64.b64encode(b"pw").decode()}}}, [service]
    )
    values = environment(pod(), container, ["10.244.0.5"], ["192.168.49.2"], referred)
    assert values["P_K"] == "v" and values["PLAIN"] == "xv" and values["S"] == "pw" and values["CPU"] == "250"
    assert values["IP"] == "10.244.0.5" and values["APP"] == "web"
    assert values["MY_DB_SERVICE_HOST"] == "10.96.0.9" and values["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert values["MY_DB_PORT_5432_TCP_ADDR"] == "10.96.0.9" and values["MY_DB_PORT"] == "tcp://10.96.0.9:5432"
    with pytest.raises(ConfigFailure, match='configmap "cm" not found'):
        environment(pod(), container, [], [], Referred())


def settings(tmp: Any) -> NodeSettings:
    return NodeSettings("n", "192.168.49.2", tmp, tmp, tmp)


@pytest.mark.parametrize(
    ("spec", "servers", "searches", "options"),
    [
        ({}, ["10.96.0.10"], ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"], ["ndots:5"]),
        ({"dnsPolicy": "Default"}, ["9.9.9.9"], ["lan"], []),
        ({"hostNetwork": True}, ["9.9.9.9"], ["lan"], []),
        (
            {
                "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"], "options": [{"name": "edns0"}]},
            },
            ["1.1.1.1"],
            ["x"],
            ["edns0"],
        ),
        ({"dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}, ["10.96.0.10"], None, ["ndots:2"]),
    ],
)
def test_dns_policies(
    spec: Object, servers: list[str], searches: list[str] | None, options: list[str], tmp_path: Any
) -> None:
    found = dns_config(pod(**spec), settings(tmp_path), "nameserver 9.9.9.9\nsearch lan\n")
    assert found["servers"] == servers and found["options"] == options
    assert searches is None or found["searches"] == searches


@pytest.mark.parametrize(
    ("given", "qos", "score"),
    [
        ({}, "BestEffort", 1000),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed", -997),
        ({"requests": {"memory": "1Gi"}}, "Burstable", 750),
    ],
)
def test_quality_of_service(given: Object, qos: str, score: int) -> None:
    it = pod()
    it["spec"]["containers"][0]["resources"] = given
    assert qos_class(it) == qos
    assert oom_score(it, it["spec"]["containers"][0], 4 << 30) == score


def test_limits_become_shares_quota_and_bytes() -> None:
    container = {"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}}
    found = resources(pod(), container, 4 << 30)
    assert (found["cpu_shares"], found["cpu_quota"], found["cpu_period"]) == (102, 50_000, 100_000)
    assert found["memory_limit_in_bytes"] == 64 << 20


@pytest.mark.parametrize(("alone", "unified"), [(True, {"memory.oom.group": "1"}), (False, None)])
def test_a_container_ends_as_a_whole_where_the_kernel_can_do_that(
    monkeypatch: pytest.MonkeyPatch, alone: bool, unified: dict[str, str] | None
) -> None:
    monkeypatch.setattr(configs, "one_hierarchy", lambda: alone)
    assert resources(pod(), {"name": "a"}, 4 << 30).get("unified") == unified


def test_hosts_file_names_the_pod() -> None:
    it = pod(hostname="h", subdomain="sub", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["x", "y"]}])
    text = hosts_file(it, ["10.244.0.5"], "cluster.local")
    assert "10.244.0.5\th.sub.default.svc.cluster.local\th\n" in text and "1.2.3.4\tx\ty\n" in text


def test_why_a_pod_was_not_ready_goes_when_it_is() -> None:
    """Conditions are merged by type, so what is not said any more has to be taken away."""
    was = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with ..."}
    told = patch_of({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    held = {"status": {"phase": "Pending", "conditions": [was]}}
    after = strategic_merge(held, {"status": told}, "io.k8s.api.core.v1.Pod")
    assert after["status"] == {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    fresh = strategic_merge({"status": {}}, {"status": told}, "io.k8s.api.core.v1.Pod")
    assert fresh["status"]["conditions"] == [{"type": "Ready", "status": "True"}]


def test_a_node_keeps_both_addresses_of_one_type() -> None:
    status = {"addresses": [{"type": "InternalIP", "address": ip} for ip in ("192.0.2.1", "2001:db8::1")]}
    held: dict[str, Any] = {"status": {**status, "phase": "x"}}
    for _ in range(2):
        held = strategic_merge(held, {"status": status_patch(status)}, "io.k8s.api.core.v1.Node")
    assert held["status"] == {**status, "phase": "x"}


def test_a_pod_past_its_deadline_has_failed_when_its_containers_have_ended() -> None:
    late = how(pod_error=("DeadlineExceeded", "too long"), terminating=True)
    running = {**pod(), "status": pod_status(pod(), seen(box()), how())}
    stopping = pod_status(running, seen(box()), late)
    assert short(stopping) == "Running unready a:running:0" and "reason" not in stopping
    ready = next(c for c in stopping["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "PodFailed"  # nobody is sent there any more
    ended = pod_status({**pod(), "status": stopping}, seen(box(state=END, code=137)), late)
    assert short(ended) == "Failed unready a:Error:0"
    assert (ended["reason"], ended["message"]) == ("DeadlineExceeded", "too long")
    assert pod_status(pod(), Observed(), late)["phase"] == "Failed"  # nothing of it ever ran


def test_a_limit_of_nothing_is_the_nodes() -> None:
    container = {"name": "a", "resources": {"limits": {"cpu": "0", "memory": "1500Ki"}, "requests": {"cpu": "250m"}}}
    given = {"spec": {"containers": [container]}}
    for resource, divisor, wanted in (
        ("limits.cpu", "0", "2"),
        ("limits.memory", "1Mi", "2"),
        ("limits.memory", "1", "1536000"),
        ("requests.cpu", "1m", "250"),
        ("requests.cpu", "1", "1"),
        ("requests.memory", "1", "0"),
        ("limits.ephemeral-storage", "1Gi", "3"),
    ):
        ref = {"resource": resource, "divisor": divisor}
        assert resource_field(given, container, ref, {"cpu": "2", "ephemeral-storage": "3Gi"}) == wanted, ref
