"""One API request on its way: who asks, for what, how the answer is wanted, and the warnings collected meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.api import audit, deprecations, query
from switchboard.api.identity import Identity
from switchboard.api.negotiate import JSON, PLAIN, PROTOBUF, Accepted, accept, refuse_protobuf
from switchboard.api.paths import CONNECTIONS, Target
from switchboard.api.query import ListOptions, Params, WriteOptions
from switchboard.objects.kinds import Kind, Subresource
from switchboard.objects.memo import memo
from switchboard.transport.messages import Request

if TYPE_CHECKING:
    from switchboard.api.app import App

Object = dict[str, Any]

_MANAGER_MAX = 128


@memo(256)
def _manager_of(agent: str) -> str:
    prefix = agent.split("/", 1)[0]
    printable = "".join(c for c in prefix if c.isprintable())
    return printable.encode()[:_MANAGER_MAX].decode(errors="ignore") or "unknown"


def _accepted(request: Request, kind: Kind, target: Target) -> Accepted:
    """How the answer is wanted. Questions (reviews, evictions ...) have no Table, custom kinds no protobuf."""
    header = request.headers.get("accept")
    if not header or header == JSON or target.subresource in CONNECTIONS:
        return PLAIN
    shown = kind.subresources.get(target.subresource, kind) if target.subresource else kind
    accepted = accept(header, tables=shown.verbs != ("create",))
    if accepted.media == PROTOBUF and not accepted.form and kind.custom and shown.group == kind.group:
        raise refuse_protobuf()
    return accepted


class Call:
    """State of one request. `verb` is the Kubernetes verb (get, list, watch, create, update, patch, delete,
    deletecollection)."""

    __slots__ = (
        "accepted",
        "app",
        "identity",
        "kind",
        "name",
        "namespace",
        "options",
        "params",
        "request",
        "subresource",
        "target",
        "verb",
        "warnings",
    )

    def __init__(self, app: App, request: Request, identity: Identity, target: Target, kind: Kind, verb: str) -> None:
        self.app = app
        self.request = request
        self.identity = identity
        self.target = target
        self.kind = kind
        self.verb = verb
        self.namespace = target.namespace
        self.name = target.name
        self.subresource: Subresource | None = None
        self.params: Params = query.parse(request.query)
        self.accepted: Accepted = _accepted(request, kind, target)
        self.options: WriteOptions = query.WriteOptions()
        deprecated = deprecations.KINDS.get((kind.group, kind.version, kind.plural))
        self.warnings: list[str] = [deprecated] if deprecated is not None else []

    def for_object(self, namespace: str, name: str) -> Call:
        """The same call about one object (deletecollection); warnings are shared."""
        other = Call(self.app, self.request, self.identity, self.target, self.kind, self.verb)
        other.namespace, other.name = namespace, name
        other.subresource, other.options, other.warnings = self.subresource, self.options, self.warnings
        return other

    def warn(self, text: str) -> None:
        """Add a `Warning: 299` header to the answer, once per text."""
        if text not in self.warnings:
            self.warnings.append(text)

    def annotate(self, key: str, value: str) -> None:
        """Add to the audit event of the request, where there is one."""
        audit.annotate(self.request, key, value)

    @property
    def audited(self) -> bool:
        """Whether annotations are written anywhere."""
        return audit.wanted(self.request)

    @property
    def sub(self) -> str:
        """The subresource's name, "" for the object itself."""
        return self.subresource.name if self.subresource is not None else ""

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be stored."""
        return self.options.dry_run

    @property
    def manager(self) -> str:
        """Field manager: the one given, else the first part of the User-Agent (`kubectl/v1.32 ...` -> `kubectl`)."""
        if self.options.field_manager:
            return self.options.field_manager
        return _manager_of(self.request.headers.get("user-agent", ""))

    def list_options(self, *, watch: bool = False) -> ListOptions:
        """The checked ListOptions of the query."""
        return query.list_options(self.params, watch=watch)
