"""The ResourceQuota controller: status.hard and status.used of every quota.

Source: pkg/controller/resourcequota. Kinds that are followed anyway lead to a recount at once; others (Secrets,
ConfigMaps, custom ones) are counted by listing, every few seconds while a quota limits them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from switchboard.client import Resource, key_of
from switchboard.client.indexes import PLACES, SPACE, places
from switchboard.client.indexes import space as space_of
from switchboard.client.resources import PERSISTENTVOLUMECLAIMS, PODS, RESOURCEQUOTAS, SERVICES
from switchboard.controllers import discovery
from switchboard.controllers.base import Context, Controller
from switchboard.objects import quotas
from switchboard.objects.errors import NotFound

Object = dict[str, Any]

_POLL: Final = 2.0
_SPACES: Final = {PODS: (PLACES, places), SERVICES: (SPACE, space_of), PERSISTENTVOLUMECLAIMS: (SPACE, space_of)}
_FOLLOWED: Final = {("", res.plural): res for res in (PODS, SERVICES, PERSISTENTVOLUMECLAIMS)}


class ResourceQuotaController(Controller):
    """Keys are ResourceQuotas."""

    name = "resourcequota"
    main = RESOURCEQUOTAS
    needs = tuple(_FOLLOWED.values())
    workers: ClassVar[int] = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._kinds: dict[tuple[str, str], Resource] = {}
        for res in _FOLLOWED.values():
            self.of(res).index(*_SPACES[res])
            self.of(res).on_change(self._object_changed, late=True)

    def _object_changed(self, old: Object | None, new: Object | None) -> None:
        if not self.of(RESOURCEQUOTAS).items():
            return
        space = (new or old or {})["metadata"].get("namespace")
        for quota in self.of(RESOURCEQUOTAS).items():
            if quota["metadata"].get("namespace") == space:
                self.loop.add(key_of(space, quota["metadata"]["name"]))

    async def reconcile(self, key: str) -> float | None:
        """One quota."""
        quota = self.of(RESOURCEQUOTAS).get_key(key)
        if quota is None:
            return None
        space = quota["metadata"]["namespace"]
        hard = quota["spec"].get("hard") or {}
        wanted = quotas.counted(hard)
        objects = {kind: await self._objects(kind, space) for kind in wanted}
        new = {"hard": hard, "used": quotas.usage(quota, objects)}
        if new != (quota.get("status") or {}):
            try:
                await self.cache.update_status(RESOURCEQUOTAS, {**quota, "status": new})
            except NotFound:
                return None
        return _POLL if wanted - set(_FOLLOWED) else None

    async def _objects(self, kind: tuple[str, str], space: str) -> list[Object]:
        followed = _FOLLOWED.get(kind)
        if followed is not None:
            return list(self.of(followed).by(_SPACES[followed][0], space))
        if kind not in self._kinds:
            found = await discovery.resources(self.cache.client)
            self._kinds = {(f.resource.group, f.resource.plural): f.resource for f in found if f.resource.namespaced}
        res = self._kinds.get(kind)
        if res is None:
            return []
        try:
            listed: list[Object] = (await self.cache.client.list(res, space))["items"]
        except NotFound:
            self._kinds.clear()
            return []
        return listed
