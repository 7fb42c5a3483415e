"""The evidence as it stands: one namespace's objects out of informers' caches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from switchboard.client import Informer
from switchboard.why.check import Evidence, Object
from switchboard.why.kinship import matches

_SPACE, _SERVICE, _SELECTOR = "advice/space", "advice/service", "advice/selector"  # names of indexes


@dataclass(frozen=True, slots=True)
class World:
    """Informers (shared with whoever else runs in the process) that the checks read; `workloads`: one for each kind."""

    services: Informer[Any]
    pods: Informer[Any]
    slices: Informer[Any]
    workloads: Sequence[Informer[Any]]

    def __post_init__(self) -> None:
        for informer in (self.services, self.pods, *self.workloads):
            informer.index(_SPACE, _space)
        self.services.index(_SELECTOR, _first_pair)
        self.slices.index(_SERVICE, _service_of)

    def evidence(self, service: Object) -> Evidence:
        """Everything a check of this Service looks at: live views, no copies.

        What a check reads of other Services and of pods elsewhere it reads only once no pod here is selected, so this
        Service and this namespace need not be left out of them.
        """
        space = service["metadata"].get("namespace", "default")
        return Evidence(
            pods=self.pods.by(_SPACE, space),
            workloads=list(self._workloads(space)),
            services=self.services.by(_SPACE, space),
            elsewhere=self.pods.items(),
        )

    def selecting(self, pod: Object) -> Iterator[Object]:
        """The Services whose selector matches the pod."""
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        for key, value in labels.items():
            for service in self.services.by(_SELECTOR, f"{meta.get('namespace')}/{key}={value}"):
                if matches(service["spec"]["selector"], labels):
                    yield service

    def ready_addresses(self, space: str, name: str) -> list[str]:
        """`address:port` of every ready endpoint of a Service, as `kubectl get endpoints` prints them."""
        found: list[str] = []
        for piece in self.slices.by(_SERVICE, f"{space}/{name}"):
            ports = [p.get("port") for p in piece.get("ports") or ()] or [None]
            for endpoint in piece.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    found += [f"{a}:{p}" if p else a for a in endpoint["addresses"][:1] for p in ports]
        return sorted(found)

    def _workloads(self, space: str) -> Iterator[Object]:
        for informer in self.workloads:
            yield from informer.by(_SPACE, space)


def _space(obj: Object) -> list[str]:
    return [obj["metadata"].get("namespace", "default")]


def _service_of(piece: Object) -> list[str]:
    meta = piece["metadata"]
    name = (meta.get("labels") or {}).get("kubernetes.io/service-name")
    return [f"{meta.get('namespace', '')}/{name}"] if name else []


def _first_pair(service: Object) -> list[str]:
    """One pair of the selector, the one that sorts first, finds the Service from a pod's labels."""
    selector = service.get("spec", {}).get("selector")
    if not selector:
        return []
    key = min(selector)
    return [f"{service['metadata'].get('namespace')}/{key}={selector[key]}"]
