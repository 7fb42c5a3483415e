"""The lesson from its manifests, with stock kubectl, claim by claim. Each test stands on the one before."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchboard.testing.cluster import ROOT, PrivateCluster

pytestmark = pytest.mark.machine
LESSON = ROOT / "examples" / "lesson"


def said(cluster: PrivateCluster, *words: str, check: bool = True, given: str | None = None) -> tuple[str, str]:
    """stdout and stderr of kubectl."""
    done = cluster.host.run("kubectl", *words, check=check, env=cluster.env, input=given)
    return done.stdout, done.stderr


def apply(cluster: PrivateCluster, name: str) -> tuple[str, str]:
    return said(cluster, "apply", "-f", str(LESSON / name))


def pods(cluster: PrivateCluster, selector: str) -> list[dict[str, Any]]:
    items = json.loads(cluster.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
    return [p for p in items if not p["metadata"].get("deletionTimestamp")]


def until(what: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true value; AssertionError with the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {seconds} s"
        time.sleep(0.05)


def columns(text: str) -> list[str]:
    return re.split(r"\s{2,}", text.splitlines()[0].strip())


def fetch(cluster: PrivateCluster, url: str, *more: str) -> str:
    """What the host gets from a URL, "" when nobody answers (yet)."""
    return cluster.host.run("curl", "-sS", "--max-time", "5", *more, url, check=False).stdout


@pytest.fixture(scope="module")
def client(cluster: PrivateCluster) -> str:
    """A pod to ask from, as the lesson's test-pod."""
    cluster.kubectl("run", "client", "--image=alpine", "--restart=Never", "--", "sleep", "3600")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    return "client"


def inside(cluster: PrivateCluster, pod: str, command: str, check: bool = True) -> str:
    return cluster.host.run("kubectl", "exec", pod, "--", "sh", "-c", command, check=check, env=cluster.env).stdout


def test_three_pods_with_addresses_of_their_own(cluster: PrivateCluster) -> None:
    assert apply(cluster, "web-deployment.yaml")[0] == "deployment.apps/web-deployment created\n"
    cluster.kubectl("rollout", "status", "deployment/web-deployment", "--timeout=90s")
    found = pods(cluster, "app=web")
    ips = {p["status"]["podIP"] for p in found}
    assert len(found) == len(ips) == 3 and all(ip.startswith("10.244.") for ip in ips)
    labels = cluster.kubectl("get", "pods", "--show-labels")
    assert columns(labels) == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "LABELS"]
    assert labels.count("app=web,pod-template-hash=") == 3
    wide = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED_NODE READINESS_GATES".replace("_", " ")
    assert " ".join(columns(cluster.kubectl("get", "pods", "-o", "wide"))) == wide
    assert re.search(r"^web-deployment\s+3/3\s+3\s+3\s", cluster.kubectl("get", "deployments"), re.M)
    assert columns(cluster.kubectl("get", "rs")) == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]


def test_a_stable_address(cluster: PrivateCluster) -> None:
    assert apply(cluster, "web-service-clusterip.yaml") == ("service/web-service created\n", "")
    text = cluster.kubectl("get", "services")
    assert columns(text) == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert re.search(r"^web-service\s+ClusterIP\s+10\.96\.\d+\.\d+\s+<none>\s+80/TCP\s", text, re.M)
    described = until(lambda: _endpoints_of(cluster.kubectl("describe", "service", "web-service"), 3))
    fields = re.findall(r"^([A-Z][\w ]*):", described, re.M)
    assert fields == [
        "Name", "Namespace", "Labels", "Annotations", "Selector", "Type", "IP Family Policy", "IP Families", "IP",
        "IPs", "Port", "TargetPort", "Endpoints", "Session Affinity", "Internal Traffic Policy", "Events",
    ]  # fmt: skip


def _endpoints_of(described: str, count: int) -> str:
    line = re.search(r"^Endpoints:(.*)$", described, re.M)
    assert line is not None
    return described if len([e for e in line[1].split(",") if ":" in e]) == count else ""


