"""Pods match and yet there is no endpoint: what is said, and what is never said of pods that are only young."""

from __future__ import annotations

from typing import Any

import pytest

from switchboard.why.advice import service_warnings
from switchboard.why.check import LATER, NOW, Evidence
from switchboard.why.kinship import matches
from switchboard.why.verdict import ailment, why

Object = dict[str, Any]
SELECTOR = {"app": "web"}


def service(*ports: Object, **spec: Any) -> Object:
    given = list(ports) or [{"port": 80, "targetPort": 8080}]
    return {"metadata": {"name": "web", "namespace": "t"}, "spec": {"selector": SELECTOR, "ports": given, **spec}}


def pod(name: str = "web-1", *, ready: bool = False, ports: list[Object] | None = None, **status: Any) -> Object:
    container: Object = {"name": "c", "ports": ports or [{"name": "http", "containerPort": 8080}]}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"name": name, "namespace": "t", "labels": SELECTOR},
        "spec": {"containers": [container]},
        "status": {"phase": "Running", "conditions": conditions, **status},
    }


def waiting(reason: str, message: str = "") -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "c", "image": "nope:1", "ready": False, "state": state}]}


def said(given: Object, *pods: Object, workloads: tuple[Object, ...] = ()) -> str:
    found = why(given, Evidence(pods, workloads))
    return found.message if found else ""


def test_a_target_port_that_no_pod_names_is_said_at_once() -> None:
    given = service({"port": 80, "targetPort": "web"})
    found = why(given, Evidence([pod(), pod("web-2")], ()))
    assert found and (found.reason, found.weight, found.scope) == ("NoSuchTargetPort", NOW, "")
    assert found.message == "targetPort web is no port of pod web-2, which names http (8080)"
    assert said(given, pod(ports=[{"containerPort": 8080}])).endswith("which names no port at all")
    assert said(service({"port": 80, "targetPort": "http"}), pod(), pod("b", ports=[{"containerPort": 1}])) == ""


def test_a_name_of_another_protocol_is_another_name_and_one_port_of_two_is_named() -> None:
    both = service({"port": 80, "targetPort": "http"}, {"port": 53, "targetPort": "http", "protocol": "UDP"})
    found = why(both, Evidence([pod()], ()))
    assert found and found.scope == " for port 53"
    dns = pod(ports=[{"name": "http", "containerPort": 53, "protocol": "UDP"}])
    assert said(both, pod(), dns) == ""


def test_ports_of_sidecars_count_and_pods_on_their_way_out_do_not() -> None:
    given = service({"port": 80, "targetPort": "proxy"})
    helped = pod()
    sidecar = {"name": "s", "restartPolicy": "Always", "ports": [{"name": "proxy", "containerPort": 1}]}
    helped["spec"]["initContainers"] = [sidecar]
    assert said(given, helped) == ""
    leaving = pod()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert said(given, leaving) == ""


def test_pods_of_a_workload_are_named_by_it() -> None:
    owned = pod()
    owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web-x1", "controller": True}]
    owner = {"kind": "Deployment", "name": "web", "controller": True}
    replicaset = {"kind": "ReplicaSet", "metadata": {"name": "web-x1", "ownerReferences": [owner]}, "spec": {}}
    text = said(service({"port": 80, "targetPort": "web"}), owned, workloads=(replicaset,))
    assert text == "targetPort web is no port of the pods of Deployment web, which name http (8080)"


class World:
    def __init__(self, *pods: Object) -> None:
        self.pods = pods

    def evidence(self, service: Object) -> Evidence:
        return Evidence(self.pods, ())

    def selected(self, service: Object) -> list[Object]:
        return [p for p in self.pods if matches(service["spec"]["selector"], p["metadata"]["labels"])]


def test_the_warning_names_the_port_and_only_what_is_plain_is_a_warning() -> None:
    world: Any = World(pod())
    two = service({"port": 80, "targetPort": 8080}, {"port": 81, "targetPort": "web"})
    assert service_warnings(two, None, world) == [
        "Service web has no endpoints for port 81: targetPort web is no port of pod web-1, which names http (8080)"
    ]
    world = World(pod(**waiting("CrashLoopBackOff")))
    assert service_warnings(service(), None, world) == []


def test_a_service_that_loses_its_pods_is_warned_of_although_they_are_strangers() -> None:
    world: Any = World(pod(ready=True))
    asks = service(selector={"app": "orders"})
    asks["metadata"]["name"] = "orders"
    assert service_warnings(asks, None, world) == [], "its pods may be on their way"
    (text,) = service_warnings(asks, {**asks, "spec": service()["spec"]}, world)
    assert text.endswith("selector app=orders matches no pod, while pod web-1 has app=web")
    assert service_warnings(asks, asks, world) == []


