"""The other controllers on a real API: what a user sees of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from world import World, template, world

from switchboard.client import Cache
from switchboard.client.resources import (
    CONFIGMAPS,
    CONTROLLERREVISIONS,
    CRONJOBS,
    CUSTOMRESOURCEDEFINITIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCECLAIMS,
    RESOURCECLAIMTEMPLATES,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    SERVICES,
    STATEFULSETS,
    Resource,
)
from switchboard.controllers.base import Context
from switchboard.controllers.loadbalancer import FINALIZER, LoadBalancerController, LoadBalancerError
from switchboard.controllers.run import ControllerSettings
from switchboard.objects.errors import NotFound

Object = dict[str, Any]


async def gone(w: World, res: Resource, name: str) -> bool:
    try:
        await w.get(res, name)
    except NotFound:
        return True
    return False


async def slices(w: World, service: str) -> list[Object]:
    return await w.list(ENDPOINTSLICES, label_selector=f"kubernetes.io/service-name={service}")


async def listed(w: World, service: str, **conditions: bool) -> set[str]:
    return {
        e["targetRef"]["name"]
        for s in await slices(w, service)
        for e in s.get("endpoints") or ()
        if all(e["conditions"].get(k) == v for k, v in conditions.items())
    }


class TestServices:
    @pytest.mark.parametrize("wire", [False, True], ids=["in process", "over HTTP"])
    async def test_endpoints_follow_pods(self, wire: bool) -> None:
        async with world(wire=wire) as w:
            port = {"port": 80, "targetPort": 8080}
            await w.create(
                SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [port]}}
            )
            await w.until(lambda: slices(w, "web"))
            for name in ("a", "b"):
                await w.create(PODS, {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": template()["spec"]})

            async def both() -> bool:
                return await listed(w, "web", ready=True) == {"a", "b"}

            await w.until(both)
            assert len(await slices(w, "web")) == 1

            async def v1() -> bool:
                found = await w.get(ENDPOINTS, "web")
                return len(found["subsets"][0]["addresses"]) == 2

            await w.until(v1)
            await w.patch(PODS, "a", {"metadata": {"labels": {"app": "other"}}})

            async def only_b() -> bool:
                return await listed(w, "web") == {"b"}

            await w.until(only_b)
            w.hold_deleted = True
            await w.delete(PODS, "b")

            async def terminating() -> bool:
                return await listed(w, "web", terminating=True, serving=True, ready=False) == {"b"}

            await w.until(terminating)
            [piece] = await slices(w, "web")
            await w.delete(ENDPOINTSLICES, piece["metadata"]["name"])
            await w.until(lambda: slices(w, "web"))
            await w.delete(SERVICES, "web")

            async def none() -> bool:
                return not await slices(w, "web") and await gone(w, ENDPOINTS, "web")

            await w.until(none)

    async def test_topology_hints_follow_the_zones(self) -> None:
        async with world() as w:
            mode = {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}
            spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
            await w.create(SERVICES, {"metadata": {"name": "web", **mode}, "spec": spec})
            for name, node in (("a", "n1"), ("b", "n2"), ("c", "n1"), ("d", "n2")):
                pod = {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": template()["spec"]}
                pod["spec"]["nodeName"] = node
                await w.create(PODS, pod)
            disabled = "TopologyAwareHintsDisabled"

            async def said(reason: str, text: str) -> bool:
                return any(text in message for message in await w.events(reason))

            await w.until(lambda: said(disabled, "Insufficient Node information"))
            await w.create(NODES, {"metadata": {"name": "n2", "labels": {"topology.kubernetes.io/zone": "z2"}}})
            ready = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "2"}}
            for node in ("n1", "n2"):
                await w.patch(NODES, node, {"status": ready}, subresource="status")

            async def served(**zones: str) -> bool:
                ends = [e for s in await slices(w, "web") for e in s["endpoints"]]
                return {
                    e["targetRef"]["name"]: e.get("hints", {}).get("forZones", [{}])[0].get("name") for e in ends
                } == zones

            await w.until(lambda: served(a="z1", b="z2", c="z1", d="z2"))
            await w.until(lambda: said("TopologyAwareHintsEnabled", "has been enabled, addressType: IPv4"))
            await w.patch(SERVICES, "web", {"metadata": {"annotations": {"service.kubernetes.io/topology-mode": None}}})
            await w.until(lambda: said(disabled, "Topology Aware Hints has been disabled, addressType: IPv4"))

            async def none() -> bool:
                return not any("hints" in e for s in await slices(w, "web") for e in s["endpoints"])

            await w.until(none)

    async def test_custom_endpoints_are_mirrored(self) -> None:
        async with world() as w:
            await w.create(SERVICES, {"metadata": {"name": "ext"}, "spec": {"ports": [{"port": 80}]}})
            subset = {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
            await w.create(ENDPOINTS, {"metadata": {"name": "ext"}, "subsets": [subset]})

            async def mirrored(ip: str) -> bool:
                return [e["addresses"] for s in await slices(w, "ext") for e in s["endpoints"]] == [[ip]]

            await w.until(lambda: mirrored("10.1.2.3"))
            await w.patch(ENDPOINTS, "ext", {"subsets": [{**subset, "addresses": [{"ip": "10.2.3.4"}]}]})
            await w.until(lambda: mirrored("10.2.3.4"))
            await w.delete(ENDPOINTS, "ext")

            async def none() -> bool:
                return not await slices(w, "ext")

            await w.until(none)

    async def test_load_balancer_addresses(self) -> None:
        def balanced(name: str, **spec: Any) -> Object:
            body = {"type": "LoadBalancer", "selector": {"app": "x"}, "ports": [{"port": 80}], **spec}
            return {"metadata": {"name": name}, "spec": body}

        async def address(w: World, name: str) -> str:
            status = (await w.get(SERVICES, name))["status"]
            [entry] = status["loadBalancer"]["ingress"]
            assert entry["ipMode"] == "VIP"
            return str(entry["ip"])

        async def spent(w: World, name: str) -> bool:
            return any("is spent" in text for text in await w.events("SyncLoadBalancerFailed"))

        async with world(ControllerSettings(load_balancer_pools=("192.0.2.0/30",))) as w:
            await w.create(SERVICES, balanced("foreign", loadBalancerClass="example.com/other"))
            await w.create(SERVICES, balanced("wish", loadBalancerIP="192.0.2.2"))
            assert await w.until(lambda: address(w, "wish")) == "192.0.2.2"
            await w.create(SERVICES, balanced("first"))
            assert await w.until(lambda: address(w, "first")) == "192.0.2.1"
            await w.create(SERVICES, balanced("late"))
            await w.until(lambda: spent(w, "late"))
            await w.delete(SERVICES, "wish")
            assert await w.until(lambda: address(w, "late")) == "192.0.2.2"
            assert not (await w.get(SERVICES, "foreign"))["status"]["loadBalancer"]
            assert "Ensured load balancer" in await w.events("EnsuredLoadBalancer")
            assert "Ensuring load balancer" in await w.events("EnsuringLoadBalancer")
            assert (await w.get(SERVICES, "late"))["metadata"]["finalizers"] == [FINALIZER]
            assert not (await w.get(SERVICES, "foreign"))["metadata"].get("finalizers")
            await w.patch(SERVICES, "late", {"spec": {"type": "ClusterIP"}})

            async def released() -> bool:
                late = await w.get(SERVICES, "late")
                return not late["status"]["loadBalancer"] and not late["metadata"].get("finalizers")

            async def told(reason: str, message: str) -> bool:
                return message in await w.events(reason)

            await w.until(released)
            await w.until(lambda: told("Type", "LoadBalancer -> ClusterIP"))
            await w.until(lambda: told("DeletingLoadBalancer", "Deleting load balancer"))
            await w.patch(SERVICES, "first", {"spec": {"externalTrafficPolicy": "Local"}})
            await w.until(lambda: told("ExternalTrafficPolicy", "Cluster -> Local"))

    async def test_a_provider_that_is_turned_off(self) -> None:
        """What we made is taken back, so that nobody waits for us; nothing new is made, and others' finalizers stay."""
        body = {"type": "LoadBalancer", "ports": [{"port": 80}]}

        async def controlled(w: World, pools: tuple[str, ...]) -> list[asyncio.Task[None]]:
            cache = Cache(w.client)
            controller = LoadBalancerController(Context(cache, ControllerSettings(load_balancer_pools=pools)))
            return [asyncio.create_task(cache.run()), asyncio.create_task(controller.run())]

        async def end(jobs: list[asyncio.Task[None]]) -> None:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

        async def free(w: World, name: str) -> bool:
            now = await w.get(SERVICES, name)
            return not now["status"]["loadBalancer"] and not now["metadata"].get("finalizers")

        async def balanced(w: World) -> bool:
            return bool((await w.get(SERVICES, "ours"))["status"]["loadBalancer"])

        async with world(ControllerSettings(without=frozenset({"service-lb"}))) as w:
            on = await controlled(w, ("192.0.2.0/30",))
            await w.create(SERVICES, {"metadata": {"name": "ours"}, "spec": body})
            await w.until(lambda: balanced(w))
            await end(on)
            await w.create(SERVICES, {"metadata": {"name": "theirs", "finalizers": [FINALIZER]}, "spec": body})
            await w.create(SERVICES, {"metadata": {"name": "new"}, "spec": body})
            await w.delete(SERVICES, "ours")  # waits for us now
            assert (await w.get(SERVICES, "ours"))["metadata"]["deletionTimestamp"]
            off = await controlled(w, ())
            await w.until(lambda: gone(w, SERVICES, "ours"))
            assert await free(w, "new")
            await w.delete(SERVICES, "theirs")
            await w.create(SERVICES, {"metadata": {"name": "last", "finalizers": ["example.com/x"]}, "spec": body})
            assert (await w.get(SERVICES, "theirs"))["metadata"]["finalizers"] == [FINALIZER]
            await end(off)

    async def test_a_provider_that_fails_to_release(self) -> None:
        """A Service is not gone before its load balancer is, however often that has to be tried."""

        class Cloud:
            made: ClassVar[list[str]] = []
            tries = 0

            async def ensure(self, service: Object, others: Iterable[Object]) -> list[Object]:
                self.made.append(service["metadata"]["name"])
                return [{"hostname": "lb.example.com"}]

            async def release(self, service: Object) -> None:
                self.tries += 1
                if self.tries < 3:
                    raise LoadBalancerError("the cloud is busy")
                self.made.clear()

        cloud = Cloud()
        async with world(ControllerSettings(without=frozenset({"service-lb"}))) as w:
            cache = Cache(w.client)
            controller = LoadBalancerController(Context(cache), cloud)
            jobs = [asyncio.create_task(cache.run()), asyncio.create_task(controller.run())]
            body = {"type": "LoadBalancer", "ports": [{"port": 80}]}
            await w.create(SERVICES, {"metadata": {"name": "far"}, "spec": body})

            async def there() -> bool:
                ingress = (await w.get(SERVICES, "far"))["status"]["loadBalancer"].get("ingress") or [{}]
                return bool(ingress[0].get("hostname") == "lb.example.com")

            await w.until(there)
            assert FINALIZER in (await w.get(SERVICES, "far"))["metadata"]["finalizers"]
            await w.delete(SERVICES, "far")
            await w.until(lambda: gone(w, SERVICES, "far"))
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            assert cloud.tries == 3 and not cloud.made


