"""The lesson's comparison, as a table: what is there, what the Service asks for, what is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.why.check import LATER, NOW, Evidence, explain
from switchboard.why.kinship import distance, looks_like

Object = dict[str, Any]


def service(name: str, selector: dict[str, str] | None, target: int | str = 5000, **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": target}], **spec},
    }


def deployment(name: str, labels: dict[str, str], replicas: int = 2) -> Object:
    spec = {"replicas": replicas, "template": {"metadata": {"labels": labels}}}
    return {"kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def replicaset(of: str, labels: dict[str, str], replicas: int = 2) -> Object:
    owner = {"kind": "Deployment", "name": of, "controller": True}
    spec = {"replicas": replicas, "template": {"metadata": {"labels": labels}}}
    return {
        "kind": "ReplicaSet",
        "metadata": {"name": f"{of}-x1", "namespace": "default", "ownerReferences": [owner]},
        "spec": spec,
    }


def pod(name: str, labels: dict[str, str], rs: str = "", port: int = 5000, namespace: str = "default") -> Object:
    meta: Object = {"name": name, "namespace": namespace, "labels": labels}
    if rs:
        meta["ownerReferences"] = [{"kind": "ReplicaSet", "name": rs, "controller": True}]
    return {"metadata": meta, "spec": {"containers": [{"ports": [{"containerPort": port}]}]}}


def workload(name: str, labels: dict[str, str], count: int = 2, port: int = 5000) -> tuple[list[Object], list[Object]]:
    full = labels | {"pod-template-hash": "x1"}
    pods = [pod(f"{name}-x1-{i}", full, f"{name}-x1", port) for i in range(count)]
    return pods, [deployment(name, labels), replicaset(name, full)]


BACKEND = workload("backend-deployment", {"app": "backend"})
WEB = workload("web-deployment", {"app": "web"}, 3, 80)


def test_the_lesson() -> None:
    evidence = Evidence(BACKEND[0] + WEB[0], BACKEND[1] + WEB[1], [service("web-service", {"app": "web"}, 80)])
    found = explain(service("backend-service", {"app": "api"}), evidence)
    assert found and found.weight >= NOW
    assert (
        found.message
        == "selector app=api matches no pod, while 2 pods of Deployment backend-deployment have app=backend"
    )
    assert explain(service("backend-service", {"app": "backend"}), evidence) is None


@pytest.mark.parametrize(
    ("selector", "labels", "said"),
    [
        ({"app": "web", "version": "v1"}, {"app": "web", "version": "v2"}, "has version=v2"),
        ({"app": "web", "version": "v1"}, {"app": "web"}, "has no label version"),
        ({"app": "shop"}, {"App": "shop"}, "has App=shop"),
        ({"app": "checkout"}, {"app": "chekcout"}, "has app=chekcout"),
        ({"app": "shop"}, {"app.kubernetes.io/name": "shop"}, "has app.kubernetes.io/name=shop"),
    ],
)
def test_what_the_nearest_pod_has(selector: dict[str, str], labels: dict[str, str], said: str) -> None:
    found = explain(service("front", selector), Evidence([pod("one", labels)], []))
    assert found is not None and found.weight >= NOW
    assert found.message.endswith(f"pod one {said}")


@pytest.mark.parametrize(
    ("svc", "evidence"),
    [
        (service("by-hand", None), Evidence(*BACKEND)),
        (service("outside", {"app": "x"}, type="ExternalName"), Evidence(*BACKEND)),
        (service("backend", {"app": "late"}), Evidence([], [deployment("late", {"app": "late"})])),
        (service("alone", {"app": "api"}), Evidence([], [])),
        (service("fits", {"app": "web"}), Evidence(*WEB)),
    ],
)
def test_nothing_to_say(svc: Object, evidence: Evidence) -> None:
    assert explain(svc, evidence) is None


def test_a_service_before_its_deployment_among_strangers_is_not_warned_of_at_once() -> None:
    found = explain(
        service("orders", {"app": "orders"}, 9000), Evidence(*WEB, [service("web-service", {"app": "web"}, 80)])
    )
    assert found is None or found.weight < NOW


def test_scaled_to_nothing() -> None:
    world = Evidence([], [deployment("shop", {"app": "shop"}, 0), replicaset("shop", {"app": "shop"}, 0)])
    found = explain(service("shop", {"app": "shop"}), world)
    assert found and found.message == "selector app=shop matches Deployment shop, which is scaled to 0 replicas"
    assert LATER <= found.weight < NOW


def test_pods_in_another_namespace() -> None:
    found = explain(
        service("shop", {"app": "shop"}), Evidence([], [], [], [pod("p", {"app": "shop"}, namespace="prod")])
    )
    assert found and "in namespace prod" in found.message and found.weight >= LATER


def test_pods_that_leave_another_namespace_are_not_named() -> None:
    there = [pod("p", {"app": "shop"}, namespace="prod"), pod("q", {"app": "shop"}, namespace="test")]
    there[1]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    asks = service("shop", {"app": "shop"})
    found = explain(asks, Evidence([], [], [], there))
    assert found and "1 pod has these labels in namespace prod" in found.message
    assert LATER <= found.weight < NOW, "another installation of the same: here it may be on its way"
    assert explain(asks, Evidence([], [], [], there[1:])) is None


def test_the_nearest_here_comes_before_strangers_elsewhere() -> None:
    there = [pod("p", {"app": "api"}, namespace="prod")]
    found = explain(service("backend-service", {"app": "api"}), Evidence(*BACKEND, (), there))
    assert found and found.message.endswith("2 pods of Deployment backend-deployment have app=backend")
    found = explain(service("orders", {"app": "api"}, 80), Evidence(*WEB, (), there))
    assert found and "namespace prod" in found.message, "what has exactly these labels is nearer than a stranger here"


def test_labels_of_a_workload_that_its_pods_do_not_get() -> None:
    pods, made = workload("shop", {"tier": "x"})
    made[0]["metadata"]["labels"] = {"app": "shop"}
    elsewhere = [pod("p", {"app": "shop"}, namespace="prod")]
    found = explain(service("entry", {"app": "shop"}), Evidence(pods, made, (), elsewhere))
    assert found and found.weight >= NOW
    assert found.message == (
        "selector app=shop matches no pod: Deployment shop has these labels itself, while its pod template has tier=x "
        "(a Service looks at the labels of pods)"
    )
    made[1]["metadata"]["labels"] = {"app": "shop"}
    found = explain(service("entry", {"app": "shop"}), Evidence([], made[1:]))
    assert found is None, "a ReplicaSet has what its Deployment gave it"


@pytest.mark.parametrize(
    ("name", "selector", "labels", "group", "served", "at_once"),
    [
        (
            "shop-web",
            {"app": "shop", "component": "web"},
            {"app": "shop", "component": "worker"},
            "shop-worker",
            0,
            False,
        ),
        ("shop-web", {"app": "shop", "component": "web"}, {"app": "shop", "component": "wbe"}, "shop-worker", 0, True),
        ("web-green", {"app": "web-green"}, {"app": "web-blue"}, "web-blue", 1, False),
        ("app-b", {"app": "app-b"}, {"app": "app-a"}, "app-a", 1, False),
        ("shop-two", {"app": "shpo"}, {"app": "shop"}, "shop", 1, True),
        ("web2", {"app": "web2"}, {"app": "web1"}, "web1", 1, False),
        ("kz-web-service", {"app": "web", "env": "dev"}, {"app": "web"}, "web-deployment", 1, False),
        ("kz-web-service", {"app": "web", "env": "dev"}, {"app": "web"}, "web-deployment", 0, True),
        ("web", {"app": "web", "version": "v1"}, {"app": "web", "version": "v2"}, "web", 1, True),
        ("backend-two", {"app": "api"}, {"app": "backend"}, "backend-deployment", 1, True),
        ("cart", {"app": "basket"}, {"app": "cart"}, "server", 1, True),
        ("entry", {"app": "cart"}, {"app": "basket"}, "cart", 1, True),
    ],
)
def test_a_variant_of_what_runs_may_be_on_its_way(
    name: str, selector: dict[str, str], labels: dict[str, str], group: str, served: int, at_once: bool
) -> None:
    others = [service("other", labels)] * served
    found = explain(service(name, selector), Evidence(*workload(group, labels, 2, 80), others))
    assert (found is not None and found.weight >= NOW) is at_once


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_distance_is_a_metric_up_to_its_limit(a: str, b: str) -> None:
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, b) >= min(3, abs(len(a) - len(b)))
    assert looks_like(a, a)
