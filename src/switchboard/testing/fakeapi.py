"""A small API in memory that misbehaves on demand: for tests of the client's side of LIST and WATCH.

It keeps objects of any resource by path, counts versions, replays history to watches; it knows no kinds, validation
or defaults (tests that need those use the real API). Faults: `compact` (410), `cut` (watches break off), `refuse` (the
next requests fail), `mute` (watches stay open but tell nothing, as a network that swallows packets: a watch that missed
an event tells nothing more until it is cut, because a stream has no gaps).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from switchboard.client import Disconnected, Reply, error_of
from switchboard.objects.errors import AlreadyExists, Conflict, Gone, NotFound, StatusError

Object = dict[str, Any]


class FakeApi:
    """A `client.Transport`; `requests` is the log of (method, target)."""

    def __init__(self) -> None:
        self.version = 0
        self.requests: list[tuple[str, str]] = []
        self.refuse: deque[Exception] = deque()  # raised by the next requests, one each
        self.mute = False
        self.bookmarks = True
        self._objects: dict[tuple[str, str, str], Object] = {}  # (collection without namespace, namespace, name)
        self._history: list[tuple[int, str, str, Object]] = []  # version, type, collection, object
        self._oldest = 0
        self._watching: dict[asyncio.Queue[bytes | None], tuple[str, str]] = {}
        self._deaf: set[asyncio.Queue[bytes | None]] = set()  # watches that missed an event

    # What tests do

    def put(self, collection: str, name: str, namespace: str = "", **fields: Any) -> Object:
        """Create or replace an object, as somebody else would: `put("/api/v1/pods", "a", "ns", spec={})`."""
        key = (collection, namespace, name)
        old = self._objects.get(key)
        meta = {"name": name, **({"namespace": namespace} if namespace else {}), **fields.pop("metadata", {})}
        return self._store("MODIFIED" if old else "ADDED", key, {"metadata": meta, **fields})

    def remove(self, collection: str, name: str, namespace: str = "") -> None:
        """Delete an object, as somebody else would."""
        key = (collection, namespace, name)
        self._store("DELETED", key, dict(self._objects[key]))

    def compact(self) -> None:
        """Forget history: a watch from an older version is answered 410."""
        self._oldest = self.version
        self._history.clear()

    def cut(self) -> None:
        """Break every open watch off."""
        for queue in list(self._watching):
            queue.put_nowait(None)

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._watching)

    # Transport

    async def request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """One exchange."""
        self.requests.append((method, target))
        await asyncio.sleep(0)
        try:
            if self.refuse:
                raise self.refuse.popleft()
            return Reply(200, {}, msgspec.json.encode(self._answer(method, target, body)))
        except StatusError as error:
            return Reply(error.code, {}, msgspec.json.encode(error.status()))

    @asynccontextmanager
    async def stream(self, method: str, target: str, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch from `resourceVersion` on."""
        self.requests.append((method, target))
        await asyncio.sleep(0)
        if self.refuse:
            raise self.refuse.popleft()
        collection, namespace, _, _, query = _parse(target)
        since = int(query.get("resourceVersion") or 0)
        if since < self._oldest:
            raise Gone(f"too old resource version: {since} ({self._oldest})")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for version, type_, where, obj in self._history:
            if version > since and where == collection and namespace in ("", obj["metadata"].get("namespace", "")):
                queue.put_nowait(_line(type_, obj))
        self._watching[queue] = (collection, namespace)
        try:
            yield self._pieces(queue)
        finally:
            del self._watching[queue]
            self._deaf.discard(queue)

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _pieces(self, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        while True:
            piece = await queue.get()
            if piece is None:
                raise Disconnected("cut off")
            yield piece

    def _answer(self, method: str, target: str, body: bytes) -> Object:
        collection, namespace, name, _, query = _parse(target)
        if method == "GET" and not name:
            return self._list(collection, namespace, query)
        sent = msgspec.json.decode(body) if body else {}
        name = name or sent.get("metadata", {}).get("name", "")
        key = (collection, namespace, name)
        plural = collection.rpartition("/")[2]
        if method == "POST":
            if key in self._objects:
                raise AlreadyExists.of(plural, "", name)
            sent.setdefault("metadata", {})["namespace"] = namespace
            return self._store("ADDED", key, sent)
        old = self._objects.get(key)
        if old is None:
            raise NotFound.of(plural, "", name)
        if method == "PUT":
            version = sent["metadata"].get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise Conflict.of(plural, "", name, "the object has been modified")
            return self._store("MODIFIED", key, sent)
        if method == "PATCH":
            return self._store("MODIFIED", key, _merge(old, sent))
        if method == "DELETE":
            self._store("DELETED", key, dict(old))
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        return old

    def _list(self, collection: str, namespace: str, query: dict[str, str]) -> Object:
        keys = sorted(key for key in self._objects if key[0] == collection and namespace in ("", key[1]))
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(keys)
        page = keys[start : start + limit]
        meta = {"resourceVersion": str(self.version)}
        if start + limit < len(keys):
            meta["continue"] = str(start + limit)
        return {"kind": "List", "apiVersion": "v1", "metadata": meta, "items": [self._objects[key] for key in page]}

    def _store(self, type_: str, key: tuple[str, str, str], obj: Object) -> Object:
        self.version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        if type_ == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = obj
        self._history.append((self.version, type_, key[0], obj))
        if self.mute:
            self._deaf.update(self._watching)
        for queue, (collection, namespace) in self._watching.items():
            if queue in self._deaf:
                continue
            if collection == key[0] and namespace in ("", key[1]):
                queue.put_nowait(_line(type_, obj))
            elif self.bookmarks:
                queue.put_nowait(_line("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}}))
        return obj


def failure(code: int, reason: str, message: str = "no") -> StatusError:
    """A StatusError to `refuse` a request with."""
    return error_of({"code": code, "reason": reason, "message": message})


def _line(type_: str, obj: Object) -> bytes:
    return msgspec.json.encode({"type": type_, "object": obj}) + b"\n"


def _merge(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merge(out.get(key), value)
    return out


def _parse(target: str) -> tuple[str, str, str, str, dict[str, str]]:
    """Target -> (collection path without its namespace, namespace, name, subresource, query)."""
    path, _, text = target.partition("?")
    query = {key: values[0] for key, values in parse_qs(text).items()}
    parts = path.strip("/").split("/")
    root, rest = (parts[:2], parts[2:]) if parts[0] == "api" else (parts[:3], parts[3:])
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces":
        namespace, rest = unquote(rest[1]), rest[2:]
    plural, name, sub = (*rest, "", "")[:3]
    return "/" + "/".join([*root, plural]), namespace, unquote(name), sub, query
