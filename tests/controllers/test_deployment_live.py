"""Deployments on a real API: what kubectl shows of them."""

from __future__ import annotations

from typing import Any

from world import World, template, world

from switchboard.client.resources import DEPLOYMENTS, PODS, REPLICASETS

Object = dict[str, Any]


def deployment(name: str = "web", replicas: int = 3, **spec: Any) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name), **spec},
    }


async def done(w: World, name: str = "web") -> Object:
    async def look() -> Object | None:
        d = await w.get(DEPLOYMENTS, name)
        s, n = d.get("status") or {}, d["spec"]["replicas"]
        same = all(s.get(k, 0) == n for k in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"))
        return d if same and s.get("observedGeneration") == d["metadata"]["generation"] else None

    return await w.until(look)


async def test_the_life_of_a_deployment() -> None:
    async with world() as w:
        await w.create(DEPLOYMENTS, deployment())
        d = await done(w)
        [rs] = await w.list(REPLICASETS)
        name, digest = rs["metadata"]["name"], rs["metadata"]["labels"]["pod-template-hash"]
        assert name == f"web-{digest}"
        assert d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        for pod in await w.list(PODS):
            assert pod["metadata"]["name"].startswith(f"{name}-")
            assert len(pod["metadata"]["name"]) == len(name) + 6
            assert pod["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest}
        await w.until(lambda: _condition(w, "Progressing", "NewReplicaSetAvailable"))
        assert await w.events("ScalingReplicaSet") == [f"Scaled up replica set {name} from 0 to 3"]
        assert len(await w.events("SuccessfulCreate")) == 3

        await w.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}})
        await done(w)
        await w.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 2}})
        await done(w)
        await w.until(lambda: _texts(w, f"Scaled down replica set {name} from 5 to 2"))

        image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}}
        await w.patch(DEPLOYMENTS, "web", image, kind="strategic")
        d = await done(w)
        assert d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
        assert {len(await w.list(REPLICASETS)), len(await w.list(PODS))} == {2}

        # rollout undo: kubectl writes the old template back
        image["spec"]["template"]["spec"]["containers"][0]["image"] = "i:1"
        await w.patch(DEPLOYMENTS, "web", image, kind="strategic")
        d = await done(w)
        assert d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        again = await w.get(REPLICASETS, name)
        assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


async def _condition(w: World, type_: str, reason: str, name: str = "web") -> bool:
    status = (await w.get(DEPLOYMENTS, name)).get("status") or {}
    return any(c["type"] == type_ and c["reason"] == reason for c in status.get("conditions") or ())


async def _texts(w: World, text: str) -> bool:
    return text in await w.events("ScalingReplicaSet")


async def test_recreate_lets_the_old_go_first() -> None:
    async with world() as w:
        await w.create(DEPLOYMENTS, deployment(replicas=2, strategy={"type": "Recreate"}))
        await done(w)
        old = {pod["metadata"]["name"] for pod in await w.list(PODS)}
        w.hold_deleted = True
        await w.patch(DEPLOYMENTS, "web", {"spec": {"template": {"metadata": {"annotations": {"x": "y"}}}}})
        await w.until(lambda: _all_terminating(w))
        assert {pod["metadata"]["name"] for pod in await w.list(PODS)} == old, "none new while one old is there"
        w.hold_deleted = False
        for pod in await w.list(PODS):
            await w._play(pod)
        await done(w)
        assert not old & {pod["metadata"]["name"] for pod in await w.list(PODS)}


async def _all_terminating(w: World) -> bool:
    return all(pod["metadata"].get("deletionTimestamp") for pod in await w.list(PODS))


async def test_a_deadline_passes_and_a_pause_holds() -> None:
    async with world() as w:
        w.ready = lambda pod: False
        await w.create(DEPLOYMENTS, deployment(progressDeadlineSeconds=1))
        await w.until(lambda: _condition(w, "Progressing", "ProgressDeadlineExceeded"))
        assert await _condition(w, "Available", "MinimumReplicasUnavailable")
        await w.create(DEPLOYMENTS, deployment("held", paused=True))
        await w.until(lambda: _condition(w, "Progressing", "DeploymentPaused", "held"))
        assert all("held" not in rs["metadata"]["name"] for rs in await w.list(REPLICASETS))
        await w.patch(DEPLOYMENTS, "held", {"spec": {"paused": None}})
        await w.until(lambda: _sets(w, "held"))


async def _sets(w: World, name: str) -> list[str]:
    return [rs["metadata"]["name"] for rs in await w.list(REPLICASETS) if rs["metadata"]["name"].startswith(name)]


async def test_history_is_limited() -> None:
    async with world() as w:
        await w.create(DEPLOYMENTS, deployment(replicas=1, revisionHistoryLimit=1))
        await done(w)
        for value in "abc":
            await w.patch(DEPLOYMENTS, "web", {"spec": {"template": {"metadata": {"annotations": {"x": value}}}}})
            await done(w)
        await w.until(lambda: _count(w, 2))


async def _count(w: World, number: int) -> bool:
    return len(await w.list(REPLICASETS)) == number


async def test_lost_and_stray_pods() -> None:
    async with world() as w:
        await w.create(DEPLOYMENTS, deployment())
        await done(w)
        first, second, _ = await w.list(PODS)
        await w.delete(PODS, first["metadata"]["name"])
        await w.patch(PODS, second["metadata"]["name"], {"metadata": {"labels": {"app": "other"}}})
        await w.until(lambda: _released(w, second["metadata"]["name"]))
        await w.until(lambda: _owned(w, 3))
        # labelled back, it is adopted, and one too many goes
        await w.patch(PODS, second["metadata"]["name"], {"metadata": {"labels": {"app": "web"}}})
        await w.until(lambda: _all(w, 3))


async def _released(w: World, name: str) -> bool:
    return not (await w.get(PODS, name))["metadata"].get("ownerReferences")


async def _owned(w: World, number: int) -> bool:
    pods = [p for p in await w.list(PODS) if (p["metadata"].get("ownerReferences") or [{}])[0].get("uid")]
    return len([p for p in pods if not p["metadata"].get("deletionTimestamp")]) == number


async def _all(w: World, number: int) -> bool:
    return len(await w.list(PODS)) == number
