"""How pods end, come back, wait and go: restart policies, back-off, init containers, sidecars, hooks, deletion."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from switchboard.client.resources import PODS
from switchboard.testing.node import BUSYBOX, Node, condition, container


async def test_restart_policies_decide_what_an_exit_means(node: Node) -> None:
    await node.apply("good", {"command": ["true"]}, restartPolicy="Never")
    await node.apply("bad", {"command": ["sh", "-c", "exit 3"]}, restartPolicy="Never")
    again = "test -e /w/once && exec sleep 1000; touch /w/once; exit 4"
    volume = {"volumes": [{"name": "w", "emptyDir": {}}]}
    mounts = [{"name": "w", "mountPath": "/w"}]
    await node.apply(
        "flaky", {"command": ["sh", "-c", again], "volumeMounts": mounts}, restartPolicy="OnFailure", **volume
    )
    good = await node.phase("good", "Succeeded")
    assert container(good)["state"]["terminated"]["reason"] == "Completed"
    ready = next(c for c in good["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    bad = await node.phase("bad", "Failed")
    ended = container(bad)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    flaky = await node.until("flaky", lambda p: container(p)["restartCount"] == 1 and condition(p, "Ready") == "True")
    assert container(flaky)["lastState"]["terminated"]["exitCode"] == 4  # the first restart comes at once


async def test_a_container_that_keeps_failing_waits_longer_each_time(node: Node) -> None:
    await node.apply("crash", {"command": ["sh", "-c", "echo try; exit 1"]})
    pod = await node.until(
        "crash",
        lambda p: container(p)["restartCount"] == 1 and "waiting" in container(p)["state"],
        what="does not back off",
    )
    waiting = container(pod)["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    where = f"crash_default({pod['metadata']['uid']})"
    assert waiting["message"] == f"back-off 10s restarting failed container=c pod={where}"
    assert pod["status"]["phase"] == "Running"
    async with asyncio.timeout(5):
        while not (said := [e for e in await node.events("crash") if e["reason"] == "BackOff"]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert said[0]["message"] == f"Back-off restarting failed container c in pod {where}"
    assert said[0]["type"] == "Warning"


async def test_init_containers_run_in_turn_and_sidecars_stay(node: Node) -> None:
    mounts = [{"name": "w", "mountPath": "/w"}]

    def init(name: str, script: str, **more: object) -> dict[str, object]:
        image = {"image": BUSYBOX, "imagePullPolicy": "IfNotPresent"}
        return {"name": name, **image, "command": ["sh", "-c", script], "volumeMounts": mounts, **more}

    inits = [
        init("one", "echo one >> /w/order"),
        init("side", "echo side >> /w/order; trap 'exit 0' TERM; sleep 1000 & wait", restartPolicy="Always"),
        init("two", "echo two >> /w/order"),
    ]
    main = {"command": ["sh", "-c", "echo main >> /w/order; exec sleep 1000"], "volumeMounts": mounts}
    await node.apply("initialised", main, initContainers=inits, volumes=[{"name": "w", "emptyDir": {}}])
    pod = await node.ready("initialised")
    assert (await node.sh("initialised", "cat /w/order")).split() == ["one", "side", "two", "main"]
    assert container(pod, "one")["state"]["terminated"]["reason"] == "Completed"
    assert container(pod, "one")["ready"] and container(pod, "side")["started"]
    assert "running" in container(pod, "side")["state"]
    await node.apply(
        "stuck",
        {"command": ["true"]},
        initContainers=[init("no", "exit 7")],
        volumes=[{"name": "w", "emptyDir": {}}],
        restartPolicy="Never",
    )
    stuck = await node.phase("stuck", "Failed")
    assert container(stuck, "no")["state"]["terminated"]["exitCode"] == 7
    assert container(stuck)["state"]["waiting"]["reason"] == "PodInitializing"
    assert condition(stuck, "Initialized") == "False"


async def test_a_pod_with_a_sidecar_completes_without_it(node: Node) -> None:
    side = {
        "name": "side",
        "image": BUSYBOX,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"],
    }
    await node.apply("job", {"command": ["sleep", "0.2"]}, initContainers=[side], restartPolicy="Never")
    pod = await node.phase("job", "Succeeded")
    assert "terminated" in container(pod, "side")["state"]


async def test_sidecars_end_after_the_containers_from_the_last_to_the_first(node: Node, tmp_path: Path) -> None:
    """Their hooks do not wait; their signals do, and each has two seconds though the grace period is over by then."""
    mounts = [{"name": "w", "mountPath": "/w"}]

    def body(name: str, seconds: float) -> dict[str, object]:
        note = f"echo {name} term >> /w/order; sleep {seconds}; echo {name} end >> /w/order; exit 0"
        hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo {name} hook >> /w/order"]}}}
        command = ["sh", "-c", f"trap '{note}' TERM; while true; do sleep 0.05; done"]
        return {"command": command, "volumeMounts": mounts, "lifecycle": hook}

    image = {"image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always"}
    sides = [{"name": name, **image, **body(name, 0.3)} for name in ("one", "two")]
    volumes = [{"name": "w", "hostPath": {"path": str(tmp_path)}}]
    more = {"initContainers": sides, "volumes": volumes, "terminationGracePeriodSeconds": 1}
    await node.apply("ordered", body("main", 1.2), **more)
    await node.ready("ordered")
    await node.delete("ordered")
    said = (tmp_path / "order").read_text().splitlines()
    assert {"main hook", "one hook", "two hook", "main term"} <= set(said[: said.index("main end")])
    assert {"one end", "two end"} <= set(said), "nobody was killed"


async def test_sidecars_within_the_grace_period_end_in_turn(node: Node, tmp_path: Path) -> None:
    mounts = [{"name": "w", "mountPath": "/w"}]

    def body(name: str) -> dict[str, object]:
        note = f"echo {name} term >> /w/order; sleep 0.2; echo {name} end >> /w/order; exit 0"
        return {"command": ["sh", "-c", f"trap '{note}' TERM; while true; do sleep 0.05; done"], "volumeMounts": mounts}

    image = {"image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always"}
    sides = [{"name": name, **image, **body(name)} for name in ("one", "two")]
    volumes = [{"name": "w", "hostPath": {"path": str(tmp_path)}}]
    await node.apply("turns", body("main"), initContainers=sides, volumes=volumes, terminationGracePeriodSeconds=20)
    await node.ready("turns")
    await node.delete("turns")
    said = (tmp_path / "order").read_text().splitlines()
    assert said == [f"{name} {what}" for name in ("main", "two", "one") for what in ("term", "end")]


async def test_another_image_need_not_wait_for_the_back_off(node: Node) -> None:
    await node.apply("mended", {"command": ["false"]})
    waits = lambda p: "waiting" in container(p)["state"] and container(p)["restartCount"] == 1  # noqa: E731
    await node.until("mended", waits, what="does not back off")
    began = time.monotonic()
    patch = {"spec": {"containers": [{"name": "c", "image": "busybox"}]}}  # another name, were it for the same
    await node.client.patch(PODS, "mended", patch, "default", kind="strategic")
    await node.until("mended", lambda p: container(p)["restartCount"] >= 2)
    assert time.monotonic() - began < 8  # of the ten seconds


async def test_deletion_runs_the_hook_signals_waits_and_says_how_it_ended(node: Node) -> None:
    script = "trap 'echo term; sleep 0.3; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1"]}}}
    await node.apply("polite", {"command": ["sh", "-c", script], "lifecycle": hook}, terminationGracePeriodSeconds=20)
    pod = await node.ready("polite")
    path = node.settings.pod_log_dir("default", "polite", pod["metadata"]["uid"]) / "c" / "0.log"
    log = path.open()  # stays readable when the folder goes
    states: list[str] = []

    async def follow() -> None:
        while (now := await node.pod("polite")) is not None:
            states.append("ended" if "terminated" in container(now)["state"] else "running")
            await asyncio.sleep(0.005)

    follower = asyncio.ensure_future(follow())
    began = time.monotonic()
    await node.delete("polite")
    assert 0.3 < time.monotonic() - began < 10
    await follower
    assert "running" in states
    assert [line.split(" ", 3)[3].strip() for line in log] == ["up", "hook", "term"]
    await node.nothing_left(pod["metadata"]["uid"])


async def test_a_process_that_ignores_its_signal_is_killed_when_its_grace_is_over(node: Node) -> None:
    stubborn = {"command": ["sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"]}
    await node.apply("stubborn", stubborn, terminationGracePeriodSeconds=1)
    await node.apply("forced", stubborn, terminationGracePeriodSeconds=600)
    await node.ready("stubborn")
    pod = await node.ready("forced")
    began = time.monotonic()
    await node.delete("stubborn")
    assert 0.9 < time.monotonic() - began < 6
    await node.client.delete(PODS, "forced", "default", options={"gracePeriodSeconds": 0})
    await node.gone("forced", 1)  # force deletion does not wait for the node ...
    await node.nothing_left(pod["metadata"]["uid"])  # ... which cleans up all the same


async def test_a_shorter_grace_may_be_given_later(node: Node) -> None:
    await node.apply(
        "slow",
        {"command": ["sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"]},
        terminationGracePeriodSeconds=600,
    )
    await node.ready("slow")
    await node.client.delete(PODS, "slow", "default")
    await node.until("slow", lambda p: p["metadata"].get("deletionTimestamp"))
    began = time.monotonic()
    await node.delete("slow", gracePeriodSeconds=1)
    assert time.monotonic() - began < 10


async def test_post_start_runs_before_the_pod_is_ready_and_its_failure_kills(node: Node) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo here > /started"]}}}
    await node.apply("hooked", {"command": ["sleep", "1000"], "lifecycle": hook})
    await node.ready("hooked")
    assert await node.sh("hooked", "cat /started") == "here\n"
    hook = {"postStart": {"exec": {"command": ["false"]}}}
    await node.apply("unhooked", {"command": ["sleep", "1000"], "lifecycle": hook})
    await node.until("unhooked", lambda p: container(p)["restartCount"] >= 1)
    assert "FailedPostStartHook" in [e["reason"] for e in await node.events("unhooked")]


async def test_a_killed_container_restarts_in_the_same_sandbox(node: Node) -> None:
    await node.apply("victim", {"command": ["sh", "-c", "echo $$ > /pid; exec sleep 1000"]})
    before = await node.ready("victim")
    ident = container(before)["containerID"].removeprefix("containerd://")
    await node.runtime.stop_container(ident, 0)
    after = await node.until("victim", lambda p: container(p)["restartCount"] == 1 and condition(p, "Ready") == "True")
    assert after["status"]["podIP"] == before["status"]["podIP"]
    last = container(after)["lastState"]["terminated"]
    assert last["containerID"] == f"containerd://{ident}"
    assert last["exitCode"] == 137


async def test_a_lost_sandbox_is_made_anew(node: Node) -> None:
    await node.apply("house", {"command": ["sleep", "1000"]})
    before = await node.ready("house")
    sandbox = (await node.runtime.list_sandboxes())[0]
    await node.runtime.stop_sandbox(sandbox["id"])
    after = await node.until("house", lambda p: container(p)["restartCount"] >= 1 and condition(p, "Ready") == "True")
    assert container(after)["containerID"] != container(before)["containerID"]
    assert "SandboxChanged" in [e["reason"] for e in await node.events("house")]


async def test_the_agent_may_die_and_come_back(node: Node) -> None:
    await node.apply("survivor", {"command": ["sleep", "1000"]})
    await node.apply("orphan", {"command": ["sleep", "1000"]})
    await node.apply("late", {"command": ["sleep", "1000"]})
    before = await node.ready("survivor")
    orphan, late = await node.ready("orphan"), await node.ready("late")
    await node.stop()
    await node.client.delete(PODS, "orphan", "default", options={"gracePeriodSeconds": 0})
    await node.client.delete(PODS, "late", "default")
    node.start()
    await node.gone("late")
    await node.nothing_left(orphan["metadata"]["uid"])
    await node.nothing_left(late["metadata"]["uid"])
    after = await node.ready("survivor")
    assert container(after)["containerID"] == container(before)["containerID"]
    assert container(after)["restartCount"] == 0
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert [s["metadata"]["name"] for s in await node.runtime.list_sandboxes()] == ["survivor"]


async def test_termination_messages(node: Node) -> None:
    await node.apply(
        "said", {"command": ["sh", "-c", "echo -n why > /dev/termination-log; exit 1"]}, restartPolicy="Never"
    )
    quiet = {"command": ["sh", "-c", "echo last words; exit 1"], "terminationMessagePolicy": "FallbackToLogsOnError"}
    await node.apply("quiet", quiet, restartPolicy="Never")
    assert container(await node.phase("said", "Failed"))["state"]["terminated"]["message"] == "why"
    assert container(await node.phase("quiet", "Failed"))["state"]["terminated"]["message"] == "last words\n"


async def test_a_pod_may_live_only_so_long(node: Node) -> None:
    await node.apply("mayfly", {"command": ["sleep", "1000"]}, activeDeadlineSeconds=1)
    pod = await node.phase("mayfly", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"


async def test_images_that_are_not_to_be_had(node: Node) -> None:
    await node.apply("never", {"image": "docker.io/library/absent:1", "imagePullPolicy": "Never"})
    await node.apply("absent", {"image": "127.0.0.1:1/absent:1"})
    never = await node.until("never", lambda p: container(p)["state"]["waiting"].get("reason") == "ErrImageNeverPull")
    message = container(never)["state"]["waiting"]["message"]
    assert message == 'Container image "docker.io/library/absent:1" is not present with pull policy of Never'
    await node.until("absent", lambda p: container(p)["state"]["waiting"].get("reason") == "ErrImagePull")
    pod = await node.until("absent", lambda p: container(p)["state"]["waiting"].get("reason") == "ImagePullBackOff")
    assert container(pod)["state"]["waiting"]["message"].startswith('Back-off pulling image "127.0.0.1:1/absent:1"')
    assert pod["status"]["phase"] == "Pending"
    said = [e["reason"] for e in await node.events("absent")]
    assert said[:3] == ["Pulling", "Failed", "Failed"]
    assert "BackOff" in said
    await node.delete("absent")


async def test_limits_change_while_the_container_runs(node: Node) -> None:
    def asked(cpu: str, memory: str) -> dict[str, dict[str, str]]:
        return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}

    restart = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    first = {"command": ["sleep", "1000"], "resources": asked("200m", "64Mi")}
    await node.apply("grown", first, {**first, "name": "d", "resizePolicy": restart})
    before = await node.ready("grown")
    patch = {"spec": {"containers": [{"name": n, "resources": asked("400m", "128Mi")} for n in "cd"]}}
    await node.client.patch(PODS, "grown", patch, "default", kind="strategic", subresource="resize")
    after = await node.until(
        "grown", lambda p: container(p, "d")["restartCount"] == 1 and condition(p, "Ready") == "True"
    )
    assert container(after)["restartCount"] == 0
    assert container(after)["containerID"] == container(before)["containerID"]
    for name in "cd":
        v1, v2 = "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"
        assert (await node.sh("grown", f"cat {v1} 2>/dev/null || cat {v2}", name)).strip() == str(128 << 20)
        v1, v2 = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"
        assert (await node.sh("grown", f"cat {v1} 2>/dev/null || cat {v2}", name)).split()[0] == "40000"
        assert container(after, name)["resources"]["limits"] == {"cpu": "400m", "memory": "128Mi"}


async def test_ephemeral_containers_join_a_running_pod(node: Node) -> None:
    await node.apply("host", {"command": ["sleep", "1000"]})
    await node.ready("host")
    debug = {
        "name": "debug",
        "image": BUSYBOX,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "2000"],
        "targetContainerName": "c",
    }
    patch = {"spec": {"ephemeralContainers": [debug]}}
    await node.client.patch(PODS, "host", patch, "default", kind="strategic", subresource="ephemeralcontainers")
    pod = await node.until("host", lambda p: "running" in container(p, "debug")["state"])
    assert condition(pod, "Ready") == "True"
    assert "sleep 1000" in await node.sh("host", "ps", "debug")  # it sees the other container's processes


async def test_many_pods_at_once(node: Node) -> None:
    names = [f"many-{i}" for i in range(16)]
    for name in names:
        await node.apply(name, {"command": ["sleep", "1000"]}, terminationGracePeriodSeconds=0)
    pods = [await node.ready(name, 60) for name in names]
    assert len({pod["status"]["podIP"] for pod in pods}) == len(names)
    for name in names:
        await node.client.delete(PODS, name, "default")
    for pod in pods:
        await node.nothing_left(pod["metadata"]["uid"], 60)
