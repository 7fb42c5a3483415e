"""Resources of running pods follow their spec (KEP-1287): what is asked for becomes what is allocated when the node has
room for it, and what is allocated is written to the containers, or they are restarted for it.

What a container was made with stands in its annotation, what it was given since in the pod's status, so that a restart
of this process neither forgets nor repeats a change. Sources: pkg/kubelet/allocation/allocation_manager.go,
pkg/kubelet/kuberuntime/kuberuntime_manager.go computePodResizeAction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from switchboard.node import configs
from switchboard.node.lost import told_of
from switchboard.node.observed import Container, Observed
from switchboard.node.plan import is_sidecar
from switchboard.node.room import RESIZED, Room
from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.objects.podresources import amounts

Object = dict[str, Any]
Say = Callable[[str, str, str], None]  # event type, reason, message


class Resizer:
    """Resources of one pod's containers: asked for, allocated, in force."""

    def __init__(self, pod: Object, runtime: CriRuntime, room: Room, wake: Callable[[], None], say: Say) -> None:
        self._runtime, self._room, self._wake, self._say = runtime, room, wake, say
        self._uid = pod["metadata"]["uid"]
        self._told = pod
        self._force: dict[str, Object] = {}  # by container id
        self._allocated = {c["name"]: _told_resources(pod, c["name"]) or configs.asked(c) for c in resizable(pod)}
        self.whole = _told_whole(pod) or pod["spec"].get("resources")  # what the pod as a whole has been allocated
        self.pending: tuple[str, str] | None = None  # why what is asked for is not allocated
        self.error = ""  # why what is allocated is not in force
        self._begun = False

    def enter(self, pod: Object) -> None:
        """The pod is taken: it has room of its own from now on."""
        self._room.give(self._uid, self.allocated_pod(pod)["spec"])

    def allocated_pod(self, pod: Object) -> Object:
        """The pod with the resources it has been allocated instead of those it asks for."""
        spec = {**pod["spec"]}
        for part in ("containers", "initContainers"):
            if spec.get(part):
                spec[part] = [self._with_allocated(c) for c in spec[part]]
        if self.whole is not None:
            spec["resources"] = self.whole
        else:
            spec.pop("resources", None)
        return {**pod, "spec": spec}

    def _with_allocated(self, container: Object) -> Object:
        allocated = self._allocated.get(container["name"])
        return {**container, "resources": allocated} if allocated is not None else container

    def allocate(self, pod: Object) -> Object:
        """Give the pod what it asks for, if there is room; the pod with what it has now."""
        wanted = {c["name"]: configs.asked(c) for c in resizable(pod)}
        whole = pod["spec"].get("resources")
        unchanged = all(same(self._allocated.get(name, {}), asked) for name, asked in wanted.items())
        if unchanged and same(self.whole or {}, whole or {}):
            self._allocated, self.whole, self.pending = wanted, whole, None
            return pod
        before, self.pending = self.pending, self._room.shortage(self._uid, pod["spec"])
        if self.pending is None:
            self._allocated, self.whole, self._begun = wanted, whole, True
            self._room.give(self._uid, pod["spec"])
            self._say("Normal", "ResizeStarted", f"Pod resize started: {_summary(pod, wanted)}")
            return pod
        self._room.wait(self._uid, self._wake)
        if self.pending != before:
            reason, message = self.pending
            self._say("Warning", f"Resize{reason}", f"Pod resize {reason}: {_summary(pod, wanted)}; {message}")
        return self.allocated_pod(pod)

    async def follow(self, pod: Object, seen: Observed, memory: int) -> dict[str, str]:
        """Put into force what is allocated (`pod` has it); id -> message of containers to be restarted for it."""
        restarts: dict[str, str] = {}
        errors: list[str] = []
        for container in resizable(pod):
            latest = seen.latest(container["name"])
            if latest is None or not latest.running:
                continue
            before, wanted = self.in_force(latest), configs.asked(container)
            changed = changes(before, wanted)
            if needs_restart(container, changed):
                restarts[latest.id] = f"Container {container['name']} resize requires restart"
            elif changed and (why := await self._update(pod, container, latest, before, memory)):
                errors.append(why)
            else:
                self._force[latest.id] = wanted
        error = "; ".join(errors)
        if error and error != self.error:
            self._say("Warning", "ResizeError", f"Pod resize error: {error}")
        self.error = error
        if self._begun and not restarts and not errors:
            self._begun = False
            self._say("Normal", "ResizeCompleted", f"Pod resize completed: {_summary(pod, self._allocated)}")
        return restarts

    async def _update(self, pod: Object, container: Object, latest: Container, before: Object, memory: int) -> str:
        """Write new limits to a running container; why that cannot be done."""
        wanted = configs.resources(pod, container, memory)
        try:
            limit = wanted.get("memory_limit_in_bytes")
            if limit and limit < (amounts(before.get("limits")).get("memory") or limit + 1):
                used = await self._usage(latest.id)
                if used > limit:
                    who = f'container "{container["name"]}"'
                    return f"attempting to set {who} memory limit ({limit}) below current usage ({used})"
            await self._runtime.update_container(latest.id, unlimited(wanted))
        except RuntimeFailure as why:
            return str(why)
        return ""

    async def _usage(self, ident: str) -> int:
        stats = (s for s in await self._runtime.container_stats() if s.get("attributes", {}).get("id") == ident)
        return int(next(stats, {}).get("memory", {}).get("working_set_bytes", {}).get("value", 0))

    def in_force(self, container: Container) -> Object:
        """The resources a running container has."""
        known = self._force.get(container.id)
        if known is None:
            told = told_of(self._told, container.name) or {}
            if told.get("containerID") == f"containerd://{container.id}" and "resources" in told:
                known = told["resources"]
            elif container.asked:
                known = msgspec.json.decode(container.asked)
            else:
                known = self._allocated.get(container.name, {})
            self._force[container.id] = known
        return known

    def allocated(self, container: Object) -> Object:
        """What a container of the pod has been allocated."""
        return self._allocated.get(container["name"], configs.asked(container))

    def conditions(self, seen: Observed) -> Iterator[tuple[str, str, str]]:
        """(type, reason, message) of a resize that is not over."""
        if self.pending is not None:
            yield "PodResizePending", *self.pending
        running = (latest for name in self._allocated if (latest := seen.latest(name)) is not None and latest.running)
        if any(changes(self.in_force(c), self._allocated[c.name]) for c in running):
            yield "PodResizeInProgress", "Error" if self.error else "", self.error

    def forget(self, ident: str) -> None:
        """A container was removed."""
        self._force.pop(ident, None)

    def close(self) -> None:
        """The pod has ended."""
        self._room.leave(self._uid)