def test_by_name_from_a_pod(cluster: PrivateCluster, client: str) -> None:
    for name in ("web-service", "web-service.default", "web-service.default.svc.cluster.local"):
        assert "Welcome to nginx!" in inside(cluster, client, f"wget -qO- -T 5 http://{name}"), name
    ip = cluster.kubectl("get", "svc", "web-service", "-o", "jsonpath={.spec.clusterIP}")
    assert ip in inside(cluster, client, "nslookup web-service.default.svc.cluster.local")
    assert ip in inside(cluster, client, "nslookup web-service", check=False)
    head = inside(cluster, client, "curl -sI http://web-service")
    assert head.startswith("HTTP/1.1 200 OK") and "Server: nginx" in head


def test_across_namespaces(cluster: PrivateCluster, client: str) -> None:
    cluster.kubectl("create", "namespace", "other")
    cluster.kubectl("-n", "other", "run", "far", "--image=alpine", "--restart=Never", "--", "sleep", "3600")
    cluster.kubectl("-n", "other", "wait", "--for=condition=Ready", "pod/far", "--timeout=60s")
    run = ("-n", "other", "exec", "far", "--", "sh", "-c")
    assert "Welcome" in cluster.kubectl(*run, "wget -qO- -T 5 http://web-service.default")
    assert "Welcome" not in cluster.kubectl(*run, "wget -qO- -T 5 http://web-service", check=False)
    cluster.kubectl("-n", "other", "delete", "pod", "far", "--grace-period=1")
    cluster.kubectl("delete", "namespace", "other", "--timeout=60s")


def test_the_interactive_pod_of_the_lesson(cluster: PrivateCluster) -> None:
    out = cluster.host.python(TTY, timeout=90, env=cluster.env).stdout
    assert "Welcome to nginx!" in out and 'pod "test-pod" deleted' in out
    assert "No resources found" in said(cluster, "get", "pods", "-l", "run=test-pod")[1]


# Types into `kubectl run -it` as a person would: a terminal, a prompt, commands, exit.
TTY = r"""
import os, pty, re, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp("kubectl", "kubectl run -it test-pod --image=alpine --rm --restart=Never -- sh".split())
seen, sent, deadline = b"", 0, time.monotonic() + 60
lines = [b"wget -qO- -T 5 http://web-service\n", b"exit\n"]
while time.monotonic() < deadline:
    ready, _, _ = select.select([fd], [], [], 0.5)
    if ready:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    shown = re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", seen).rstrip()  # without what moves the cursor
    if sent < len(lines) and shown.endswith(b"#") and (not sent or b"</html>" in seen):
        os.write(fd, lines[sent])
        sent += 1
        time.sleep(0.2)
    if not ready and not sent and b"press enter" in seen:
        os.write(fd, b"\n")
os.waitpid(pid, 0)
sys.stdout.write(seen.decode(errors="replace"))
"""


def test_a_node_port_from_the_host(cluster: PrivateCluster) -> None:
    before = cluster.kubectl("get", "svc", "web-service", "-o", "jsonpath={.spec.clusterIP}")
    assert apply(cluster, "web-service-nodeport.yaml")[0] == "service/web-service configured\n"
    text = cluster.kubectl("get", "service", "web-service")
    assert re.search(r"^web-service\s+NodePort\s+\S+\s+<none>\s+80:30007/TCP\s", text, re.M) and before in text
    node = cluster.switchboard("ip").stdout.strip()
    until(lambda: "Welcome to nginx!" in fetch(cluster, f"http://{node}:30007"))
    described = cluster.kubectl("describe", "service", "web-service")
    assert re.search(r"^NodePort:\s+<unset>\s+30007/TCP$", described, re.M)
    assert re.search(r"^External Traffic Policy:\s+Cluster$", described, re.M)


