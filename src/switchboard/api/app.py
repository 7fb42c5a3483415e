"""The API server: every request goes down one visible list (`App.handle`).

identity -> impersonation -> (not a resource: discovery, health, metrics) -> authorise -> kind -> verb -> encode.
The verb decodes, runs admission and writes (`verbs.py`, `writing.py`). Reads are answered at once, without a task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from switchboard.api import answers, audit, authn, conversion, deadlines, impersonation, reading, watching
from switchboard.api.admission import plugins
from switchboard.api.aggregation import Aggregation
from switchboard.api.asked import attributes_of, verb_of
from switchboard.api.auditlog import AuditLog
from switchboard.api.authn import Authentication
from switchboard.api.authz import Attributes, Decision, Masters, Union, refusal
from switchboard.api.call import Call
from switchboard.api.crd import Definitions
from switchboard.api.deleting import delete, delete_collection
from switchboard.api.flowcontrol import Flow, Flows
from switchboard.api.identity import LOOPBACK, Identity
from switchboard.api.kinds import table as kind_table
from switchboard.api.kinds.base import Strategy
from switchboard.api.kubelets import KubeletDialer
from switchboard.api.metrics import Metrics
from switchboard.api.nodeauthz import NodeAuthorizer
from switchboard.api.nonresource import NonResource
from switchboard.api.paths import LASTING, Target, parse
from switchboard.api.rbac import Rbac
from switchboard.api.seats import Place, Refused, too_many_requests
from switchboard.api.settings import Settings
from switchboard.api.tokens import Tokens
from switchboard.api.verbs import create, patching, update
from switchboard.api.webhookclient import Webhooks
from switchboard.objects.errors import BadRequest, InternalError, MethodNotAllowed, NotFound, StatusError, Unauthorized
from switchboard.objects.kinds import Kind, Registry
from switchboard.store.errors import StoreError
from switchboard.store.record import Event, Record
from switchboard.store.store import Store
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Request, Response

_log = logging.getLogger(__name__)

Object = dict[str, Any]
Handler = Callable[[Call], "Response | Awaitable[Response]"]
_Unbegun = Coroutine[Any, Any, Response]
Adviser = Callable[[Object, "Object | None"], "list[str] | Awaitable[list[str]]"]

NO_RESOURCE = "the server could not find the requested resource"
NO_METHOD = "the server does not allow this method on the requested resource"

_HANDLERS: dict[str, Handler] = {
    "get": reading.get,
    "list": reading.listing,
    "watch": watching.watch,
    "create": create,
    "update": update,
    "patch": patching,
    "delete": delete,
    "deletecollection": delete_collection,
}


def _with(response: Response, flow: Flow | None) -> Response:
    """A response that says to what its request belongs; its own list of headers may be shared."""
    if flow is not None:
        response.headers = response.headers + flow.headers
    return response


def _place(
    identity: Identity, request: Request, target: Target, verb: str, flow: Flow, waiting: Awaitable[Response]
) -> Place | None:
    """Where a request has to find a seat before its handler begins; None where it is let in without."""
    if flow.level.exempt or verb == "watch" or target.subresource in LASTING or not isinstance(waiting, Coroutine):
        flow.dispatched += 1
        return None
    return Place(flow, flow.distinguisher(identity, target.namespace), identity.user, verb, request)


class App:
    """The API over a store. `handle` is a transport handler; `handle_as` is for the in-process client."""

    def __init__(self, store: Store, settings: Settings | None = None, *, kubelet: KubeletDialer | None = None) -> None:
        self.store = store
        self.settings = settings or Settings()
        self.registry = Registry()
        self.kubelet = kubelet  # the way to node agents; None where there are no nodes
        self.proxy_clients: dict[str, HttpClient] = {}  # by node
        self.advisers: list[Adviser] = []
        self.watchers: set[watching.Watcher] = set()
        self.metrics = Metrics()
        self.rbac = Rbac(store)
        self.authorizer = Union([Masters(), NodeAuthorizer(store), self.rbac])
        self.tokens = Tokens(store, self.settings)
        self.authentication = Authentication(
            [
                authn.from_certificate,
                authn.static_tokens(self.settings.tokens),
                self.tokens.authenticate,
                authn.refuse_unknown_token,
                *([authn.anonymous] if self.settings.anonymous else []),
            ]
        )
        self.flows = Flows(self)
        self.admission = plugins.chain(self)
        self.webhooks = Webhooks(self)
        self.definitions = Definitions(self)
        self.aggregation = Aggregation(self)
        self.pools = kind_table.Pools(self)
        self.nonresource = NonResource(self)
        self._strategies: dict[Kind, Strategy] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.oldest_snapshot = 0  # the first revision whose state is still listed
        self.ready = False
        policy, log, rotation = self.settings.audit_policy, self.settings.audit_log, self.settings.audit_rotation
        self.audit = audit.Audit(self, Path(policy), AuditLog(log, rotation)) if policy and log else None

    # The way of a request

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request; never raises."""
        if self.audit is not None:
            return self.audit.handle(request)
        try:
            identity = self.authentication.identify(request)
            if isinstance(identity, Identity):
                return self.authenticated(identity, request)
            return self._identified_later(identity, request)
        except Exception as e:
            return self.failed(request, e)

    def handle_as(self, identity: Identity, request: Request) -> Response | Awaitable[Response]:
        """Answer one request of a caller who is already known (in-process)."""
        if self.audit is not None:
            return self.audit.handle_as(identity, request)
        try:
            return self.dispatch(identity, request)
        except Exception as e:
            return self.failed(request, e)

    async def _identified_later(self, waiting: Awaitable[Identity], request: Request) -> Response:
        try:
            response = self.authenticated(await waiting, request)
            return response if isinstance(response, Response) else await response
        except Exception as e:
            return self.failed(request, e)

    def authenticated(self, identity: Identity, request: Request) -> Response | Awaitable[Response]:
        """Answer a request whose caller is known, unless it is made as somebody else. May raise."""
        for name in request.headers:
            if name.startswith("impersonate-"):
                identity = self._impersonated(identity, request)
                break
        return self.dispatch(identity, request)

    def _impersonated(self, identity: Identity, request: Request) -> Identity:
        wanted = impersonation.wanted_of(request)
        if wanted is None:
            return identity
        target = parse(request.path)
        asked = attributes_of(self.registry, identity, request, target, verb_of(request, target))
        made_as = impersonation.impersonated(self.authorizer, wanted, asked)
        audit.impersonated(request, made_as)
        return made_as

    def authorise(self, attributes: Attributes, audited: Request | None = None) -> None:
        """Forbidden unless allowed; where a request is given, its audit event says which."""
        decision, reason = self.authorizer.authorize(attributes)
        if audited is not None:
            audit.decided(audited, decision, reason)
        if decision is not Decision.ALLOW:
            raise refusal(attributes, reason)

    def dispatch(self, identity: Identity, request: Request) -> Response | Awaitable[Response]:
        """Answer the request of an identity. May raise."""
        target = parse(request.path)
        verb = verb_of(request, target)
        flow = None if identity is LOOPBACK else self.flows.find(identity, verb, target)
        try:
            return self._answered(identity, request, target, verb, flow)
        except Exception as e:
            return _with(self.failed(request, e), flow)

    def _answered(
        self, identity: Identity, request: Request, target: Target, verb: str, flow: Flow | None
    ) -> Response | Awaitable[Response]:
        started = time.perf_counter()
        if "timeout=" in request.query:
            deadlines.check(request.query, verb, target)
        audited = request if self.audit is not None and audit.wanted(request) else None
        if audited is not None or not identity.is_master:
            self.authorise(attributes_of(self.registry, identity, request, target, verb), audited)
        call: Call | None = None
        backend = None
        if self.aggregation.served:
            version = (target.group, target.version)
            backend = (
                self.aggregation.served.get(version) if target.is_resource else self.aggregation.find(request.path)
            )
        result: Response | Awaitable[Response]
        if backend is not None:
            result = backend.answer(request, identity)
        elif not target.is_resource:
            result = self.nonresource.handle(request, identity)
        else:
            call = self._call(request, identity, target, verb)
            handler = self._handler(call)
            if conversion.by_webhook(call.kind):
                result = conversion.answer(lambda: self._call(request, identity, target, verb), handler)
            else:
                result = handler(call)
        if isinstance(result, Response):
            self.metrics.observe(request, call, result.status, started)
            if flow is not None:
                flow.dispatched += 1
                result.headers = result.headers + flow.headers
            return result
        place = _place(identity, request, target, verb, flow, result) if flow is not None else None
        return self._finish(result, request, call, started, flow, place)

    async def _finish(
        self,
        waiting: Awaitable[Response],
        request: Request,
        call: Call | None,
        started: float,
        flow: Flow | None,
        place: Place | None,
    ) -> Response:
        """Await an answer; where a place is given, its handler has not begun and does once there is a seat for it."""
        try:
            if place is not None and not place.level.admit(place):
                await place.level.wait(place)
            response = await waiting
        except Refused as refused:
            response = too_many_requests(refused.retry_after)
        except Exception as e:
            response = self.failed(request, e, call)
        finally:
            if place is not None:
                if place.started:
                    place.level.release(place)
                else:
                    cast("_Unbegun", waiting).close()
        self.metrics.observe(request, call, response.status, started)
        return _with(response, flow)

    def _call(self, request: Request, identity: Identity, target: Target, verb: str) -> Call:
        kind = self.registry.resource(target.group, target.version, target.plural)
        if kind is None or (target.namespace and not kind.namespaced):
            raise NotFound(NO_RESOURCE, details={})
        call = Call(self, request, identity, target, kind, verb)
        if target.subresource:
            sub = kind.subresources.get(target.subresource)
            if sub is None or (target.rest and target.rest != "/" and target.subresource != "proxy"):
                raise NotFound(NO_RESOURCE, details={})
            call.subresource = sub
        if kind.namespaced and not target.namespace and (target.name or verb not in ("list", "watch")):
            raise NotFound(NO_RESOURCE, details={}) if target.name else MethodNotAllowed(NO_METHOD, details={})
        return call

    def _handler(self, call: Call) -> Handler:
        verb, sub = call.verb, call.sub
        if sub:
            own = kind_table.subresource(call.kind, sub)
            if own is not None:
                if verb in call.subresource.verbs or sub in LASTING:  # type: ignore[union-attr]
                    return own
                raise MethodNotAllowed(NO_METHOD, details={})
            if verb not in ("get", "update", "patch") or verb not in call.subresource.verbs:  # type: ignore[union-attr]
                raise MethodNotAllowed(NO_METHOD, details={})
            return _HANDLERS[verb]
        named = verb in ("get", "update", "patch", "delete")
        if (
            verb not in call.kind.verbs
            or (named != bool(call.name) and verb != "watch")
            or call.request.method == "HEAD"
        ):
            raise MethodNotAllowed(NO_METHOD, details={})
        return kind_table.verb(call.kind, verb) or _HANDLERS[verb]

    def failed(self, request: Request, error: Exception, call: Call | None = None) -> Response:
        """Any error as a Status answer; what we did not foresee is logged and becomes a plain 500."""
        warnings = call.warnings if call is not None else None
        if isinstance(error, StatusError):
            status = error
        elif isinstance(error, RecursionError):
            status = BadRequest("the document is nested too deeply")
        elif isinstance(error, StoreError):
            _log.error("the store refused %s %s: %s", request.method, request.path, error)
            status = InternalError(f"Internal error occurred: the store refused the request: {error}")
        else:
            _log.exception("%s %s failed", request.method, request.path, exc_info=error)
            status = InternalError("Internal error occurred")
        if isinstance(status, Unauthorized):
            status = Unauthorized("Unauthorized")
        return answers.failure(status, warnings=warnings, accept_header=request.headers.get("accept"))

    # What the verbs ask of the app

    def strategy(self, kind: Kind) -> Strategy:
        """The strategy of a kind, made once."""
        found = self._strategies.get(kind)
        if found is None:
            if len(self._strategies) > 4096:
                self._strategies.clear()
            found = self._strategies[kind] = kind_table.strategy(kind)
        return found

    def prepare(self, call: Call, strategy: Strategy, obj: Object, old: Object) -> None:
        """The strategy's preparation of an update for the object itself or one of its subresources."""
        sub = call.sub
        if sub in ("", "scale"):
            strategy.prepare_update(call, obj, old)
        elif sub == "status":
            strategy.prepare_status(call, obj, old)
        else:
            strategy.prepare_sub(call, obj, old)

    async def advise(self, call: Call, obj: Object, old: Object | None) -> None:
        """Let the advisers add warnings after a Service was written (over `old`)."""
        if call.kind.plural != "services" or call.kind.group or call.sub or call.dry_run:
            return
        for adviser in self.advisers:
            try:
                advice = adviser(obj, old)
                for text in advice if isinstance(advice, list) else await advice:
                    call.warn(text)
            except Exception:
                _log.exception("an adviser failed")

    def background(self, waiting: Awaitable[Any]) -> None:
        """Let a write finish on its own; a failure is logged."""

        async def finish() -> None:
            try:
                await waiting
            except StoreError as e:
                _log.warning("a write in the background failed: %s", e)

        task = asyncio.get_running_loop().create_task(finish())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def durable(self, head: Record) -> None:
        """Wait until a head record that was read is committed (it may still be on its way)."""
        if self.store.revision >= head.revision:
            return
        done = asyncio.get_running_loop().create_future()

        def seen(events: list[Event]) -> None:
            if events[-1].revision >= head.revision and not done.done():
                done.set_result(None)

        subscription = self.store.subscribe(head.key, self.store.revision, seen)
        try:
            async with asyncio.timeout(10.0):
                await done
        finally:
            subscription.close()

    # Life

    async def start(self) -> None:
        """Bootstrap objects, repair allocations, begin the housekeeping tasks. Call once, on the running loop."""
        from switchboard.api import bootstrap, housekeeping, policy

        self.pools.load()
        self.definitions.load()
        self.aggregation.load()
        await bootstrap.run(self)
        policy.Aggregation(self)
        for job in housekeeping.JOBS:
            task: asyncio.Task[None] = asyncio.get_running_loop().create_task(job(self))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.ready = True

    async def stop(self) -> None:
        """End watches and housekeeping; the store is the caller's."""
        self.ready = False
        for watcher in list(self.watchers):
            watcher.end()
        for client in self.proxy_clients.values():
            await client.close()
        await self.webhooks.close()
        await self.aggregation.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
