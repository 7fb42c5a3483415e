"""What goes wrong inside pods, as people see it with stock kubectl: crashes, back-off, memory, images, probes, jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
SPACE = "faults"
MANIFESTS = Path(__file__).with_name("pods.yaml")


@pytest.fixture(scope="module")
def broken(cluster: PrivateCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    """The cluster with every pod of `pods.yaml` applied at once, so that their times run side by side."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "word").write_text("from the host\n")
    cluster.kubectl("create", "namespace", SPACE)
    cluster.kubectl("apply", "-n", SPACE, "-f", "-", given=MANIFESTS.read_text().replace("HOSTPATH", str(folder)))
    yield cluster
    cluster.kubectl("delete", "-n", SPACE, "deployments,jobs,pods", "--all", "--grace-period=1", "--timeout=60s")
    cluster.kubectl("delete", "namespace", SPACE, "--timeout=60s")


def pod(cluster: PrivateCluster, name: str) -> dict[str, Any]:
    return cluster.get("-n", SPACE, "pod", name)


def state(cluster: PrivateCluster, name: str, field: str = "containerStatuses") -> dict[str, Any]:
    """The first container's status, {} while there is none."""
    found = pod(cluster, name)["status"].get(field) or [{}]
    first: dict[str, Any] = found[0]
    return first


def column(cluster: PrivateCluster, name: str) -> str:
    """What stands under STATUS."""
    return cluster.kubectl("get", "-n", SPACE, "pod", name, "--no-headers").split()[2]


def until_column(cluster: PrivateCluster, name: str, *wanted: str) -> None:
    seen: list[str] = []

    def reached() -> bool:
        seen.append(column(cluster, name))
        return seen[-1] in wanted

    try:
        wait_for(reached, 40)
    except AssertionError:
        raise AssertionError(f"{name} never was {wanted}, but {list(dict.fromkeys(seen))}") from None


def reasons(cluster: PrivateCluster, name: str) -> set[str]:
    """Reasons of the Events of a pod."""
    events = cluster.get("-n", SPACE, "events", "--field-selector", f"involvedObject.name={name}")["items"]
    return {event["reason"] for event in events}


def inside(cluster: PrivateCluster, name: str, script: str, check: bool = True) -> str:
    return cluster.kubectl("exec", "-n", SPACE, name, "--", "sh", "-c", script, check=check)


def ready(cluster: PrivateCluster, name: str, timeout: int = 40) -> None:
    cluster.kubectl("wait", "-n", SPACE, "--for=condition=Ready", f"pod/{name}", f"--timeout={timeout}s")


