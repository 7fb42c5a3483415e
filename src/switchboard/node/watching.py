"""Says when a ConfigMap or Secret that a pod's volumes are filled from has changed, so that the volumes follow at once.

Each object is watched by its name, as kubelet does (pkg/kubelet/util/manager/watch_based_manager.go). A watch is a
connection here, so there are at most so many; what is beyond that, and the root certificate that every pod has and
nobody changes, is only looked at with the regular refresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from switchboard.client import Client, Informer
from switchboard.client.resources import CONFIGMAPS, SECRETS, Resource
from switchboard.node.payload import references

Object = dict[str, Any]
Key = tuple[Resource, str, str]  # resource, namespace, name

_MOST: Final = 32
_NOT_WATCHED: Final = frozenset({"kube-root-ca.crt"})


def watched(pod: Object) -> Iterator[Key]:
    """The objects that a pod's volumes are filled from. Pure."""
    space = pod["metadata"]["namespace"]
    for volume in pod["spec"].get("volumes") or ():
        if any(kind in volume for kind in ("configMap", "secret", "projected")):
            maps, secrets, _ = references(volume)
            yield from ((CONFIGMAPS, space, name) for name in sorted(maps - _NOT_WATCHED) if name)
            yield from ((SECRETS, space, name) for name in sorted(secrets) if name)


class Watching:
    """Watches by object, each for as long as a pod refers to it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._users: dict[Key, dict[str, Callable[[], None]]] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def follow(self, pod: Object, changed: Callable[[], None]) -> None:
        """Call `changed` whenever one of the pod's objects has changed; calling again changes nothing."""
        for key in watched(pod):
            self._users.setdefault(key, {})[pod["metadata"]["uid"]] = changed
            if key not in self._tasks and len(self._tasks) < _MOST:
                self._tasks[key] = asyncio.ensure_future(self._watch(key))

    def leave(self, uid: str) -> None:
        """Forget a pod."""
        for key in [key for key, users in self._users.items() if uid in users]:
            users = self._users[key]
            del users[uid]
            if not users:
                del self._users[key]
                task = self._tasks.pop(key, None)
                if task is not None:
                    task.cancel()

    def close(self) -> None:
        """End all watches."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._users.clear()

    async def _watch(self, key: Key) -> None:
        res, space, name = key
        informer: Informer[Object] = Informer(
            self._client, res, namespace=space, field_selector=f"metadata.name={name}"
        )
        informer.on_change(lambda old, new: self._changed(key))
        await informer.run()

    def _changed(self, key: Key) -> None:
        for changed in list(self._users.get(key, {}).values()):
            changed()
