"""Namespace deletion: everything inside goes, of every kind there is, then the namespace itself.

Source: kubernetes/pkg/controller/namespace/deletion/namespaced_resources_deleter.go: pods first, so that nothing they
need is taken from under them; conditions tell what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from switchboard.client import Resource
from switchboard.client.resources import NAMESPACES, PODS
from switchboard.controllers import conditions, discovery
from switchboard.controllers.base import Context, Controller
from switchboard.objects.errors import Conflict, MethodNotAllowed, NotFound, StatusError

Object = dict[str, Any]

_FINALIZER: Final = "kubernetes"
_SOON, _LATER = 0.05, 2.0

# Condition -> reason and message when all is well, reason and message when not.
_CONDITIONS: Final = {
    "NamespaceDeletionDiscoveryFailure": (
        *("ResourcesDiscovered", "All resources successfully discovered"),
        *("DiscoveryFailed", "{}"),
    ),
    "NamespaceDeletionGroupVersionParsingFailure": (
        *("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        *("GroupVersionParsingFailed", "{}"),
    ),
    "NamespaceDeletionContentFailure": (
        *("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        *("ContentDeletionFailed", "{}"),
    ),
    "NamespaceContentRemaining": (
        *("ContentRemoved", "All content successfully removed"),
        *("SomeResourcesRemain", "Some resources are remaining: {}"),
    ),
    "NamespaceFinalizersRemaining": (
        *("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        *("SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: {}"),
    ),
}


@dataclass(slots=True)
class Remains:
    """What is left in a namespace after an attempt to empty it."""

    counts: dict[str, int] = field(default_factory=dict)  # resource -> objects
    finalizers: Counter[str] = field(default_factory=Counter)
    discovery_error: str = ""
    content_errors: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether the namespace may go."""
        return not self.counts and not self.discovery_error and not self.content_errors


def status_conditions(known: list[Object], remains: Remains, now: float) -> list[Object]:
    """The five conditions of a namespace on its way out."""
    left = ", ".join(f"{res} has {n} resource instances" for res, n in sorted(remains.counts.items()))
    stuck = ", ".join(f"{name} in {n} resource instances" for name, n in sorted(remains.finalizers.items()))
    found = {
        "NamespaceDeletionDiscoveryFailure": remains.discovery_error,
        "NamespaceDeletionGroupVersionParsingFailure": "",
        "NamespaceDeletionContentFailure": "; ".join(remains.content_errors),
        "NamespaceContentRemaining": left,
        "NamespaceFinalizersRemaining": stuck,
    }
    for type_, (good_reason, good_text, bad_reason, bad_text) in _CONDITIONS.items():
        bad = found[type_]
        text = ("True", bad_reason, bad_text.format(bad)) if bad else ("False", good_reason, good_text)
        known = conditions.put(known, type_, *text, now)
    return known


class NamespaceController(Controller):
    """Keys are namespaces."""

    name = "namespace"
    main = NAMESPACES
    needs = (PODS,)
    workers: ClassVar[int] = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._waits: dict[str, float] = {}
        self.of(PODS).on_change(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """The last pod of a namespace that goes often is what is waited for."""
        if old is not None and new is None:
            space = old["metadata"].get("namespace", "")
            if space in self._waits:
                self._waits[space] = _SOON
                self.loop.add(space)

    async def reconcile(self, key: str) -> float | None:
        """Empty one namespace that is being deleted."""
        namespace = self.of(NAMESPACES).get_key(key)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            self._waits.pop(key, None)
            return None
        finalizers = (namespace.get("spec") or {}).get("finalizers") or []
        if _FINALIZER not in finalizers:
            return None
        remains = await self._empty(key)
        namespace = self.of(NAMESPACES).get_key(key) or namespace
        try:
            await self._write_status(namespace, remains)
            if remains.empty:
                left = [name for name in finalizers if name != _FINALIZER]
                body = {**namespace, "spec": {**namespace["spec"], "finalizers": left}}
                body["metadata"] = {k: v for k, v in body["metadata"].items() if k != "resourceVersion"}
                await self.cache.client.update(NAMESPACES, body, subresource="finalize")
                self._waits.pop(key, None)
                return None
        except NotFound:
            return None
        wait = self._waits.get(key, _SOON)
        self._waits[key] = min(_LATER, wait * 2)
        return wait

    async def _write_status(self, namespace: Object, remains: Remains) -> None:
        old = namespace.get("status") or {}
        known = status_conditions(old.get("conditions") or [], remains, self.clock())
        if known != old.get("conditions"):
            status = {**old, "phase": "Terminating", "conditions": known}
            meta = {k: v for k, v in namespace["metadata"].items() if k != "resourceVersion"}
            try:
                await self.cache.update_status(NAMESPACES, {**namespace, "metadata": meta, "status": status})
            except Conflict:
                pass

    async def _empty(self, space: str) -> Remains:
        remains = Remains()
        try:
            found = await discovery.resources(self.cache.client)
        except StatusError as error:
            remains.discovery_error = error.message
            return remains
        kinds = {f.resource: f.verbs for f in found if f.resource.namespaced and {"list", "delete"} <= f.verbs}
        await self._remove(PODS, kinds.get(PODS, frozenset()), space, remains)
        if remains.counts:
            return remains  # what pods may still need stays until they are gone
        await self._remove_all(kinds, space, remains)
        return remains

    async def _remove_all(self, kinds: Mapping[Resource, frozenset[str]], space: str, remains: Remains) -> None:
        for res, verbs in kinds.items():
            if res != PODS:
                await self._remove(res, verbs, space, remains)

    async def _remove(self, res: Resource, verbs: frozenset[str], space: str, remains: Remains) -> None:
        """Delete all objects of one kind, then count what is left."""
        client = self.cache.client
        try:
            if not (await client.list(res, space, limit=1))["items"]:
                return
            options = {"propagationPolicy": "Background"}
            if "deletecollection" in verbs:
                await client.delete_collection(res, space, options=options)
            else:
                for obj in (await client.list(res, space))["items"]:
                    await self._delete(res, obj["metadata"]["name"], space, options)
            left = (await client.list(res, space))["items"]
        except (NotFound, MethodNotAllowed):
            return  # the kind itself went
        except StatusError as error:
            remains.content_errors.append(error.message)
            return
        if left:
            remains.counts[str(res) + ("." if not res.group else "")] = len(left)
            for obj in left:
                remains.finalizers.update(obj["metadata"].get("finalizers") or ())

    async def _delete(self, res: Resource, name: str, space: str, options: Object) -> None:
        try:
            await self.cache.client.delete(res, name, space, options=options)
        except NotFound:
            pass
