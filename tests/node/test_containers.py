"""What newer Kubernetes lets a container say of itself: restart rules, a stop signal, variables from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from switchboard.node.configs import forbidden_sysctl, sysctls
from switchboard.node.ending import signal_number
from switchboard.node.envfiles import from_file, parse
from switchboard.node.failures import ConfigFailure
from switchboard.testing.node import BUSYBOX, Node, container

SLEEP = {"command": ["sleep", "1000"]}


def on(code: int, action: str = "Restart") -> list[dict[str, object]]:
    return [{"action": action, "exitCodes": {"operator": "In", "values": [code]}}]


async def test_a_containers_own_policy_and_rules_come_before_its_pods(node: Node) -> None:
    never = {"restartPolicy": "Never", "restartPolicyRules": on(42)}
    await node.apply("match", {"command": ["sh", "-c", "exit 42"], **never}, restartPolicy="Never")
    await node.apply("other", {"command": ["sh", "-c", "exit 1"], **never}, restartPolicy="Always")
    always = {"command": ["sh", "-c", "exit 1"], "restartPolicy": "Always"}
    await node.apply("always", always, restartPolicy="Never")
    await node.until("match", lambda p: container(p)["restartCount"] > 0)
    await node.until("always", lambda p: container(p)["restartCount"] > 0)
    pod = await node.phase("other", "Failed")
    assert container(pod)["restartCount"] == 0


async def test_a_rule_may_restart_the_whole_pod(node: Node) -> None:
    shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared-files"}]}
    script = "cd /shared-files; [ -f done ] && exec sleep 1000; touch done; exit 42"
    once = {"command": ["sh", "-c", script], **shared}
    first = {
        "name": "i",
        "image": BUSYBOX,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "echo x >> /shared-files/inits"],
        **shared,
    }
    await node.apply(
        "whole",
        {**once, "restartPolicy": "Never", "restartPolicyRules": on(42, "RestartAllContainers")},
        {**SLEEP, "name": "d"},
        initContainers=[first],
        volumes=[{"name": "shared", "emptyDir": {}}],
        restartPolicy="Never",
    )
    await node.ready("whole")
    pod = await node.until(
        "whole", lambda p: all(container(p, n)["ready"] and container(p, n)["restartCount"] for n in "cd")
    )
    assert [container(pod, n)["restartCount"] for n in "cd"] == [1, 1]
    assert pod["status"]["initContainerStatuses"][0]["restartCount"] == 1
    assert await node.sh("whole", "cat /shared-files/inits") == "x\nx\n"


async def test_a_stop_signal_is_sent_and_the_kill_follows(node: Node) -> None:
    words = "trap 'echo usr > /out/x; exit 0' USR1; trap '' TERM; touch /out/ready; while :; do sleep 0.05; done"
    out = node.settings.root_dir / "out"
    out.mkdir(parents=True)
    await node.apply(
        "told",
        {
            "command": ["sh", "-c", words],
            "lifecycle": {"stopSignal": "SIGUSR1"},
            "volumeMounts": [{"name": "out", "mountPath": "/out"}],
            "readinessProbe": {"exec": {"command": ["test", "-f", "/out/ready"]}, "periodSeconds": 1},
        },
        volumes=[{"name": "out", "hostPath": {"path": str(out)}}],
        os={"name": "linux"},
        terminationGracePeriodSeconds=20,
    )
    pod = await node.ready("told")
    assert container(pod)["stopSignal"] == "SIGUSR1"
    await node.delete("told")
    assert (out / "x").read_text() == "usr\n"


async def test_variables_come_from_a_file_and_the_hostname_from_its_override(node: Node) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    write = "printf \"A='one'\\n# no\\nB='two\\nlines'\\n\" > /v/env"
    ref = {"volumeName": "v", "path": "env"}
    await node.apply(
        "reader",
        {
            "command": ["sh", "-c", 'echo "$A $B ${C-none}"; hostname; tail -n 1 /etc/hosts'],
            "env": [
                {"name": "A", "valueFrom": {"fileKeyRef": {**ref, "key": "A"}}},
                {"name": "B", "valueFrom": {"fileKeyRef": {**ref, "key": "B"}}},
                {"name": "C", "valueFrom": {"fileKeyRef": {**ref, "key": "C", "optional": True}}},
            ],
        },
        initContainers=[
            {"name": "i", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", write], **mount}
        ],
        volumes=[{"name": "v", "emptyDir": {}}],
        restartPolicy="Never",
        hostnameOverride="my.own.name",
        subdomain="sub",
    )
    pod = await node.phase("reader", "Succeeded")
    assert await node.log("reader") == f"one two\nlines none\nmy.own.name\n{pod['status']['podIP']}\tmy.own.name\n"


async def test_a_kernel_parameter_that_pods_may_not_set_fails_them(node: Node) -> None:
    asked = {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}
    await node.apply("unsafe", SLEEP, securityContext=asked, restartPolicy="Always")
    status = (await node.phase("unsafe", "Failed"))["status"]
    assert status["reason"] == "SysctlForbidden"
    assert status["message"] == 'forbidden sysctl: "kernel.msgmax" not allowlisted'


def test_names_of_kernel_parameters() -> None:
    def pod(*names: str) -> dict[str, object]:
        return {"spec": {"securityContext": {"sysctls": [{"name": name, "value": "1"} for name in names]}}}

    assert sysctls(pod("net/ipv4/tcp_syncookies", "net.ipv4.conf.eth0/1.x")) == {
        "net.ipv4.tcp_syncookies": "1",
        "net.ipv4.conf.eth0/1.x": "1",
    }
    assert forbidden_sysctl(pod("net/ipv4/tcp_syncookies", "kernel.shm_rmid_forced")) is None
    assert forbidden_sysctl(pod("kernel.shm_rmid_forced", "net.core.somaxconn")) == "net.core.somaxconn"


def test_signals_by_name() -> None:
    assert [signal_number(n) for n in ("SIGKILL", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX-1")] == [9, 34, 37, 63]


@pytest.mark.parametrize("text", ["A=one", "A='one", "A ='one'", "='x'", "A='one' B='two'", "A='it'\\''s'"])
def test_what_is_no_variable_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match="at line 3"):
        parse(f"X='1'\n\n{text}\n")


def test_files_of_variables(tmp_path: Path) -> None:
    assert parse("# c\n A='x=1' \nA='2'\n\n") == {"A": "2"}
    (tmp_path / "v").mkdir()
    (tmp_path / "env").write_text("A='secret'\n")
    (tmp_path / "v" / "link").symlink_to("../env")
    folders, ref = {"v": tmp_path / "v"}, {"volumeName": "v", "path": "link", "key": "A"}
    with pytest.raises(ConfigFailure, match="not in its volume"):
        from_file(ref, folders)
    with pytest.raises(ConfigFailure, match="does not exist"):
        from_file({**ref, "path": "absent"}, folders)
    assert from_file({**ref, "path": "absent", "optional": True}, folders) is None
    with pytest.raises(ConfigFailure, match="cannot find the volume"):
        from_file({**ref, "volumeName": "w"}, folders)
