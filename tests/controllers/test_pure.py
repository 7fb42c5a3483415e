"""Tables over the deciders: replicas, stateful and daemon sets, jobs, schedules, taints, volumes, addresses."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.client.resources import PODS
from switchboard.controllers import (
    cronjob,
    daemons,
    disruption,
    history,
    indexes,
    jobs,
    owners,
    podgc,
    pods,
    replicas,
    stateful,
    taints,
    volumes,
)
from switchboard.controllers.cron_times import after
from switchboard.controllers.hashing import safe, template_hash
from switchboard.controllers.loadbalancer import AddressPool, LoadBalancerError, told_changes
from switchboard.controllers.ownergraph import Graph, Owner, judge, node_of
from switchboard.controllers.times import seconds, stamp
from switchboard.objects import cron, selectors

Object = dict[str, Any]
NOW = 1_800_000_000.0


def pod(
    name: str = "p",
    *,
    ready: bool | None = True,
    phase: str = "Running",
    node: str = "n",
    age: float = 100.0,
    **more: Any,
) -> Object:
    meta = {"name": name, "namespace": "t", "uid": name, "creationTimestamp": stamp(NOW - age), **more.pop("meta", {})}
    conditions = (
        [] if ready is None else [{"type": "Ready", "status": str(ready), "lastTransitionTime": stamp(NOW - age)}]
    )
    return {
        "metadata": meta,
        "spec": {"nodeName": node, **more.pop("spec", {})},
        "status": {"phase": phase, "conditions": conditions, **more},
    }


GOING = {"deletionTimestamp": stamp(NOW)}


class TestReplicas:
    def owner(self, number: int, **spec: Any) -> Object:
        return {"kind": "ReplicaSet", "metadata": {"name": "rs", "generation": 2}, "spec": {"replicas": number, **spec}}

    @given(
        st.integers(0, 20),
        st.lists(st.tuples(st.sampled_from(["Pending", "Running", "Failed"]), st.booleans()), max_size=20),
    )
    @settings(max_examples=200)
    def test_a_plan_leads_to_the_number_wanted(self, number: int, states: list[tuple[str, bool]]) -> None:
        held = [pod(f"p{i}", phase=phase, meta=GOING if going else {}) for i, (phase, going) in enumerate(states)]
        plan = replicas.plan(self.owner(number), held, held, NOW)
        active = [p for p in held if pods.is_active(p)]
        assert len(active) + plan.create - len(plan.delete) == number
        assert all(p in active for p in plan.delete)

    def test_which_pods_go_first(self) -> None:
        held = [
            pod("ready"),
            pod("cheap", meta={"annotations": {pods.DELETION_COST: "-5"}}),
            pod("young", age=2),
            pod("unready", ready=False),
            pod("pending", phase="Pending", ready=None),
            pod("unplaced", phase="Pending", ready=None, node=""),
        ]
        order = [p["metadata"]["name"] for p in pods.deletion_order(held, held, NOW)]
        assert order == ["unplaced", "pending", "unready", "cheap", "young", "ready"]

    def test_crowded_nodes_are_thinned_out(self) -> None:
        held = [pod("a", node="1"), pod("b", node="2"), pod("c", node="2")]
        assert pods.deletion_order(held, held, NOW)[0]["spec"]["nodeName"] == "2"

    def test_status(self) -> None:
        rs = self.owner(3, minReadySeconds=50, template={"metadata": {"labels": {"a": "b"}}})
        held = [pod("old"), pod("new", age=10), pod("going", meta=GOING), pod("dead", phase="Failed")]
        held[0]["metadata"]["labels"] = {"a": "b"}
        assert replicas.status(rs, held, None, NOW) == {
            "replicas": 2,
            "fullyLabeledReplicas": 1,
            "readyReplicas": 2,
            "availableReplicas": 1,
            "terminatingReplicas": 1,
            "observedGeneration": 2,
        }
        assert replicas.again(rs, held, NOW) == pytest.approx(40)


def test_claims() -> None:
    owner = {"metadata": {"name": "o", "uid": "o"}}
    selector = selectors.from_labels({"a": "b"})
    mine, released, orphan = (
        {"metadata": {"name": n, "labels": {"a": v}}} for n, v in (("m", "b"), ("r", "c"), ("o", "b"))
    )
    found = owners.claim(owner, selector, [mine, released], [orphan, released])
    assert (found.owned, found.release, found.adopt) == ([mine], [released], [orphan])
    owner["metadata"]["deletionTimestamp"] = stamp(NOW)
    found = owners.claim(owner, selector, [mine, released], [orphan])
    assert (found.owned, found.release, found.adopt) == ([mine], [], [])


def test_hashes() -> None:
    assert safe(11) == safe(1) * 2
    one, two = template_hash({"a": 1, "b": 2}), template_hash({"b": 2, "a": 1})
    assert one == two
    assert one != template_hash({"a": 1, "b": 3})
    assert one != template_hash({"a": 1, "b": 2}, 1)
    assert not set(one) & set("aeiou01")


class TestStateful:
    def sts(self, number: int, **spec: Any) -> Object:
        return {
            "kind": "StatefulSet",
            "apiVersion": "apps/v1",
            "metadata": {"name": "db", "uid": "db"},
            "spec": {"replicas": number, **spec},
        }

    def pods(self, *states: str) -> list[Object]:
        """Per ordinal: r ready, u unready, o ready but old, - none, d deleted."""
        out = []
        for i, state in enumerate(states):
            if state != "-":
                labels = {"controller-revision-hash": "old" if state == "o" else "new"}
                meta = {"labels": labels, **(GOING if state == "d" else {})}
                out.append(pod(f"db-{i}", ready=state in "ro", meta=meta))
        return out

    @pytest.mark.parametrize(
        ("number", "states", "spec", "create", "delete"),
        [
            (3, "", {}, [0], []),
            (3, "r", {}, [1], []),
            (3, "u", {}, [], []),
            (3, "r-r", {}, [1], []),
            (3, "", {"podManagementPolicy": "Parallel"}, [0, 1, 2], []),
            (1, "rrr", {}, [], [2]),
            (1, "rrd", {}, [], []),
            (1, "rur", {}, [], [2]),
            (1, "rru", {}, [], [2]),
            (1, "ruu", {}, [], []),
            (0, "uuu", {}, [], []),
            (0, "u", {}, [], [0]),
            (0, "r", {"minReadySeconds": 1000}, [], [0]),
            (0, "rr", {"minReadySeconds": 1000}, [], []),
            (0, "uuu", {"podManagementPolicy": "Parallel"}, [], [2, 1, 0]),
            (0, "rr", {"podManagementPolicy": "Parallel"}, [], [1, 0]),
            (3, "ooo", {}, [], [2]),
            (3, "oor", {}, [], [1]),
            (3, "oou", {}, [], []),
            (3, "ooo", {"updateStrategy": {"rollingUpdate": {"partition": 2}}}, [], [2]),
            (3, "oor", {"updateStrategy": {"rollingUpdate": {"partition": 2}}}, [], []),
            (3, "ooo", {"updateStrategy": {"type": "OnDelete"}}, [], []),
            (4, "oooo", {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}, [], [3, 2]),
            (3, "rrr", {}, [], []),
        ],
    )
    def test_steps(self, number: int, states: str, spec: Object, create: list[int], delete: list[int]) -> None:
        plan = stateful.plan(self.sts(number, **spec), self.pods(*states), "old", "new", NOW)
        assert [n for n, _ in plan.create] == create
        assert [p["metadata"]["name"] for p in plan.delete] == [f"db-{n}" for n in delete]

    def test_a_revision_is_written_as_clients_write_it(self) -> None:
        template = {"spec": {"containers": [{"name": "a", "image": "b"}]}, "metadata": {"labels": {"y": "1", "x": "2"}}}
        data = history.data_of({"spec": {"template": template}})
        written = '{"$patch":"replace","metadata":{"labels":{"x":"2","y":"1"}},'
        written += '"spec":{"containers":[{"image":"b","name":"a"}]}}'
        assert json.dumps(data, separators=(",", ":")) == '{"spec":{"template":' + written + "}}"

    def test_a_partition_decides_on_the_revision(self) -> None:
        spec = {"updateStrategy": {"rollingUpdate": {"partition": 1}}, "podManagementPolicy": "Parallel"}
        plan = stateful.plan(self.sts(2, **spec), [], "old", "new", NOW)
        assert plan.create == [(0, "old"), (1, "new")]

    def test_ordinals_start_where_asked(self) -> None:
        plan = stateful.plan(self.sts(2, ordinals={"start": 5}, podManagementPolicy="Parallel"), [], "new", "new", NOW)
        assert [n for n, _ in plan.create] == [5, 6]

    def test_status(self) -> None:
        status = stateful.status(self.sts(3), self.pods("r", "r", "o"), "old", "new", NOW)
        assert (status["currentReplicas"], status["updatedReplicas"], status["currentRevision"]) == (1, 2, "old")
        status = stateful.status(self.sts(2), self.pods("r", "r"), "old", "new", NOW)
        assert (status["currentReplicas"], status["currentRevision"]) == (2, "new")


class TestDaemons:
    def daemon(self, **spec: Any) -> Object:
        return {
            "kind": "DaemonSet",
            "apiVersion": "apps/v1",
            "metadata": {"name": "d", "uid": "d", "generation": 1},
            "spec": {"template": {"spec": {}}, **spec},
        }

    def node(self, name: str, *bad: tuple[str, str]) -> Object:
        return {"metadata": {"name": name}, "spec": {"taints": [{"key": k, "effect": e} for k, e in bad]}}

    def held(self, node: str, digest: str = "new", **more: Any) -> Object:
        return pod(f"d-{node}-{digest}", node=node, meta={"labels": {"controller-revision-hash": digest}}, **more)

    def test_where(self) -> None:
        nodes = [
            self.node("a"),
            self.node("b", ("k", "NoSchedule")),
            self.node("c", ("k", "NoExecute")),
            self.node("d", ("node.kubernetes.io/unschedulable", "NoSchedule")),
        ]
        plan = daemons.plan(self.daemon(), nodes, [self.held("b"), self.held("c"), self.held("gone")], "new", NOW)
        assert plan.create == ["a", "d"]
        assert [p["spec"]["nodeName"] for p in plan.delete] == ["c", "gone"]

    def test_updates_keep_to_the_limit(self) -> None:
        nodes = [self.node(n) for n in "abc"]
        held = [self.held(n, "old") for n in "abc"]
        delete, surge = daemons.update(self.daemon(), nodes, held, "new", NOW)
        assert (len(delete), surge) == (1, [])
        held[0] = self.held("a", "new", ready=False)
        assert daemons.update(self.daemon(), nodes, held, "new", NOW) == ([], [])
        held[1]["status"]["conditions"][0]["status"] = "False"
        assert daemons.update(self.daemon(), nodes, held, "new", NOW)[0] == [held[1]], "broken old ones cost nothing"
        surging = self.daemon(updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        held = [self.held(n, "old") for n in "abc"]
        assert daemons.update(surging, nodes, held, "new", NOW) == ([], ["a"])
        both = [*held, self.held("a", "new")]
        delete, surge = daemons.update(surging, nodes, both, "new", NOW)
        assert (delete, surge) == ([held[0]], ["b"])
        assert not daemons.update(self.daemon(updateStrategy={"type": "OnDelete"}), nodes, held, "new", NOW)[0]

    def test_a_pod_is_pinned_and_tolerant(self) -> None:
        made = daemons.pod_for(self.daemon(), "a", "new")
        assert daemons.target(made) == "a"
        assert {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"} in made["spec"][
            "tolerations"
        ]


class TestJobs:
    def job(self, status: Object | None = None, **spec: Any) -> Object:
        return {
            "kind": "Job",
            "metadata": {"name": "j", "uid": "j"},
            "spec": {"template": {"spec": {}}, **spec},
            "status": status or {},
        }

    def ended(self, name: str, phase: str, tracked: bool = True, index: int | None = None, **more: Any) -> Object:
        meta: Object = {"finalizers": [jobs.FINALIZER]} if tracked else {}
        if index is not None:
            meta["annotations"] = {jobs.INDEX: str(index)}
        return pod(name, phase=phase, ready=False, meta=meta, **more)

    def test_every_pod_counts_once(self) -> None:
        job = self.job(completions=3)
        found = jobs.tally(job, [self.ended("a", "Succeeded"), self.ended("b", "Failed"), pod("c")])
        assert (found.succeeded, found.failed, found.counted, found.uncounted) == (1, 1, (0, 0), (["a"], ["b"]))
        job = self.job({"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["b"]}}, completions=3)
        found = jobs.tally(job, [self.ended("a", "Succeeded", False)])
        assert (found.succeeded, found.failed, found.counted, found.uncounted) == (1, 1, (1, 1), ([], []))

    @given(st.lists(st.sampled_from(["Succeeded", "Failed"]), max_size=12), st.randoms(use_true_random=False))
    @settings(max_examples=150)
    def test_counting_survives_any_order_of_writes(self, phases: list[str], chance: Any) -> None:
        status: Object = {}
        held = {f"p{i}": self.ended(f"p{i}", phase) for i, phase in enumerate(phases)}
        for _ in range(40):
            found = jobs.tally(self.job(status, completions=99, backoffLimit=99), list(held.values()))
            if chance.random() < 0.7:  # the write may be lost
                status = {"succeeded": found.counted[0], "failed": found.counted[1]}
                status["uncountedTerminatedPods"] = {"succeeded": found.uncounted[0], "failed": found.uncounted[1]}
                for p in found.release:
                    if chance.random() < 0.7:
                        p["metadata"]["finalizers"] = []
                        if chance.random() < 0.5:
                            held.pop(p["metadata"]["name"], None)
            assert found.succeeded <= phases.count("Succeeded")
            assert found.failed <= phases.count("Failed")
        found = jobs.tally(self.job(status, completions=99), list(held.values()))
        assert (found.succeeded, found.failed) == (phases.count("Succeeded"), phases.count("Failed"))

    def test_what_ends_a_job(self) -> None:
        def verdict(job: Object, *held: Object) -> Any:
            found = jobs.tally(job, held)
            return (jobs.failure(job, found, NOW) or jobs.success(job, found) or ("",))[0]

        assert verdict(self.job(completions=1), self.ended("a", "Succeeded")) == "CompletionsReached"
        assert verdict(self.job(completions=2), self.ended("a", "Succeeded")) == ""
        assert verdict(self.job(), self.ended("a", "Succeeded"), pod("b")) == "", "a work queue ends with its last pod"
        assert verdict(self.job(backoffLimit=0, completions=1), self.ended("a", "Failed")) == "BackoffLimitExceeded"
        started = {"startTime": stamp(NOW - 20)}
        assert verdict(self.job(started, completions=1, activeDeadlineSeconds=10), pod("a")) == "DeadlineExceeded"
        rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
        policy = {"rules": [rule]}
        code = [{"name": "c", "state": {"terminated": {"exitCode": 42}}}]
        bad = self.ended("a", "Failed", containerStatuses=code)
        assert verdict(self.job(completions=1, podFailurePolicy=policy), bad) == "PodFailurePolicy"
        rule["action"] = "Ignore"
        ignored = jobs.tally(self.job(completions=1, podFailurePolicy=policy), [bad])
        assert (ignored.failed, len(ignored.release)) == (0, 1)
        success = {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
        done = self.ended("a", "Succeeded", index=0)
        assert (
            verdict(self.job(completions=5, completionMode="Indexed", successPolicy=success), done, pod("b"))
            == "SuccessPolicy"
        )

    def test_indexes(self) -> None:
        job = self.job(completions=5, parallelism=3, completionMode="Indexed")
        held = [
            self.ended("a", "Succeeded", index=1),
            pod("b", meta={"annotations": {jobs.INDEX: "0"}}),
            self.ended("c", "Failed", index=2),
        ]
        found = jobs.tally(job, held)
        assert jobs.wanted_active(job, found) == 3
        assert jobs.free_indexes(job, found, held, 2) == [2, 3]
        assert found.done_indexes == {1}

    def test_backoff(self) -> None:
        held = [self.ended("a", "Failed", age=4)]
        assert jobs.backoff(jobs.tally(self.job(), held), NOW) == pytest.approx(6)
        assert jobs.backoff(jobs.tally(self.job(), []), NOW) == 0

    @given(st.sets(st.integers(0, 60)))
    def test_texts_of_indexes(self, numbers: set[int]) -> None:
        assert indexes.parse(indexes.text(numbers)) == numbers

    def test_text_of_indexes(self) -> None:
        assert indexes.text([0, 2, 3, 5, 6, 7]) == "0,2,3,5-7"


class TestSchedules:
    @pytest.mark.parametrize(
        ("schedule", "zone", "start", "expected"),
        [
            ("*/15 * * * *", None, "2026-01-01T00:00:00", "2026-01-01T00:15:00"),
            ("0 0 29 2 *", None, "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
            ("0 12 * * 1", None, "2026-01-01T00:00:00", "2026-01-05T12:00:00"),
            ("0 0 13 * 5", None, "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00", "2026-03-30T00:30:00"),
            ("@daily", "America/New_York", "2026-01-01T12:00:00", "2026-01-02T05:00:00"),
        ],
    )
    def test_times(self, schedule: str, zone: str | None, start: str, expected: str) -> None:
        moment = after(cron.parse(schedule), ZoneInfo(zone) if zone else None, seconds(start))
        assert moment is not None
        assert datetime.fromtimestamp(moment, UTC).isoformat()[:19] == expected

    def test_never(self) -> None:
        assert after(cron.parse("0 0 30 2 *"), None, NOW) is None

    def test_due(self) -> None:
        hourly = cron.parse("0 * * * *")
        start = seconds("2026-01-01T00:30:00")
        assert cronjob.due(hourly, None, start, start + 60) == (None, start + 1800, False)
        latest, following, missed = cronjob.due(hourly, None, start, start + 3600 * 5)
        assert (latest, following, missed) == (start + 1800 + 3600 * 4, start + 1800 + 3600 * 5, False)
        latest, _, missed = cronjob.due(hourly, None, start, start + 3600 * 500)
        assert (latest, missed) == (start + 1800 + 3600 * 499, True)


class TestTaints:
    def node(self, ready: str, *held: Object, **spec: Any) -> Object:
        return {
            "metadata": {"name": "n"},
            "spec": {"taints": list(held), **spec},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }

    def test_conditions_become_taints(self) -> None:
        foreign = {"key": "mine", "effect": "NoSchedule"}
        old = {"key": taints.NOT_READY, "effect": "NoSchedule"}
        assert taints.wanted(self.node("True", foreign, old), NOW, evict=True) == [foreign]
        found = taints.wanted(self.node("Unknown", foreign, unschedulable=True), NOW, evict=True)
        assert {(t["key"], t["effect"]) for t in found} == {
            ("mine", "NoSchedule"),
            (taints.UNREACHABLE, "NoSchedule"),
            (taints.UNREACHABLE, "NoExecute"),
            (taints.UNSCHEDULABLE, "NoSchedule"),
        }
        assert all(t["effect"] != "NoExecute" for t in taints.wanted(self.node("False"), NOW, evict=False))

    def test_who_may_stay(self) -> None:
        since = {"key": "k", "effect": "NoExecute", "timeAdded": stamp(NOW - 10)}
        patient = pod("patient", spec={"tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 30}]})
        forever = pod("forever", spec={"tolerations": [{"operator": "Exists"}]})
        out, following = taints.evictions([since], [patient, forever, pod("gone")], NOW)
        assert ([p["metadata"]["name"] for p in out], following) == (["gone"], pytest.approx(20))
        out, following = taints.evictions([since], [patient, forever], NOW + 25)
        assert ([p["metadata"]["name"] for p in out], following) == (["patient"], None)
        late = {**patient, "status": {"startTime": stamp(NOW + 5)}}
        assert taints.evictions([since], [late], NOW + 25) == ([], pytest.approx(10))

    def test_a_taint_without_a_time_counts_from_when_it_was_seen(self) -> None:
        plain = {"key": "k", "value": "v", "effect": "NoExecute"}
        since = taints.Since()
        assert since.dated(self.node("True", plain, {**plain, "effect": "NoSchedule"}), NOW) == [
            {**plain, "timeAdded": stamp(NOW)}
        ]
        assert since.dated(self.node("True", plain), NOW + 9)[0]["timeAdded"] == stamp(NOW)
        assert since.dated(self.node("True", {**plain, "value": "w"}), NOW + 9)[0]["timeAdded"] == stamp(NOW + 9)
        assert since.dated(self.node("True"), NOW + 9) == []
        assert since.dated(self.node("True", plain), NOW + 10)[0]["timeAdded"] == stamp(NOW + 10)
        told = {**plain, "timeAdded": stamp(NOW - 5)}
        assert since.dated(self.node("True", told), NOW)[0]["timeAdded"] == stamp(NOW - 5)


class TestVolumes:
    def claim(self, size: str = "1Gi", **spec: Any) -> Object:
        return {
            "metadata": {"name": "c", "namespace": "t", "uid": "c"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
        }

    def volume(self, name: str, size: str = "1Gi", **spec: Any) -> Object:
        return {
            "metadata": {"name": name, "labels": {"n": name}},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, **spec},
        }

    def test_the_smallest_that_suits(self) -> None:
        held = [
            self.volume("big", "10Gi"),
            self.volume("small", "512Mi"),
            self.volume("right", "2Gi"),
            self.volume("class", "1Gi", storageClassName="x"),
        ]
        chosen = volumes.choose(self.claim(), held)
        assert chosen is not None
        assert chosen["metadata"]["name"] == "right"
        chosen = volumes.choose(self.claim(selector={"matchLabels": {"n": "big"}}), held)
        assert chosen is not None
        assert chosen["metadata"]["name"] == "big"
        assert volumes.choose(self.claim(accessModes=["ReadWriteMany"]), held) is None

    def test_reserved_and_taken(self) -> None:
        mine = self.volume("mine", "5Gi", claimRef={"namespace": "t", "name": "c"})
        other = self.volume("other", "1Gi", claimRef={"namespace": "t", "name": "c", "uid": "older"})
        chosen = volumes.choose(self.claim(), [self.volume("free"), mine, other])
        assert chosen is not None
        assert chosen["metadata"]["name"] == "mine"


class TestAddresses:
    def service(self, name: str, ip: str = "", wish: str = "") -> Object:
        status = {"loadBalancer": {"ingress": [{"ip": ip}]}} if ip else {}
        return {"metadata": {"name": name}, "spec": {"loadBalancerIP": wish, "ports": [{"port": 80}]}, "status": status}

    def test_pool(self) -> None:
        pool = AddressPool("192.0.2.0/30")
        assert pool.choose(self.service("a"), []) == ["192.0.2.1"]
        assert pool.choose(self.service("a"), [self.service("b", "192.0.2.1")]) == ["192.0.2.2"]
        assert pool.choose(self.service("a", "192.0.2.2"), []) == ["192.0.2.2"], "what it has it keeps"
        for service, others in (
            (self.service("a"), [self.service("b", "192.0.2.1"), self.service("c", "192.0.2.2")]),
            (self.service("a", wish="192.0.2.1"), [self.service("b", "192.0.2.1")]),
            (self.service("a", wish="10.0.0.1"), []),
            (self.service("a", wish="nonsense"), []),
        ):
            with pytest.raises(LoadBalancerError):
                pool.choose(service, others)

    def test_entry(self) -> None:
        [entry] = asyncio.run(AddressPool("192.0.2.0/30").ensure(self.service("a"), []))
        assert entry == {"ip": "192.0.2.1", "ipMode": "VIP", "ports": [{"port": 80, "protocol": "TCP"}]}


@pytest.mark.parametrize(
    ("spec", "healthy", "expected"),
    [
        ({"minAvailable": 2}, 3, (1, 2, 3)),
        ({"minAvailable": 2}, 1, (0, 2, 3)),
        ({"minAvailable": "50%"}, 3, (1, 2, 3)),
        ({"maxUnavailable": 1}, 3, (1, 2, 3)),
        ({"maxUnavailable": "34%"}, 3, (2, 1, 3)),
        ({"maxUnavailable": 0}, 3, (0, 3, 3)),
    ],
)
def test_budgets(spec: Object, healthy: int, expected: tuple[int, int, int]) -> None:
    held = [pod(f"p{i}", ready=i < healthy) for i in range(3)]
    found = disruption.status({"metadata": {"name": "b"}, "spec": spec}, held, lambda p: ("rs", 3), NOW)
    assert (found["disruptionsAllowed"], found["desiredHealthy"], found["expectedPods"]) == expected


@pytest.mark.parametrize(("limit", "expected"), [(0, []), (1, ["c", "a"]), (2, ["c"]), (3, []), (4, [])])
def test_finished_pods_beyond_the_limit(limit: int, expected: list[str]) -> None:
    ends = {"a": ("2026-01-02", "Succeeded"), "b": ("2026-01-03", "Failed"), "c": ("2026-01-01", "Failed")}
    pods = [
        {"metadata": {"name": name, "creationTimestamp": time}, "spec": {}, "status": {"phase": phase}}
        for name, (time, phase) in ends.items()
    ]
    running = {"metadata": {"name": "d"}, "spec": {}, "status": {"phase": "Running"}}
    assert [pod["metadata"]["name"] for pod in podgc.surplus([*pods, running], limit)] == expected


class TestOwnerGraph:
    def node(self, uid: str, *owner_uids: str, **meta: Any) -> Any:
        refs = [
            {"apiVersion": "v1", "kind": "Pod", "name": u, "uid": u, "blockOwnerDeletion": True} for u in owner_uids
        ]
        return node_of(PODS, {"name": uid, "uid": uid, "namespace": "t", "ownerReferences": refs, **meta})

    def test_dependents_of_what_goes_are_looked_at(self) -> None:
        graph = Graph()
        assert graph.seen(self.node("child", "parent")).delete == {"child"}
        assert graph.gone("parent").delete == {"child"}
        assert graph.gone("child").delete == set()
        assert not graph.nodes

    def test_a_foreground_owner_waits_for_what_blocks(self) -> None:
        graph = Graph()
        graph.seen(self.node("child", "parent"))
        work = graph.seen(self.node("parent", deletionTimestamp="x", finalizers=["foregroundDeletion"]))
        assert work.delete == {"parent", "child"}
        assert [n.uid for n in graph.blocking("parent")] == ["child"]
        assert graph.gone("child").delete == {"parent"}

    @pytest.mark.parametrize(
        ("states", "dependents", "keep", "policy"),
        [
            (("solid", "solid"), False, None, ""),
            (("solid", "absent"), False, ["a"], ""),
            (("solid", "waiting"), True, ["a"], ""),
            (("absent", "absent"), False, None, "Background"),
            (("waiting", "absent"), False, None, "Background"),
            (("waiting", "absent"), True, None, "Foreground"),
        ],
    )
    def test_verdicts(self, states: tuple[str, str], dependents: bool, keep: list[str] | None, policy: str) -> None:
        verdict = judge(self.node("x", "a", "b"), dict(zip("ab", states, strict=True)), dependents)
        kept: list[Owner] | None = verdict.keep
        assert ([o.uid for o in kept] if kept is not None else None, verdict.policy) == (keep, policy)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"type": "ClusterIP"}, {"type": "NodePort"}, []),
        ({"type": "ClusterIP"}, {"type": "LoadBalancer"}, [("Type", "ClusterIP -> LoadBalancer")]),
        ({"type": "ClusterIP"}, {"type": "LoadBalancer", "loadBalancerClass": "a/b"}, []),
        ({}, {"ports": [{"port": 1}]}, []),
        (
            {"loadBalancerSourceRanges": ["10.0.0.0/8"]},
            {"loadBalancerSourceRanges": ["10.0.0.0/8", "192.0.2.0/24"], "healthCheckNodePort": 30000},
            [("LoadBalancerSourceRanges", "[10.0.0.0/8] -> [10.0.0.0/8 192.0.2.0/24]")],
        ),
        ({}, {"loadBalancerIP": "192.0.2.1"}, [("LoadbalancerIP", " -> 192.0.2.1")]),
        ({}, {"healthCheckNodePort": 30000}, [("HealthCheckNodePort", "0 -> 30000")]),
    ],
)
def test_what_is_told_of_a_changed_load_balancer(
    old: dict[str, Any], new: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    before, after = ({"metadata": {}, "spec": {"type": "LoadBalancer", **spec}} for spec in (old, new))
    assert list(told_changes(before, after)) == told
