"""The evidence as it stands: one namespace's objects out of informers' caches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from switchboard.client import Informer
from switchboard.why.check import Evidence, Object


@dataclass(frozen=True, slots=True)
class World:
    """Informers (shared with whoever else runs in the process) that the checks read; `workloads`: one for each kind."""

    services: Informer[Any]
    pods: Informer[Any]
    slices: Informer[Any]
    workloads: Sequence[Informer[Any]]

    def evidence(self, service: Object) -> Evidence:
        """Everything a check of this Service looks at."""
        meta = service["metadata"]
        space, name = meta.get("namespace", "default"), meta["name"]
        pods = list(self.pods.items())
        return Evidence(
            pods=[p for p in pods if p["metadata"].get("namespace") == space],
            workloads=list(self._workloads(space)),
            services=[
                s
                for s in self.services.items()
                if s["metadata"].get("namespace") == space and s["metadata"]["name"] != name
            ],
            elsewhere=[p for p in pods if p["metadata"].get("namespace") != space],
        )

    def ready_addresses(self, space: str, name: str) -> list[str]:
        """`address:port` of every ready endpoint of a Service, as `kubectl get endpoints` prints them."""
        found: list[str] = []
        for piece in self.slices.items():
            meta = piece["metadata"]
            if meta.get("namespace") != space or (meta.get("labels") or {}).get("kubernetes.io/service-name") != name:
                continue
            ports = [p.get("port") for p in piece.get("ports") or ()] or [None]
            for endpoint in piece.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    found += [f"{a}:{p}" if p else a for a in endpoint["addresses"][:1] for p in ports]
        return sorted(found)

    def _workloads(self, space: str) -> Iterator[Object]:
        for informer in self.workloads:
            for obj in informer.items():
                if obj["metadata"].get("namespace") == space:
                    yield obj
