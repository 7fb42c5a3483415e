"""One informer for each resource, shared by everyone in a process, and writes that show in them at once.

A controller that decides from a copy must not decide without its own last write (it would create a second pod).
Upstream keeps *expectations* for that; here the answer of every write goes into the copy before its event comes back.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from switchboard.client.informer import Informer
from switchboard.client.resources import Resource
from switchboard.client.verbs import Client, Object

_MOST: Final = 256  # objects of a resource that are held as they are
_REST: Final = 5.0  # seconds for which others stay decoded after somebody asked for them, or twice as long


class Cache:
    """Informers by resource, made when first asked for; `run` follows them all."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._informers: dict[Resource, Informer[Object]] = {}
        self._group: asyncio.TaskGroup | None = None

    def informer(self, res: Resource) -> Informer[Object]:
        """The informer of all objects of a resource."""
        found = self._informers.get(res)
        if found is None:
            found = self._informers[res] = Informer[Object](self.client, res, most=_MOST)
            if self._group is not None:
                self._group.create_task(found.run())
        return found

    async def run(self) -> None:
        """Follow every resource asked for, now or later, for ever."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in self._informers.values():
                    group.create_task(informer.run())
                while True:
                    await asyncio.sleep(_REST)
                    for informer in self._informers.values():
                        informer.rest()
            finally:
                self._group = None

    async def synced(self, *resources: Resource) -> None:
        """Wait until these have been listed."""
        for res in resources:
            await self.informer(res).synced.wait()

    def get(self, res: Resource, namespace: str | None, name: str) -> Object | None:
        """From the copy."""
        return self.informer(res).get(namespace, name)

    async def create(self, res: Resource, obj: Object, namespace: str | None = None, **more: Any) -> Object:
        """`Client.create`, seen in the copy at once."""
        return self._seen(res, await self.client.create(res, obj, namespace, **more), more)

    async def update(self, res: Resource, obj: Object, **more: Any) -> Object:
        """`Client.update`, seen in the copy at once."""
        return self._seen(res, await self.client.update(res, obj, **more), more)

    async def update_status(self, res: Resource, obj: Object) -> Object:
        """`Client.update` of the status subresource, seen in the copy at once."""
        return self._seen(res, await self.client.update(res, obj, subresource="status"), {})

    async def patch(self, res: Resource, name: str, patch: Any, namespace: str | None = None, **more: Any) -> Object:
        """`Client.patch`, seen in the copy at once."""
        return self._seen(res, await self.client.patch(res, name, patch, namespace, **more), more)

    async def delete(
        self, res: Resource, name: str, namespace: str | None = None, *, options: Object | None = None
    ) -> None:
        """`Client.delete`, seen in the copy at once (as being deleted, or gone)."""
        held = self.get(res, namespace, name)
        answer = await self.client.delete(res, name, namespace, options=options)
        informer = self.informer(res)
        if answer.get("kind") == res.kind and (answer["metadata"].get("deletionTimestamp")):
            informer.observe(answer)
        elif held is not None:
            informer.forget(held)

    def _seen(self, res: Resource, obj: Object, more: dict[str, Any]) -> Object:
        if more.get("subresource", "status") == "status" and obj.get("kind", res.kind) == res.kind:
            self.informer(res).observe(obj)
        return obj
