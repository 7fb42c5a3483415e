"""Creating and deleting many pods for one owner: slow start, Events, adoption.

Source: pkg/controller/controller_utils.go (RealPodControl), replicaset/replica_set.go (slowStartBatch): first one, then
twice as many each time, so that a pod that quota or admission refuses is refused once and not 500 times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from switchboard.client import Cache, EventRecorder, Informer, Resource
from switchboard.client.indexes import labelled
from switchboard.client.resources import PODS
from switchboard.client.transport import namespace_ends
from switchboard.controllers import owners
from switchboard.objects.errors import NotFound, StatusError
from switchboard.objects.selectors import LabelSelector

Object = dict[str, Any]


class PodControl:
    """Writes pods (and claims children of any kind) for owners, saying what it did as Events on the owner."""

    def __init__(self, cache: Cache, recorder: EventRecorder) -> None:
        self._cache = cache
        self._recorder = recorder

    async def create(self, owner: Object, pods: Sequence[Object]) -> int:
        """Create all, in growing batches; how many were. The first failure ends it and is raised."""
        made, size = 0, 1
        while made < len(pods):
            batch = pods[made : made + size]
            results = await asyncio.gather(*(self.create_one(owner, pod) for pod in batch), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    if isinstance(result, StatusError) and namespace_ends(result):
                        return made
                    raise result
            made += len(batch)
            size *= 2
        return made

    async def create_one(self, owner: Object, pod: Object) -> Object:
        """Create one and say so; a refusal is said too, and raised."""
        try:
            made = await self._cache.create(PODS, pod)
        except StatusError as error:
            if not namespace_ends(error):
                self._recorder.event(owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self._recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        return made

    async def delete(self, owner: Object, pods: Iterable[Object]) -> None:
        """Delete all at once; one that is gone already is as good. The first failure is raised after all were tried."""
        results = await asyncio.gather(*(self.delete_one(owner, pod) for pod in pods), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def delete_one(self, owner: Object, pod: Object) -> None:
        """Delete one and say so."""
        meta = pod["metadata"]
        options = {"preconditions": {"uid": meta["uid"]}} if meta.get("uid") else None
        try:
            await self._cache.delete(PODS, meta["name"], meta.get("namespace"), options=options)
        except NotFound:
            return
        except StatusError as error:
            self._recorder.event(owner, "Warning", "FailedDelete", f"Error deleting: {error.message}")
            raise
        self._recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta['name']}")

    async def claim(
        self,
        res: Resource,
        owner: Object,
        selector: LabelSelector,
        accept: Callable[[Object], bool] = lambda obj: True,
    ) -> list[Object]:
        """An owner's children out of the copy, after adopting and releasing (see `owners.claim`)."""
        informer: Informer[Object] = self._cache.informer(res)
        meta = owner["metadata"]
        held = informer.by("controller", meta["uid"])
        alike = labelled(informer, meta.get("namespace") or "", selector.pairs)
        orphans = [obj for obj in alike if owners.controller_of(obj) is None and accept(obj)]
        found = owners.claim(owner, selector, list(held), orphans)
        owned = found.owned
        for obj in found.adopt:
            adopted = await self._patch(res, obj, owners.adoption(owner, obj))
            if adopted is not None:
                owned.append(adopted)
        for obj in found.release:
            await self._patch(res, obj, owners.release(owner, obj))
        return owned

    async def _patch(self, res: Resource, obj: Object, patch: Object) -> Object | None:
        meta = obj["metadata"]
        try:
            return await self._cache.patch(res, meta["name"], patch, meta.get("namespace"), kind="strategic")
        except NotFound:
            return None
