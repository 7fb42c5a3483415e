"""What is done next for a pod, as a table: spec and containers in, steps out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.node import cri
from switchboard.node.backoff import Backoff
from switchboard.node.observed import Container, Observed, Sandbox, ordered
from switchboard.node.plan import Facts, Plan, decide, finished

Object = dict[str, Any]


def pod(policy: str = "Always", init: list[Object] | None = None, names: tuple[str, ...] = ("a",)) -> Object:
    spec = {"restartPolicy": policy, "initContainers": init or [], "containers": [{"name": n} for n in names]}
    return {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": spec}


def box(name: str, state: int = cri.RUNNING, code: int = 0, attempt: int = 0, sandbox: str = "s") -> Container:
    return Container(f"{name}{attempt}", name, attempt, state, sandbox, finished=100.0, exit_code=code, hash="h")


def seen(*containers: Container, ready: bool = True) -> Observed:
    return ordered([Sandbox("s", ready, 1.0, 0)], containers)


def facts(
    wait: float = 0.0, started: set[str] = frozenset(), doomed: dict[str, str] | None = None, hash_: str = "h"
) -> Facts:  # type: ignore[assignment]
    return Facts(lambda name, ended: wait, dict.fromkeys(started, True), doomed or {}, lambda spec: hash_)


def steps(plan: Plan) -> str:
    """`kill a1; sandbox; start b; again 5` in short."""
    said = [f"kill {c.id}" for c, _ in plan.kill]
    said += ["sandbox"] * plan.new_sandbox + ["stop"] * plan.stop_sandbox
    said += [f"start {c['name']}" for c in plan.start]
    return "; ".join([*said, *([f"again {plan.again:g}"] if plan.again is not None else [])])


END, RUN = cri.EXITED, cri.RUNNING
INIT = [{"name": "i1"}, {"name": "i2"}]
SIDE = [{"name": "side", "restartPolicy": "Always"}, {"name": "i2"}]


@pytest.mark.parametrize(
    ("given_pod", "given_seen", "given_facts", "wanted"),
    [
        (pod(), Observed(), facts(), "sandbox; start a"),
        (pod(names=("a", "b")), seen(), facts(), "start a; start b"),
        (pod(), seen(box("a")), facts(), ""),
        (pod(), seen(box("a", END, 1)), facts(), "start a"),
        (pod(), seen(box("a", END, 1)), facts(wait=7), "again 7"),
        (pod("OnFailure"), seen(box("a", END, 1)), facts(), "start a"),
        (pod("OnFailure"), seen(box("a", END, 0)), facts(), "stop"),
        (pod("Never"), seen(box("a", END, 1)), facts(), "stop"),
        (pod("Never"), seen(box("a", END, 1), ready=False), facts(), ""),
        (pod("Never", names=("a", "b")), seen(box("a", END, 1), box("b")), facts(), ""),
        (pod(), seen(box("a"), ready=False), facts(), "kill a0; sandbox; start a"),
        (pod(), seen(box("a")), facts(doomed={"a0": "liveness"}), "kill a0"),
        (pod(), seen(box("a")), facts(hash_="other"), "kill a0"),
        (pod(init=INIT), Observed(), facts(), "sandbox; start i1"),
        (pod(init=INIT), seen(box("i1")), facts(), ""),
        (pod(init=INIT), seen(box("i1", END)), facts(), "start i2"),
        (pod(init=INIT), seen(box("i1", END), box("i2", END)), facts(), "start a"),
        (pod(init=INIT), seen(box("i1", END, 1)), facts(wait=3), "again 3"),
        (pod("Never", INIT), seen(box("i1", END, 1)), facts(), "stop"),
        (pod(init=INIT), seen(box("a"), box("i1", END)), facts(), ""),
        (pod(init=SIDE), seen(box("side")), facts(), ""),
        (pod(init=SIDE), seen(box("side")), facts(started={"side0"}), "start i2"),
        (pod(init=SIDE), seen(box("side"), box("i2", END)), facts(started={"side0"}), "start a"),
        (pod(init=SIDE), seen(box("side", END), box("i2", END), box("a")), facts(), "start side"),
        (pod("Never", SIDE), seen(box("side"), box("i2", END), box("a", END)), facts(), "kill side0; stop"),
        (pod(), seen(box("a", END, 1, sandbox="old")), facts(), "start a"),
    ],
)
def test_the_next_steps(given_pod: Object, given_seen: Observed, given_facts: Facts, wanted: str) -> None:
    assert steps(decide(given_pod, given_seen, given_facts)) == wanted


@given(
    st.sampled_from(["Always", "OnFailure", "Never"]),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([RUN, END]), st.integers(0, 2)), max_size=4),
)
def test_a_running_container_is_never_started_again(policy: str, tries: list[tuple[str, int, int]]) -> None:
    containers = [box(n, s, c, attempt=i) for i, (n, s, c) in enumerate(tries)]
    found = seen(*containers)
    plan = decide(pod(policy, names=("a", "b")), found, facts())
    for spec in plan.start:
        latest = found.latest(spec["name"])
        assert latest is None or latest.exited
    if finished(pod(policy, names=("a", "b")), found):
        assert not plan.start and policy != "Always"


def test_back_off_doubles_up_to_its_limit_and_is_forgotten() -> None:
    backoff, now = Backoff(), 1000.0
    assert backoff.left("a", now, now) == 0.0
    waits = []
    for _ in range(7):
        backoff.next("a", now)
        waits.append(backoff.left("a", now, now))
        now += waits[-1]
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    assert backoff.left("a", now + 601, now + 601) == 0.0


def test_back_off_is_forgotten_by_what_ran_well_for_long_before_it_failed() -> None:
    backoff = Backoff()
    for at in range(6):
        backoff.next("a", float(at))
    failed = 5.0 + 420  # after seven minutes: not long enough
    assert backoff.left("a", failed, failed + 200) == 100.0  # though ten minutes have passed meanwhile
    backoff.next("a", failed + 300, failed)
    assert backoff.delay("a") == 300.0
    failed = failed + 300 + 601
    assert backoff.left("a", failed, failed) == 0.0
    backoff.next("a", failed, failed)
    assert backoff.delay("a") == 10.0