def test_a_target_port_that_no_pod_declares_is_a_doubt() -> None:
    given = service({"port": 80, "targetPort": 9000})
    found = why(given, Evidence([pod(ready=True), pod("web-2", ready=True)], ()))
    assert found and (found.reason, found.weight) == ("UndeclaredTargetPort", NOW)
    assert found.message.startswith(
        "targetPort 9000 is no port that pod web-2 declares (8080): connections are refused"
    )
    world: Any = World(pod(ready=True))
    both = service({"port": 8080}, {"port": 81, "targetPort": 9000})
    assert service_warnings(both, None, world)[0].startswith("Service web may not answer for port 81: targetPort 9000")


@pytest.mark.parametrize(
    ("given", "pods"),
    [
        (service({"port": 80, "targetPort": 8080}), [pod(ready=True)]),
        (service({"port": 8080}), [pod(ready=True)]),
        (service({"port": 80, "targetPort": 9000}), [pod(ready=True), pod("b", ports=[{"containerPort": 9000}])]),
        (service({"port": 80, "targetPort": 9000}, clusterIP="None"), [pod(ready=True)]),
        (service({"port": 53, "protocol": "UDP"}), [pod(ready=True)]),
        (
            service({"port": 53, "protocol": "UDP"}),
            [pod(ready=True, ports=[{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 8080}])],
        ),
    ],
)
def test_ports_that_some_pod_declares_and_pods_that_declare_none_are_not_spoken_of(
    given: Object, pods: list[Object]
) -> None:
    assert said(given, *pods) == ""


def test_what_has_ended_answers_no_more() -> None:
    ended = [pod("a", phase="Succeeded"), pod("b", phase="Failed")]
    assert said(service(), ended[0]) == "selector app=web: the only pod that matches has ended (Succeeded)"
    assert said(service(), *ended) == "selector app=web: all 2 pods that match have ended (1 Failed, 1 Succeeded)"
    template = {"template": {"metadata": {"labels": SELECTOR}}}
    for kind, expected in (("Job", True), ("Deployment", False)):
        made = {"kind": kind, "metadata": {"name": "web"}, "spec": template}
        assert bool(said(service(), ended[0], workloads=(made,))) is expected, kind


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (waiting("CrashLoopBackOff"), "container c keeps ending (CrashLoopBackOff)"),
        (waiting("ImagePullBackOff"), "container c cannot pull its image nope:1"),
        (waiting("CreateContainerConfigError", 'secret "s" not found'), 'container c cannot be configured: secret "s"'),
        (
            {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/1 nodes"}]},
            "finds no node",
        ),
        (waiting("ContainerCreating"), ""),
        (waiting("PodInitializing"), ""),
        ({"phase": "Pending", "conditions": []}, ""),
    ],
)
def test_failures_are_said_later_and_youth_never(status: Object, expected: str) -> None:
    found = why(service(), Evidence([pod(**status)], ()))
    assert (found.message if found else "").find(expected) >= 0 and bool(found) is bool(expected)
    assert found is None or (found.reason, found.weight) == ("NoReadyPods", LATER)
    assert why(service(), Evidence([pod(**status), pod("b", ready=True)], ())) is None
    assert why(service(publishNotReadyAddresses=True), Evidence([pod(**status)], ())) is None


def test_one_of_several_is_named() -> None:
    text = said(service(), pod("b", **waiting("CrashLoopBackOff")), pod("a", **waiting("ContainerCreating")))
    assert text.startswith("none of the 2 pods that selector app=web matches is ready: b is not ready: container c")


def test_a_readiness_probe_has_the_time_it_asks_for() -> None:
    slow = pod(containerStatuses=[{"name": "c", "started": True, "ready": False, "state": {"running": {}}}])
    assert ailment(slow) == ("", 0.0), "no probe: it is about to be ready"
    slow["spec"]["containers"][0]["readinessProbe"] = {"initialDelaySeconds": 5, "periodSeconds": 2}
    found = why(service(), Evidence([slow], ()))
    assert found and found.patience == 5 + 2 * 3 + 1
    assert "the readiness probe of container c fails" in found.message
    slow["status"]["containerStatuses"][0]["started"] = False
    assert ailment(slow) == ("", 0.0), "its startup probe holds"


def test_other_kinds_of_services_have_no_selector_to_speak_of() -> None:
    for spec in ({"selector": None}, {"selector": {}}, {"type": "ExternalName"}):
        assert why(service({"port": 80, "targetPort": "web"}, **spec), Evidence([pod()], ())) is None