class TestWorkloads:
    async def test_replication_controller(self) -> None:
        async with world() as w:
            spec = {"replicas": 2, "selector": {"app": "web"}, "template": template()}
            await w.create(REPLICATIONCONTROLLERS, {"metadata": {"name": "rc"}, "spec": spec})

            async def done() -> bool:
                return (await w.get(REPLICATIONCONTROLLERS, "rc"))["status"].get("readyReplicas") == 2

            await w.until(done)
            await w.delete(REPLICATIONCONTROLLERS, "rc", propagationPolicy="Orphan")
            await w.until(lambda: gone(w, REPLICATIONCONTROLLERS, "rc"))
            assert len(await w.list(PODS)) == 2

    async def test_stateful_set(self) -> None:
        async with world() as w:
            started: list[str] = []
            w.ready = lambda pod: started.append(pod["metadata"]["name"]) or True  # type: ignore[func-returns-value]
            claim = {
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }
            mounted = template("db")
            mounted["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
            spec = {
                "replicas": 3,
                "serviceName": "db",
                "selector": {"matchLabels": {"app": "db"}},
                "template": mounted,
                "volumeClaimTemplates": [claim],
            }
            await w.create(STATEFULSETS, {"metadata": {"name": "db"}, "spec": spec})

            async def ready(number: int) -> Object | None:
                found = await w.get(STATEFULSETS, "db")
                status = found.get("status") or {}
                same = status.get("currentRevision") == status.get("updateRevision")
                return found if status.get("readyReplicas") == number == status.get("replicas") and same else None

            await w.until(lambda: ready(3))
            assert list(dict.fromkeys(started)) == ["db-0", "db-1", "db-2"]
            assert [c["metadata"]["name"] for c in await w.list(PERSISTENTVOLUMECLAIMS)] == [
                f"data-db-{n}" for n in range(3)
            ]
            pod = await w.get(PODS, "db-1")
            assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
            assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
            revision = (await w.get(STATEFULSETS, "db"))["status"]["currentRevision"]
            assert pod["metadata"]["labels"]["controller-revision-hash"] == revision
            held = await w.get(CONTROLLERREVISIONS, revision)
            assert revision == "db-" + held["metadata"]["labels"]["controller.kubernetes.io/hash"]
            old = {p["metadata"]["uid"] for p in await w.list(PODS)}
            started.clear()
            await w.patch(STATEFULSETS, "db", {"spec": {"template": {"metadata": {"annotations": {"x": "y"}}}}})

            async def renewed() -> bool:
                return bool(await ready(3)) and not old & {p["metadata"]["uid"] for p in await w.list(PODS)}

            await w.until(renewed)
            fresh = list(dict.fromkeys(started))
            assert fresh.index("db-2") < fresh.index("db-0")
            assert len(await w.list(CONTROLLERREVISIONS)) == 2
            await w.patch(STATEFULSETS, "db", {"spec": {"replicas": 1}})

            async def one() -> bool:
                return [p["metadata"]["name"] for p in await w.list(PODS)] == ["db-0"]

            await w.until(one)
            assert len(await w.list(PERSISTENTVOLUMECLAIMS)) == 3, "claims stay"

    async def test_daemon_set(self) -> None:
        async with world(node=False) as w:
            await w.client.create(NODES, {"metadata": {"name": "n2", "labels": {"disk": "ssd"}}})
            spec = {"selector": {"matchLabels": {"app": "d"}}, "template": template("d", nodeSelector={"disk": "ssd"})}
            await w.create(DAEMONSETS, {"metadata": {"name": "d"}, "spec": spec})
            pods = await w.until(lambda: w.list(PODS))
            terms = pods[0]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert terms["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["n2"]
            await w.client.patch(NODES, "n1", {"metadata": {"labels": {"disk": "ssd"}}})

            async def desired(number: int) -> bool:
                status = (await w.get(DAEMONSETS, "d"))["status"]
                return status["desiredNumberScheduled"] == number == len(await w.list(PODS))

            await w.until(lambda: desired(2))
            await w.client.patch(NODES, "n2", {"metadata": {"labels": {"disk": None}}})
            await w.until(lambda: desired(1))

    async def test_job(self) -> None:
        async with world() as w:

            async def finish(phase: str, only: int | None = None) -> None:
                for pod in await w.list(PODS):
                    if pod["spec"].get("nodeName") and (pod.get("status") or {}).get("phase") == "Running":
                        await w.set_ready(pod, False, phase)

            spec = {"completions": 3, "parallelism": 2, "template": template("j", restartPolicy="Never")}
            spec["completionMode"] = "Indexed"
            await w.create(JOBS, {"metadata": {"name": "j"}, "spec": spec})

            async def complete() -> Object | None:
                await finish("Succeeded")
                job = await w.get(JOBS, "j")
                done = [c["type"] for c in (job.get("status") or {}).get("conditions") or ()]
                return job if "Complete" in done else None

            job = await w.until(complete)
            assert (job["status"]["succeeded"], job["status"]["completedIndexes"]) == (3, "0-2")
            assert job["status"]["completionTime"]
            indexes = {
                p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for p in await w.list(PODS)
            }
            assert indexes == {"0", "1", "2"}
            assert await w.events("Completed") == ["Job completed"]

            async def untracked() -> bool:
                return not any(p["metadata"].get("finalizers") for p in await w.list(PODS))

            await w.until(untracked)

    async def test_job_that_fails_and_one_that_is_cleaned_up(self) -> None:
        async with world() as w:

            async def play(name: str, phase: str, type_: str) -> bool:
                for pod in await w.list(PODS, label_selector=f"job-name={name}"):
                    if pod["spec"].get("nodeName") and (pod.get("status") or {}).get("phase") == "Running":
                        await w.set_ready(pod, False, phase)
                job = await w.get(JOBS, name)
                return any(c["type"] == type_ for c in (job.get("status") or {}).get("conditions") or ())

            never = template("j", restartPolicy="Never")
            await w.create(JOBS, {"metadata": {"name": "bad"}, "spec": {"backoffLimit": 0, "template": never}})
            await w.until(lambda: play("bad", "Failed", "Failed"))
            job = await w.get(JOBS, "bad")
            assert job["status"]["failed"] == 1
            assert {c["reason"] for c in job["status"]["conditions"]} == {"BackoffLimitExceeded"}
            await w.create(
                JOBS, {"metadata": {"name": "brief"}, "spec": {"ttlSecondsAfterFinished": 0, "template": never}}
            )
            with pytest.raises(NotFound):
                async with asyncio.timeout(10):
                    while True:
                        await play("brief", "Succeeded", "never")
                        await asyncio.sleep(0.005)

    async def test_suspended_job(self) -> None:
        async with world() as w:
            spec = {"suspend": True, "template": template("j", restartPolicy="Never")}
            await w.create(JOBS, {"metadata": {"name": "s"}, "spec": spec})
            await w.until(lambda: w.events("Suspended"))
            assert not await w.list(PODS)
            await w.patch(JOBS, "s", {"spec": {"suspend": False}})
            await w.until(lambda: w.list(PODS))

    async def test_cron_job(self) -> None:
        async with world() as w:
            job = {"spec": {"template": template("c", restartPolicy="Never")}}
            spec = {"schedule": "@every 1s", "jobTemplate": job, "concurrencyPolicy": "Forbid"}
            await w.create(CRONJOBS, {"metadata": {"name": "c"}, "spec": spec})
            [made] = await w.until(lambda: w.list(JOBS))
            assert made["metadata"]["name"].startswith("c-")

            async def active() -> bool:
                status = (await w.get(CRONJOBS, "c"))["status"]
                return len(status["active"]) == 1 and bool(status["lastScheduleTime"])

            await w.until(active)

    async def test_budget(self) -> None:
        async with world() as w:
            spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template()}
            await w.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec})
            budget = {"maxUnavailable": "34%", "selector": {"matchLabels": {"app": "web"}}}
            await w.create(PODDISRUPTIONBUDGETS, {"metadata": {"name": "web"}, "spec": budget})

            async def allowed() -> bool:
                status = (await w.get(PODDISRUPTIONBUDGETS, "web"))["status"]
                return (status["disruptionsAllowed"], status["expectedPods"], status["currentHealthy"]) == (2, 3, 3)

            await w.until(allowed)


