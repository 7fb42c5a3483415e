"""A cluster's life on a real machine: start, status, every kind of interrupted start, stop without a trace, another
start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from switchboard.images.standins import STAMP
from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.footprint import footprint, shim_sockets
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
ROOT = Path(__file__).parents[2]
PROCESSES = ["supervisor", "containerd", "server", "registry", "node", "dns"]


@pytest.fixture
def stopped(stand_in_images: Path) -> Iterator[PrivateCluster]:
    """A private host where no cluster was ever started."""
    with PrivateCluster(start=False) as cluster:
        yield cluster


def ready(cluster: PrivateCluster) -> bool:
    status = cluster.status()
    return [p["name"] for p in status["processes"]] == PROCESSES and all(n["ready"] for n in status["nodes"])


def test_start_says_what_it_does_and_a_second_start_that_it_is_done(stopped: PrivateCluster) -> None:
    said = stopped.up()
    for part in ("certificates", "network", "containerd", "API", "node", "images"):
        assert f"\n  {part} " in said
    assert "node Ready after" in said
    assert "Try:\n  kubectl " in said
    again = stopped.up()
    assert f"Cluster {stopped.name} is up" in again
    assert "certificates" not in again
    stamp = Path(
        stopped.env["SWITCHBOARD_STATE_DIR"], stopped.name, "registry", STAMP
    )  # as if the images could not be made
    stamp.unlink()
    assert "the mirror has the stand-in images" in stopped.up()
    assert stamp.exists()
    context = yaml.safe_load(stopped.kubeconfig.read_text())["current-context"]
    assert context == stopped.name
    assert stopped.kubectl("get", "nodes", "--no-headers").split()[:2] == [stopped.name, "Ready"]


def test_status_has_the_fields_that_programs_read(cluster: PrivateCluster) -> None:
    status = cluster.status()
    assert list(status) == ["cluster", "server", "nodes", "processes"]
    assert status["cluster"] == cluster.name
    assert status["server"] == "https://127.0.0.1:6443"
    assert status["nodes"] == [{"name": cluster.name, "ip": "192.168.49.2", "netns": cluster.name, "ready": True}]
    assert [p["name"] for p in status["processes"]] == PROCESSES
    for process in status["processes"]:
        assert process["rss_bytes"] > 1 << 20
        assert os.path.exists(f"/proc/{process['pid']}")
    table = cluster.switchboard("status").stdout
    assert all(name in table for name in [*PROCESSES, "Ready", "192.168.49.2"])


def test_the_other_verbs_on_a_running_cluster(cluster: PrivateCluster) -> None:
    assert cluster.ip == "192.168.49.2"
    printed = yaml.safe_load(cluster.switchboard("kubeconfig").stdout)
    assert printed["current-context"] == cluster.name
    assert cluster.switchboard("kubectl", "get", "ns", "-o", "name").stdout.startswith("namespace/")
    assert "serving on" in cluster.switchboard("logs", "server").stdout
    assert "docker.io/library/nginx:alpine" in cluster.switchboard("image", "list").stdout
    assert cluster.switchboard("logs", "nothing", check=False).returncode == 1


def test_stop_leaves_the_machine_as_it_was_and_objects_come_back(stopped: PrivateCluster) -> None:
    before = footprint(stopped)
    stopped.up()
    stopped.kubectl("create", "deployment", "web", "--image=nginx:alpine", "--replicas=2")
    stopped.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    stopped.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    sockets = set(shim_sockets(stopped))
    assert len(sockets) == 2
    stopped.switchboard("down")
    assert footprint(stopped) == before
    assert [path for path in sockets if path.exists()] == []
    assert "not up" in stopped.switchboard("down").stdout
    stopped.up()
    assert stopped.get("configmap", "kept")["data"] == {"a": "b"}
    stopped.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    stopped.switchboard("down", "--purge")
    assert footprint(stopped) == before
    assert not os.path.exists(stopped.env["SWITCHBOARD_STATE_DIR"])
    config = yaml.safe_load(stopped.kubeconfig.read_text())
    assert (config["contexts"], config["clusters"], config["users"], config["current-context"]) == ([], [], [], "")
    assert "nothing to do" in stopped.switchboard("down").stdout


@pytest.mark.parametrize("after", ["certificates", "network", "containerd"])
def test_a_start_that_was_killed_is_finished_by_the_next(stopped: PrivateCluster, after: str) -> None:
    before = footprint(stopped)
    process = stopped.popen(*("./switchboard", "up", "--no-egress"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith(f"  {after} "):
            process.kill()
            break
    process.wait()
    stopped.up()
    assert ready(stopped)
    stopped.switchboard("down")
    assert footprint(stopped) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_is_ended_ends_what_works_for_it(stopped: PrivateCluster, number: signal.Signals) -> None:
    """At the latest with the next stop. It is building images, which it cannot: nothing can be loaded from here."""
    stopped.env["SWITCHBOARD_IMAGES_DIR"] = str(stopped.folder / "images")
    before = footprint(stopped)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = stopped.popen("./switchboard", "up", "--no-egress", cwd=ROOT, **pipes)
    assert process.stdout
    for line in process.stdout:
        if "downloading Debian packages" in line:
            process.send_signal(number)
            break
    said = process.stdout.read() if number != signal.SIGKILL else ""
    process.wait()
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert said.endswith("\nswitchboard up: interrupted; run it again to go on\n") and "Traceback" not in said
        assert not [line for line in footprint(stopped)["processes"] if "images.job" in line]
    stopped.switchboard("delete")
    assert footprint(stopped) == before
    assert not os.path.exists(stopped.env["SWITCHBOARD_STATE_DIR"])


def test_a_damaged_store_is_named_with_what_can_be_done(stopped: PrivateCluster) -> None:
    stopped.up()
    stopped.kubectl("create", "configmap", "kept")
    stopped.switchboard("down")
    store = Path(stopped.env["SWITCHBOARD_STATE_DIR"], stopped.name, "store.db")
    good = store.read_bytes()
    store.write_bytes(b"x" * 4096 + good[4096:])
    failed = stopped.switchboard("up", "--no-egress", check=False)
    assert failed.returncode == 1
    assert f"put a good copy of {store}" in failed.stderr and "switchboard delete" in failed.stderr
    store.write_bytes(good)
    stopped.up()
    assert stopped.get("configmap", "kept")["metadata"]["name"] == "kept"


@pytest.mark.parametrize("damage", ["everything", "link", "records"])
def test_a_crashed_cluster_is_repaired(stopped: PrivateCluster, damage: str) -> None:
    before = footprint(stopped)
    stopped.up()
    pids = {p["name"]: p["pid"] for p in stopped.status()["processes"]}
    if damage == "everything":  # as when the machine lost its power, but for what lies in /run
        os.kill(pids["supervisor"], signal.SIGSTOP)
        for name in PROCESSES[1:]:
            os.kill(pids[name], signal.SIGKILL)
        os.kill(pids["supervisor"], signal.SIGKILL)
    elif damage == "link":
        stopped.run("ip", "link", "del", f"sb-{stopped.name}")
    else:
        os.kill(pids["supervisor"], signal.SIGSTOP)
        Path(stopped.env["SWITCHBOARD_RUN_DIR"], stopped.name, "processes.json").unlink()
        os.kill(pids["supervisor"], signal.SIGKILL)
    stopped.up()
    assert ready(stopped)
    stopped.switchboard("down")
    assert footprint(stopped) == before


def test_two_starts_at_once_make_one_cluster(stopped: PrivateCluster) -> None:
    argv = ("./switchboard", "up", "--no-egress", "--no-kubeconfig")
    folder = ROOT
    both = [stopped.popen(*argv, cwd=folder, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("certificates" in text for text in said) == [False, True]


def test_two_clusters_live_side_by_side_on_one_host(stopped: PrivateCluster) -> None:
    stopped.up()
    env = stopped.env | {"SWITCHBOARD_CLUSTER": f"{stopped.name}-b"}
    up = ("./switchboard", "up", "--no-egress", "--no-kubeconfig")
    try:
        said = stopped.host.run(*up, env=env, cwd=ROOT).stdout
        assert "192.168.50.0/24" in said
        status = json.loads(stopped.host.run("./switchboard", "status", "-o", "json", env=env, cwd=ROOT).stdout)
        assert status["server"] == "https://127.0.0.1:6444"
        assert ready(stopped)
    finally:
        stopped.host.run("./switchboard", "delete", env=env, cwd=ROOT)
    assert ready(stopped)


@pytest.mark.parametrize(
    ("lost", "words"), [("lib", ("delete",)), ("lib run", ("down", "--purge")), ("lib run", ("up",))]
)
def test_a_cluster_whose_folders_are_gone_is_found(stopped: PrivateCluster, lost: str, words: tuple[str, ...]) -> None:
    """By the names of what runs. Another cluster, and what only has the same name, stay as they are."""
    name = stopped.name
    other = stopped.env | {"SWITCHBOARD_CLUSTER": f"{name}-b"}
    up = ("./switchboard", "up", "--no-egress", "--no-kubeconfig")

    def trace() -> dict[str, list[str]]:
        """Without the other, whose link is not settled at once."""
        return {kind: [line for line in lines if f"{name}-b" not in line] for kind, lines in footprint(stopped).items()}

    try:
        stopped.host.run(*up, env=other, cwd=ROOT)
        subprocess.run(["ip", "netns", "add", f"{name}-c"], check=True)
        before = trace()
        stopped.up()
        stopped.kubectl("create", "deployment", "web", "--image=nginx:alpine", "--replicas=2")
        stopped.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        sockets = set(shim_sockets(stopped))
        for kind in lost.split():  # what is mounted there stays
            base = stopped.env["SWITCHBOARD_STATE_DIR" if kind == "lib" else "SWITCHBOARD_RUN_DIR"]
            subprocess.run(["find", f"{base}/{name}", "-xdev", "-delete"], capture_output=True)
        if words == ("up",):
            stopped.up()
            assert ready(stopped) and stopped.get("deployments")["items"] == []
            words = ("delete",)
        assert "is forgotten" in stopped.switchboard(*words).stdout
        assert trace() == before
        assert [path for path in sockets if path.exists()] == []
        assert "nothing to do" in stopped.switchboard(*words).stdout
        assert "nothing to do" in stopped.switchboard(*words, "--name", f"{name}-c").stdout
        assert os.path.exists(f"/run/netns/{name}-c")
        status = json.loads(stopped.host.run("./switchboard", "status", "-o", "json", env=other, cwd=ROOT).stdout)
        assert [p["name"] for p in status["processes"]] == PROCESSES and status["nodes"][0]["ready"]
    finally:
        subprocess.run(["ip", "netns", "del", f"{name}-c"])
        stopped.host.run("./switchboard", "delete", env=other, cwd=ROOT)


def test_options_that_cannot_change_are_refused(cluster: PrivateCluster) -> None:
    done = cluster.switchboard("up", "--no-egress", "--node-subnet", "10.7.0.0/24", check=False)
    assert done.returncode == 1
    assert "was first started with node_subnet 192.168.49.0/24" in done.stderr
    assert "switchboard delete" in done.stderr


def test_a_port_that_is_taken_is_stepped_over(stopped: PrivateCluster) -> None:
    code = "import socket, time\ns = socket.create_server(('127.0.0.1', 6443))\nprint('bound', flush=True)\n"
    taker = stopped.popen("python3", "-c", code + "time.sleep(600)", stdout=subprocess.PIPE)
    try:
        assert taker.stdout
        taker.stdout.readline()
        stopped.up()
        assert stopped.status()["server"] == "https://127.0.0.1:6444"
    finally:
        taker.kill()
        taker.wait()


def test_host_access_can_be_had_and_given_back(stopped: PrivateCluster) -> None:
    stopped.up()
    plain = stopped.run("ip", "route").stdout
    address = stopped.get("service", "kubernetes")["spec"]["clusterIP"]
    probe = ("curl", "-sk", "--max-time", "2", f"https://{address}/readyz")
    assert stopped.run(*probe, check=False).returncode != 0
    stopped.up("--host-access")
    wait_for(lambda: stopped.run(*probe, check=False).returncode == 0, what="the ClusterIP to answer")
    stopped.up("--no-host-access")
    assert stopped.run("ip", "route").stdout == plain


def test_the_built_in_load_balancer_is_a_switch(stopped: PrivateCluster) -> None:
    stopped.up("--no-load-balancer")
    stopped.kubectl("create", "service", "loadbalancer", "own", "--tcp=80")
    stopped.kubectl("create", "service", "loadbalancer", "given", "--tcp=80")
    mine = '{"status":{"loadBalancer":{"ingress":[{"ip":"192.168.49.200"}]}}}'  # as a provider of somebody else does
    stopped.kubectl("patch", "service", "given", "--subresource=status", "--type=merge", "-p", mine)
    stopped.up()  # remembered
    assert "load balancer off" in stopped.switchboard("status").stdout
    stopped.up("--load-balancer")
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    wait_for(lambda: stopped.kubectl("get", "service", "own", "-o", path), what="an address")
    assert stopped.kubectl("get", "service", "given", "-o", path) == "192.168.49.200"
    finalizers = "jsonpath={.metadata.finalizers}"
    cleanup = '["service.kubernetes.io/load-balancer-cleanup"]'
    assert stopped.kubectl("get", "service", "own", "-o", finalizers) == cleanup
    stopped.kubectl("create", "namespace", "short")
    stopped.kubectl("create", "service", "loadbalancer", "own", "--tcp=80", "-n", "short")
    wait_for(lambda: stopped.kubectl("get", "service", "own", "-n", "short", "-o", path), what="an address")
    stopped.kubectl("delete", "namespace", "short", "--timeout=10s")
    stopped.switchboard("down")  # in this order, nobody is there to release what was made
    stopped.up("--no-load-balancer")
    wait_for(lambda: not stopped.kubectl("get", "service", "own", "-o", finalizers), what="the hand-over")
    assert not stopped.kubectl("get", "service", "own", "-o", path)
    stopped.kubectl("delete", "service", "own", "given", "--timeout=10s")
    stopped.kubectl("create", "service", "loadbalancer", "late", "--tcp=80")
    stopped.kubectl("create", "configmap", "after")  # the server that `up` left is the one without the provider
    stopped.kubectl("wait", "--for=create", "endpointslice", "-l", "kubernetes.io/service-name=late", "--timeout=10s")
    described = stopped.kubectl("describe", "service", "late")
    assert "<pending>" in stopped.kubectl("get", "service", "late") and "EnsuringLoadBalancer" not in described


def test_what_dies_is_restarted_and_the_node_says_so(stopped: PrivateCluster) -> None:
    stopped.up()
    for name in [*PROCESSES[1:], "supervisor", "dns"]:  # the last is not the new supervisor's child
        old = kill(stopped, name)
        wait_for(lambda: ready(stopped), what=f"the cluster to be well after {name} died")
        if name != "supervisor":
            wait_for(lambda: told(stopped, name, old), what=f"an Event about {name}")  # noqa: B023


def kill(cluster: PrivateCluster, name: str) -> int:
    """Kill a process and wait for the next. Returns the pid it had."""
    old = cluster.pid(name)
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: cluster.pid(name) not in (0, old), what=f"{name} to run again")
    return old


def told(cluster: PrivateCluster, name: str, pid: int) -> bool:
    """Whether an Event of the node tells of the death of a process."""
    events = cluster.get("events", "--field-selector", "reason=SwitchboardRestarted")["items"]
    return any(
        event["message"].startswith(f"{name} (pid {pid}) ") and event["involvedObject"]["name"] == cluster.name
        for event in events
    )
