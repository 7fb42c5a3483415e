"""Mutating and validating webhooks.

Mutating ones are asked one after another, each seeing what the one before made; validating ones all at once. A webhook
that cannot be asked counts as a refusal (500) or not at all, as its failurePolicy says. Source:
`apiserver/pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from switchboard.api import typed
from switchboard.api.admission import hooks, reviews
from switchboard.api.admission.chain import Operation
from switchboard.api.admission.hooks import Configurations, Hook, content, forms
from switchboard.api.admission.neutral import Neutral
from switchboard.api.authz import Attributes, Decision, forbidden
from switchboard.api.identity import AUTHENTICATED, Identity
from switchboard.api.webhookclient import CallFailed
from switchboard.objects import patch
from switchboard.objects.errors import BadRequest, InternalError, StatusError
from switchboard.objects.kinds import Kind

if TYPE_CHECKING:
    from switchboard.api.app import App

_log = logging.getLogger(__name__)
Object = dict[str, Any]
_HARMLESS = ("None", "NoneOnDryRun")


class _Failed(Exception):
    """A webhook could not be asked; says why."""


async def _ask(
    app: App, op: Operation, hook: Hook, kind: Kind, obj: Object | None, old: Object | None
) -> reviews.Verdict:
    """One webhook's verdict. Raises _Failed, BadRequest."""
    webhook = hook.webhook
    if op.call.dry_run and webhook.get("sideEffects") not in _HARMLESS:
        raise BadRequest(f'admission webhook "{hook.name}" does not support dry run')
    asked = reviews.review(op, webhook, kind, obj, old)
    try:
        answer = await app.webhooks.call(webhook["clientConfig"], asked, float(webhook.get("timeoutSeconds") or 10))
        found = reviews.verdict(answer, asked)
    except CallFailed as e:
        raise _Failed(f"failed to call webhook: {e}") from None
    except reviews.BadAnswer as e:
        raise _Failed(f"received invalid webhook response: {e}") from None
    for text in found.warnings:
        op.call.warn(text)
    for key, value in found.annotations.items():
        op.call.annotate(f"{hook.name}/{key}", value)
    return found


def _on_failure(hook: Hook, why: Exception) -> None:
    """Go on, or fail the request."""
    if hook.webhook.get("failurePolicy") == "Ignore":
        _log.warning("failed calling webhook, failing open %s: %s", hook.name, why)
        return
    text = f'failed calling webhook "{hook.name}": {why}'
    details = {"causes": [{"message": text}]}
    raise InternalError(f"Internal error occurred: {text}", details=details) from None


def authorizer(op: Operation) -> Any:
    """`authorizer` of expressions, about the one who makes the request."""
    from switchboard.objects.cel.authorizer import Authorizer  # only who has expressions pays

    def ask(question: Object) -> tuple[bool, str]:
        fields, identity = dict(question), op.call.identity
        account = fields.pop("account", None)
        if account:
            namespace, name = account
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
            identity = Identity(f"system:serviceaccount:{namespace}:{name}", groups)
        decision, reason = op.call.app.authorizer.authorize(Attributes(identity, **fields))
        return decision is Decision.ALLOW, reason

    kind = op.call.kind
    asked = {"group": kind.group, "version": kind.version, "resource": kind.plural, "subresource": op.sub}
    return Authorizer(ask, {**asked, "namespace": op.namespace, "name": op.name})


def _wanted(op: Operation, hook: Hook, kind: Kind) -> bool:
    """Whether the webhook's conditions on requests hold. Raises Forbidden when that cannot be said."""
    if not hook.webhook.get("matchConditions"):
        return True
    from switchboard.objects.cel.conditions import Conditions, ConditionsFailed, variables  # only who has some pays

    if hook.conditions is None:
        hook.conditions = Conditions(hook.webhook["matchConditions"], variables())
    obj, old = forms(kind, op)
    try:
        request = reviews.review(op, hook.webhook, kind, obj, old)["request"]
        return hook.conditions.met(
            {"object": obj, "oldObject": old, "request": request, "authorizer": authorizer(op), "namespaceObject": None}
        )
    except ConditionsFailed as e:
        if hook.webhook.get("failurePolicy") == "Ignore":
            return False
        raise forbidden(op.plural, op.group, op.name, str(e)) from None


class MutatingWebhooks(Neutral):
    """Asks the MutatingWebhookConfigurations."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._configurations = Configurations(app.store, "mutatingwebhookconfigurations")

    def mutate(self, op: Operation) -> Awaitable[None] | None:
        """Change the object as the webhooks say."""
        if not self._configurations.hooks():
            return None
        found = list(self._configurations.matching(op))
        return self._run(op, found) if found else None

    async def _run(self, op: Operation, found: list[tuple[Hook, Kind]]) -> None:
        for hook, kind in found:
            if op.again and not self._again(op, hook):
                continue
            if not _wanted(op, hook, kind):
                continue
            obj, old = forms(kind, op)
            try:
                answer = await _ask(self._app, op, hook, kind, obj, old)
                if not answer.allowed:
                    raise reviews.denial(hook.name, answer.status)
                if answer.patch and obj is not None:
                    self._apply(op, kind, obj, answer.patch)
            except _Failed as e:
                _on_failure(hook, e)
            op.seen[hook.key] = content(op)

    @staticmethod
    def _again(op: Operation, hook: Hook) -> bool:
        """Whether a webhook wants to see what others made of the object after it."""
        wants = hook.webhook.get("reinvocationPolicy") == "IfNeeded"
        return hook.key not in op.seen or (wants and op.seen[hook.key] != content(op))

    def _apply(self, op: Operation, kind: Kind, obj: Object, operations: list[Object]) -> None:
        """Replace the operation's object by the patched one, cleaned and with defaults."""
        if op.verb == "DELETE" or op.obj is None or op.sub == "scale":
            raise _Failed("a patch is not possible for this operation")
        try:
            changed = patch.json_patch(typed.copy_of(obj), operations)
            if not isinstance(changed, dict):
                raise _Failed("the patched object is not an object")
            hooks.clean(op, kind, changed)
        except StatusError as e:
            raise _Failed(e.message) from None
        hooks.put_back(op, kind, changed)


class ValidatingWebhooks(Neutral):
    """Asks the ValidatingWebhookConfigurations."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._configurations = Configurations(app.store, "validatingwebhookconfigurations")

    def validate(self, op: Operation) -> Awaitable[None] | None:
        """Refuse what a webhook refuses."""
        if not self._configurations.hooks():
            return None
        found = [(hook, kind) for hook, kind in self._configurations.matching(op) if _wanted(op, hook, kind)]
        return self._run(op, found) if found else None

    async def _run(self, op: Operation, found: list[tuple[Hook, Kind]]) -> None:
        tasks = [asyncio.ensure_future(self._one(op, hook, kind)) for hook, kind in found]
        try:
            results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _one(self, op: Operation, hook: Hook, kind: Kind) -> None:
        obj, old = forms(kind, op)
        try:
            answer = await _ask(self._app, op, hook, kind, obj, old)
        except _Failed as e:
            _on_failure(hook, e)
            return
        if not answer.allowed:
            raise reviews.denial(hook.name, answer.status)