def test_a_load_balancer_has_an_address_at_once(cluster: PrivateCluster) -> None:
    apply(cluster, "web-service-loadbalancer.yaml")
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    ip = until(lambda: cluster.kubectl("get", "svc", "frontend-service", "-o", path), 10)
    assert ip in cluster.kubectl("get", "svc", "frontend-service")
    until(lambda: "Welcome to nginx!" in fetch(cluster, f"http://{ip}"), 10)


def test_traffic_is_spread_over_all_pods(cluster: PrivateCluster, client: str) -> None:
    inside(cluster, client, "for i in $(seq 60); do wget -qO /dev/null -T 5 http://web-service/?spread; done")
    counts = [cluster.kubectl("logs", p["metadata"]["name"]).count("?spread") for p in pods(cluster, "app=web")]
    assert sum(counts) == 60 and min(counts) >= 5, counts


def test_a_killed_container_restarts_in_its_pod(cluster: PrivateCluster) -> None:
    victim = pods(cluster, "app=web")[0]
    name, ip = victim["metadata"]["name"], victim["status"]["podIP"]
    cluster.kubectl("exec", name, "--", "sh", "-c", "kill 1", check=False)
    path = "jsonpath={.status.containerStatuses[0].restartCount} {.status.podIP}"
    assert until(lambda: _match(cluster.kubectl("get", "pod", name, "-o", path), "1 "))[2:] == ip
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")
    assert "Welcome" not in cluster.kubectl("logs", "-p", name)  # the ended try has a log of its own


def _match(text: str, prefix: str) -> str:
    return text if text.startswith(prefix) else ""


def test_a_deleted_pod_is_replaced_at_another_address(cluster: PrivateCluster, client: str) -> None:
    before = {p["metadata"]["name"]: p["status"]["podIP"] for p in pods(cluster, "app=web")}
    name = sorted(before)[0]
    service_ip = cluster.kubectl("get", "svc", "web-service", "-o", "jsonpath={.spec.clusterIP}")
    cluster.kubectl("delete", "pod", name)
    cluster.kubectl("rollout", "status", "deployment/web-deployment", "--timeout=60s")
    after = {p["metadata"]["name"]: p["status"]["podIP"] for p in until(lambda: _three(pods(cluster, "app=web")))}
    (fresh,) = after.keys() - before.keys()
    assert after[fresh] not in before.values()
    assert cluster.kubectl("get", "svc", "web-service", "-o", "jsonpath={.spec.clusterIP}") == service_ip
    assert "Welcome" in inside(cluster, client, "wget -qO- -T 5 http://web-service")


