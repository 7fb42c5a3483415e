"""Debian's own kubectl (1.20): validates with /openapi/v2 as protobuf, and speaks SPDY, not WebSocket."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from switchboard.testing.cluster import ROOT, PrivateCluster

pytestmark = pytest.mark.machine
LESSON = ROOT / "examples" / "lesson"


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program out of the package, unpacked and not installed: the machine's own kubectl stays what it is."""
    folder = tmp_path_factory.mktemp("kubernetes-client")
    subprocess.run(["apt-get", "download", "-q", "kubernetes-client"], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("kubernetes-client_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    return folder / "usr" / "bin" / "kubectl"


def run(cluster: PrivateCluster, kubectl: Path, *words: str, given: str | None = None, check: bool = True) -> str:
    env = {**cluster.env, "HOME": str(cluster.folder / "old-home")}  # a discovery cache of its own
    return cluster.host.run(str(kubectl), *words, env=env, input=given, check=check).stdout


def test_it_is_the_old_one(cluster: PrivateCluster, kubectl: Path) -> None:
    assert 'Client Version: version.Info{Major:"1", Minor:"20' in run(cluster, kubectl, "version", "--client")


def test_the_lesson_with_validation(cluster: PrivateCluster, kubectl: Path) -> None:
    for name in ("web-deployment.yaml", "web-service-clusterip.yaml", "web-service-nodeport.yaml"):
        assert re.search(r"(created|configured)\n$", run(cluster, kubectl, "apply", "-f", str(LESSON / name)))
    run(cluster, kubectl, "rollout", "status", "deployment/web-deployment", "--timeout=90s")
    assert "3/3" in run(cluster, kubectl, "get", "deployment", "web-deployment")
    assert "80:30007/TCP" in run(cluster, kubectl, "get", "services")
    described = run(cluster, kubectl, "describe", "service", "web-service")
    assert re.search(r"^Endpoints:\s+10\.244", described, re.M)
    assert "Image:          nginx:alpine" in run(cluster, kubectl, "describe", "pod", "-l", "app=web")
    wrong = cluster.host.run(
        str(kubectl), "apply", "-f", "-", env=cluster.env, check=False,
        input="apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {sellector: {a: b}}\n",
    )  # fmt: skip
    assert wrong.returncode and 'unknown field "sellector"' in wrong.stderr


def test_streams_over_spdy(cluster: PrivateCluster, kubectl: Path, tmp_path: Path) -> None:
    names = run(cluster, kubectl, "get", "pods", "-l", "app=web", "-o", "name").split()
    pod = names[0].removeprefix("pod/")
    assert run(cluster, kubectl, "exec", pod, "--", "echo", "hi") == "hi\n"
    assert run(cluster, kubectl, "exec", "-i", pod, "--", "cat", given="in and out\n") == "in and out\n"
    failed = cluster.host.run(str(kubectl), "exec", pod, "--", "sh", "-c", "exit 7", env=cluster.env, check=False)
    assert failed.returncode == 7
    (tmp_path / "file").write_text("copied")
    run(cluster, kubectl, "cp", str(tmp_path / "file"), f"{pod}:/tmp/copied")
    assert run(cluster, kubectl, "exec", pod, "--", "cat", "/tmp/copied") == "copied"
    assert cluster.host.python(FORWARD, str(kubectl), pod, env=cluster.env).stdout.count("nginx") >= 2


FORWARD = r"""
import subprocess, sys, urllib.request
child = subprocess.Popen([sys.argv[1], "port-forward", sys.argv[2], "18081:80"], stdout=subprocess.PIPE, text=True)
try:
    assert "Forwarding from 127.0.0.1:18081" in child.stdout.readline()
    for _ in range(2):
        sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:18081", timeout=5).read().decode())
finally:
    child.terminate()
"""


def test_it_takes_away_what_it_made(cluster: PrivateCluster, kubectl: Path) -> None:
    run(cluster, kubectl, "delete", "deployment/web-deployment", "service/web-service", "--timeout=60s")
    assert "web-service" not in run(cluster, kubectl, "get", "services")
