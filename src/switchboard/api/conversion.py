"""Custom resources from one of their versions into another: by name alone, or by a webhook.

Reading and writing are synchronous, a webhook is not. So a conversion that needs one is looked up among those already
made; if it is not there, `Needed` interrupts the request, which is answered again once the webhook was asked
(`answer`). What was asked for is converted back and into the other served versions at the same time, so that the write
itself and every watcher find what they need. A webhook may change labels and annotations but no other metadata, which
is why metadata is no part of what is remembered.

Source: `apiextensions-apiserver/pkg/apiserver/conversion`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from switchboard.api import typed
from switchboard.api.keyspace import decode, prefix_of
from switchboard.api.metadata import new_uid
from switchboard.api.webhookclient import CallFailed
from switchboard.objects.errors import InternalError

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.api.call import Call
    from switchboard.objects.kinds import Kind
    from switchboard.transport.messages import Response

Object = dict[str, Any]
_KEPT = 50_000
_ROUNDS = 8
_CHANGEABLE = ("labels", "annotations")
_REVIEW = "apiextensions.k8s.io/v1"


class Needed(Exception):
    """A conversion that only the webhook can make."""

    def __init__(self, conversion: Conversion, obj: Object, version: str) -> None:
        super().__init__(f"conversion of {obj.get('kind')} to {version}")
        self.conversion, self.obj, self.version = conversion, obj, version


def _identity(obj: Object) -> bytes:
    """What a webhook sees of an object, as far as it decides the answer."""
    meta = obj.get("metadata") or {}
    rest = {k: v for k, v in obj.items() if k != "metadata"}
    seen = [rest, [meta.get(name) for name in _CHANGEABLE], meta.get("namespace"), meta.get("name")]
    return msgspec.json.encode(seen, order="sorted")  # a webhook may answer with the fields in another order


def renamed(obj: Object, group: str, version: str) -> Object:
    """The object with another apiVersion."""
    return {**obj, "apiVersion": f"{group}/{version}"}


class Conversion:
    """How the objects of one definition are converted."""

    def __init__(self, crd: Object, watched: Callable[[], set[str]] = set) -> None:
        """`watched` tells in which versions somebody watches: writes must be convertible into these."""
        self.watched = watched
        spec = crd["spec"]
        self.name: str = crd["metadata"]["name"]
        self.group: str = spec["group"]
        self.versions = [v["name"] for v in spec["versions"] if v.get("served") or v.get("storage")]
        strategy = spec.get("conversion") or {}
        self.webhook: Object | None = strategy.get("webhook") if strategy.get("strategy") == "Webhook" else None
        self._made: dict[tuple[bytes, str], Object] = {}

    def convert(self, obj: Object, version: str) -> Object:
        """The object in that version (the one given, where it is in it already). Raises Needed."""
        wanted = f"{self.group}/{version}"
        if obj.get("apiVersion") == wanted:
            return obj
        if self.webhook is None:
            return renamed(obj, self.group, version)
        made = self._made.get((_identity(obj), version))
        if made is None:
            raise Needed(self, obj, version)
        converted: Object = typed.copy_of(made)
        return _with_metadata(converted, obj)

    def store(self, obj: Object, version: str) -> Object:
        """The object as it is stored, once every watcher can be shown it. Raises Needed."""
        stored = self.convert(obj, version)
        if self.webhook is not None:
            for other in self.watched():
                self.convert(stored, other)
        return stored

    async def satisfy(self, app: App, objects: list[Object], version: str) -> None:
        """Ask the webhook for these objects in a version, and for the result in every other one. InternalError."""
        first = await self._ask(app, objects, version)
        for source, made in zip(objects, first, strict=True):
            self._remember(source, version, made)
        for other in self.versions:
            if other != version:
                wanting = [made for made in first if (_identity(made), other) not in self._made]
                if wanting:
                    for source, made in zip(wanting, await self._ask(app, wanting, other), strict=True):
                        self._remember(source, other, made)

    def _remember(self, source: Object, version: str, made: Object) -> None:
        if len(self._made) >= _KEPT:
            self._made.clear()
        self._made[_identity(source), version] = made

    async def _ask(self, app: App, objects: list[Object], version: str) -> list[Object]:
        assert self.webhook is not None
        wanted = f"{self.group}/{version}"
        uid = new_uid()
        request = {"uid": uid, "desiredAPIVersion": wanted, "objects": objects}
        review = {"kind": "ConversionReview", "apiVersion": _REVIEW, "request": request}
        what = f"conversion webhook for {objects[0].get('apiVersion')}, Kind={objects[0].get('kind')} failed"
        try:
            answer = await app.webhooks.call(self.webhook["clientConfig"], review, 30.0)
        except CallFailed as e:
            raise InternalError(f"{what}: {e}", details={"causes": [{"message": f"{what}: {e}"}]}) from None
        response = answer.get("response") if isinstance(answer, dict) else None
        try:
            return _checked(response, uid, objects, wanted)
        except ValueError as e:
            raise InternalError(f"{what}: {e}", details={"causes": [{"message": f"{what}: {e}"}]}) from None


def _checked(response: Any, uid: str, objects: list[Object], wanted: str) -> list[Object]:
    """The converted objects of a webhook's answer; ValueError for one that breaks the rules."""
    if not isinstance(response, dict):
        raise ValueError("no response provided")
    if response.get("uid") != uid:
        raise ValueError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result") or {}
    if result.get("status") != "Success":
        raise ValueError(result.get("message") or f"response.result.status was '{result.get('status', '')}'")
    converted = response.get("convertedObjects") or []
    if len(converted) != len(objects):
        raise ValueError(f"webhook returned {len(converted)} objects, expected {len(objects)}")
    for index, (before, after) in enumerate(zip(objects, converted, strict=True)):
        if not isinstance(after, dict) or after.get("apiVersion") != wanted:
            raise ValueError(f"webhook returned invalid converted object at index {index}: wrong apiVersion")
        if after.get("kind") != before.get("kind"):
            raise ValueError(f"webhook returned invalid converted object at index {index}: invalid kind")
    return [_with_metadata(after, before) for before, after in zip(objects, converted, strict=True)]


