"""The garbage collector: what has only absent owners goes; foreground and orphan deletions are brought to their end.

Every kind that can be deleted is followed, also custom ones. Kinds that other controllers follow anyway are read from
the same copies; of all others only the little is kept that the graph (`ownergraph.py`) needs. An absent owner is never
believed from a copy: it is asked for by name, and its uid compared.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

import msgspec

from switchboard.client import Disconnected, Informer, Resource
from switchboard.client.resources import (
    CUSTOMRESOURCEDEFINITIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SERVICES,
    STATEFULSETS,
)
from switchboard.controllers import discovery
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.ownergraph import FOREGROUND, ORPHAN, Graph, Node, Owner, Work, judge, node_of
from switchboard.objects.errors import Conflict, NotFound, StatusError

Object = dict[str, Any]

_SHARED: Final = frozenset(
    (
        *(PODS, SERVICES, ENDPOINTS, ENDPOINTSLICES, NODES, NAMESPACES),
        *(DEPLOYMENTS, REPLICASETS, STATEFULSETS, DAEMONSETS, JOBS, CUSTOMRESOURCEDEFINITIONS),
    )
)
_IGNORED: Final = frozenset({("", "events"), ("events.k8s.io", "events")})
_LOOK_AGAIN = 30.0  # seconds between looks at discovery when no CustomResourceDefinition changed


class _Ref(msgspec.Struct, gc=False):
    apiVersion: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    blockOwnerDeletion: bool | None = None


class _Meta(msgspec.Struct, gc=False):
    name: str
    uid: str = ""
    namespace: str = ""
    ownerReferences: list[_Ref] | None = None
    deletionTimestamp: str | None = None
    finalizers: list[str] | None = None


class Slim(msgspec.Struct, gc=False):
    """Any object, as far as its owners go."""

    metadata: _Meta


class GarbageCollector(Controller):
    """Keys are `delete/<uid>` and `orphan/<uid>`."""

    name = "garbagecollector"
    component = "garbage-collector-controller"
    main = CUSTOMRESOURCEDEFINITIONS
    workers: ClassVar[int] = 20

    def __init__(self, context: Context) -> None:
        self._graph = Graph()
        self._kinds: dict[tuple[str, str], Resource] = {}  # (group, kind)
        self._followed: dict[Resource, asyncio.Task[None] | None] = {}
        self._look = asyncio.Event()
        self._known_owners: set[str] = set()
        super().__init__(context)

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        self._look.set()  # kinds came or went

    async def run(self) -> None:
        """Follow all kinds, and look for new ones when a CustomResourceDefinition changes."""
        await self.cache.synced(self.main)
        work = asyncio.create_task(self.loop.run())
        try:
            while not work.done():
                await self._follow_kinds()
                self._look.clear()
                waiter = asyncio.create_task(self._look.wait())
                await asyncio.wait({waiter, work}, timeout=_LOOK_AGAIN, return_when=asyncio.FIRST_COMPLETED)
                waiter.cancel()
            await work
        finally:
            work.cancel()
            for res, task in list(self._followed.items()):
                if task is not None:
                    task.cancel()
                    del self._followed[res]

    async def _follow_kinds(self) -> None:
        try:
            found = await discovery.resources(self.cache.client)
        except (StatusError, Disconnected) as error:
            self.log.warning("discovery: %s", error)
            self.loop.add_after("discovery/", 1.0)
            return
        self._kinds = {(f.resource.group, f.resource.kind): f.resource for f in found}
        wanted = {
            f.resource
            for f in found
            if {"list", "watch", "delete"} <= f.verbs and (f.resource.group, f.resource.plural) not in _IGNORED
        }
        for res in wanted - set(self._followed):
            self._follow(res)
        for res in set(self._followed) - wanted:
            task = self._followed.pop(res)
            if task is not None:
                task.cancel()

    def _follow(self, res: Resource) -> None:
        if res in _SHARED:
            informer = self.of(res)
            informer.on_change(lambda old, new: self._changed(res, old, new), late=True)
            self._followed[res] = None
            for obj in list(informer.items()):
                self._changed(res, None, obj)
            return
        slim = Informer[Slim](self.cache.client, res, type_=Slim)
        slim.on_change(lambda old, new: self._slim_changed(res, old, new))
        self._followed[res] = asyncio.create_task(slim.run())

    def _slim_changed(self, res: Resource, old: Slim | None, new: Slim | None) -> None:
        """Most objects never had an owner and are not going: they are nothing to the graph, as they were before."""
        if new is not None and (old is None or old.metadata.uid == new.metadata.uid):
            meta = new.metadata
            if not meta.ownerReferences and not meta.deletionTimestamp and meta.uid not in self._graph.nodes:
                return
        self._changed(res, _plain(old), _plain(new))

    def _changed(self, res: Resource, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or new["metadata"].get("uid") != old["metadata"].get("uid")):
            uid = old["metadata"].get("uid", "")
            self._known_owners.discard(uid)
            self._queue(self._graph.gone(uid))
        if new is not None:
            meta = new["metadata"]
            if meta.get("ownerReferences") or meta.get("deletionTimestamp") or meta.get("uid") in self._graph.nodes:
                self._queue(self._graph.seen(node_of(res, meta)))

    def _queue(self, work: Work) -> None:
        for uid in work.delete:
            self.loop.add(f"delete/{uid}")
        for uid in work.orphan:
            self.loop.add(f"orphan/{uid}")

    async def reconcile(self, key: str) -> float | None:
        """One object."""
        what, _, uid = key.partition("/")
        if what == "discovery":
            self._look.set()
            return None
        node = self._graph.nodes.get(uid)
        if node is None:
            return None
        try:
            await (self._orphan(node) if what == "orphan" else self._delete(node))
        except NotFound:
            # The object's own event takes it out of the graph; if its copy has it no more, nobody will.
            await self._confirm_gone(node)
        return None

    async def _confirm_gone(self, node: Node) -> None:
        try:
            await self._get(node)
        except NotFound:
            self._queue(self._graph.gone(node.uid))

    async def _get(self, node: Node) -> Object:
        obj = await self.cache.client.get(node.res, node.name, node.namespace or None)
        if obj["metadata"].get("uid") != node.uid:
            raise NotFound.of(node.res.plural, node.res.group, node.name)
        return obj

    async def _delete(self, node: Node) -> None:
        if node.foreground:
            await self._foreground(node)
            return
        if node.deleting or not node.owners:
            return
        states = {owner.uid: await self._state(node, owner) for owner in node.owners}
        if all(state == "solid" for state in states.values()):
            return
        latest = await self._get(node)
        fresh = node_of(node.res, latest["metadata"])
        if fresh.deleting or fresh.owners != node.owners:
            return  # its event is on the way and will be looked at
        dependents = self._graph.dependents(node.uid)
        verdict = judge(fresh, states, bool(dependents))
        if verdict.keep is not None:
            await self._write_owners(fresh, latest, verdict.keep)
        elif verdict.policy:
            if verdict.policy == "Foreground" and any(d.foreground for d in dependents):
                await self._unblock(fresh, latest)
                latest = await self._get(node)
            preconditions = {"uid": node.uid, "resourceVersion": latest["metadata"]["resourceVersion"]}
            options = {"propagationPolicy": verdict.policy, "preconditions": preconditions}
            await self.cache.client.delete(node.res, node.name, node.namespace or None, options=options)

    async def _foreground(self, node: Node) -> None:
        """Wait for what blocks; without it the finalizer goes."""
        blocking = self._graph.blocking(node.uid)
        for dependent in blocking:
            if not dependent.deleting:
                self.loop.add(f"delete/{dependent.uid}")
        if not blocking:
            await self._drop_finalizer(node, FOREGROUND)

    async def _orphan(self, node: Node) -> None:
        """Let all dependents go, then the finalizer."""
        if not node.orphaning:
            return
        for dependent in self._graph.dependents(node.uid):
            for _ in range(3):
                try:
                    latest = await self._get(dependent)
                    fresh = node_of(dependent.res, latest["metadata"])
                    await self._write_owners(fresh, latest, [o for o in fresh.owners if o.uid != node.uid])
                    break
                except NotFound:
                    break
                except Conflict:
                    continue
        if any(any(o.uid == node.uid for o in d.owners) and not d.deleting for d in await self._fresh_dependents(node)):
            raise Conflict(f"dependents of {node.name} changed meanwhile")
        await self._drop_finalizer(node, ORPHAN)

    async def _fresh_dependents(self, node: Node) -> list[Node]:
        found = []
        for dependent in self._graph.dependents(node.uid):
            try:
                found.append(node_of(dependent.res, (await self._get(dependent))["metadata"]))
            except NotFound:
                continue
        return found

    async def _unblock(self, node: Node, latest: Object) -> None:
        """Two that wait for each other: this one no longer blocks its owner."""
        refs = [{**ref, "blockOwnerDeletion": False} for ref in latest["metadata"].get("ownerReferences") or ()]
        await self._patch(node, latest, {"ownerReferences": refs})

    async def _write_owners(self, node: Node, latest: Object, keep: list[Owner]) -> None:
        uids = {owner.uid for owner in keep}
        refs = [ref for ref in latest["metadata"].get("ownerReferences") or () if ref.get("uid") in uids]
        if len(refs) != len(latest["metadata"].get("ownerReferences") or ()):
            await self._patch(node, latest, {"ownerReferences": refs or None})

    async def _drop_finalizer(self, node: Node, name: str) -> None:
        latest = await self._get(node)
        left = [f for f in latest["metadata"].get("finalizers") or () if f != name]
        if left != (latest["metadata"].get("finalizers") or []):
            await self._patch(node, latest, {"finalizers": left or None})

    async def _patch(self, node: Node, latest: Object, meta: Object) -> None:
        body = {"metadata": {**meta, "uid": node.uid, "resourceVersion": latest["metadata"]["resourceVersion"]}}
        await self.cache.client.patch(node.res, node.name, body, node.namespace or None)

    async def _state(self, node: Node, owner: Owner) -> str:
        """`solid`, `waiting` or `absent`; StatusError when it cannot be told, so that nothing is deleted in doubt."""
        held = self._graph.nodes.get(owner.uid)
        if held is not None:
            return "waiting" if held.foreground else "solid"
        if owner.uid in self._known_owners:
            return "solid"
        group, _, _ = owner.api_version.rpartition("/")
        res = self._kinds.get((group, owner.kind))
        if res is None:
            self._look.set()
            raise NoSuchKind(f"owner of {node.res} {node.name}: no kind {owner.kind} in {owner.api_version}")
        if res.namespaced and not node.namespace:
            return "solid"  # a cluster-wide object cannot have such an owner: a mistake, but no reason to delete
        try:
            found = await self.cache.client.get(res, owner.name, node.namespace if res.namespaced else None)
        except NotFound:
            return "absent"
        meta = found["metadata"]
        if meta.get("uid") != owner.uid:
            return "absent"
        if meta.get("deletionTimestamp") and FOREGROUND in (meta.get("finalizers") or ()):
            return "waiting"
        self._known_owners.add(owner.uid)
        return "solid"


class NoSuchKind(StatusError):
    """An owner's kind is not served (any more, or yet)."""

    code, reason = 503, "ServiceUnavailable"


def _plain(slim: Slim | None) -> Object | None:
    return {"metadata": msgspec.to_builtins(slim.metadata)} if slim is not None else None
