"""A cluster with pods dies as machines die, comes back by the next start, and leaves no trace when it is stopped."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchboard.cluster import cgroups
from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.footprint import footprint, shim_sockets
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
MANIFESTS = """
apiVersion: v1
kind: Pod
metadata: {name: furnished}
spec:
  volumes: [{name: memory, emptyDir: {medium: Memory}}]
  containers:
  - {name: c, image: busybox, command: [sleep, "1000"], volumeMounts: [{name: memory, mountPath: /m}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:alpine", ports: [{containerPort: 80, hostPort: 0}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
"""
OTHERS = {"apiVersion": "v1", "kind": "Config", "current-context": "mine", "preferences": {"colors": True}} | {
    "clusters": [{"name": "mine", "cluster": {"server": "https://192.0.2.1"}}],
    "users": [{"name": "mine", "user": {"token": "t"}}],
    "contexts": [{"name": "mine", "context": {"cluster": "mine", "user": "mine"}}],
}


@pytest.fixture
def doomed(stand_in_images: Path) -> Iterator[tuple[PrivateCluster, dict[str, list[str]]]]:
    """A cluster with pods, next to somebody else's kubeconfig entries; and what the machine was like before."""
    with PrivateCluster(start=False) as cluster:
        cluster.kubeconfig.parent.mkdir(parents=True)
        cluster.kubeconfig.write_text(yaml.safe_dump(OTHERS))
        before = footprint(cluster)
        cluster.up()
        cluster.kubectl("apply", "-f", "-", given=MANIFESTS)
        settled(cluster)
        yield cluster, before


def settled(cluster: PrivateCluster) -> None:
    """Wait until every pod is ready and the Service answers."""
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/furnished", "--timeout=60s")
    wait_for(lambda: answers(cluster), what="the Service to answer")


def answers(cluster: PrivateCluster) -> bool:
    found = cluster.get("service", "web")["status"].get("loadBalancer", {}).get("ingress") or [{"ip": "0.0.0.0"}]
    return cluster.run("curl", "-sf", "-m", "1", f"http://{found[0]['ip']}/", check=False).returncode == 0


def sandboxes(cluster: PrivateCluster) -> set[str]:
    """Every name under which the runtime knows something now."""
    run = Path(cluster.env["SWITCHBOARD_RUN_DIR"], cluster.name)
    tasks = run.glob("containerd/io.containerd.runtime.v2.task/k8s.io/*")
    return {task.name for task in tasks} | {path.name for path in shim_sockets(cluster)}


def crash(cluster: PrivateCluster) -> None:
    """SIGKILL to every process of the cluster, shims and containers too, none of them having time for anything."""
    roles = [p["pid"] for p in cluster.status()["processes"]]
    for pid in roles:
        os.kill(pid, signal.SIGSTOP)
    own = members(cluster) | set(roles)
    assert len(own) > len(roles) + 6, "three pods have three shims, sandboxes and containers"
    for pid in own:
        with suppress(ProcessLookupError):  # the first process of a sandbox takes others along
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not members(cluster), what="all processes to be gone")


def members(cluster: PrivateCluster) -> set[int]:
    """Processes of the cluster: those of its containers, and those that name its folders."""
    marks = [cluster.env["SWITCHBOARD_RUN_DIR"] + "/", str(cluster.folder)]
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace")
                groups = Path(f"/proc/{entry}/cgroup").read_text()
            except OSError:
                continue
            if any(mark in line for mark in marks) or f"/{cluster.name}/" in groups:
                found.add(int(entry))
    return found


def traces(names: set[str]) -> list[str]:
    """Whatever on this machine is called after one of the containers."""
    places = ["/run", "/var/lib/cni", "/var/lib/containerd", "/opt/containerd", *map(str, cgroups.hierarchies())]
    found = []
    for place in places:
        for folder, folders, files in os.walk(place):
            found += [f"{folder}/{name}" for name in [*folders, *files] if any(known in name for known in names)]
    return found + [line for line in Path("/proc/mounts").read_text().splitlines() if any(n in line for n in names)]


def pods(cluster: PrivateCluster) -> dict[str, dict[str, Any]]:
    return {p["metadata"]["uid"]: p for p in cluster.get("pods")["items"]}


def others(cluster: PrivateCluster) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(cluster.kubeconfig.read_text())
    return content


def test_stopped_and_started_again_the_same_pods_run(doomed: tuple[PrivateCluster, dict[str, list[str]]]) -> None:
    cluster, before = doomed
    was, names = pods(cluster), sandboxes(cluster)
    assert others(cluster)["current-context"] == cluster.name
    cluster.switchboard("down")
    assert footprint(cluster) == before
    assert traces(names) == []
    cluster.up()
    settled(cluster)
    assert pods(cluster).keys() == was.keys()
    names |= sandboxes(cluster)
    cluster.switchboard("down", "--purge")
    assert footprint(cluster) == before
    assert traces(names) == []
    assert not Path(cluster.env["SWITCHBOARD_STATE_DIR"]).exists()
    left = others(cluster)
    assert left.pop("current-context") in ("", "mine")
    assert left == {key: value for key, value in OTHERS.items() if key != "current-context"}


def test_a_crash_without_another_start_leaves_no_trace_either(
    doomed: tuple[PrivateCluster, dict[str, list[str]]],
) -> None:
    cluster, before = doomed
    names = sandboxes(cluster)
    crash(cluster)
    cluster.switchboard("down")
    assert footprint(cluster) == before
    assert traces(names) == []
    cluster.switchboard("down", "--purge")
    assert not Path(cluster.env["SWITCHBOARD_STATE_DIR"]).exists()
    assert [c["name"] for c in others(cluster)["contexts"]] == ["mine"]


@pytest.mark.parametrize("how", ["killed", "rebooted"])
def test_pods_come_back_after_a_crash(doomed: tuple[PrivateCluster, dict[str, list[str]]], how: str) -> None:
    cluster, before = doomed
    was, names = pods(cluster), sandboxes(cluster)
    crash(cluster)
    if how == "rebooted":  # /run is empty, and so is the kernel
        reboot(cluster)
    cluster.up()
    settled(cluster)
    assert pods(cluster).keys() == was.keys()
    for pod in pods(cluster).values():
        status = pod["status"]["containerStatuses"][0]
        assert status["restartCount"] >= 1, "a new container in the same pod"
        assert status["state"].keys() == {"running"}
    names |= sandboxes(cluster)
    cluster.switchboard("down")
    assert footprint(cluster) == before
    assert traces(names) == []


def reboot(cluster: PrivateCluster) -> None:
    """Take away what does not outlive a machine that is switched off."""
    cluster.run("ip", "link", "del", f"sb-{cluster.name}")
    marks = [cluster.env["SWITCHBOARD_RUN_DIR"] + "/", str(cluster.folder)]
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    mine = [point for point in points if any(point.startswith(mark) for mark in marks)]
    for point in reversed(mine):
        cluster.run("umount", "-l", point)
    cluster.run("ip", "netns", "del", cluster.name)
    cgroups.remove(f"switchboard/{cluster.name}")
    shutil.rmtree(cluster.env["SWITCHBOARD_RUN_DIR"])