def resizable(pod: Object) -> list[Object]:
    """The containers whose resources may change: sidecars and the containers proper."""
    spec = pod["spec"]
    return [*(c for c in spec.get("initContainers") or () if is_sidecar(c)), *spec["containers"]]


def _told_resources(pod: Object, name: str) -> Object | None:
    """What a container was last said to be allocated."""
    told = told_of(pod, name) or {}
    if "resources" not in told:
        return None
    return {**told["resources"], **({"requests": told["allocatedResources"]} if told.get("allocatedResources") else {})}


def _told_whole(pod: Object) -> Object | None:
    """What the pod as a whole was last said to be allocated."""
    status = pod.get("status") or {}
    told, asked = status.get("resources"), status.get("allocatedResources")
    return {**told, **({"requests": asked} if asked else {})} if told else None


def _summary(pod: Object, resources: Mapping[str, Object]) -> str:
    """A resize as kubelet's events tell it."""
    found: Object = {"containers": [{"name": name, "resources": given} for name, given in resources.items()]}
    return msgspec.json.encode({**found, "generation": pod["metadata"].get("generation", 0)}).decode()


def same(one: Object, other: Object) -> bool:
    """Whether two resources say the same, all kinds of them looked at. Pure."""
    return all(amounts(one.get(part)) == amounts(other.get(part)) for part in ("requests", "limits"))


def changes(before: Object, after: Object) -> set[str]:
    """Which of `cpu` and `memory` differ. Pure."""
    parts = [(amounts(before.get(part)), amounts(after.get(part))) for part in ("requests", "limits")]
    return {name for name in RESIZED if any(old.get(name) != new.get(name) for old, new in parts)}


def needs_restart(container: Object, changed: set[str]) -> bool:
    """Whether the container's resizePolicy asks for a restart when these change. Pure."""
    policies = {p["resourceName"]: p["restartPolicy"] for p in container.get("resizePolicy") or ()}
    return any(policies.get(name) == "RestartContainer" for name in changed)


def unlimited(resources: Object) -> Object:
    """The same with limits that are absent said out loud: left out they would stay as they are. Pure."""
    return {"cpu_quota": -1, "memory_limit_in_bytes": -1, **resources}