class TestHousekeeping:
    async def test_quota(self) -> None:
        async with world() as w:
            await w.until(lambda: w.get(SERVICEACCOUNTS, "default"))
            hard = {"pods": "5", "requests.cpu": "2", "services.nodeports": "3", "count/configmaps": "9"}
            await w.create(RESOURCEQUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
            container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}}
            await w.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [container]}})
            await w.create(SERVICES, {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
            number = len(await w.list(CONFIGMAPS))

            async def used() -> bool:
                status = (await w.get(RESOURCEQUOTAS, "q"))["status"]
                want = {"pods": "1", "requests.cpu": "500m", "services.nodeports": "1", "count/configmaps": str(number)}
                return bool(status["hard"] == hard and status["used"] == want)

            await w.until(used)

    async def test_namespaces_are_born_and_emptied(self) -> None:
        async with world(ControllerSettings(root_ca="CA")) as w:
            found = await w.until(lambda: w.get(CONFIGMAPS, "kube-root-ca.crt"))
            assert found["data"] == {"ca.crt": "CA"}
            await w.until(lambda: w.get(SERVICEACCOUNTS, "default"))
            await w.delete(SERVICEACCOUNTS, "default")
            await w.until(lambda: w.get(SERVICEACCOUNTS, "default"))
            await w.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "other"}})

            async def mended() -> bool:
                return bool((await w.get(CONFIGMAPS, "kube-root-ca.crt"))["data"]["ca.crt"] == "CA")

            await w.until(mended)
            crd = {
                "metadata": {"name": "widgets.example.com"},
                "spec": {
                    "group": "example.com",
                    "scope": "Namespaced",
                    "names": {"plural": "widgets", "kind": "Widget"},
                    "versions": [
                        {
                            "name": "v1",
                            "served": True,
                            "storage": True,
                            "schema": {
                                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                            },
                        }
                    ],
                },
            }
            await w.client.create(CUSTOMRESOURCEDEFINITIONS, crd)
            widgets = Resource("example.com", "v1", "widgets", "Widget", True)

            async def made() -> bool:
                await w.create(widgets, {"metadata": {"name": "w", "finalizers": ["example.com/hold"]}})
                return True

            await w.until(made)
            spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template()}
            await w.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec})
            await w.create(
                SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
            )
            await w.until(lambda: w.list(PODS))
            await w.client.delete(NAMESPACES, "t")

            async def stuck() -> bool:
                status = (await w.client.get(NAMESPACES, "t"))["status"]
                texts = {c["type"]: c["message"] for c in status["conditions"] if c["status"] == "True"}
                return "example.com/hold in 1 resource instances" in texts.get("NamespaceFinalizersRemaining", "")

            await w.until(stuck)
            await w.client.patch(widgets, "w", {"metadata": {"finalizers": None}}, "t")

            async def away() -> bool:
                try:
                    await w.client.get(NAMESPACES, "t")
                except NotFound:
                    return True
                return False

            await w.until(away)

    @pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
    async def test_deletion_of_an_owner(self, policy: str) -> None:
        async with world() as w:
            spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template()}
            await w.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec})

            async def pods(number: int) -> bool:
                return len(await w.list(PODS)) == number

            await w.until(lambda: pods(2))
            await w.delete(DEPLOYMENTS, "web", propagationPolicy=policy)
            await w.until(lambda: gone(w, DEPLOYMENTS, "web"))
            if policy == "Orphan":
                [rs] = await w.list(REPLICASETS)
                assert not rs["metadata"].get("ownerReferences")
                assert await pods(2)
            else:
                if policy == "Foreground":
                    assert not await w.list(REPLICASETS), "the owner goes last"
                await w.until(lambda: pods(0))

    async def test_an_owner_that_never_was_and_one_of_two(self) -> None:
        async with world() as w:
            owner = await w.create(CONFIGMAPS, {"metadata": {"name": "owner"}})
            real = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
            false = {**real, "uid": "00000000-0000-0000-0000-000000000000"}
            await w.create(CONFIGMAPS, {"metadata": {"name": "orphan", "ownerReferences": [false]}})
            await w.create(CONFIGMAPS, {"metadata": {"name": "half", "ownerReferences": [real, false]}})
            await w.until(lambda: gone(w, CONFIGMAPS, "orphan"))

            async def mended() -> bool:
                return (await w.get(CONFIGMAPS, "half"))["metadata"]["ownerReferences"] == [real]

            await w.until(mended)
            await w.delete(CONFIGMAPS, "owner")
            await w.until(lambda: gone(w, CONFIGMAPS, "half"))

    async def test_a_node_that_is_lost_and_comes_back(self) -> None:
        async with world(ControllerSettings(node_grace=0.3, node_period=0.05)) as w:
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
            for name in ("n1", "n2"):
                if name == "n2":
                    await w.client.create(NODES, {"metadata": {"name": name}})
                await w.client.patch(NODES, name, {"status": {"conditions": [ready]}}, subresource="status")
            await w.until(lambda: w.get(SERVICEACCOUNTS, "default"))
            pod = {
                "metadata": {"name": "p"},
                "spec": {
                    **template()["spec"],
                    "tolerations": [
                        {
                            "key": "node.kubernetes.io/unreachable",
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": 0,
                        }
                    ],
                },
            }
            await w.create(PODS, pod)

            async def beat() -> None:
                lease = {"metadata": {"name": "n2", "namespace": "kube-node-lease"}, "spec": {}}
                await w.client.create(LEASES, lease)
                for n in range(10_000):
                    now = {"spec": {"renewTime": f"2026-01-01T00:00:00.{n:06d}Z"}}
                    await w.client.patch(LEASES, "n2", now, "kube-node-lease")
                    await asyncio.sleep(0.05)

            alive = asyncio.create_task(beat())

            async def lost() -> Object | None:
                node = await w.client.get(NODES, "n1")
                keys = {(t["key"], t["effect"]) for t in node["spec"].get("taints") or ()}
                wanted = {("node.kubernetes.io/unreachable", e) for e in ("NoSchedule", "NoExecute")}
                return node if wanted <= keys else None

            node = await w.until(lost)
            [condition] = [c for c in node["status"]["conditions"] if c["type"] == "Ready"]
            assert (condition["status"], condition["reason"]) == ("Unknown", "NodeStatusUnknown")
            await w.until(lambda: gone(w, PODS, "p"))
            other = await w.client.get(NODES, "n2")
            assert not other["spec"].get("taints")
            back = {"status": {"conditions": [{**ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}}
            await w.client.patch(NODES, "n1", back, subresource="status", kind="strategic")

            async def untainted() -> bool:
                return not (await w.client.get(NODES, "n1"))["spec"].get("taints")

            await w.until(untainted)
            alive.cancel()

    async def test_volumes(self, tmp_path: Path) -> None:
        async with world(ControllerSettings(host_path=str(tmp_path))) as w:
            spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            await w.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "c"}, "spec": spec})

            async def bound() -> Object | None:
                claim = await w.get(PERSISTENTVOLUMECLAIMS, "c")
                return claim if claim["status"]["phase"] == "Bound" else None

            claim = await w.until(bound)
            volume = await w.get(PERSISTENTVOLUMES, claim["spec"]["volumeName"])
            folder = Path(volume["spec"]["hostPath"]["path"])
            assert folder.is_dir()
            assert claim["spec"]["storageClassName"] == "standard"
            await w.delete(PERSISTENTVOLUMECLAIMS, "c")
            await w.until(lambda: gone(w, PERSISTENTVOLUMES, volume["metadata"]["name"]))
            assert not folder.exists()

    async def test_claims_of_devices_are_made_from_templates(self) -> None:
        async with world() as w:
            spec = {**template()["spec"], "resourceClaims": [{"name": "dev", "resourceClaimTemplateName": "gpu"}]}
            await w.until(lambda: w.get(SERVICEACCOUNTS, "default"))
            made = await w.create(PODS, {"metadata": {"name": "p"}, "spec": spec})

            async def said() -> bool:
                return any(e["reason"] == "FailedResourceClaimCreation" for e in await w.list(EVENTS))

            await w.until(said)  # there is no such template yet
            request = {"name": "r", "exactly": {"deviceClassName": "gpu.example.com"}}
            body = {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {"requests": [request]}}}
            await w.create(RESOURCECLAIMTEMPLATES, {"metadata": {"name": "gpu"}, "spec": body})

            async def told() -> Object | None:
                return (await w.get(PODS, "p"))["status"].get("resourceClaimStatuses")

            [entry] = await w.until(told)
            [claim] = await w.list(RESOURCECLAIMS)
            assert entry == {"name": "dev", "resourceClaimName": claim["metadata"]["name"]}
            assert claim["metadata"]["name"].startswith("p-dev-") and claim["metadata"]["labels"] == {"a": "b"}
            assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/pod-claim-name": "dev"}
            assert claim["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
            assert claim["spec"]["devices"]["requests"][0]["name"] == "r"

    async def test_pods_that_nobody_takes_care_of(self) -> None:
        async with world(ControllerSettings(finished_pods=1), node=False) as w:
            await w.until(lambda: w.get(SERVICEACCOUNTS, "default"))
            for name in ("a", "b"):
                pod = await w.create(
                    PODS, {"metadata": {"name": name}, "spec": {**template()["spec"], "nodeName": "n1"}}
                )
                await w.set_ready(pod, False, "Succeeded")
            await w.client.create(NODES, {"metadata": {"name": "n9"}})
            await w.client.delete(NODES, "n9")

            async def one() -> bool:
                return [p["metadata"]["name"] for p in await w.list(PODS)] == ["b"]

            await w.until(one)
