"""HorizontalPodAutoscaler: the numbers as tables, and a real API whose metrics the test writes."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import pytest
from world import World, template, world

from switchboard.client.resources import (
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    PODS,
    STATEFULSETS,
    Resource,
)
from switchboard.controllers.podmetrics import PODMETRICS, duration, samples
from switchboard.controllers.replicacalc import MetricError, Sample, Tolerances, by_utilization, by_value
from switchboard.controllers.scalinglimits import Bounds, History, limit
from switchboard.controllers.times import stamp

Object = dict[str, Any]
NOW = 1_800_000_000.0


def pod(
    name: str,
    *,
    ready: bool | None = True,
    age: float = 3600,
    phase: str = "Running",
    ask: str = "1",
    after: float = 10,
) -> Object:
    """A pod that asks for `ask` of CPU and became what it is `after` seconds after its start."""
    status: Object = {"phase": phase, "startTime": stamp(NOW - age)}
    if ready is not None:
        changed = stamp(NOW - age + after)
        status["conditions"] = [{"type": "Ready", "status": str(ready), "lastTransitionTime": changed}]
    containers = [{"name": "c", "resources": {"requests": {"cpu": ask}} if ask else {}}]
    return {"metadata": {"name": name}, "spec": {"containers": containers}, "status": status}


def uses(**milli: int) -> dict[str, Sample]:
    return {name: Sample(value, NOW - 5, 30) for name, value in milli.items()}


class TestReplicas:
    @pytest.mark.parametrize(
        ("used", "current", "percent", "want"),
        [
            (uses(a=300, b=500, c=700), 3, 30, 5),  # upstream's TestReplicaCalcScaleUp
            (uses(a=100, b=300, c=500, d=250, e=250), 5, 50, 3),
            (uses(a=1010, b=1030, c=1020), 3, 100, 3),  # within tolerance
            (uses(a=890, b=890), 2, 100, 2),  # 11 % below: ceil(1.78)
            (uses(a=1110, b=1110), 2, 100, 3),
            (uses(a=0, b=0), 2, 50, 0),
        ],
    )
    def test_ratio_of_requests(self, used: dict[str, Sample], current: int, percent: int, want: int) -> None:
        pods = [pod(name) for name in used]
        assert by_utilization(current, percent, "cpu", pods, used, NOW).replicas == want

    @pytest.mark.parametrize(
        ("pods", "used", "want"),
        [
            # Missing pods hold back: idle when scaling up, at their request when scaling down.
            ([pod("a"), pod("b"), pod("c")], uses(a=900, b=900), 4),
            ([pod("a"), pod("b"), pod("c")], uses(a=100, b=100), 3),
            # Unready pods count as idle when scaling up and not at all when scaling down.
            ([pod("a"), pod("b"), pod("c", ready=False, age=60)], uses(a=900, b=900, c=900), 4),
            ([pod("a"), pod("b", phase="Pending")], uses(a=100), 1),
            # Unready after it was ready: its usage counts.
            ([pod("a"), pod("b", ready=False, after=100)], uses(a=900, b=900), 4),
            ([pod("a"), pod("b", ready=False)], uses(a=900, b=900), 3),
            # On its way out, or failed: as if it were not there.
            ([pod("a"), pod("b", phase="Failed")], uses(a=500, b=5000), 3),
        ],
    )
    def test_unready_and_missing(self, pods: list[Object], used: dict[str, Sample], want: int) -> None:
        found = by_utilization(3, 50, "cpu", pods, used, NOW)
        assert found.replicas == want

    def test_startup_cpu_is_ignored(self) -> None:
        """The only sample was taken over a window that began before the pod was ready."""
        young = pod("a", age=30)
        with pytest.raises(MetricError, match="did not receive metrics for targeted pods"):
            by_utilization(1, 50, "cpu", [young], {"a": Sample(900, NOW - 5, 30)}, NOW)
        assert by_utilization(1, 50, "memory", [_asks(young, "memory")], uses(a=900), NOW).replicas == 2

    def test_request_missing(self) -> None:
        with pytest.raises(MetricError, match="missing request for cpu in container c of Pod a"):
            by_utilization(1, 50, "cpu", [pod("a", ask="")], uses(a=900), NOW)

    def test_by_value(self) -> None:
        used, pods = uses(a=300, b=500), [pod("a"), pod("b")]
        found = by_value(2, 100, "cpu", pods, used, NOW)
        assert (found.replicas, found.average, found.utilization) == (8, 400, None)

    def test_tolerance_of_each_way(self) -> None:
        used, pods = uses(a=1150), [pod("a")]
        assert by_utilization(1, 100, "cpu", pods, used, NOW, tolerances=Tolerances(up=0.2)).replicas == 1
        assert by_utilization(1, 100, "cpu", pods, used, NOW, tolerances=Tolerances(down=0.2)).replicas == 2


def _asks(one: Object, resource: str) -> Object:
    containers = [{"name": "c", "resources": {"requests": {resource: "1"}}}]
    return {**one, "spec": {"containers": containers}}


class TestMetrics:
    ITEM: ClassVar[Object] = {
        "metadata": {"name": "a", "namespace": "t"},
        "timestamp": "2027-01-15T08:00:00Z",
        "window": "1m30.5s",
        "containers": [{"name": "x", "usage": {"cpu": "250m"}}, {"name": "y", "usage": {"cpu": "1500000n"}}],
    }

    def test_samples(self) -> None:
        assert samples([self.ITEM], "cpu")["a"] == Sample(252, 1800000000.0, 90.5)
        assert samples([self.ITEM], "cpu", "y")["a"].value == 2
        assert samples([self.ITEM], "memory") == {}
        with pytest.raises(MetricError, match="container z not present in metrics for pod t/a"):
            samples([self.ITEM], "cpu", "z")

    @pytest.mark.parametrize(("text", "want"), [("15s", 15), ("1h2m3s", 3723), ("500ms", 0.5), ("0s", 0)])
    def test_duration(self, text: str, want: float) -> None:
        assert duration(text) == want


def rules(*policies: tuple[str, int, int], **more: Any) -> Object:
    return {"policies": [{"type": t, "value": v, "periodSeconds": p} for t, v, p in policies], **more}


_DEFAULT = {
    "scaleUp": rules(("Pods", 4, 15), ("Percent", 100, 15), stabilizationWindowSeconds=0),
    "scaleDown": rules(("Percent", 100, 15)),
}


class TestLimits:
    @pytest.mark.parametrize(
        ("current", "desired", "behavior", "want", "reason"),
        [
            (1, 3, None, 3, "DesiredWithinRange"),
            (1, 9, None, 4, "ScaleUpLimit"),
            (3, 50, None, 6, "ScaleUpLimit"),
            (8, 50, None, 10, "TooManyReplicas"),
            (3, 1, None, 2, "TooFewReplicas"),
            (1, 9, _DEFAULT, 5, "ScaleUpLimit"),
            (8, 50, _DEFAULT, 10, "TooManyReplicas"),
            (3, 9, {"scaleUp": rules(("Percent", 10, 60)), "scaleDown": {}}, 4, "ScaleUpLimit"),
            (3, 9, {"scaleUp": rules(("Pods", 1, 60), ("Percent", 100, 60), selectPolicy="Min")}, 4, "ScaleUpLimit"),
            (3, 9, {"scaleUp": rules(("Pods", 1, 60), selectPolicy="Disabled")}, 3, "ScaleUpLimit"),
            (9, 2, {"scaleDown": rules(("Percent", 50, 60), stabilizationWindowSeconds=0)}, 4, "ScaleDownLimit"),
            (9, 2, {"scaleDown": rules(("Pods", 1, 60), stabilizationWindowSeconds=0)}, 8, "ScaleDownLimit"),
            (9, 1, {"scaleDown": rules(("Percent", 100, 60), stabilizationWindowSeconds=0)}, 2, "TooFewReplicas"),
            (9, 2, {"scaleDown": rules(selectPolicy="Disabled", stabilizationWindowSeconds=0)}, 9, "ScaleDownLimit"),
        ],
    )
    def test_bounds_and_policies(
        self, current: int, desired: int, behavior: Object | None, want: int, reason: str
    ) -> None:
        allowed, said = limit(current, desired, Bounds(2, 10), behavior, History(), NOW)
        assert (allowed, said[1][0], said[1][2]) == (want, "ScalingLimited", reason)
        assert said[1][1] == str(reason != "DesiredWithinRange")

    def test_scale_down_waits_for_the_window(self) -> None:
        history, bounds = History(), Bounds(1, 10)
        history.begin(5, NOW)
        for behavior in (None, _DEFAULT):
            allowed, said = limit(5, 1, bounds, behavior, history, NOW + 299)
            assert (allowed, said[0][2]) == (5, "ScaleDownStabilized")
        allowed, said = limit(5, 1, bounds, None, history, NOW + 301)
        assert (allowed, said[0][2]) == (1, "ReadyForNewScale")

    def test_scale_up_takes_the_lowest_of_its_window(self) -> None:
        history, behavior = History(), {"scaleUp": rules(("Pods", 9, 15), stabilizationWindowSeconds=60)}
        limit(2, 3, Bounds(1, 10), behavior, history, NOW)
        allowed, said = limit(2, 8, Bounds(1, 10), behavior, history, NOW + 30)
        assert (allowed, said[0][2]) == (3, "ScaleUpStabilized")
        assert limit(2, 8, Bounds(1, 10), behavior, history, NOW + 95)[0] == 8

    def test_a_policy_counts_what_was_done_in_its_period(self) -> None:
        history, behavior = History(), {"scaleUp": rules(("Pods", 2, 60))}
        assert limit(2, 9, Bounds(1, 10), behavior, history, NOW)[0] == 4
        history.scaled(2, 4, NOW, behavior)
        assert limit(4, 9, Bounds(1, 10), behavior, history, NOW + 30)[0] == 4
        assert limit(4, 9, Bounds(1, 10), behavior, history, NOW + 61)[0] == 6


def autoscaler(target: str = "web", kind: str = "Deployment", **spec: Any) -> Object:
    ref = {"apiVersion": "apps/v1", "kind": kind, "name": target}
    resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    metrics = [{"type": "Resource", "resource": resource}]
    return {
        "metadata": {"name": "auto"},
        "spec": {"scaleTargetRef": ref, "minReplicas": 1, "maxReplicas": 8, "metrics": metrics, **spec},
    }


def workload(**spec: Any) -> Object:
    one = template()
    one["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    selector = {"matchLabels": {"app": "web"}}
    return {"metadata": {"name": "web"}, "spec": {"selector": selector, "template": one, **spec}}


async def serve_metrics(w: World) -> None:
    """A metrics API whose objects the test writes."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"plural": "pods", "singular": "pod", "kind": "PodMetrics", "listKind": "PodMetricsList"}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "metrics.k8s.io", "scope": "Namespaced", "names": names, "versions": [version]}
    meta = {"name": "pods.metrics.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}}
    await w.create(CUSTOMRESOURCEDEFINITIONS, {"metadata": meta, "spec": spec})

    async def established() -> bool:
        return bool((await w.client.raw("GET", "/apis/metrics.k8s.io/v1beta1")).status == 200)

    await w.until(established)


async def measure(w: World, cpu: str) -> None:
    """Every pod uses this much."""
    for one in await w.list(PODS):
        meta = {"name": one["metadata"]["name"], "labels": one["metadata"].get("labels") or {}}
        at = stamp(time.time() + 60)  # later than any start
        usage = [{"name": "c", "usage": {"cpu": cpu, "memory": "10Mi"}}]
        await w.create(PODMETRICS, {"metadata": meta, "timestamp": at, "window": "15s", "containers": usage})


async def conditions(w: World) -> dict[str, tuple[str, str]]:
    status = (await w.get(HORIZONTALPODAUTOSCALERS, "auto")).get("status") or {}
    return {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions") or ()}


async def running(w: World, count: int) -> None:
    async def started() -> bool:
        pods = await w.list(PODS)
        return len(pods) == count and all((p.get("status") or {}).get("startTime") for p in pods)

    await w.until(started)


def start_times(w: World) -> None:
    """Pods of the test's node say when they started."""
    plain = w.set_ready

    async def with_start(one: Object, ready: bool, phase: str = "Running", **status: Any) -> None:
        if not (one.get("status") or {}).get("startTime"):
            status["startTime"] = stamp(time.time())
        await plain(one, ready, phase, **status)

    w.set_ready = with_start  # type: ignore[method-assign]


class TestLive:
    async def test_without_a_metrics_server(self) -> None:
        async with world() as w:
            await w.create(DEPLOYMENTS, workload(replicas=1))
            await running_plain(w, 1)
            await w.create(HORIZONTALPODAUTOSCALERS, autoscaler())

            async def told() -> Object | None:
                found = await conditions(w)
                return found if "ScalingActive" in found else None

            found = await w.until(told)
            assert found["AbleToScale"] == ("True", "SucceededGetScale")
            assert found["ScalingActive"] == ("False", "FailedGetResourceMetric")
            api = "unable to fetch metrics from resource metrics API: the server could not find the requested resource"
            words = f"unable to get metrics for resource cpu: {api} (get pods.metrics.k8s.io)"
            cause = f"failed to get cpu utilization: {words}"
            assert await w.until(lambda: w.events("FailedGetResourceMetric")) == [cause]
            first = f"failed to get cpu resource metric value: {cause}"
            summary = f"invalid metrics (1 invalid out of 1), first error is: {first}"
            assert await w.until(lambda: w.events("FailedComputeMetricsReplicas")) == [summary]

    @pytest.mark.parametrize(("kind", "res"), [("Deployment", DEPLOYMENTS), ("StatefulSet", STATEFULSETS)])
    async def test_scales_up(self, kind: str, res: Resource) -> None:
        async with world() as w:
            start_times(w)
            await serve_metrics(w)
            more = {"serviceName": "web"} if kind == "StatefulSet" else {}
            await w.create(res, workload(replicas=1, **more))
            await running(w, 1)
            await measure(w, "150m")
            await w.create(HORIZONTALPODAUTOSCALERS, autoscaler(kind=kind))

            async def scaled() -> bool:
                return bool((await w.get(res, "web"))["spec"]["replicas"] == 3)

            await w.until(scaled)
            words = "cpu resource utilization (percentage of request) above target"
            assert await w.until(lambda: w.events("SuccessfulRescale")) == [f"New size: 3; reason: {words}"]

            async def told() -> Object | None:
                status: Object = (await w.get(HORIZONTALPODAUTOSCALERS, "auto")).get("status") or {}
                return status if status.get("desiredReplicas") == 3 else None

            status = await w.until(told)
            current = {"averageUtilization": 150, "averageValue": "150m"}
            assert status["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
            assert status["lastScaleTime"]
            assert (await conditions(w))["ScalingActive"] == ("True", "ValidMetricFound")
            old = Resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True)
            assert (await w.get(old, "auto"))["status"]["currentCPUUtilizationPercentage"] == 150

    async def test_bounds_need_no_metrics_and_a_change_acts_at_once(self) -> None:
        async with world() as w:
            await w.create(DEPLOYMENTS, workload(replicas=1))
            await w.create(HORIZONTALPODAUTOSCALERS, autoscaler(minReplicas=2))
            for least, want in ((2, 2), (4, 4)):
                patch = {"spec": {"minReplicas": least}}
                await w.patch(HORIZONTALPODAUTOSCALERS, "auto", patch)

                async def sized(want: int = want) -> bool:
                    return bool((await w.get(DEPLOYMENTS, "web"))["spec"]["replicas"] == want)

                await w.until(sized, 5)
            reason = "Current number of replicas below Spec.MinReplicas"

            async def told() -> bool:
                return f"New size: 4; reason: {reason}" in await w.events("SuccessfulRescale")

            await w.until(told)

    @pytest.mark.parametrize(
        ("target", "kind", "want"),
        [
            ("none", "Deployment", 'deployments.apps "none" not found'),
            ("x", "Gadget", 'no matches for kind "Gadget" in'),
        ],
    )
    async def test_no_target(self, target: str, kind: str, want: str) -> None:
        async with world(node=False) as w:
            await w.create(HORIZONTALPODAUTOSCALERS, autoscaler(target, kind))
            said = await w.until(lambda: w.events("FailedGetScale"))
            assert want in said[0]

            async def told() -> bool:
                return (await conditions(w)).get("AbleToScale") == ("False", "FailedGetScale")

            await w.until(told)

    async def test_zero_replicas_switch_it_off(self) -> None:
        async with world(node=False) as w:
            await w.create(DEPLOYMENTS, workload(replicas=0))
            await w.create(HORIZONTALPODAUTOSCALERS, autoscaler())

            async def told() -> bool:
                return (await conditions(w)).get("ScalingActive") == ("False", "ScalingDisabled")

            await w.until(told)


async def running_plain(w: World, count: int) -> None:
    async def there() -> bool:
        return len(await w.list(PODS)) == count

    await w.until(there)
