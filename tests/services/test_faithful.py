"""`up --faithful`: the races and silences of Kubernetes, for those who look for them; and back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
NOBODY = "10.96.200.200"


def cut_by_deletion(space: Space, pod: str) -> int:
    """Delete a pod while it is about to answer through its Service; curl's number of what became of the answer."""
    space.apply(space.pod(pod, "http:8080", "slow:8090"))
    space.ready(pod)
    ip = space.service(pod, {"port": 80, "targetPort": 8090}, selector={"pod": pod})["spec"]["clusterIP"]
    space.until_names(f"http://{ip}/", {pod}, by="node")
    path = f"--net=/run/netns/{space.cluster.name}"
    words = ("nsenter", path, "--", "curl", "-sv", "--max-time", "20", f"http://{ip}/")
    asking = space.cluster.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert asking.stderr is not None
    assert any(line.startswith("> GET") for line in asking.stderr)  # asked; the answer takes a second
    space.kubectl("delete", "pod", pod, "--grace-period=30", "--wait=false")
    asking.communicate(timeout=30)
    return asking.returncode


def test_faithful_and_kind(stand_in_images: Path) -> None:
    with PrivateCluster("--faithful") as cluster, Space(cluster, "true") as space:
        probe = ("curl", "-s", "--max-time", "1", f"http://{NOBODY}/")
        assert cluster.node(*probe, check=False).returncode == 28  # silence
        assert cut_by_deletion(space, "cut") in (52, 56)
        cluster.switchboard("up", "--no-faithful")
        wait_for(lambda: cluster.node(*probe, check=False).returncode == 7, what="a refusal")
        assert cut_by_deletion(space, "kept") == 0
