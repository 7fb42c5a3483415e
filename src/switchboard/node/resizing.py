"""Limits of running containers follow their spec (KEP-1287): written to the container, or the container is restarted.

What a container was made with stands in its annotation, so that a restart of this process neither forgets nor repeats a
change. A resize is taken as it comes: there is no queue of those for which the node has no room at the moment.
"""

from __future__ import annotations

from typing import Any

import msgspec

from switchboard.node import configs
from switchboard.node.observed import Observed
from switchboard.node.plan import is_sidecar
from switchboard.node.runtime import CriRuntime

Object = dict[str, Any]

_CPU = ("cpu_shares", "cpu_quota", "cpu_period")
_MEMORY = ("memory_limit_in_bytes",)


class Resizer:
    """Limits of one pod's containers."""

    def __init__(self, runtime: CriRuntime) -> None:
        self._runtime = runtime
        self._applied: dict[str, str] = {}  # container id -> resources, as text

    async def follow(self, pod: Object, seen: Observed, memory: int) -> dict[str, str]:
        """Apply what has changed; id -> message of containers that must be restarted for it. Raises RuntimeFailure."""
        restarts: dict[str, str] = {}
        spec = pod["spec"]
        sidecars = [c for c in spec.get("initContainers") or () if is_sidecar(c)]
        for container in [*sidecars, *spec["containers"]]:
            latest = seen.latest(container["name"])
            if latest is None or not latest.running:
                continue
            wanted = configs.resources(pod, container, memory)
            text = text_of(wanted)
            before = self._applied.get(latest.id, latest.resources)
            if before == text or not before:
                continue
            changed = _changed(msgspec.json.decode(before), wanted)
            if needs_restart(container, changed):
                restarts[latest.id] = f"Container {container['name']} resize requires restart"
                continue
            if changed:
                await self._runtime.update_container(latest.id, unlimited(wanted))
            self._applied[latest.id] = text
        return restarts


def text_of(resources: Object) -> str:
    """Resources as they stand in a container's annotation."""
    return msgspec.json.encode(resources, order="sorted").decode()


def _changed(before: Object, after: Object) -> set[str]:
    """Which of `cpu` and `memory` differ."""
    parts = {"cpu": _CPU, "memory": _MEMORY}
    return {name for name, keys in parts.items() if any(before.get(key) != after.get(key) for key in keys)}


def needs_restart(container: Object, changed: set[str]) -> bool:
    """Whether the container's resizePolicy asks for a restart when these change. Pure."""
    policies = {p["resourceName"]: p["restartPolicy"] for p in container.get("resizePolicy") or ()}
    return any(policies.get(name) == "RestartContainer" for name in changed)


def unlimited(resources: Object) -> Object:
    """The same with limits that are absent said out loud: left out they would stay as they are. Pure."""
    return {"cpu_quota": -1, "memory_limit_in_bytes": -1, **resources}
