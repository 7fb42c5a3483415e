"""What the runtime has of one pod, as plain values: sandboxes and containers, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from switchboard.node import cri

POD_NAME, POD_NAMESPACE, POD_UID = "io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
# Ours: what a container was made from, to be known again after a restart of this process.
HASH = "io.kubernetes.container.hash"
ASKED = "switchboard.dev/asked"
MESSAGE_PATH, MESSAGE_POLICY = (
    "io.kubernetes.container.terminationMessagePath",
    "io.kubernetes.container.terminationMessagePolicy",
)

Object = dict[str, Any]


@dataclass(slots=True)
class Sandbox:
    """A pod's namespaces. `created` in seconds since 1970."""

    id: str
    ready: bool
    created: float
    attempt: int
    ips: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Container:
    """One try of a container. Times in seconds since 1970, 0 for not yet."""

    id: str
    name: str
    attempt: int
    state: int
    sandbox: str
    image: str = ""
    image_ref: str = ""
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    hash: str = ""
    asked: str = ""  # the resources it was made with

    @property
    def running(self) -> bool:
        """Its process lives."""
        return self.state == cri.RUNNING

    @property
    def exited(self) -> bool:
        """Its process ended."""
        return self.state == cri.EXITED


@dataclass(slots=True)
class Observed:
    """Everything of one pod; `containers` by name, newest try first."""

    sandboxes: list[Sandbox] = field(default_factory=list)
    containers: dict[str, list[Container]] = field(default_factory=dict)

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox that is ready."""
        return next((s for s in self.sandboxes if s.ready), None)

    @property
    def ips(self) -> list[str]:
        """The pod's addresses."""
        return self.sandbox.ips if self.sandbox else []

    def latest(self, name: str) -> Container | None:
        """The newest try of a container."""
        tries = self.containers.get(name)
        return tries[0] if tries else None

    def previous(self, name: str) -> Container | None:
        """The newest ended try before the newest one."""
        return next((c for c in self.containers.get(name, ())[1:] if c.exited), None)

    def running(self) -> Iterator[Container]:
        """Every container whose process lives (or was made and not started)."""
        for tries in self.containers.values():
            yield from (c for c in tries if c.state in (cri.RUNNING, cri.CREATED))


def container_of(status: Object, sandbox: str) -> Container:
    """A CRI ContainerStatus as a value."""
    meta, notes = status.get("metadata", {}), status.get("annotations", {})
    return Container(
        id=status["id"],
        name=meta.get("name", ""),
        attempt=meta.get("attempt", 0),
        state=status.get("state", cri.CREATED),
        sandbox=sandbox,
        image=status.get("image", {}).get("image", ""),
        image_ref=status.get("image_ref", ""),
        created=status.get("created_at", 0) / 1e9,
        started=status.get("started_at", 0) / 1e9,
        finished=status.get("finished_at", 0) / 1e9,
        exit_code=status.get("exit_code", 0),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        hash=notes.get(HASH, ""),
        asked=notes.get(ASKED, ""),
    )


def sandbox_of(item: Object) -> Sandbox:
    """A CRI PodSandbox (of a list) or PodSandboxStatus as a value; only the latter has addresses."""
    network = item.get("network", {})
    ips = [ip for ip in [network.get("ip", ""), *(a.get("ip", "") for a in network.get("additional_ips", ()))] if ip]
    ready = item.get("state", cri.SANDBOX_READY) == cri.SANDBOX_READY
    attempt = item.get("metadata", {}).get("attempt", 0)
    return Sandbox(item["id"], ready, item.get("created_at", 0) / 1e9, attempt, ips)


def ordered(sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> Observed:
    """Values in any order as an `Observed`."""
    found = Observed(sorted(sandboxes, key=lambda s: (-s.created, -s.attempt)))
    for container in sorted(containers, key=lambda c: (-c.attempt, -c.created)):
        found.containers.setdefault(container.name, []).append(container)
    return found


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as the API writes times."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """The reverse of `rfc3339`."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
