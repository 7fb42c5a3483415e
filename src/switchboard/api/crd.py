"""CustomResourceDefinitions become kinds: registered with the commit that established them, and again at every start.

A definition that is being deleted takes its objects along: they are deleted like any other, and when the last is gone
so is the finalizer. Source: `apiextensions-apiserver/pkg/controller/{status,establish,finalizer}`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from switchboard.api.conversion import Conversion
from switchboard.api.customtype import kinds_of
from switchboard.api.identity import LOOPBACK
from switchboard.api.keyspace import decode, encode_any, split_key
from switchboard.api.metadata import now
from switchboard.objects.kinds import Kind
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Event

_log = logging.getLogger(__name__)
Object = dict[str, Any]

PREFIX = "/apiextensions.k8s.io/customresourcedefinitions/"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_URL = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_AGENT = {"user-agent": "apiextensions-apiserver", "content-type": "application/merge-patch+json"}


def condition(crd: Object, type_: str) -> Object:
    """A condition of a definition, {} where it has none of that type."""
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == type_), {})


def set_condition(status: Object, type_: str, value: str, reason: str, message: str) -> None:
    """Put a condition into a status; the time of its last change stays where nothing changed."""
    conditions = [dict(c) for c in status.get("conditions") or ()]
    fresh = {"type": type_, "status": value, "lastTransitionTime": now(), "reason": reason, "message": message}
    for i, old in enumerate(conditions):
        if old.get("type") == type_:
            if old.get("status") == value:
                fresh["lastTransitionTime"] = old.get("lastTransitionTime", fresh["lastTransitionTime"])
            conditions[i] = fresh
            break
    else:
        conditions.append(fresh)
    status["conditions"] = conditions


class Definitions:
    """Follows the stored definitions."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._kinds: dict[str, list[Kind]] = {}
        self._specs: dict[str, Object] = {}
        self._emptying: set[str] = set()

    def load(self) -> None:
        """Register what is stored, and whatever is written from now on."""
        store = self._app.store
        for record in store.scan(PREFIX):
            self._take(decode(record.value))
        store.subscribe(PREFIX, store.revision, self._changed)

    def _changed(self, events: list[Event]) -> None:
        for event in events:
            crd = decode(event.record.value)
            if event.deleted:
                self._drop(crd["metadata"]["name"])
                self._reconsider(crd)
            else:
                self._take(crd)

    def _take(self, crd: Object) -> None:
        name = crd["metadata"]["name"]
        if condition(crd, "Established").get("status") == "True":
            relevant = {"spec": crd["spec"], "names": crd["status"].get("acceptedNames")}
            if self._specs.get(name) != relevant:
                self._drop(name)
                self._specs[name] = relevant
                self._kinds[name] = kinds_of(crd, Conversion(crd, lambda: self._watched(name)))
                for kind in self._kinds[name]:
                    self._app.registry.add(kind)
        if "deletionTimestamp" in crd["metadata"] and FINALIZER in (crd["metadata"].get("finalizers") or ()):
            self._begin_emptying(crd)

    def _drop(self, name: str) -> None:
        """Serve the versions of a definition no longer; their watches end, so that clients ask again."""
        self._specs.pop(name, None)
        gone = self._kinds.pop(name, [])
        for kind in gone:
            self._app.registry.remove(kind)
        for watcher in list(self._app.watchers):
            if watcher.kind in gone:
                watcher.end()

    def _watched(self, name: str) -> set[str]:
        """The versions of a definition's objects that somebody watches."""
        kinds = self._kinds.get(name, ())
        return {watcher.kind.version for watcher in self._app.watchers if watcher.kind in kinds}

    def terminating(self, kind: Kind) -> bool:
        """Whether a custom kind is on its way out: nothing new is created."""
        return f"{kind.plural}.{kind.group}" in self._emptying

    # The end of a definition

    def _begin_emptying(self, crd: Object) -> None:
        name = crd["metadata"]["name"]
        if name in self._emptying:
            return
        self._emptying.add(name)

        async def run() -> None:
            try:
                await self._empty(crd)
            except Exception:
                _log.exception("could not delete the objects of %s", name)
            finally:
                self._emptying.discard(name)

        self._app.background(run())

    async def _empty(self, crd: Object) -> None:
        name, spec = crd["metadata"]["name"], crd["spec"]
        prefix = f"/{spec['group']}/{spec['names']['plural']}/"
        now_empty = asyncio.Event()

        def seen(_: list[Event]) -> None:
            if self._app.store.count(prefix) == 0:
                now_empty.set()

        subscription = self._app.store.subscribe(prefix, self._app.store.revision, seen)
        try:
            kinds = self._kinds.get(name)
            if kinds:
                await self._delete_all(kinds[0], prefix)
                if self._app.store.count(prefix):
                    await self._say_terminating(name)
                    await now_empty.wait()
        finally:
            subscription.close()
        head = self._app.store.head(PREFIX + name)
        if head is None:
            return
        kept = [f for f in decode(head.value)["metadata"].get("finalizers") or () if f != FINALIZER]
        await self._patch(name, {"metadata": {"finalizers": kept or None}})

    async def _say_terminating(self, name: str) -> None:
        head = self._app.store.head(PREFIX + name)
        if head is not None:
            status = decode(head.value).get("status") or {}
            text = "CustomResource deletion is in progress"
            set_condition(status, "Terminating", "True", "InstanceDeletionInProgress", text)
            await self._patch(name, {"status": {"conditions": status["conditions"]}}, "/status")

    async def _delete_all(self, kind: Kind, prefix: str) -> None:
        for record in self._app.store.scan(prefix):
            _, _, namespace, name = split_key(record.key)
            middle = f"namespaces/{namespace}/" if namespace else ""
            await self._request("DELETE", f"/apis/{kind.api_version}/{middle}{kind.plural}/{name}", b"")

    async def _patch(self, name: str, patch: Object, sub: str = "") -> None:
        await self._request("PATCH", f"{_URL}/{name}{sub}", encode_any(patch))

    async def _request(self, method: str, path: str, body: bytes) -> Response:
        result = self._app.handle_as(LOOPBACK, Request(method, path, "", dict(_AGENT), body))
        return result if isinstance(result, Response) else await result

    def _reconsider(self, gone: Object) -> None:
        """Names have become free: definitions of the group that waited for them may have them now."""
        for record in self._app.store.scan(f"{PREFIX}"):
            crd = decode(record.value)
            accepted = condition(crd, "NamesAccepted").get("status")
            if crd["spec"]["group"] == gone["spec"]["group"] and accepted != "True":
                self._app.background(self._patch(crd["metadata"]["name"], {"status": {}}, "/status"))
