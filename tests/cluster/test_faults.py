"""Every process of a cluster is killed in turn, ours and the containers': the Service answers again and nothing is
lost.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def serving(stand_in_images: Path) -> Iterator[PrivateCluster]:
    """A cluster with two nginx pods behind a NodePort."""
    with PrivateCluster() as cluster:
        cluster.kubectl("create", "deployment", "web", "--image=nginx:alpine", "--replicas=2")
        cluster.kubectl("expose", "deployment", "web", "--port=80", "--type=NodePort")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        wait_for(lambda: answers(cluster), what="the Service to answer")
        yield cluster


def answers(cluster: PrivateCluster, count: int = 4) -> bool:
    """Whether the node port answers several times running."""
    port = cluster.get("service", "web")["spec"]["ports"][0]["nodePort"]
    urls = [f"http://192.168.49.2:{port}/"] * count
    done = cluster.run("curl", "-sf", "--max-time", "1", "-o", "/dev/null", "-w", "%{http_code} ", *urls, check=False)
    return done.returncode == 0


def pods(cluster: PrivateCluster) -> dict[str, dict[str, Any]]:
    return {pod["metadata"]["uid"]: pod for pod in cluster.get("pods", "-l", "app=web")["items"]}


def restarts(cluster: PrivateCluster) -> int:
    return sum(c["restartCount"] for pod in pods(cluster).values() for c in pod["status"]["containerStatuses"])


@pytest.mark.parametrize("name", ["node", "server", "dns", "registry", "containerd", "supervisor"])
def test_a_role_that_is_killed_comes_back_and_no_pod_notices(serving: PrivateCluster, name: str) -> None:
    before, count = pods(serving), restarts(serving)
    old = serving.pid(name)
    os.kill(old, signal.SIGKILL)
    assert name == "server" or answers(serving), "packets go on while nobody is there to change their way"
    wait_for(lambda: serving.pid(name) not in (0, old), what=f"{name} to run again")
    wait_for(lambda: all(node["ready"] for node in serving.status()["nodes"]), what="the node to be Ready")
    assert pods(serving).keys() == before.keys()
    assert restarts(serving) == count
    assert answers(serving)
    # not only what was there goes on: what is new works too
    serving.kubectl("scale", "deployment/web", "--replicas=3")
    serving.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    serving.kubectl("scale", "deployment/web", "--replicas=2")
    wait_for(lambda: len(pods(serving)) == 2, what="the third pod to be gone")
    assert answers(serving)


def test_all_roles_at_once(serving: PrivateCluster) -> None:
    before = pods(serving)
    names = ["node", "server", "dns", "registry", "containerd"]
    old = {name: serving.pid(name) for name in names}
    for pid in old.values():
        os.kill(pid, signal.SIGKILL)
    for name in names:
        wait_for(lambda: serving.pid(name) not in (0, old[name]), what=f"{name} to run again")  # noqa: B023
    wait_for(lambda: all(node["ready"] for node in serving.status()["nodes"]), what="the node to be Ready")
    assert pods(serving).keys() == before.keys()
    assert answers(serving)


@pytest.mark.parametrize("victim", ["container", "shim"])
def test_a_container_that_is_killed_is_restarted_in_its_pod(serving: PrivateCluster, victim: str) -> None:
    before, count = pods(serving), restarts(serving)
    pod = next(iter(before.values()))
    ident = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    run = Path(serving.env["SWITCHBOARD_RUN_DIR"], serving.name, "containerd/io.containerd.runtime.v2.task/k8s.io")
    init = int((run / ident / "init.pid").read_text())
    pid = init if victim == "container" else parent(init)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: restarts(serving) > count or pods(serving).keys() != before.keys(), what="a restart to be counted")
    serving.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=40s")
    assert pods(serving).keys() == before.keys()
    wait_for(lambda: answers(serving), what="the Service to answer")


def parent(pid: int) -> int:
    """Pid of the parent (proc(5), stat field 4)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_a_pod_that_is_deleted_is_replaced_at_another_address(serving: PrivateCluster) -> None:
    before = pods(serving)
    address = serving.get("service", "web")["spec"]["clusterIP"]
    gone = next(iter(before.values()))
    serving.kubectl("delete", "pod", gone["metadata"]["name"])
    serving.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    after = pods(serving)
    new = [pod for uid, pod in after.items() if uid not in before]
    assert len(new) == 1
    assert new[0]["status"]["podIP"] not in {pod["status"]["podIP"] for pod in before.values()}
    assert serving.get("service", "web")["spec"]["clusterIP"] == address
    assert answers(serving)


def test_what_was_written_before_the_server_was_killed_is_there_after(serving: PrivateCluster) -> None:
    for number in range(5):
        serving.kubectl("create", "configmap", f"kept-{number}", f"--from-literal=at={time.time()}")
        if number == 2:
            os.kill(serving.pid("server"), signal.SIGKILL)
            wait_for(lambda: serving.run("kubectl", "get", "ns", check=False).returncode == 0, what="the API")
    assert len([c for c in serving.get("configmaps")["items"] if c["metadata"]["name"].startswith("kept-")]) == 5
