"""Deployments in a world that is only numbers: bounds hold at every moment, and every rollout ends."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.controllers import revisions, rollout, rollout_status
from switchboard.controllers.conditions import find
from switchboard.controllers.deployment import step
from switchboard.controllers.times import stamp

Object = dict[str, Any]


class Simulation:
    """A Deployment, ReplicaSets whose pods come, get ready and go when chance says so, and a clock."""

    def __init__(self, replicas: int, surge: Any, unavailable: Any, seed: int) -> None:
        rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
        spec: Object = {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "x"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
        }
        meta = {"name": "d", "namespace": "t", "uid": "d", "generation": 1}
        self.deployment: Object = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": spec,
            "status": {},
        }
        self.sets: dict[str, Object] = {}
        self.pods: dict[str, list[bool]] = {}  # ReplicaSet -> its pods, ready or not
        self.chance = random.Random(seed)
        self.now = 1_000_000.0
        self.template(0)

    def template(self, number: int) -> None:
        labels = {"app": "x"}
        container = {"name": "c", "image": f"i:{number}"}
        self.deployment["spec"]["template"] = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        self.deployment["metadata"]["generation"] += 1

    def scale(self, replicas: int) -> None:
        self.deployment["spec"]["replicas"] = replicas
        self.deployment["metadata"]["generation"] += 1

    def controller(self) -> None:
        """One round of the Deployment controller."""
        todo = step(self.deployment, list(self.sets.values()), old_pods_run=False)
        if todo.create is not None:
            name = todo.create["metadata"]["name"]
            assert name not in self.sets
            self.sets[name] = todo.create
            todo.create["metadata"] |= {"uid": name, "creationTimestamp": stamp(self.now)}
            self.pods[name] = []
        if todo.refresh is not None:
            self.sets[todo.refresh["metadata"]["name"]] = todo.refresh
        limits = rollout.bounds(self.deployment)
        for name, size in todo.sizes.items():
            rs = self.sets[name]
            assert size >= 0
            annotations = {**rs["metadata"]["annotations"], **revisions.sizing(limits)}
            self.sets[name] = {
                **rs,
                "metadata": {**rs["metadata"], "annotations": annotations},
                "spec": {**rs["spec"], "replicas": size},
            }
        for rs in todo.delete:
            assert not self.pods[rs["metadata"]["name"]]
            del self.sets[rs["metadata"]["name"]]
        if todo.revision is not None:
            self.deployment["metadata"].setdefault("annotations", {})[revisions.REVISION] = str(todo.revision)
        new, _ = revisions.split(self.deployment, list(self.sets.values()))
        seen = self.deployment
        if todo.remark is not None:
            known = rollout_status.noted(seen, *todo.remark, self.now)
            seen = {**seen, "status": {**seen["status"], "conditions": known}}
        sets = list(self.sets.values())
        if todo.scaling:
            self.deployment["status"] = rollout_status.counts(seen, new, sets, limits, self.now)
        else:
            self.deployment["status"], _ = rollout_status.rollout(seen, new, sets, limits, self.now)

    def replica_sets(self) -> None:
        """One round of the ReplicaSet controller for one of them: pods by spec, unready ones go first; status."""
        for name in self.chance.sample(sorted(self.sets), k=min(2, len(self.sets))):
            pods, size = self.pods[name], rollout.size(self.sets[name])
            pods.sort()
            del pods[: max(0, len(pods) - size)]
            pods += [False] * (size - len(pods))
            self.report(name)

    def report(self, name: str) -> None:
        pods = self.pods[name]
        status = {"replicas": len(pods), "readyReplicas": sum(pods), "availableReplicas": sum(pods)}
        status["observedGeneration"] = self.sets[name]["metadata"].get("generation", 0)
        self.sets[name] = {**self.sets[name], "status": status}

    def node(self) -> None:
        """Some pod gets ready."""
        waiting = [name for name, pods in self.pods.items() if False in pods]
        if waiting:
            name = self.chance.choice(waiting)
            self.pods[name][self.pods[name].index(False)] = True
            self.report(name)

    def turn(self) -> None:
        self.now += 1
        self.chance.choice([self.controller, self.replica_sets, self.node])()

    def settle(self) -> None:
        for _ in range(3000):
            self.turn()
            status = self.deployment["status"]
            reason = (find(status.get("conditions"), "Progressing") or {}).get("reason")
            if rollout_status.complete(self.deployment, status) and reason == "NewReplicaSetAvailable":
                return
        raise AssertionError(f"never settled: {self.deployment['status']}, {self.pods}")

    @property
    def ready(self) -> int:
        return sum(map(sum, self.pods.values()))

    @property
    def wanted(self) -> int:
        return sum(map(rollout.size, self.sets.values()))

    @property
    def total(self) -> int:
        return sum(map(len, self.pods.values()))


AMOUNTS = st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "50%", "100%"]))


@given(st.integers(1, 12), AMOUNTS, AMOUNTS, st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=120, deadline=None)
def test_bounds_hold_in_every_rolling_update(
    replicas: int, surge: Any, unavailable: Any, seed: int, updates: int
) -> None:
    world = Simulation(replicas, surge, unavailable, seed)
    world.settle()
    limits = rollout.bounds(world.deployment)
    for number in range(1, updates + 1):
        world.template(number)
        for _ in range(3000):
            world.turn()
            assert world.wanted <= limits.replicas + limits.surge
            assert world.ready >= limits.replicas - limits.unavailable
            if rollout_status.complete(world.deployment, world.deployment["status"]):
                break
            if number < updates and world.chance.random() < 0.02:
                break  # the next template comes in the middle
    world.settle()
    assert world.total == replicas
    for _ in range(200):  # room for the history to be trimmed
        world.turn()
    assert len(world.sets) <= 1 + 2


@given(st.integers(0, 10), st.integers(0, 10), AMOUNTS, AMOUNTS, st.integers(0, 10_000))
@settings(max_examples=80, deadline=None)
def test_scaling_in_the_middle_of_a_rollout_ends_right(
    before: int, after: int, surge: Any, unavailable: Any, seed: int
) -> None:
    world = Simulation(before, surge, unavailable, seed)
    world.settle()
    world.template(1)
    for _ in range(seed % 15):
        world.turn()
    world.scale(after)
    world.settle()
    assert (world.total, world.ready) == (after, after)


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, "25%", "25%", (1, 1)),
        (3, "25%", "25%", (1, 0)),
        (1, "0%", "0%", (0, 1)),
        (10, 3, "34%", (3, 3)),
        (2, 0, 5, (0, 2)),
    ],
)
def test_bounds(replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]) -> None:
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    found = rollout.bounds({"spec": {"replicas": replicas, "strategy": strategy}})
    assert (found.surge, found.unavailable) == expected


def test_going_back_takes_the_old_set_again() -> None:
    world = Simulation(2, 1, 0, 1)
    world.settle()
    [first] = world.sets
    world.template(1)
    world.settle()
    world.template(0)
    world.settle()
    annotations = world.sets[first]["metadata"]["annotations"]
    assert annotations[revisions.REVISION] == "3"
    assert annotations[revisions.HISTORY] == "1"
    assert world.deployment["metadata"]["annotations"][revisions.REVISION] == "3"


def test_a_deadline_is_told_once_and_forgotten_when_it_works_after_all() -> None:
    world = Simulation(2, 1, 0, 1)
    world.settle()
    world.template(1)
    for _ in range(5):
        world.controller()
        for name in world.sets:
            world.pods[name] += [False] * (rollout.size(world.sets[name]) - len(world.pods[name]))
            world.report(name)
    world.now += 601
    world.controller()
    condition = find(world.deployment["status"]["conditions"], "Progressing")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "ProgressDeadlineExceeded")
    world.settle()
    assert [c["type"] for c in world.deployment["status"]["conditions"]] == ["Available", "Progressing"]
