"""Asks the runtime what it has of one pod. What cannot have changed is not asked again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from switchboard.node.logs import tail_text
from switchboard.node.making import message_file
from switchboard.node.observed import POD_UID, Container, Observed, container_of, ordered, sandbox_of
from switchboard.node.plan import specs
from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.node.settings import NodeSettings

Object = dict[str, Any]

_MESSAGE_LIMIT: Final = 4096  # bytes of a termination message


class Observer:
    """The runtime's side of one pod; `messages` are termination messages by container id."""

    def __init__(self, runtime: CriRuntime, settings: NodeSettings) -> None:
        self.messages: dict[str, str] = {}
        self._runtime, self._settings = runtime, settings
        self._known: dict[str, Container] = {}  # running or ended; a container in one of these states says the same

    async def look(self, pod: Object, before: Observed) -> Observed:
        """What there is now. Raises RuntimeFailure."""
        mine = {POD_UID: str(pod["metadata"]["uid"])}
        sandboxes, containers = await asyncio.gather(
            self._runtime.list_sandboxes(mine), self._runtime.list_containers(mine)
        )
        found = [sandbox_of(item) for item in sandboxes]
        newest = max((s for s in found if s.ready), key=lambda s: s.created, default=None)
        if newest is not None:
            known = next((s for s in before.sandboxes if s.id == newest.id and s.ips), None)
            newest.ips = known.ips if known else sandbox_of(await self._runtime.sandbox_status(newest.id)).ips
        tries = await asyncio.gather(*(self._container(pod, item) for item in containers))
        return ordered(found, [container for container in tries if container is not None])

    def forget(self, ident: str) -> None:
        """A container was removed."""
        self._known.pop(ident, None)
        self.messages.pop(ident, None)

    async def _container(self, pod: Object, item: Object) -> Container | None:
        known = self._known.get(item["id"])
        if known is not None and known.state == item.get("state", 0):
            return known
        try:
            container = container_of(await self._runtime.container_status(item["id"]), item.get("pod_sandbox_id", ""))
        except RuntimeFailure as error:
            if error.code == "NOT_FOUND":
                return None
            raise
        if container.exited:
            self.messages[container.id] = self._message(pod, container)
        if container.exited or container.running:
            self._known[container.id] = container
        return container

    def _message(self, pod: Object, container: Container) -> str:
        """The termination message: what the container wrote, or the end of its log when it failed in silence."""
        meta = pod["metadata"]
        spec = next((s for s in specs(pod) if s["name"] == container.name), {})
        try:
            path = message_file(self._settings, meta["uid"], container.name, container.attempt)
            text = _end_of(path, _MESSAGE_LIMIT).decode("utf-8", "replace")
        except OSError:
            text = ""
        if not text and container.exit_code and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            folder = self._settings.pod_log_dir(meta["namespace"], meta["name"], meta["uid"])
            text = tail_text(folder / container.name / f"{container.attempt}.log", lines=80, limit=2048)
        return text


def _end_of(path: Path, limit: int) -> bytes:
    """The last `limit` bytes of a file, which a container may have made as long as it likes. Raises OSError."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)