def _three(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ready = [p for p in found if p["status"].get("podIP")]
    return ready if len(ready) == 3 else []


def test_selectors_need_every_label(cluster: PrivateCluster) -> None:
    apply(cluster, "selector-pods.yaml")
    names = ["web-pod-1", "api-pod-1", "web-pod-2"]
    cluster.kubectl("wait", "--for=condition=Ready", *(f"pod/{n}" for n in names), "--timeout=90s")
    path = "jsonpath={.items[*].endpoints[*].targetRef.name}"
    label = "kubernetes.io/service-name=web-service-v1"
    assert until(lambda: cluster.kubectl("get", "endpointslices", "-l", label, "-o", path)) == "web-pod-1"
    said(cluster, "delete", "-f", str(LESSON / "selector-pods.yaml"), "--grace-period=1")


def test_a_selector_that_matches_nothing_is_named(cluster: PrivateCluster) -> None:
    apply(cluster, "backend-deployment.yaml")
    cluster.kubectl("rollout", "status", "deployment/backend-deployment", "--timeout=90s")
    out, err = apply(cluster, "backend-service-wrong.yaml")
    assert out == "service/backend-service created\n"
    miss = "selector app=api matches no pod, while 2 pods of Deployment backend-deployment have app=backend"
    assert err.startswith("Warning: ") and miss in err
    text, warned = said(cluster, "get", "endpoints", "backend-service")
    assert re.search(r"^backend-service\s+<none>\s", text, re.M) and "Endpoints is deprecated" in warned
    until(lambda: miss in cluster.kubectl("describe", "service", "backend-service"), 15)
    out, err = apply(cluster, "backend-service-fixed.yaml")
    assert (out, err) == ("service/backend-service configured\n", "")
    until(lambda: said(cluster, "get", "endpoints", "backend-service")[0].count(":5000") == 2, 10)
    until(lambda: "2 ready endpoints" in cluster.kubectl("describe", "service", "backend-service"), 15)


def test_pods_that_match_and_give_no_endpoint_are_explained(cluster: PrivateCluster) -> None:
    wrong = ("create", "service", "clusterip", "backend-deployment", "--tcp=80:web")
    cluster.kubectl(*wrong)  # selects app=backend-deployment
    patch = '{"spec":{"selector":{"app":"backend"}}}'
    out, err = said(cluster, "patch", "service", "backend-deployment", "-p", patch)
    assert "patched" in out
    assert "has no endpoints: targetPort web is no port of the pods of Deployment backend-deployment" in err
    until(lambda: "NoSuchTargetPort" in cluster.kubectl("describe", "service", "backend-deployment"), 15)
    cluster.kubectl("delete", "service", "backend-deployment")
    cluster.kubectl("run", "lost", "--image=busybox:no-such-tag", "--port=80", "--expose")
    until(lambda: "cannot pull its image" in cluster.kubectl("describe", "service", "lost"), 20)
    cluster.kubectl("delete", "pod/lost", "service/lost", "--grace-period=1")


def test_a_service_before_its_pods_is_not_warned_of(cluster: PrivateCluster) -> None:
    both = (LESSON / "backend-deployment.yaml").read_text().replace("backend", "orders")
    service = (LESSON / "backend-service-fixed.yaml").read_text().replace("backend", "orders")
    out, err = said(cluster, "apply", "-f", "-", given=f"{service}\n---\n{both}")
    assert "service/orders-service created" in out and err == ""
    cluster.kubectl("rollout", "status", "deployment/orders-deployment", "--timeout=90s")
    assert "SelectorMatchesNoPods" not in cluster.kubectl("describe", "service", "orders-service")
    cluster.kubectl("delete", "deployment/orders-deployment", "service/orders-service", "--grace-period=1")


def test_the_challenge(cluster: PrivateCluster, client: str) -> None:
    apply(cluster, "agent.yaml")
    cluster.kubectl("rollout", "status", "deployment/agent-deployment", "--timeout=90s")
    node = cluster.switchboard("ip").stdout.strip()
    until(lambda: "swagger" in fetch(cluster, f"http://{node}:30080/docs").lower())
    assert inside(cluster, client, "wget -qO- -T 5 http://agent-service/openapi.json").startswith("{")


def test_everyday_verbs(cluster: PrivateCluster, tmp_path: Path) -> None:
    run = cluster.kubectl
    assert "deployment.apps/web-deployment scaled" in run("scale", "deploy/web-deployment", "--replicas=2")
    run("rollout", "status", "deploy/web-deployment", "--timeout=60s")
    assert "restarted" in run("rollout", "restart", "deployment/web-deployment")
    run("rollout", "status", "deploy/web-deployment", "--timeout=90s")
    history = run("rollout", "history", "deployment/web-deployment")
    assert re.search(r"^REVISION\s+CHANGE-CAUSE\n1\s+<none>\n2\s+<none>", history, re.M)
    assert "rolled back" in run("rollout", "undo", "deployment/web-deployment")
    run("rollout", "status", "deploy/web-deployment", "--timeout=90s")
    assert "service/exposed exposed" in run("expose", "deployment", "web-deployment", "--name=exposed", "--port=80")
    name = until(lambda: pods(cluster, "app=web"))[0]["metadata"]["name"]
    assert "labeled" in run("label", "pod", name, "seen=yes")
    (tmp_path / "file").write_text("to and fro")
    run("cp", str(tmp_path / "file"), f"{name}:/tmp/file")
    assert run("exec", name, "--", "cat", "/tmp/file") == "to and fro"
    run("cp", f"{name}:/tmp/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "to and fro"
    edited = cluster.host.run(
        "kubectl", "edit", "svc/exposed", env={**cluster.env, "KUBE_EDITOR": "sed -i s/exposed/exposed/"}
    )
    assert "no changes made" in (edited.stdout + edited.stderr)
    assert "clusterIP" in run("explain", "service.spec") and "deployments" in run("api-resources")
    assert "Server Version: v1.36" in run("version") and "is running at" in run("cluster-info")
    events = run("get", "events", "--sort-by=.lastTimestamp")
    assert columns(events) == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    every = run("get", "all")
    assert all(kind in every for kind in ("pod/", "service/", "deployment.apps/", "replicaset.apps/"))
    assert "Ready" in run("describe", "node") and "Controlled By:  ReplicaSet/" in run("describe", "pod", name)
    run("delete", "svc/exposed")


@pytest.mark.parametrize("code", [0, 3])
def test_exec_gives_back_the_exit_code(cluster: PrivateCluster, client: str, code: int) -> None:
    done = cluster.host.run("kubectl", "exec", client, "--", "sh", "-c", f"exit {code}", check=False, env=cluster.env)
    assert done.returncode == code


def test_exec_shows_the_environment(cluster: PrivateCluster, client: str) -> None:
    assert cluster.kubectl("exec", client, "--", "printenv", "KUBERNETES_SERVICE_PORT", "HOME") == "443\n/root\n"
    assert "KUBERNETES_SERVICE_PORT=443\n" in cluster.kubectl("exec", client, "--", "printenv")


def test_exec_passes_input_on(cluster: PrivateCluster, client: str) -> None:
    assert cluster.kubectl("exec", "-i", client, "--", "cat", given="through\n") == "through\n"


FORWARD = r"""
import subprocess, sys, time, urllib.request
child = subprocess.Popen(["kubectl", "port-forward", sys.argv[1], "18080:80"], stdout=subprocess.PIPE, text=True)
try:
    assert "Forwarding from 127.0.0.1:18080" in child.stdout.readline()
    for _ in range(3):
        sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:18080", timeout=5).read().decode()[:60])
finally:
    child.terminate()
"""


@pytest.mark.parametrize("target", ["service/web-service", "deployment/web-deployment"])
def test_port_forward(cluster: PrivateCluster, target: str) -> None:
    assert cluster.host.python(FORWARD, target, env=cluster.env).stdout.count("<!DOCTYPE html>") == 3


def test_logs_follow(cluster: PrivateCluster) -> None:
    count = "for i in 1 2 3; do echo $i; sleep 0.3; done"
    cluster.kubectl("run", "counter", "--image=busybox", "--restart=Never", "--", "sh", "-c", count)
    phase = ("get", "pod", "counter", "-o", "jsonpath={.status.phase}")
    until(lambda: cluster.kubectl(*phase) in ("Running", "Succeeded"))
    assert cluster.kubectl("logs", "-f", "counter") == "1\n2\n3\n"
    until(lambda: cluster.kubectl(*phase) == "Succeeded")
    assert cluster.kubectl("logs", "counter", "--tail=1") == "3\n"
    cluster.kubectl("delete", "pod", "counter")


def test_everything_goes_again(cluster: PrivateCluster) -> None:
    files = ["agent.yaml", "backend-deployment.yaml", "backend-service-fixed.yaml", "web-deployment.yaml"]
    files += ["web-service-loadbalancer.yaml", "web-service-nodeport.yaml"]
    cluster.kubectl("delete", *(word for f in files for word in ("-f", str(LESSON / f))), "--timeout=60s")
    cluster.kubectl("delete", "pod", "client", "--grace-period=1")
    until(lambda: said(cluster, "get", "pods")[1].startswith("No resources found"), 60)
    assert "ip" not in cluster.kubectl(
        "get", "endpointslices", "-l", "kubernetes.io/service-name=web-service", "-o", "name"
    )
