"""The audit log: one line of JSON (`audit.k8s.io/v1` Event) for each stage of the requests that a policy names.

Without a policy there is no `Audit`, and requests go by it at the price of one look. Lines of one turn of the event
loop are written together (`auditlog.py`).
Source: `apiserver/pkg/endpoints/filters/audit.go`, `apiserver/pkg/audit`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from switchboard.api import auditpolicy, yamlbody
from switchboard.api.asked import verb_of
from switchboard.api.auditlog import AuditLog
from switchboard.api.auditpolicy import Wanted
from switchboard.api.authz import Decision
from switchboard.api.identity import Identity
from switchboard.api.paths import LASTING, Target, parse
from switchboard.objects import protobuf
from switchboard.objects.scalars import format_micro
from switchboard.transport.messages import Connection, PushWriter, Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App

_log = logging.getLogger(__name__)
Object = dict[str, Any]
_METADATA, _REQUEST, _RESPONSE = 1, 2, 3
_LONGEST_AGENT = 1024
HEADER = "audit-id"  # which every answer has, whether its request is audited or not
_KEY = "audit"  # of Request.extra
Answer = Callable[[], "Response | Awaitable[Response]"]


def annotate(request: Request, key: str, value: str) -> None:
    """Add to the request's audit event, where there is one; what is there stays."""
    event = request.extra.get(_KEY)
    if event is not None:
        event.annotations.setdefault(key, value)


def id_of(request: Request) -> str:
    """What the client called the request, as it stands, or a new name; its answer will say it as well."""
    request.id = request.id or request.headers.get(HEADER) or str(uuid.uuid4())
    return request.id


def wanted(request: Request) -> bool:
    """Whether there is an event to add to."""
    return _KEY in request.extra


def decided(request: Request, decision: Decision, reason: str) -> None:
    """What authorisation said."""
    word = "allow" if decision is Decision.ALLOW else "forbid"
    annotate(request, "authorization.k8s.io/decision", word)
    annotate(request, "authorization.k8s.io/reason", reason)


def impersonated(request: Request, identity: Identity) -> None:
    """Who the request was made as."""
    event = request.extra.get(_KEY)
    if event is not None:
        event.fields["impersonatedUser"] = identity.user_info()


def _now() -> str:
    return format_micro(datetime.now(UTC))


class Event:
    """What is known of one request."""

    def __init__(self, request: Request, identity: Identity | None, verb: str, target: Target, how: Wanted) -> None:
        self.request, self.target, self.how = request, target, how
        self.annotations: dict[str, str] = {}
        agent = request.headers.get("user-agent", "")
        if len(agent) > _LONGEST_AGENT:
            agent = agent[:_LONGEST_AGENT] + "...TRUNCATED"
        self.id = id_of(request)
        self.fields: Object = {
            "level": auditpolicy.LEVELS[how.level],
            "auditID": self.id,
            "requestURI": request.path + (f"?{request.query}" if request.query else ""),
            "verb": verb,
            "user": identity.user_info() if identity is not None else {},
            "sourceIPs": _addresses(request),
            "requestReceivedTimestamp": _now(),
        }
        if agent:
            self.fields["userAgent"] = agent
        if target.is_resource:
            self.fields["objectRef"] = _reference(target)

    def line(self, stage: str) -> bytes:
        """The event as it stands."""
        fields: Object = {"kind": "Event", "apiVersion": "audit.k8s.io/v1", **self.fields, "stage": stage}
        fields["stageTimestamp"] = fields["requestReceivedTimestamp"] if stage == "RequestReceived" else _now()
        if self.annotations:
            fields["annotations"] = self.annotations
        return msgspec.json.encode(fields) + b"\n"

    def read_request(self) -> None:
        """What the body says of the object, and the body itself where it is wanted."""
        if not self.target.is_resource or not self.request.body:
            return
        obj = _decoded(self.request)
        if not isinstance(obj, dict | list):
            return
        if isinstance(obj, dict) and self.request.method in ("POST", "PUT"):
            meta = obj.get("metadata")
            meta = meta if isinstance(meta, dict) else {}
            reference = self.fields["objectRef"]
            for name in ("namespace", "name", "uid", "resourceVersion"):
                if name not in reference and isinstance(meta.get(name), str) and meta[name]:
                    reference[name] = meta[name]
        if self.how.level >= _REQUEST:
            self.fields["requestObject"] = self._shown(obj)

    def answered(self, response: Response) -> None:
        """The outcome, and the answer where it is wanted."""
        status: Object = {"metadata": {}, "code": response.status}
        obj = None
        if not _lasts(response) and self.target.is_resource and (self.how.level >= _RESPONSE or response.status >= 400):
            obj = _json(response)
        if isinstance(obj, dict) and obj.get("kind") == "Status" and response.status >= 400:
            names = ("status", "message", "reason", "details")
            status |= {name: obj[name] for name in names if name in obj}
        self.fields["responseStatus"] = status
        if obj is not None and self.how.level >= _RESPONSE:
            self.fields["responseObject"] = self._shown(obj)

    def _shown(self, obj: Any) -> Any:
        return _without_managers(obj) if self.how.without_managed_fields else obj