def _with_metadata(converted: Object, original: Object) -> Object:
    """A converted object with the metadata of the original, labels and annotations aside."""
    made, meta = converted.get("metadata") or {}, dict(original.get("metadata") or {})
    for name in _CHANGEABLE:
        if made.get(name):
            meta[name] = made[name]
        else:
            meta.pop(name, None)
    return {**converted, "metadata": meta}


def by_webhook(kind: Kind) -> bool:
    """Whether objects of a kind are converted by a webhook."""
    return kind.custom and kind.extra.type.conversion.webhook is not None


async def prepare(call: Call, obj: Object) -> None:
    """Ask the webhook for all that the write of an admitted object will need.

    Else the write would be tried again from its start, and admission with it, whose webhooks may change it otherwise.
    """
    type_ = call.kind.extra.type
    for _ in range(_ROUNDS):
        try:
            type_.to_storage(typed.copy_of(obj))
            return
        except Needed as needed:
            await needed.conversion.satisfy(call.app, [needed.obj], needed.version)


async def answer(fresh: Callable[[], Call], handler: Callable[[Call], Response | Awaitable[Response]]) -> Response:
    """Answer a call about a kind with a conversion webhook, asking that as often as it takes."""
    for _ in range(_ROUNDS):
        call = fresh()
        try:
            if call.verb in ("list", "watch", "deletecollection"):
                await _prefetch(call)
            response = handler(call)
            return await response if isinstance(response, Awaitable) else response
        except Needed as needed:
            await needed.conversion.satisfy(call.app, [needed.obj], needed.version)
    raise InternalError("conversion webhook: the objects keep changing")


async def _prefetch(call: Call) -> None:
    """Convert at once all stored objects that a list will show one by one."""
    conversion, version = call.kind.extra.type.conversion, call.kind.version
    missing: dict[bytes, Object] = {}
    for record in call.app.store.scan(prefix_of(call.kind, call.namespace)):
        obj = decode(record.value)
        try:
            conversion.convert(obj, version)
        except Needed:
            missing[_identity(obj)] = obj
    if missing:
        await conversion.satisfy(call.app, list(missing.values()), version)
