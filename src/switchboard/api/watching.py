"""watch: from history or the present state into a stream of events, pushed straight from the store's feed.

One `Watcher` per client is a sink of the store: no task, no queue. An event is encoded once per representation and the
bytes are shared through `Event.cache`. States: starting (initial events, then replay) - live - ended. A watcher whose
client has not taken `_MAX_BEHIND` bytes is cut off, never waited for: its client lists or resumes.

Who is told when (`store.Stage`): readers in this process before the disk has a change, as all they do is to write to
the same store; then proxies of what they make routes from; all others after them, and after the writer: what a packet
or a client waits for comes before what shows.

Rules: KEP-956 (bookmarks), KEP-3157 (sendInitialEvents), `apiserver/pkg/storage/cacher`.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from switchboard.api import answers, representing, typed
from switchboard.api.call import Call
from switchboard.api.conversion import Needed
from switchboard.api.identity import Identity
from switchboard.api.keyspace import decode, encode, encode_any, prefix_of
from switchboard.api.negotiate import JSON, OBJECT, PARTIAL, PARTIAL_LIST, PROTOBUF, TABLE, Accepted
from switchboard.api.query import ListOptions
from switchboard.api.reading import refuse_future, revision_of
from switchboard.api.selection import Selection
from switchboard.objects import protobuf, tables
from switchboard.objects.errors import Gone, StatusError
from switchboard.objects.kinds import Kind
from switchboard.store.errors import Compacted
from switchboard.store.feed import Stage, Subscription
from switchboard.store.record import Event, Record
from switchboard.transport.messages import PushWriter, Response

_MAX_BEHIND = 4 * 1024 * 1024
_FIRST_BOOKMARK, _LAST_BOOKMARK = 1.0, 2.0  # seconds
_END_OF_INITIAL = {"k8s.io/initial-events-end": "true"}
_ROUTES = frozenset({("", "services"), ("discovery.k8s.io", "endpointslices")})
_PROXIES = ("system:kube-proxy", "system:node-proxier")  # user, group
_ADDED, _MODIFIED, _DELETED = b"ADDED", b"MODIFIED", b"DELETED"


class Form:
    """How one watcher wants its events: kind, media form and Table columns; `key` names it in `Event.cache`."""

    __slots__ = ("accepted", "include", "key", "kind", "plain", "protobuf")

    def __init__(self, kind: Kind, accepted: Accepted, include: str) -> None:
        self.kind = kind
        self.accepted = accepted
        self.include = include if accepted.form == TABLE else ""
        self.plain = accepted.form == OBJECT and typed.same_form(kind)
        self.protobuf = accepted.media == PROTOBUF
        self.key = (kind.api_version, accepted.form, accepted.version, self.include, self.protobuf)

    @property
    def media(self) -> str:
        """The content type of the stream. YAML has no streams: JSON stands in."""
        return f"{PROTOBUF};stream=watch" if self.protobuf else JSON

    def line(self, kind: bytes, obj: bytes) -> bytes:
        """One event: a line of JSON, or a message with its length before it."""
        if not self.protobuf:
            return b'{"type":"%b","object":%b}\n' % (kind, obj)
        event = protobuf.encode_event(kind, answers.to_protobuf(obj))
        return len(event).to_bytes(4, "big") + event

    def object_bytes(self, value: bytes, *, columns: bool = False) -> bytes:
        """One stored object in this form."""
        if self.plain:
            return value
        form = self.accepted.form
        if form in (PARTIAL, PARTIAL_LIST):
            return representing.partial(value, self.accepted.version)
        obj = typed.show(self.kind, value)
        if form != TABLE:
            return encode_any(obj)
        version = str(obj["metadata"].get("resourceVersion", ""))
        table = tables.table(self.kind, [obj], resource_version=version, include=self.include, with_columns=columns)
        table["apiVersion"] = f"meta.k8s.io/{self.accepted.version}"
        return encode_any(table)

    def bookmark(self, revision: int, annotations: dict[str, str] | None = None) -> bytes:
        """A BOOKMARK event."""
        meta: dict[str, Any] = {"resourceVersion": str(revision)}
        if annotations:
            meta["annotations"] = annotations
        obj: dict[str, Any] = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": meta}
        typed.settle(self.kind, obj)  # the other fields as an empty object of the kind has them
        form = self.accepted.form
        if form in (PARTIAL, PARTIAL_LIST):
            obj |= {"kind": PARTIAL, "apiVersion": f"meta.k8s.io/{self.accepted.version}"}
        elif form == TABLE:
            row = {"cells": [None] * len(tables.columns(self.kind)), "object": obj}
            meta_rv = {"resourceVersion": str(revision)}
            version = f"meta.k8s.io/{self.accepted.version}"
            obj = {"kind": TABLE, "apiVersion": version, "metadata": meta_rv, "columnDefinitions": None, "rows": [row]}
        return self.line(b"BOOKMARK", encode_any(obj))


def with_revision(record: Record, revision: int) -> bytes:
    """Stored bytes of an older state, carrying the revision of the event that ended it."""
    obj = decode(record.value)
    obj["metadata"]["resourceVersion"] = str(revision)
    return encode(obj)


class Watcher:
    """One watch: a sink of the store's feed that writes to a client."""

    def __init__(self, call: Call, form: Form, options: ListOptions, selection: Selection, prefix: str) -> None:
        self._app = call.app
        self.kind = call.kind
        self._form = form
        self._options = options
        self._match = selection.match
        self._prefix = prefix
        self._routes = (call.kind.group, call.kind.plural) in _ROUTES and _is_proxy(call.identity)
        self._writer: PushWriter | None = None
        self._subscription: Subscription | None = None
        self._revision = 0  # what the client knows
        self._columns = call.accepted.form == TABLE
        self._initial: list[Record] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._buffer: list[bytes] | None = None

    def prepare(self) -> None:
        """Decide what comes first; raises the errors that must be answered before a stream is begun."""
        options, store = self._options, self._app.store
        version = options.resource_version
        start = revision_of(version) if version else 0
        if start and start < store.compacted:
            if options.send_initial_events:
                return self._from_state()
            raise Gone(f"too old resource version: {start} ({store.compacted})")
        if options.send_initial_events or (not start and options.send_initial_events is None):
            return self._from_state()
        self._revision = start or store.revision
        return None

    def _from_state(self) -> None:
        self._initial = self._app.store.scan(self._prefix)
        self._revision = self._app.store.revision

    def start(self, writer: PushWriter) -> None:
        """Begin: initial events and replay in one write, then live."""
        self._writer = writer
        self._buffer = []
        since = self._revision
        stage = Stage.WRITTEN if writer.local else Stage.COMMITTED if self._routes else Stage.LAST
        self._app.watchers.add(self)
        try:
            if self._initial is not None:
                self._write_initial(self._initial)
                self._initial = None
            self._subscription = self._app.store.subscribe(
                self._prefix, since, self._sink, self.end, stage=stage, undone=self._undone
            )
        except Compacted:
            self._fail(Gone(f"too old resource version: {since} ({self._app.store.compacted})"))
            return
        except Needed as needed:
            self._unconverted(needed)
            return
        buffered, self._buffer = b"".join(self._buffer), None
        if buffered:
            writer.write(buffered)
        self._schedule_end()

    def _write_initial(self, records: list[Record]) -> None:
        assert self._buffer is not None
        match, form = self._match, self._form
        for record in records:
            if match is None or match(record):
                self._buffer.append(form.line(_ADDED, form.object_bytes(record.value, columns=self._columns)))
                self._columns = False
        if self._options.send_initial_events and self._options.bookmarks:
            self._buffer.append(form.bookmark(self._revision, _END_OF_INITIAL))

    def _schedule_end(self) -> None:
        loop = asyncio.get_running_loop()
        low, high = self._app.settings.watch_timeout
        seconds = self._options.timeout
        delay = float(seconds) if seconds else random.uniform(low, high)
        self._timers.append(loop.call_later(delay, self.end))
        if self._options.bookmarks:
            # As upstream: one soon after the initial events, one shortly before the end, between them once a minute.
            if self._options.send_initial_events:
                self._timers.append(loop.call_later(_FIRST_BOOKMARK, self.bookmark))
            if delay > _LAST_BOOKMARK:
                self._timers.append(loop.call_later(delay - _LAST_BOOKMARK, self.bookmark))

    # Events

    def _sink(self, events: list[Event]) -> None:
        lines = []
        try:
            for event in events:
                line = self._encoded(event)
                if line is not None:
                    lines.append(line)
        except Needed as needed:
            self._unconverted(needed)
            return
        self._revision = events[-1].revision
        if lines:
            self._send(lines[0] if len(lines) == 1 else b"".join(lines))

    def _unconverted(self, needed: Needed) -> None:
        """Only a webhook could show this event: it is asked, and the client, who comes back, will find the answer."""
        self._app.background(needed.conversion.satisfy(self._app, [needed.obj], needed.version))
        self.end()

    def _encoded(self, event: Event) -> bytes | None:
        """The event as this watcher sees it: selectors turn changes into ADDED and DELETED; None when out of sight."""
        match, previous = self._match, event.previous
        if match is None:
            kind = _DELETED if event.deleted else _MODIFIED if previous is not None else _ADDED
        else:
            before = previous is not None and match(previous)
            after = not event.deleted and match(event.record)
            if not before and not after:
                return None
            kind = _MODIFIED if before and after else _ADDED if after else _DELETED
        if self._columns:
            self._columns = False
            return self._form.line(kind, self._form.object_bytes(self._value(event, kind), columns=True))
        key = (self._form.key, kind)
        cache = event.cache
        line = cache.get(key)
        if line is None:
            line = cache[key] = self._form.line(kind, self._form.object_bytes(self._value(event, kind)))
        found: bytes = line
        return found

    @staticmethod
    def _value(event: Event, kind: bytes) -> bytes:
        if kind is _DELETED and not event.deleted and event.previous is not None:
            return with_revision(event.previous, event.revision)
        return event.record.value

    def _send(self, data: bytes) -> None:
        if self._buffer is not None:
            self._buffer.append(data)
            return
        writer = self._writer
        assert writer is not None
        writer.write(data)
        if writer.buffered > _MAX_BEHIND:
            self.stop()
            writer.abort()

    def bookmark(self) -> None:
        """Tell the client how far it is, where it asked for that (called by the app from time to time)."""
        if self._options.bookmarks and self._writer is not None:
            revision = max(self._revision, self._app.store.told)
            self._send(self._form.bookmark(revision))

    def _undone(self) -> None:
        """Some of what was told has failed: the state must be read again."""
        self._fail(Gone(f"too old resource version: {self._revision} (a write that was told of has failed)"))

    # The end

    def _fail(self, error: StatusError) -> None:
        writer = self._writer
        if writer is not None:
            self._buffer = None
            writer.write(self._form.line(b"ERROR", encode_any(answers.status_of(error))))
        self.end()

    def end(self) -> None:
        """End the stream in good order."""
        writer = self._writer
        self.stop()
        if writer is not None:
            writer.close()

    def stop(self) -> None:
        """Leave the feed; called when the client has gone, too."""
        self._app.watchers.discard(self)
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._writer = None


