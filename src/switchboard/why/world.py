"""The evidence as it stands: one namespace's objects out of informers' caches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from switchboard.client import Informer
from switchboard.client.indexes import PLACES, SELECTOR, SPACE, first_pair, labelled, places
from switchboard.client.indexes import space as space_of
from switchboard.why.check import Evidence, Object
from switchboard.why.kinship import matches

_SERVICE = "advice/service"  # name of an index


@dataclass(frozen=True, slots=True)
class _Found(Evidence):
    """Evidence that asks an index who serves a pod: there may be thousands of Services, and a look for each of them."""

    selecting: Callable[[Object], Iterator[Object]] = field(kw_only=True)

    def is_served(self, pod: Object) -> bool:
        """Whether any Service selects the pod."""
        return any(True for _ in self.selecting(pod))


@dataclass(frozen=True, slots=True)
class World:
    """Informers (shared with whoever else runs in the process) that the checks read; `workloads`: one for each kind."""

    services: Informer[Any]
    pods: Informer[Any]
    slices: Informer[Any]
    workloads: Sequence[Informer[Any]]

    def __post_init__(self) -> None:
        for informer in self.workloads:
            informer.index(SPACE, space_of)
        self.pods.index(PLACES, places)
        self.services.index(SELECTOR, first_pair)
        self.slices.index(_SERVICE, _service_of)

    def evidence(self, service: Object) -> Evidence:
        """Everything a check of this Service looks at: live views, no copies.

        What a check reads of other pods and Services it reads only once no pod here is selected, so this Service and
        this namespace need not be left out of them.
        """
        space, selector = _asks(service)
        selected = self.selected(service)
        return _Found(
            pods=selected or self.pods.by(PLACES, space),
            workloads=list(self._workloads(space)),
            elsewhere=() if selected else self._elsewhere(selector),
            selecting=self.selecting,
        )

    def selected(self, service: Object) -> list[Object]:
        """The pods that the Service selects."""
        space, selector = _asks(service)
        return [pod for pod in self._labelled(space, selector) if matches(selector, _labels(pod))]

    def crowd(self, space: str) -> int:
        """How many pods a namespace has."""
        return len(self.pods.by(PLACES, space))

    def _labelled(self, space: str, selector: dict[str, str]) -> Collection[Object]:
        """Pods that have one of these labels, the one that fewest have; none where there is none."""
        return labelled(self.pods, space, selector.items()) if selector else ()

    def _elsewhere(self, selector: dict[str, str]) -> list[Object]:
        """As `_labelled`, of all namespaces."""
        spaces = [where for where in self.pods.values(PLACES) if "/" not in where]
        return [pod for space in spaces for pod in self._labelled(space, selector)]

    def selecting(self, pod: Object) -> Iterator[Object]:
        """The Services whose selector matches the pod."""
        labels = _labels(pod)
        for pair in places(pod):
            for service in self.services.by(SELECTOR, pair):
                if matches(service["spec"]["selector"], labels):
                    yield service

    def ready_addresses(self, service: Object) -> list[str]:
        """`address:port` of every ready endpoint of a Service, as `kubectl get endpoints` prints them."""
        found: list[str] = []
        meta = service["metadata"]
        portless = not service["spec"].get("ports")  # a headless one may be; any other's slices are not settled yet
        for piece in self.slices.by(_SERVICE, f"{meta.get('namespace', '')}/{meta['name']}"):
            ports = [p.get("port") for p in piece.get("ports") or ()] or ([None] if portless else [])
            for endpoint in piece.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    found += [f"{a}:{p}" if p else a for a in endpoint["addresses"][:1] for p in ports]
        return sorted(found)

    def _workloads(self, space: str) -> Iterator[Object]:
        for informer in self.workloads:
            yield from informer.by(SPACE, space)


def _asks(service: Object) -> tuple[str, dict[str, str]]:
    """Where a Service looks for its pods, and by which labels."""
    return service["metadata"].get("namespace", "default"), service.get("spec", {}).get("selector") or {}


def _labels(pod: Object) -> dict[str, str]:
    return pod["metadata"].get("labels") or {}


def _service_of(piece: Object) -> list[str]:
    meta = piece["metadata"]
    name = (meta.get("labels") or {}).get("kubernetes.io/service-name")
    return [f"{meta.get('namespace', '')}/{name}"] if name else []
