"""Which pods a Service selects and which Services select a pod, without looking at all of either.

Pods are indexed by each of their labels, Services by one pair of their selector (the one that sorts first).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from switchboard.client import Cache, key_of
from switchboard.client.indexes import PLACES, SELECTOR, first_pair, labelled, places
from switchboard.client.resources import PODS, SERVICES
from switchboard.controllers.slice_endpoints import relevant

Object = dict[str, Any]


class Selection:
    """The relation between Services and pods, over shared informers."""

    def __init__(self, cache: Cache) -> None:
        self._pods, self._services = cache.informer(PODS), cache.informer(SERVICES)
        self._change: tuple[Object | None, Object | None] = None, None  # the last one asked for
        self._concerned: list[str] = []  # whom it concerned
        self._pods.index(PLACES, places)
        self._services.index(SELECTOR, first_pair)

    def pods(self, service: Object) -> Iterator[Object]:
        """Pods that the Service's selector matches; none for a Service without selector."""
        selector = (service.get("spec") or {}).get("selector")
        if not selector:
            return
        space = service["metadata"].get("namespace") or ""
        for pod in labelled(self._pods, space, selector.items()):
            labels = pod["metadata"].get("labels") or {}
            if all(labels.get(key) == value for key, value in selector.items()):
                yield pod

    def services(self, pod: Object) -> Iterator[str]:
        """Keys of the Services that select the pod."""
        labels = pod["metadata"].get("labels") or {}
        for pair in places(pod):
            for service in self._services.by(SELECTOR, pair):
                selector = service["spec"]["selector"]
                if all(labels.get(key) == value for key, value in selector.items()):
                    yield key_of(service["metadata"].get("namespace"), service["metadata"]["name"])

    def concerned(self, old: Object | None, new: Object | None) -> list[str]:
        """Keys of the Services whose endpoints a change of a pod may change. More than one ask for each change."""
        if self._change[0] is not old or self._change[1] is not new:
            self._change, self._concerned = (old, new), list(self._concerned_by(old, new))
        return self._concerned

    def _concerned_by(self, old: Object | None, new: Object | None) -> Iterator[str]:
        if old is not None and new is not None:
            relabelled = old["metadata"].get("labels") != new["metadata"].get("labels")
            if not relabelled and relevant(old) == relevant(new):
                return
            if relabelled:
                yield from self.services(old)
        yield from self.services(new or old or {})