def _is_proxy(identity: Identity) -> bool:
    user, group = _PROXIES
    return identity.user == user or group in identity.groups


def watch(call: Call) -> Response:
    """The answer to a watch request."""
    options = call.list_options(watch=True)
    field = options.field_selector
    if call.name:
        field = f"metadata.name={call.name}" + (f",{field}" if field else "")
    selection = Selection(call.kind, options.label_selector, field)
    accepted = call.accepted
    socket = "websocket" in call.request.headers.get("upgrade", "").lower()
    if socket and accepted.media == PROTOBUF:
        accepted = accepted._replace(media=JSON)  # its messages are lines of text
    form = Form(call.kind, accepted, representing.include_of(call) if accepted.form == TABLE else "")
    watcher = Watcher(call, form, options, selection, prefix_of(call.kind, call.namespace))
    if options.resource_version not in ("", "0"):
        refuse_future(call, revision_of(options.resource_version))
    try:
        watcher.prepare()
    except Gone as gone:
        return _gone(form, gone)
    if socket:
        from switchboard.api.watchsockets import upgrade

        return upgrade(call.request, watcher)

    def push(writer: PushWriter) -> None:
        writer.on_close(watcher.stop)
        watcher.start(writer)

    headers = [("content-type", form.media), ("cache-control", "no-cache, private")]
    headers.extend(("warning", answers.warning_header(w)) for w in call.warnings)
    return Response(200, headers, push=push)


def _gone(form: Form, gone: Gone) -> Response:
    """An expired start is an ERROR event in a 200 stream, as upstream's watch cache sends it."""
    headers = [("content-type", form.media), *answers.json_headers()[1:]]
    return Response(200, headers, form.line(b"ERROR", encode_any(answers.status_of(gone))))
