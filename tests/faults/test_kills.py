"""Every process of a cluster is killed in turn, ours and the containers', while the Service is asked without a pause:
it answers again in bounded time, what died is there again and said so, and nothing is lost.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from switchboard.testing.asking import HELD, Asker, fetching
from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
ROLES = ["node", "server", "registry", "supervisor", "containerd", "dns"]
SLOWEST = 10.0  # seconds that the Service may be silent when its only way was killed: a resolver waits 5 to ask again
KEPT = "deployments,replicasets,pods,services,configmaps,secrets,endpointslices,endpoints,serviceaccounts,leases"


@pytest.fixture(scope="module")
def serving(stand_in_images: Path) -> Iterator[PrivateCluster]:
    """A cluster with two nginx pods behind a NodePort, and a pod to ask from."""
    with PrivateCluster() as cluster:
        cluster.kubectl("create", "deployment", "web", "--image=nginx:alpine", "--replicas=2", "--port=80")
        cluster.kubectl("expose", "deployment", "web", "--port=80", "--type=NodePort")
        cluster.kubectl("run", "client", "--image=alpine", "--", "sleep", "3600")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
        yield cluster


@pytest.fixture(scope="module")
def ways(serving: PrivateCluster) -> Iterator[dict[str, Asker]]:
    """All ways to the Service, each asked all the time: the node, the host, and a pod by name."""
    spec = serving.get("service", "web")["spec"]
    node = ["nsenter", f"--net=/run/netns/{serving.name}", "--", "sh", "-c"]
    pod = ["nsenter", "-m", "-n", "-t", str(init(serving, container_id(serving.get("pod", "client")))), "--", "sh"]
    name = "while :; do wget -q -T 1 -O /dev/null http://web && echo ok || echo failed; sleep 0.05; done"
    scripts = {
        "ClusterIP": [*node, fetching(f"http://{spec['clusterIP']}")],
        "NodePort": ["sh", "-c", fetching(f"http://192.168.49.2:{spec['ports'][0]['nodePort']}")],
        "name": [*pod, "-c", name],
    }
    with ExitStack() as stack:
        askers = {
            way: stack.enter_context(Asker(serving.popen(*argv, stdout=subprocess.PIPE, text=True)))
            for way, argv in scripts.items()
        }
        assert all(asker.more() for asker in askers.values())
        yield askers


@pytest.fixture
def held(serving: PrivateCluster) -> Iterator[Asker]:
    """One connection through the Service, kept and used."""
    address = serving.get("service", "web")["spec"]["clusterIP"]
    argv = ("nsenter", f"--net=/run/netns/{serving.name}", "--", sys.executable, "-c", HELD, address, "80")
    with Asker(serving.popen(*argv, stdout=subprocess.PIPE, text=True)) as asker:
        assert asker.more(1)
        yield asker


def pods(cluster: PrivateCluster, selector: str = "app=web") -> dict[str, dict[str, Any]]:
    """Pods by UID, without those that go."""
    items = cluster.get("pods", "-l", selector)["items"]
    return {p["metadata"]["uid"]: p for p in items if "deletionTimestamp" not in p["metadata"]}


def containers(cluster: PrivateCluster) -> dict[str, tuple[str, int]]:
    """UID of every pod -> container id and restarts."""
    items = cluster.get("pods", "-A")["items"]
    return {p["metadata"]["uid"]: (container_id(p), p["status"]["containerStatuses"][0]["restartCount"]) for p in items}


def container_id(pod: dict[str, Any]) -> str:
    return str(pod["status"]["containerStatuses"][0]["containerID"]).removeprefix("containerd://")


def tasks(cluster: PrivateCluster) -> Path:
    """Where the runtime keeps one folder for each container and sandbox."""
    return Path(cluster.env["SWITCHBOARD_RUN_DIR"], cluster.name, "containerd/io.containerd.runtime.v2.task/k8s.io")


def init(cluster: PrivateCluster, ident: str) -> int:
    """Pid of a container's first process."""
    return int((tasks(cluster) / ident / "init.pid").read_text())


