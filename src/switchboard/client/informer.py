"""A local copy of a collection, kept true by LIST and WATCH.

Rules: the list is the truth and events are hints: a relist that has come in whole is compared with the copy, and every
difference is taken over and told as one (old, new) call; before a call the copy is already changed. Very many take
several turns of the loop, so that a server in the same process goes on answering. Whatever breaks, the watch goes on
from the last version seen; only a version that the server does not have makes a relist: 410 (history is gone), or one
from its future (it lost what it told of). Source: client-go/tools/cache/reflector.go.

States of `run`: listing (no version yet) -> watching (from a version) -> listing on 410, watching again on the rest.

Own writes can be told at once (`observe`, `forget`) instead of waiting for their event to come back, so whoever decides
from the copy never decides without what it just did. Such a key is *ahead* until an event as new arrives.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from switchboard.client.copies import Copies, Form, Found
from switchboard.client.keysets import KeySets
from switchboard.client.resources import Resource
from switchboard.client.sharing import Sharing
from switchboard.client.transport import Disconnected, error_of, error_of_reply
from switchboard.client.turns import TURN, turn
from switchboard.client.verbs import Client, list_target
from switchboard.client.wire import Head, Line, List
from switchboard.objects.errors import Gone, StatusError

T = TypeVar("T")
Object = dict[str, Any]
OnChange = Callable[[T | None, T | None], None]

log = logging.getLogger(__name__)

_PAGE: Final = 1000  # objects in one answer: bounds the memory of a first list of very many
_LATE_TURNS: Final = 4  # of the loop, after which what packets wait for is on its way to the disk
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 5.0  # seconds between tries: a restarting API is missed only briefly


def key_of(namespace: str | None, name: str) -> str:
    """`namespace/name`, or the bare name of an object without namespace: keys of informers and loops."""
    return f"{namespace}/{name}" if namespace else name


def split_key(key: str) -> tuple[str, str]:
    """The reverse of `key_of`; the namespace is "" where there is none."""
    namespace, slash, name = key.rpartition("/")
    return (namespace, name) if slash else ("", key)


class Informer(Generic[T]):
    """Objects of one resource (optionally of one namespace, or selected).

    `type_` is dict (managedFields are dropped; apiVersion and kind are filled in) or a `msgspec.Struct` that names the
    fields to keep. Objects are shared, and so are equal parts of them (`sharing`): never change them. `most`: what
    comes when there are so many is held packed (`copies`). `on_change` callbacks run on the loop and must not block;
    they are called for changes from their registration on.
    """

    def __init__(
        self,
        client: Client,
        res: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        type_: type[T] = dict,  # type: ignore[assignment]  # the default is what the type variable then is
        most: int | None = None,
    ) -> None:
        self.res = res
        self.synced = asyncio.Event()
        self._client = client
        self._where = (res, namespace, label_selector, field_selector)
        self._plain = type_ is dict
        self._decode: Callable[[Any], T] = msgspec.json.Decoder(type_).decode
        head = f'{{"kind":"{res.kind}","apiVersion":"{res.api_version}",'.encode()
        find = client.finder(res) if most is not None else None
        self._items = Copies[T](lambda raw: self._finish(self._decode(raw)), most, find, head)
        self._callbacks: list[OnChange[T]] = []
        self._late_callbacks: list[OnChange[T]] = []
        self._late: list[tuple[T | None, T | None]] = []  # changes that these have not been told of
        self._all_told: list[Callable[[], None]] = []
        self._indices: dict[str, _Index[T]] = {}
        self._version: str | None = None
        self._ahead: dict[str, int] = {}  # key -> version of an own write whose event has not come yet

    # Reading

    def get(self, namespace: str | None, name: str) -> T | None:
        """One object, or None."""
        return self._items.get(key_of(namespace, name))

    def get_key(self, key: str) -> T | None:
        """One object by its `namespace/name`."""
        return self._items.get(key)

    def items(self) -> Collection[T]:
        """All objects, a live view."""
        return self._items.values()

    def keys(self) -> Collection[str]:
        """All keys, a live view."""
        return self._items.keys()

    def index(self, name: str, fn: Callable[[T], Iterable[str]]) -> None:
        """Keep objects findable by the strings that `fn` makes of each; a second index of the same name is ignored."""
        if name not in self._indices:
            self._indices[name] = added = _Index(fn)
            for key in self._items:
                added.change(key, None, self._items.get(key))

    def by(self, name: str, key: str) -> Collection[T]:
        """The objects that the index `name` has under `key`; valid until the next change."""
        return Found(self._items, self._indices[name].keys(key))

    def keys_by(self, name: str, key: str) -> Collection[str]:
        """The keys of the objects that the index `name` has under `key`."""
        return self._indices[name].keys(key)

    def values(self, name: str) -> set[str]:
        """All strings that the index `name` has objects under."""
        return self._indices[name].values()

    def on_change(self, fn: OnChange[T], *, late: bool = False) -> None:
        """Have `fn(old, new)` called after every change: (None, new) added, (old, None) gone.

        `late`: some turns of the loop afterwards, for those whom no packet waits for. In the process of the store they
        work while it waits for the disk; the copy may be further by then.
        """
        (self._late_callbacks if late else self._callbacks).append(fn)

    def on_all_told(self, fn: Callable[[], None]) -> None:
        """Have `fn` called when all changes that came at once from the watch have been told."""
        self._all_told.append(fn)

    def rest(self) -> None:
        """Called now and then: objects that nobody asks for need not stay decoded."""
        self._items.rest()

    # Own writes

    def observe(self, obj: Object) -> None:
        """Take the answer of an own write into the copy now; older events of that object are passed over later."""
        meta = obj["metadata"]
        key, version = key_of(meta.get("namespace"), meta["name"]), int(meta.get("resourceVersion") or 0)
        if self._ahead_of_watch(key, version):
            self._ahead[key] = version
            self._set(key, self._finish(cast(T, obj)))

    def forget(self, obj: Object) -> None:
        """Take the answer of an own DELETE that removed the object into the copy now."""
        meta = obj["metadata"]
        key, version = key_of(meta.get("namespace"), meta["name"]), int(meta.get("resourceVersion") or 0)
        held = cast("Object | None", self._items.get(key)) if self._plain else None
        if held is None or held["metadata"].get("uid") != meta.get("uid"):
            return  # the watch was faster, and another of that name may be there
        if self._ahead.get(key, 0) <= version:
            self._ahead[key] = version
            self._set(key, None)

    def _ahead_of_watch(self, key: str, version: int) -> bool:
        """Whether the watch has yet to tell of this version: if it was told already, the object may be gone since."""
        if not self._plain or any(self._where[1:]) or version <= int(self._version or 0):
            return False
        return version > self._ahead.get(key, 0)

    # Following

    async def run(self) -> None:
        """Follow for ever."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._version is None:
                    await self._list()
                progress = await self._watch(self._version or "")
                pause = _FIRST_PAUSE if progress else pause
                if progress:
                    continue
            except Gone:
                log.info("%s: the version watched is too old, listing again", self.res)
                self._version = None
                if pause == _FIRST_PAUSE:
                    pause *= 2
                    continue
            except Disconnected as error:
                log.debug("%s: %s", self.res, error)
            except StatusError as error:
                # A custom resource that is being taken away is nothing to warn of.
                level = logging.INFO if error.code == 404 else logging.WARNING
                log.log(level, "%s: %s %s", self.res, error.code, error.message)
                if _from_the_future(error):
                    self._version = None
            except Exception:
                log.exception("%s: unexpected", self.res)
                self._version = None
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LAST_PAUSE, pause * 2)

    async def _list(self) -> None:
        forms: dict[str, Form] = {}
        decode = msgspec.json.Decoder(List).decode
        query: dict[str, Any] = {"limit": _PAGE}
        while True:
            target = list_target(*self._where, **query)
            reply = await self._client.raw("GET", target)
            if reply.status != 200:
                raise error_of_reply(reply)
            page = decode(reply.body)
            until = time.monotonic() + TURN
            for raw in page.items or ():
                head = _decode_head(raw).metadata
                key = key_of(head.namespace, head.name)
                if (obj := self._object(key, raw, len(forms))) is not None:
                    forms[key] = self._items.form(key, obj, raw, len(forms))
                until = await turn(until)
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        self._version = page.metadata.resourceVersion
        await self._swap(forms, int(self._version or 0))
        self.synced.set()

    async def _swap(self, forms: dict[str, Form], version: int) -> None:
        """Make the copy what a list of that version is and tell every difference."""
        self._ahead = {key: ahead for key, ahead in self._ahead.items() if ahead > version}
        until = time.monotonic() + TURN
        for key in [key for key in self._items if key not in forms]:
            if key not in self._ahead:  # own writes may come between two turns
                self._set(key, None)
            until = await turn(until)
        for key, form in forms.items():
            obj = self._items.read(form)
            if key not in self._ahead and not self._same(self._items.get(key), obj):
                self._set(key, obj, form)
            until = await turn(until)

    def _same(self, old: T | None, new: T) -> bool:
        if isinstance(old, dict) and isinstance(new, dict):
            return bool(old["metadata"].get("resourceVersion") == new["metadata"].get("resourceVersion"))
        return old == new

    async def _watch(self, version: str) -> bool:
        """One watch until it ends; True if anything came (or it ended in good order after a while)."""
        target = list_target(
            *self._where,
            watch=True,
            resourceVersion=version,
            allowWatchBookmarks=True,
            timeoutSeconds=random.randint(300, 600),
        )
        started = asyncio.get_running_loop().time()
        came = False
        async with self._client.transport.stream("GET", target, self._client.stream_headers()) as pieces:
            async for piece in pieces:
                came = True
                until = time.monotonic() + TURN
                for line in piece.split(b"\n"):
                    if line:
                        self._event(_decode_line(line))
                        until = await turn(until)
                for fn in self._all_told:
                    fn()
        return came or asyncio.get_running_loop().time() - started > 1.0

    def _event(self, line: Line) -> None:
        if line.type == "ERROR":
            raise error_of(msgspec.json.decode(line.object))
        head = _decode_head(line.object).metadata
        if line.type != "BOOKMARK":
            key = key_of(head.namespace, head.name)
            ahead = self._ahead.get(key) if self._ahead else None
            if ahead is None or self._caught_up(key, ahead, int(head.resourceVersion or 0), line):
                self._change(key, line)
        self._version = head.resourceVersion or self._version

    def _change(self, key: str, line: Line) -> None:
        number = len(self._items)
        obj = self._object(key, line.object, number) if line.type != "DELETED" else None
        self._set(key, obj, self._items.form(key, obj, line.object, number) if obj is not None else None)

    def _caught_up(self, key: str, ahead: int, version: int, line: Line) -> bool:
        """Whether an event is news for a key that an own write put ahead."""
        if version < ahead:
            return False
        del self._ahead[key]
        # The own write itself, come back: the copy has it. A deletion may carry the object's last version.
        if version > ahead or line.type == "DELETED":
            return True
        self._items.settle(key, line.object)
        return False

    def _object(self, key: str, raw: msgspec.Raw, number: int) -> T | None:
        """What an object is that came when there were so many, or None for one that cannot be read."""
        try:
            obj = self._finish(self._decode(raw))
        except msgspec.DecodeError as error:
            log.warning("%s %s is passed over: %s", self.res, key, error)
            return None
        if self._plain and not self._items.packs(number):
            _sharing.object(cast(Object, obj), cast("Object | None", self._items.get(key)))
        return obj

    def _finish(self, obj: T) -> T:
        if isinstance(obj, dict):
            obj["metadata"].pop("managedFields", None)
            obj.setdefault("apiVersion", self.res.api_version)
            obj.setdefault("kind", self.res.kind)
        return obj

    def _set(self, key: str, new: T | None, form: Form = None) -> None:
        """Hold a new state (`form`: how, itself if not given), or none, and tell of it."""
        old = self._items.pop(key) if new is None else self._items.get(key)
        if new is not None:
            self._items.put(key, new, new if form is None else form)
        elif old is None:
            return
        for index in self._indices.values():
            index.change(key, old, new)
        self._tell(self._callbacks, old, new)
        if self._late_callbacks:
            if not self._late:
                asyncio.get_running_loop().call_soon(self._tell_late, _LATE_TURNS - 1)
            self._late.append((old, new))

    def _tell(self, callbacks: list[OnChange[T]], old: T | None, new: T | None) -> None:
        for fn in callbacks:
            try:
                fn(old, new)
            except Exception:
                log.exception("%s: a callback failed", self.res)

    def _tell_late(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._tell_late, turns - 1)
            return
        changes, self._late = self._late, []
        for old, new in changes:
            self._tell(self._late_callbacks, old, new)


class _Index(Generic[T]):
    """Values that a function makes of objects -> the keys of the objects."""

    def __init__(self, fn: Callable[[T], Iterable[str]]) -> None:
        self.fn = fn
        self._keys = KeySets()

    def keys(self, value: str) -> Collection[str]:
        """Keys of the objects of which the function makes this value."""
        return self._keys.get(value)

    def values(self) -> set[str]:
        """All values that the function makes of any object."""
        return set(self._keys.values())

    def change(self, key: str, old: T | None, new: T | None) -> None:
        before = set(self.fn(old)) if old is not None else _NOTHING
        after = set(self.fn(new)) if new is not None else _NOTHING
        if before != after:
            for value in before - after:
                self._keys.drop(value, key)
            for value in after - before:
                self._keys.add(value, key)


_NOTHING: Final[set[str]] = set()


def _from_the_future(error: StatusError) -> bool:
    """Whether the server does not know the version asked for yet (apimachinery's IsTooLargeResourceVersion)."""
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "ResourceVersionTooLarge" for cause in causes)


_sharing = Sharing()  # of all informers of the process
_decode_head = msgspec.json.Decoder(Head).decode
_decode_line = msgspec.json.Decoder(Line).decode
