"""What every namespace is born with: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

Source: kubernetes/pkg/controller/serviceaccount/serviceaccounts_controller.go, certificates/rootcacertpublisher. Only
objects of these names are watched, so that a cluster's ConfigMaps are not kept in memory for this.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from switchboard.client import Informer, Resource
from switchboard.client.resources import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS
from switchboard.controllers.base import Context, Controller
from switchboard.objects.errors import AlreadyExists, NotFound, StatusError

Object = dict[str, Any]

ROOT_CA: Final = "kube-root-ca.crt"
_DESCRIPTION: Final = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class BornWith(Controller):
    """Keys are namespaces; subclasses say which object each has."""

    main = NAMESPACES
    kind: ClassVar[Resource]
    object_name: ClassVar[str]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._held = Informer[Object](
            context.cache.client, self.kind, field_selector=f"metadata.name={self.object_name}"
        )
        self._held.on_change(self._held_changed)

    def body(self) -> Object:
        """The object, without a namespace."""
        raise NotImplementedError

    def differs(self, held: Object) -> bool:
        """Whether a held object was changed in what matters."""
        return False

    def _held_changed(self, old: Object | None, new: Object | None) -> None:
        self.loop.add((new or old or {})["metadata"]["namespace"])

    async def run(self) -> None:
        """As every controller, with an informer of its own."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._held.run())
            await self._held.synced.wait()
            group.create_task(super().run())

    async def reconcile(self, key: str) -> float | None:
        """One namespace."""
        namespace = self.of(NAMESPACES).get_key(key)
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return None
        held = self._held.get(key, self.object_name)
        try:
            if held is None:
                await self.cache.client.create(self.kind, self.body(), key)
            elif self.differs(held):
                await self.cache.client.patch(self.kind, self.object_name, self.body(), key)
        except (AlreadyExists, NotFound):
            return None
        except StatusError as error:
            if error.code == 403:
                return None  # the namespace began to go
            raise
        return None


class ServiceAccountController(BornWith):
    """The ServiceAccount `default`."""

    name = "serviceaccount"
    kind = SERVICEACCOUNTS
    object_name = "default"

    def body(self) -> Object:
        """Nothing but a name."""
        return {"metadata": {"name": "default"}}


class RootCaController(BornWith):
    """The certificate authority that pods verify the API with."""

    name = "root-ca-certificate-publisher"
    kind = CONFIGMAPS
    object_name = ROOT_CA

    def body(self) -> Object:
        """The published certificate."""
        meta = {"name": ROOT_CA, "annotations": {"kubernetes.io/description": _DESCRIPTION}}
        return {"metadata": meta, "data": {"ca.crt": self.settings.root_ca}}

    def differs(self, held: Object) -> bool:
        """Other data."""
        return held.get("data") != {"ca.crt": self.settings.root_ca}