def stat(pid: int) -> list[str]:
    """Fields of proc(5) stat after the name; the second is the parent."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def restarts(cluster: PrivateCluster, uid: str) -> int:
    found = pods(cluster).get(uid, {}).get("status", {}).get("containerStatuses") or [{}]
    return int(found[0].get("restartCount", 0))


def objects(cluster: PrivateCluster) -> set[str]:
    """UIDs of everything that must not be lost."""
    return {item["metadata"]["uid"] for item in cluster.get(KEPT, "-A")["items"]}


def deaths(cluster: PrivateCluster, name: str) -> int:
    """What `status` says under RESTARTS."""
    row = re.search(rf"^{name}\s.*\s(\d+)$", cluster.switchboard("status", check=False).stdout, re.M)
    assert row is not None
    return int(row[1])


def whole(cluster: PrivateCluster) -> None:
    """Wait until every role runs and the node is Ready."""

    def well() -> bool:
        status = cluster.status()
        names = {p["name"] for p in status["processes"] if p["pid"]}
        return names >= set(ROLES) and all(node["ready"] for node in status["nodes"])

    wait_for(well, what="the cluster to be whole")


@pytest.mark.parametrize("name", ROLES)
def test_a_role_that_is_killed_comes_back_and_no_pod_notices(
    serving: PrivateCluster, ways: dict[str, Asker], held: Asker, name: str
) -> None:
    before, kept, said = containers(serving), objects(serving), deaths(serving, name)
    old = serving.pid(name)
    for asker in (*ways.values(), held):
        asker.begin()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: serving.pid(name) not in (0, old), what=f"{name} to run again")
    whole(serving)
    assert all(asker.more() for asker in ways.values())
    # packets go on while nobody is there to change their way; only names need somebody who answers
    for way, asker in ways.items():
        assert asker.gap < SLOWEST, way
        assert asker.failed == 0 or (way, name) == ("name", "dns"), way
    assert held.more() and held.alive, "the connection that was there goes on"
    assert containers(serving) == before
    assert objects(serving) >= kept
    logged = serving.switchboard("logs", "supervisor", "--tail", "50").stdout
    if name == "supervisor":
        assert f"server runs already (pid {serving.pid('server')})" in logged
    else:
        assert deaths(serving, name) == said + 1
        assert f" {name} (pid {old}) " in logged
    works(serving)


def works(cluster: PrivateCluster) -> None:
    """Not only what was there goes on: what is new works too."""
    cluster.kubectl("scale", "deployment/web", "--replicas=3")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    cluster.kubectl("scale", "deployment/web", "--replicas=2")
    wait_for(lambda: len(pods(cluster)) == 2, what="the third pod to be gone")


def kill_together(cluster: PrivateCluster, ways: dict[str, Asker], pids: dict[str, int]) -> None:
    """Kill processes by name in one go while somebody asks; come back when each runs again and the cluster is whole."""
    for asker in ways.values():
        asker.begin()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in pids.items():
        wait_for(lambda: cluster.pid(name) not in (0, pid), what=f"{name} to run again")  # noqa: B023
    whole(cluster)


@pytest.mark.parametrize("pair", [("supervisor", "server"), ("supervisor", "node"), ("server", "node")])
def test_who_looks_after_others_dies_together_with_who_looks_after_it(
    serving: PrivateCluster, ways: dict[str, Asker], pair: tuple[str, str]
) -> None:
    before, kept = containers(serving), objects(serving)
    old = {name: serving.pid(name) for name in pair}
    kill_together(serving, ways, old)
    assert all(asker.more() and not asker.failed for asker in ways.values())
    assert containers(serving) == before
    assert objects(serving) >= kept
    own, ours = (os.readlink(f"/proc/{serving.pid(name)}/ns/net") for name in ("supervisor", "registry"))
    assert own == ours, "on the host, whoever started it"
    works(serving)


def test_all_roles_at_once(serving: PrivateCluster, ways: dict[str, Asker], held: Asker) -> None:
    before, kept = containers(serving), objects(serving)
    old = {p["name"]: p["pid"] for p in serving.status()["processes"] if p["name"] != "supervisor"}
    kill_together(serving, ways, old)
    assert all(asker.more() for asker in ways.values())
    assert max(asker.gap for asker in ways.values()) < SLOWEST
    assert ways["ClusterIP"].failed == ways["NodePort"].failed == 0
    assert held.more() and held.alive
    assert containers(serving) == before
    assert objects(serving) >= kept
    works(serving)


@pytest.mark.parametrize("victim", ["container", "shim", "sandbox"])
def test_every_container_process_in_turn(serving: PrivateCluster, ways: dict[str, Asker], victim: str) -> None:
    before = pods(serving)  # new ones, without a back-off from the test before
    client = container_id(serving.get("pod", "client"))
    sockets: list[Path] = []
    for uid, pod in before.items():
        pid = init(serving, container_id(pod))
        shim = int(stat(pid)[1])
        if victim == "sandbox":
            siblings = [init(serving, task.name) for task in tasks(serving).iterdir() if (task / "init.pid").exists()]
            pid = next(p for p in siblings if p != pid and int(stat(p)[1]) == shim)
        address = (tasks(serving) / container_id(pod) / "address").read_text().strip()
        sockets.append(Path(address.removeprefix("unix://")))
        for asker in ways.values():
            asker.begin()
        os.kill(shim if victim == "shim" else pid, signal.SIGKILL)
        wait_for(lambda: restarts(serving, uid) == 1, what="the restart to be counted")  # noqa: B023
        serving.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=40s")
        assert all(asker.more() for asker in ways.values())
        for way, asker in ways.items():
            assert asker.gap < SLOWEST, way
            asker.begin()
        assert all(asker.more(6) and not asker.failed for asker in ways.values())
    assert pods(serving).keys() == before.keys()
    assert container_id(serving.get("pod", "client")) == client
    serving.kubectl("delete", "pod", "-l", "app=web", "--wait=false")
    wait_for(lambda: not any(path.exists() for path in sockets), what="what the dead shims left to be gone")
    serving.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_a_pod_that_is_deleted_is_replaced_at_another_address(serving: PrivateCluster, ways: dict[str, Asker]) -> None:
    before = pods(serving)
    address = serving.get("service", "web")["spec"]["clusterIP"]
    gone = next(iter(before.values()))
    for asker in ways.values():
        asker.begin()
    serving.kubectl("delete", "pod", gone["metadata"]["name"])
    serving.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    after = pods(serving)
    new = [pod for uid, pod in after.items() if uid not in before]
    assert len(new) == 1
    assert new[0]["status"]["podIP"] not in {pod["status"]["podIP"] for pod in before.values()}
    assert serving.get("service", "web")["spec"]["clusterIP"] == address
    assert all(asker.more() and not asker.failed for asker in ways.values()), "nobody was sent to a pod that goes"


def test_a_rollout_costs_nobody_a_request(serving: PrivateCluster, ways: dict[str, Asker]) -> None:
    for asker in ways.values():
        asker.begin()
    serving.kubectl("rollout", "restart", "deployment/web")
    serving.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    wait_for(lambda: len(pods(serving)) == 2, what="the old pods to be gone")
    assert all(asker.more() for asker in ways.values())
    assert {way: asker.failures for way, asker in ways.items()} == {way: [] for way in ways}


def test_what_was_written_before_the_server_was_killed_is_there_after(serving: PrivateCluster) -> None:
    for number in range(5):
        serving.kubectl("create", "configmap", f"kept-{number}", f"--from-literal=at={time.time()}")
        if number == 2:
            os.kill(serving.pid("server"), signal.SIGKILL)
            wait_for(lambda: serving.run("kubectl", "get", "ns", check=False).returncode == 0, what="the API")
    assert len([c for c in serving.get("configmaps")["items"] if c["metadata"]["name"].startswith("kept-")]) == 5


def test_an_exit_that_nobody_saw_is_found(serving: PrivateCluster, ways: dict[str, Asker]) -> None:
    """A container dies while the node's agent is dead; and a pod is deleted meanwhile."""
    whole(serving)
    before = pods(serving)
    (first, dies), (_, goes) = before.items()
    supervisor, old = serving.pid("supervisor"), serving.pid("node")
    count = restarts(serving, first)
    os.kill(supervisor, signal.SIGSTOP)  # so that nobody starts it again meanwhile
    try:
        os.kill(old, signal.SIGKILL)
        os.kill(init(serving, container_id(dies)), signal.SIGKILL)
        serving.kubectl("delete", "pod", goes["metadata"]["name"], "--wait=false")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait_for(lambda: restarts(serving, first) == count + 1, what="the restart to be counted")
    wait_for(lambda: goes["metadata"]["uid"] not in pods(serving), what="the deleted pod to go")
    serving.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert first in pods(serving)
    assert all(asker.more() for asker in ways.values())
