"""Kubernetes Events: said once, counted afterwards, never in anybody's way.

The same words about the same object raise the count of one Event; many different words of one reason about one object
become "(combined from similar events)"; an object that is talked about all the time is passed over. Limits are those of
client-go/tools/record/events_cache.go: 10 similar in 10 minutes; 25 at once and one more each 5 minutes for an object.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from switchboard.client.resources import EVENTS
from switchboard.client.transport import Disconnected
from switchboard.client.verbs import Client, Object
from switchboard.objects.errors import NotFound, StatusError

log = logging.getLogger(__name__)

_QUEUE: Final = 1000
_KNOWN: Final = 2048
_SIMILAR, _SIMILAR_TIME = 10, 600.0
_BURST, _REFILL = 25, 1 / 300.0
_TRIES: Final = 5


@dataclass(slots=True)
class _Said:
    name: str
    namespace: str
    first: str
    count: int = 0
    stored: bool = False


@dataclass(slots=True)
class _Bucket:
    """How much may still be said about an object, and what was lately."""

    tokens: float
    at: float
    messages: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)


def reference(obj: Object) -> Object:
    """An ObjectReference to `obj` (which carries apiVersion and kind)."""
    meta = obj.get("metadata") or {}
    ref = {
        "kind": obj.get("kind"),
        "namespace": meta.get("namespace"),
        "name": meta.get("name"),
        "uid": meta.get("uid"),
        "apiVersion": obj.get("apiVersion"),
        "resourceVersion": meta.get("resourceVersion"),
    }
    return {key: value for key, value in ref.items() if value}


class EventRecorder:
    """Says Events as `component` (and `host`); needs a running loop, starts its own task with the first Event."""

    def __init__(
        self, client: Client, component: str, *, host: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._queue: deque[tuple[Object, str, str, str, str, float]] = deque()
        self._said: OrderedDict[tuple[Any, ...], _Said] = OrderedDict()
        self._buckets: OrderedDict[tuple[Any, ...], _Bucket] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        self._last = 0  # names are times in nanoseconds, and no two are the same

    def event(self, obj: Object, type_: str, reason: str, message: str, *, action: str = "") -> None:
        """Say `message` about `obj` (an object or an ObjectReference). Returns at once; dropped when too many wait."""
        if len(self._queue) >= _QUEUE:
            self.dropped += 1
            return
        about = reference(obj) if "metadata" in obj else obj
        self._queue.append((about, type_, reason, message[:1024], action, self._clock()))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def flush(self) -> None:
        """Wait until everything said so far was sent (or given up)."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        while self._queue:
            item = self._queue.popleft()
            try:
                await self._say(*item)
            except StatusError as error:
                # Ordinary where a namespace is going away; never a reason to stop.
                log.debug("event %s: %s", item[2], error.message)
            except Exception:
                log.exception("event %s", item[2])

    async def _say(self, about: Object, type_: str, reason: str, message: str, action: str, now: float) -> None:
        subject = (about.get("kind"), about.get("namespace"), about.get("name"), about.get("uid"))
        bucket = self._bucket(subject, now)
        message, combined = self._aggregate(bucket, type_, reason, message, now)
        if not self._take(bucket, now):
            self.dropped += 1
            return
        key = (*subject, about.get("fieldPath"), type_, reason, "" if combined else message)
        said = self._said.get(key)
        stamp = _stamp(now)
        if said is None:
            namespace = about.get("namespace") or "default"
            said = self._said[key] = _Said(self._name(about, now), namespace, stamp)
            if len(self._said) > _KNOWN:
                self._said.popitem(last=False)
        self._said.move_to_end(key)
        said.count += 1
        await self._send(said, about, type_, reason, message, action, stamp)

    async def _send(
        self, said: _Said, about: Object, type_: str, reason: str, message: str, action: str, stamp: str
    ) -> None:
        for attempt in range(_TRIES):
            try:
                if said.stored:
                    patch = {"count": said.count, "lastTimestamp": stamp, "message": message}
                    await self._client.patch(EVENTS, said.name, patch, said.namespace, kind="strategic")
                else:
                    body = self._body(said, about, type_, reason, message, action, stamp)
                    await self._client.create(EVENTS, body, said.namespace)
                    said.stored = True
                return
            except NotFound:
                if not said.stored:
                    raise
                said.stored, said.count, said.first = False, 1, stamp  # it expired: begin again
                said.name = self._name(about, self._clock())
            except Disconnected:
                await asyncio.sleep(min(5.0, 0.1 * 4**attempt))

    def _body(
        self, said: _Said, about: Object, type_: str, reason: str, message: str, action: str, stamp: str
    ) -> Object:
        body = {
            "metadata": {"name": said.name, "namespace": said.namespace},
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "source": {"component": self._component} | ({"host": self._host} if self._host else {}),
            "firstTimestamp": said.first,
            "lastTimestamp": stamp,
            "count": said.count,
            "type": type_,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        return body | ({"action": action} if action else {})

    def _name(self, about: Object, now: float) -> str:
        self._last = max(self._last + 1, int(now * 1e9))
        return f"{about.get('name', '')}.{self._last:x}"

    def _bucket(self, subject: tuple[Any, ...], now: float) -> _Bucket:
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = self._buckets[subject] = _Bucket(_BURST, now)
            if len(self._buckets) > _KNOWN:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(subject)
        return bucket

    @staticmethod
    def _take(bucket: _Bucket, now: float) -> bool:
        bucket.tokens = min(_BURST, bucket.tokens + (now - bucket.at) * _REFILL)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    @staticmethod
    def _aggregate(bucket: _Bucket, type_: str, reason: str, message: str, now: float) -> tuple[str, bool]:
        """The message to send and whether it stands for many similar ones."""
        similar = bucket.messages.setdefault((type_, reason), {})
        for old in [text for text, at in similar.items() if now - at > _SIMILAR_TIME]:
            del similar[old]
        if message in similar or len(similar) < _SIMILAR:
            similar[message] = now
            return message, False
        return f"(combined from similar events): {message}", True


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