def _addresses(request: Request) -> list[str]:
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    peer = request.peer_address or "127.0.0.1"
    return forwarded if peer in forwarded else [*forwarded, peer]


def _reference(target: Target) -> Object:
    fields = {
        "resource": target.plural,
        "namespace": target.namespace,
        "name": target.name,
        "apiGroup": target.group,
        "apiVersion": target.version,
        "subresource": target.subresource,
    }
    return {name: value for name, value in fields.items() if value}


def _decoded(request: Request) -> Any:
    media = request.headers.get("content-type", "").partition(";")[0]
    try:
        if "protobuf" in media:
            api_version, kind, obj = protobuf.decode_unknown(request.body)
            return {"kind": kind, "apiVersion": api_version, **obj}
        if "yaml" in media:
            return yamlbody.load(request.body)[0]
        return msgspec.json.decode(request.body)
    except Exception:  # whatever is wrong with it, the client is told by others
        return None


def _lasts(response: Response) -> bool:
    """Whether there is more to come than a body."""
    return response.stream is not None or response.push is not None or response.upgrade is not None


def _json(response: Response) -> Any:
    body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    headers = {name.lower(): value for name, value in response.headers}
    if "json" not in headers.get("content-type", "") or "content-encoding" in headers:
        return None
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _without_managers(obj: Any) -> Any:
    """An object, the items of a list or the rows of a table without metadata.managedFields."""
    if not isinstance(obj, dict):
        return obj
    out = dict(obj)
    if isinstance(out.get("metadata"), dict):
        out["metadata"] = {key: value for key, value in out["metadata"].items() if key != "managedFields"}
    if isinstance(out.get("items"), list):
        out["items"] = [_without_managers(item) for item in out["items"]]
    if isinstance(out.get("rows"), list):
        out["rows"] = [row | {"object": _without_managers(row.get("object"))} for row in out["rows"]]
    return out


class Audit:
    """The log of one server."""

    def __init__(self, app: App, policy: Path, log: AuditLog) -> None:
        self._app, self._log = app, log
        self._policy = auditpolicy.load(policy)
        self._lines: list[bytes] = []

    async def handle(self, request: Request) -> Response:
        """As `App.handle`."""
        app = self._app
        try:
            identity = app.authentication.identify(request)
            if not isinstance(identity, Identity):
                identity = await identity
        except Exception as e:
            response = app.failed(request, e)
            event = self._begin(request, None)
            if event is not None:
                event.answered(response)
                event.fields["responseStatus"]["message"] = "Authentication failed"
                self._write(event, "ResponseStarted")
            return response
        return await self._followed(request, identity, partial(app.authenticated, identity, request))

    async def handle_as(self, identity: Identity, request: Request) -> Response:
        """As `App.handle_as`."""
        return await self._followed(request, identity, partial(self._app.dispatch, identity, request))

    def _begin(self, request: Request, identity: Identity | None) -> Event | None:
        target = parse(request.path)
        verb = verb_of(request, target)
        how = self._policy.wanted(identity, verb, target)
        return Event(request, identity, verb, target, how) if how.level >= _METADATA else None

    async def _followed(self, request: Request, identity: Identity, answer: Answer) -> Response:
        event = self._begin(request, identity)
        if event is not None:
            request.extra[_KEY] = event
            self._write(event, "RequestReceived")
            event.read_request()
        try:
            result = answer()
            response = result if isinstance(result, Response) else await result
        except Exception as e:
            response = self._app.failed(request, e)
        if event is not None:
            event.answered(response)
            self._end(event, response)
        return response

    def _end(self, event: Event, response: Response) -> None:
        """The last stage: at once, or when what lasts is over."""
        if _lasts(response) and (event.fields["verb"] == "watch" or event.target.subresource in LASTING):
            self._write(event, "ResponseStarted")

        def over() -> None:
            self._write(event, "ResponseComplete")

        if response.stream is not None:
            response.stream = _stream(response.stream, over)
        elif response.push is not None:
            response.push = _push(response.push, over)
        elif response.upgrade is not None:
            response.upgrade = _upgrade(response.upgrade, over)
        else:
            over()

    def _write(self, event: Event, stage: str) -> None:
        if stage in event.how.omitted:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(event.line(stage))

    def _flush(self) -> None:
        data, self._lines = b"".join(self._lines), []
        try:
            self._log.write(data)
        except OSError as e:
            _log.error("the audit log cannot be written: %s", e)


async def _stream(chunks: AsyncIterator[bytes], over: Callable[[], None]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        over()


def _push(push: Callable[[PushWriter], None], over: Callable[[], None]) -> Callable[[PushWriter], None]:
    def begin(writer: PushWriter) -> None:
        writer.on_close(over)
        push(writer)

    return begin


def _upgrade(run: Callable[[Connection], Awaitable[None]], over: Callable[[], None]) -> Any:
    async def use(connection: Connection) -> None:
        try:
            await run(connection)
        finally:
            over()

    return use
