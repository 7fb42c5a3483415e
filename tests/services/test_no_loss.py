"""Under constant load nothing is lost: rolling restart, scaling down and up, a deleted pod, a drained node.

The pods end at once when told to, in the middle of an answer if there is one: what is not lost, the order saves
(out of the kernel first, then time for open connections, then the signal). Counts, no times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
NAMES = {"app": "roll"}


@pytest.fixture(scope="module")
def rolling(space: Space) -> Iterator[str]:
    """A Deployment of three behind a Service; the Service's address."""
    pod = space.pod("roll", "http:8080", "slow:8090", labels=NAMES)
    template = {"metadata": {"labels": NAMES}, "spec": pod["spec"] | {"terminationGracePeriodSeconds": 30}}
    spec = {"replicas": 3, "selector": {"matchLabels": NAMES}, "template": template}
    space.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "roll"}, "spec": spec})
    ports = [{"port": 80, "targetPort": 8080, "name": "fast"}, {"port": 81, "targetPort": 8090, "name": "slow"}]
    ip = space.service("roll", *ports, selector=NAMES)["spec"]["clusterIP"]
    settled(space)
    wait_for(lambda: len(space.endpoints("roll")) == 3)
    space.until_names(f"http://{ip}/", {"roll"})
    yield str(ip)
    space.kubectl("delete", "deployment", "roll", "--wait=false")


def settled(space: Space) -> None:
    space.kubectl("rollout", "status", "deployment/roll", "--timeout=90s")


def left(space: Space, count: int) -> None:
    """Wait until so many pods are left, terminating ones counted."""
    wait_for(lambda: len(space.items("pods", "app=roll")) == count, what=f"{count} pods")


def restart(space: Space) -> None:
    space.kubectl("rollout", "restart", "deployment/roll")
    settled(space)
    left(space, 3)


def scale_down(space: Space) -> None:
    space.kubectl("scale", "deployment/roll", "--replicas=1")
    left(space, 1)


def scale_up(space: Space) -> None:
    space.kubectl("scale", "deployment/roll", "--replicas=3")
    settled(space)


def delete_one(space: Space) -> None:
    space.kubectl("delete", "pod", space.items("pods", "app=roll")[0]["metadata"]["name"])
    settled(space)


@pytest.mark.parametrize("disturb", [restart, scale_down, scale_up, delete_one])
def test_no_request_is_lost(space: Space, rolling: str, disturb: Callable[[Space], None]) -> None:
    words = (f"http://{rolling}:80/", "4", f"http://{rolling}:81/", "4")
    tally = space.asked_while(lambda: disturb(space), *words)
    assert tally.pop("ok") > 100 and tally == {}


def test_without_a_probe_nobody_is_sent_to_who_does_not_listen_yet(space: Space) -> None:
    """A container that takes its time, and says which port it serves: it is ready when it serves it."""
    pod = space.pod("late", "http:8080", labels={"app": "late"})
    [container] = pod["spec"]["containers"]
    del container["readinessProbe"]
    container["ports"] = [{"containerPort": 8080}]
    container["command"] = ["sh", "-c", "sleep 0.4; exec python3 /answerer/answerer.py http:8080"]
    template = {"metadata": {"labels": {"app": "late"}}, "spec": pod["spec"] | {"terminationGracePeriodSeconds": 30}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "late"}}, "template": template}
    space.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "late"}, "spec": spec})
    ip = space.service("late", 80, selector={"app": "late"})["spec"]["clusterIP"]
    space.until_names(f"http://{ip}/", {"late"})

    def rollout() -> None:
        space.kubectl("rollout", "restart", "deployment/late")
        space.kubectl("rollout", "status", "deployment/late", "--timeout=60s")

    tally = space.asked_while(rollout, f"http://{ip}/", "4")
    space.kubectl("delete", "deployment", "late", "--wait=false")
    assert tally.pop("ok") > 100 and tally == {}


def test_a_drained_node_ends_its_pods_gracefully(space: Space, rolling: str) -> None:
    """`kubectl drain` evicts; a budget is kept; pods end in order; the node takes pods again afterwards."""
    node = space.cluster.name
    words = ("drain", node, "--pod-selector=app=roll", "--ignore-daemonsets", "--delete-emptydir-data", "--force")
    budget = {"minAvailable": 3, "selector": {"matchLabels": NAMES}}
    space.apply(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "roll"}, "spec": budget}
    )
    wait_for(lambda: (space.get("pdb", "roll").get("status") or {}).get("currentHealthy") == 3)
    assert "disruption budget" in space.refused(*words, "--timeout=3s")
    space.kubectl("delete", "pdb", "roll")
    before = {pod["metadata"]["name"] for pod in space.items("pods", "app=roll")}
    space.kubectl(*words, "--timeout=60s")
    try:
        waiting = space.items("pods", "app=roll")
        assert not before & {pod["metadata"]["name"] for pod in waiting}
        assert all(pod["status"]["phase"] == "Pending" for pod in waiting)
        wait_for(lambda: space.fetch(f"http://{rolling}/") == ["curl:7"])
    finally:
        space.cluster.kubectl("uncordon", node)
    settled(space)
    space.until_names(f"http://{rolling}/", {"roll"})