def endpoints(cluster: PrivateCluster, service: str) -> list[bool]:
    """Readiness of every endpoint of a Service."""
    slices = cluster.get("-n", SPACE, "endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
    return [e["conditions"]["ready"] for piece in slices for e in piece.get("endpoints") or ()]


def test_a_pod_that_never_restarts_ends_as_its_exit_says(broken: PrivateCluster) -> None:
    until_column(broken, "never-fails", "Error")
    until_column(broken, "never-succeeds", "Completed")
    assert pod(broken, "never-fails")["status"]["phase"] == "Failed"
    assert pod(broken, "never-succeeds")["status"]["phase"] == "Succeeded"
    ended = state(broken, "never-fails")
    assert ended["state"]["terminated"]["exitCode"] == 3
    assert ended["restartCount"] == 0
    assert broken.kubectl("logs", "-n", SPACE, "never-fails") == "last words\n"


def test_too_much_memory(broken: PrivateCluster) -> None:
    until_column(broken, "greedy", "OOMKilled")
    terminated = state(broken, "greedy")["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)


def test_an_init_container_that_fails_holds_the_pod(broken: PrivateCluster) -> None:
    until_column(broken, "init-fails", "Init:Error", "Init:CrashLoopBackOff")
    assert state(broken, "init-fails")["state"]["waiting"]["reason"] == "PodInitializing"
    until_column(broken, "init-fails-once", "Init:Error")
    assert pod(broken, "init-fails-once")["status"]["phase"] == "Failed"


def test_an_image_nobody_has(broken: PrivateCluster) -> None:
    wait_for(
        lambda: state(broken, "no-image").get("state", {}).get("waiting", {}).get("reason") == "ImagePullBackOff",
        what="back-off of the pull",
    )
    until_column(broken, "no-image", "ErrImagePull", "ImagePullBackOff")
    assert pod(broken, "no-image")["status"]["phase"] == "Pending"
    wait_for(lambda: {"Pulling", "Failed", "BackOff"} <= reasons(broken, "no-image"), what="Events")


def test_an_image_that_may_not_be_pulled_and_a_name_that_is_none(broken: PrivateCluster) -> None:
    until_column(broken, "not-pulled", "ErrImageNeverPull")
    until_column(broken, "no-name", "InvalidImageName")


def test_a_command_that_does_not_exist(broken: PrivateCluster) -> None:
    wait_for(lambda: state(broken, "no-command").get("restartCount", 0) >= 1, what="another try")
    ended = state(broken, "no-command")["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "no such file or directory" in ended["message"]
    until_column(broken, "no-command", "RunContainerError", "CrashLoopBackOff")


def test_what_is_missing_is_named_and_waited_for(broken: PrivateCluster) -> None:
    until_column(broken, "no-config", "CreateContainerConfigError")
    assert state(broken, "no-config")["state"]["waiting"]["message"] == 'configmap "later" not found'
    broken.kubectl("create", "-n", SPACE, "configmap", "later", "--from-literal=word=here")
    ready(broken, "no-config")
    assert inside(broken, "no-config", "echo $WORD") == "here\n"


def test_volumes_environment_and_limits(broken: PrivateCluster) -> None:
    ready(broken, "furnished")
    assert inside(broken, "furnished", "cat /shared/made") == "by init\n"
    assert inside(broken, "furnished", "cat /host/word") == "from the host\n"
    assert inside(broken, "furnished", "echo $A $B $KEY $POD_NAME") == "1 two s3cret furnished\n"
    assert inside(broken, "furnished", "cat /all/pod; echo; cat /all/conf; echo; cat /all/hush") == "faults\n1\ns3cret"
    limit = inside(
        broken, "furnished", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; :"
    )
    assert limit.strip() == str(64 << 20)


def test_live_update_of_what_a_volume_is_filled_from(broken: PrivateCluster) -> None:
    ready(broken, "furnished")
    broken.kubectl("patch", "-n", SPACE, "configmap", "conf", "--type=merge", "-p", '{"data":{"A":"changed"}}')
    broken.kubectl("patch", "-n", SPACE, "secret", "hush", "--type=merge", "-p", '{"stringData":{"KEY":"changed"}}')
    wait_for(lambda: inside(broken, "furnished", "cat /all/conf /all/hush") == "changedchanged", what="new content")
    assert inside(broken, "furnished", "echo $A $KEY") == "1 s3cret\n", "the environment stays as it was"
    assert state(broken, "furnished")["restartCount"] == 0


def test_readiness_takes_an_endpoint_out_and_puts_it_back(broken: PrivateCluster) -> None:
    ready(broken, "moody")
    wait_for(lambda: endpoints(broken, "moody") == [True], what="the endpoint")
    address = broken.get("-n", SPACE, "service", "moody")["spec"]["clusterIP"]
    ask = ("curl", "-s", "--max-time", "1", "-o", "/dev/null", f"http://{address}/")
    wait_for(lambda: broken.node(*ask, check=False).returncode == 0, what="the Service to answer")
    inside(broken, "moody", "rm /tmp/ready")
    wait_for(lambda: endpoints(broken, "moody") == [False], what="the endpoint to be out")
    wait_for(lambda: broken.node(*ask, check=False).returncode == 7, what="the Service to refuse")
    assert state(broken, "moody")["restartCount"] == 0
    inside(broken, "moody", "touch /tmp/ready")
    wait_for(lambda: broken.node(*ask, check=False).returncode == 0, what="the Service to answer again")


def test_liveness_restarts_and_startup_holds_it_back(broken: PrivateCluster) -> None:
    wait_for(lambda: state(broken, "hung").get("restartCount", 0) >= 1, what="a restart")
    assert {"Unhealthy", "Killing"} <= reasons(broken, "hung")
    ready(broken, "slow")
    assert state(broken, "slow")["restartCount"] == 0, "liveness alone would have killed it"
    assert state(broken, "slow")["started"] is True


def test_a_pod_on_a_port_of_its_node(broken: PrivateCluster) -> None:
    ready(broken, "on-port")
    for run in (broken.run, broken.node):
        wait_for(
            lambda: "nginx" in run("curl", "-s", "--max-time", "1", "http://192.168.49.2:8111/", check=False).stdout,  # noqa: B023
            what="the host port",
        )
    until_column(broken, "same-port", "Pending")
    wait_for(lambda: "FailedScheduling" in reasons(broken, "same-port"), what="the scheduler's word")


def test_a_pod_in_the_network_of_its_node(broken: PrivateCluster) -> None:
    ready(broken, "at-home")
    found = pod(broken, "at-home")["status"]
    assert found["podIP"] == found["hostIP"] == "192.168.49.2"
    assert broken.run("curl", "-s", "http://192.168.49.2:8112/word").stdout == "at home\n"
    assert re.search(r"^nameserver 10\.96\.0\.10$", inside(broken, "at-home", "cat /etc/resolv.conf"), re.M)
    assert inside(broken, "at-home", "hostname").strip() != "at-home"


def test_jobs_try_again_and_give_up(broken: PrivateCluster) -> None:
    broken.kubectl("wait", "-n", SPACE, "--for=condition=Complete", "job/second-try", "--timeout=40s")
    tried = broken.get("-n", SPACE, "pods", "-l", "job-name=second-try")["items"]
    assert [p["status"]["containerStatuses"][0]["restartCount"] for p in tried] == [1]
    broken.kubectl("wait", "-n", SPACE, "--for=condition=Failed", "job/gives-up", "--timeout=40s")
    job = broken.get("-n", SPACE, "job", "gives-up")["status"]
    assert job["failed"] == 2
    assert "BackoffLimitExceeded" in {c.get("reason") for c in job["conditions"]}


def test_a_graceful_end_takes_the_time_it_needs_and_no_more(broken: PrivateCluster, tmp_path: Path) -> None:
    ready(broken, "polite")
    story = tmp_path / "story"
    follow = broken.popen("kubectl", "logs", "-n", SPACE, "-f", "polite", stdout=story.open("w"))
    wait_for(lambda: "up\n" in story.read_text(), what="its first word")
    broken.kubectl("delete", "-n", SPACE, "pod", "polite", "--timeout=25s")  # its grace is 60 s
    follow.wait(20)
    assert story.read_text().splitlines() == ["up", "hook", "term", "done"]


def test_crash_loops_wait_and_what_was_said_before_is_kept(broken: PrivateCluster) -> None:
    wait_for(lambda: state(broken, "crashing").get("restartCount", 0) >= 2, 60, what="two restarts")
    until_column(broken, "crashing", "CrashLoopBackOff")
    found = state(broken, "crashing")
    assert found["lastState"]["terminated"]["exitCode"] == 3
    assert re.match(
        r"back-off \d+s restarting failed container=c pod=crashing_faults\(", found["state"]["waiting"]["message"]
    )
    count = found["restartCount"]
    assert broken.kubectl("logs", "-n", SPACE, "crashing", "-p").startswith("life ")
    assert re.search(rf"\s{count} \(\S+ ago\)", broken.kubectl("get", "-n", SPACE, "pod", "crashing"))
    assert "BackOff" in reasons(broken, "crashing")
    assert pod(broken, "crashing")["status"]["phase"] == "Running"
