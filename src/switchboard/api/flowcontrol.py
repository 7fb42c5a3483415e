"""Priority and fairness: which FlowSchema a request belongs to, as answers say it; the status of FlowSchemas.

Requests are classified, not queued: every answer is made on one event loop in the order of arrival, so that there are
no seats to share. Source: `apiserver/pkg/util/flowcontrol`, `apiserver/pkg/server/filters/priority-and-fairness.go`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any

from switchboard.api.identity import LOOPBACK, Identity
from switchboard.api.keyspace import decode, encode_any
from switchboard.api.metadata import now
from switchboard.objects.flowobjects import GROUP
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.api.paths import Target
    from switchboard.store.record import Event

_log = logging.getLogger(__name__)
Object = dict[str, Any]
Headers = list[tuple[str, str]]
# (groups, what may be about the user: rules, None for everything, and headers)
_Known = tuple[tuple[str, ...], list[tuple[list[Object] | None, Headers]]]
SCHEMAS, LEVELS = f"/{GROUP}/flowschemas/", f"/{GROUP}/prioritylevelconfigurations/"
_IDENTITIES = 2_000
_SEATS = 600  # 400 requests that read and 200 that write: upstream's defaults
_MANAGER = "api-priority-and-fairness-config-consumer-v1"
_AGENT = {"user-agent": _MANAGER, "content-type": "application/apply-patch+yaml"}


class _Schema:
    """One FlowSchema: who and what it is about, and what answers say of it."""

    def __init__(self, obj: Object, levels: dict[str, str]) -> None:
        meta, spec = obj["metadata"], obj.get("spec") or {}
        level = _level_of(spec)
        self.order = (spec.get("matchingPrecedence") or 1000, meta["name"])
        self.rules: list[Object] = spec.get("rules") or []
        self.dangling = level not in levels
        self.headers: Headers = [
            ("x-kubernetes-pf-flowschema-uid", meta["uid"]),
            ("x-kubernetes-pf-prioritylevel-uid", levels.get(level, "")),
        ]


def _level_of(spec: Object) -> str:
    """The priority level that a FlowSchema names."""
    return (spec.get("priorityLevelConfiguration") or {}).get("name") or ""


class Flows:
    """The schemas in memory; what concerns an identity is made once."""

    def __init__(self, app: App) -> None:
        self._store = app.store
        self._schemas: list[_Schema] | None = None
        self._known: dict[str, _Known] = {}  # by user
        self._subscriptions = [
            app.store.subscribe(prefix, app.store.revision, self._changed) for prefix in (SCHEMAS, LEVELS)
        ]

    def _changed(self, _: list[Event]) -> None:
        self._schemas = None
        self._known.clear()

    def headers(self, identity: Identity, verb: str, target: Target) -> Headers | None:
        """What the answer says of the request's schema and level; None where no schema is about it."""
        known = self._known.get(identity.user)
        if known is None or known[0] != identity.groups:
            known = self._learn(identity)
        for rules, headers in known[1]:
            if rules is None or any(_covers(rule, verb, target) for rule in rules):
                return headers
        return None

    def _learn(self, identity: Identity) -> _Known:
        if self._schemas is None:
            levels = {}
            for record in self._store.scan(LEVELS):
                meta = decode(record.value)["metadata"]
                levels[meta["name"]] = meta["uid"]
            made = [_Schema(decode(record.value), levels) for record in self._store.scan(SCHEMAS)]
            self._schemas = sorted((s for s in made if not s.dangling), key=lambda schema: schema.order)
        found: list[tuple[list[Object] | None, Headers]] = []
        for schema in self._schemas:
            rules = [rule for rule in schema.rules if any(_is(s, identity) for s in rule.get("subjects") or ())]
            if any(_is_everything(rule) for rule in rules):
                found.append((None, schema.headers))
                break
            if rules:
                found.append((rules, schema.headers))
        if len(self._known) >= _IDENTITIES:
            self._known.clear()
        known = self._known[identity.user] = (identity.groups, found)
        return known


def _is(subject: Object, identity: Identity) -> bool:
    kind = subject.get("kind")
    if kind == "ServiceAccount":
        account = subject.get("serviceAccount") or {}
        start = f"system:serviceaccount:{account.get('namespace')}:"
        return identity.user.startswith(start) and account.get("name") in ("*", identity.user[len(start) :])
    name = (subject.get(str(kind).lower()) or {}).get("name")
    if kind == "User":
        return name in ("*", identity.user)
    return kind == "Group" and (name == "*" or name in identity.groups)


def _is_everything(rule: Object) -> bool:
    every = ["*"]
    return any(
        r.get("verbs") == r.get("apiGroups") == r.get("resources") == r.get("namespaces") == every
        and r.get("clusterScope")
        for r in rule.get("resourceRules") or ()
    ) and any(r.get("verbs") == r.get("nonResourceURLs") == every for r in rule.get("nonResourceRules") or ())


def _has(values: list[str] | None, wanted: str) -> bool:
    return bool(values) and (values[0] == "*" or wanted in values)  # type: ignore[index,operator]


def _covers(rule: Object, verb: str, target: Target) -> bool:
    """Whether a rule (of subjects that are known to match) is about a request."""
    if not target.is_resource:
        return any(
            _has(each.get("verbs"), verb) and any(_path(url, target.path) for url in each.get("nonResourceURLs") or ())
            for each in rule.get("nonResourceRules") or ()
        )
    resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
    return any(
        _has(each.get("verbs"), verb)
        and _has(each.get("apiGroups"), target.group)
        and _has(each.get("resources"), resource)
        and (_has(each.get("namespaces"), target.namespace) if target.namespace else bool(each.get("clusterScope")))
        for each in rule.get("resourceRules") or ()
    )


def _path(url: str, path: str) -> bool:
    return url in ("*", path) or (url.endswith("/*") and path.startswith(url[:-1]))


def condition(spec: Object, there: bool) -> Object:
    """The condition of a FlowSchema: does its level exist?"""
    about = f'This FlowSchema references the PriorityLevelConfiguration object named "{_level_of(spec)}"'
    return {
        "type": "Dangling",
        "status": "False" if there else "True",
        "lastTransitionTime": now(),
        "reason": "Found" if there else "NotFound",
        "message": f"{about} and it exists" if there else f"{about} but there is no such object",
    }


async def observe(app: App) -> None:
    """Keep the condition of every FlowSchema true."""
    changed = asyncio.Event()

    def on_events(_: list[Event]) -> None:
        changed.set()

    subscriptions = [app.store.subscribe(prefix, app.store.revision, on_events) for prefix in (SCHEMAS, LEVELS)]
    try:
        while True:
            await changed.wait()
            changed.clear()
            for record in app.store.scan(SCHEMAS):
                await _observe_one(app, decode(record.value))
    finally:
        for subscription in subscriptions:
            subscription.close()


async def _observe_one(app: App, schema: Object) -> None:
    spec = schema.get("spec") or {}
    wanted = condition(spec, app.store.get(LEVELS + _level_of(spec)) is not None)
    conditions = (schema.get("status") or {}).get("conditions") or ()
    found: Object = next((c for c in conditions if c.get("type") == "Dangling"), {})
    if all(found.get(name) == wanted[name] for name in ("status", "reason", "message")):
        return
    name = schema["metadata"]["name"]
    patch = {
        "kind": "FlowSchema",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": name},
        "status": {"conditions": [wanted]},
    }
    path = f"/apis/{GROUP}/v1/flowschemas/{name}/status"
    query = f"fieldManager={_MANAGER}&force=true"
    result = app.handle_as(LOOPBACK, Request("PATCH", path, query, dict(_AGENT), encode_any(patch)))
    response = result if isinstance(result, Response) else await result
    if response.status not in (200, 404, 409):
        _log.warning("the condition of FlowSchema %s could not be written: %d", name, response.status)


def seats(app: App) -> dict[str, int]:
    """How many requests at once each level is meant to have."""
    shares = {}
    for record in app.store.scan(LEVELS):
        level = decode(record.value)
        spec = level.get("spec") or {}
        kind = spec.get("limited") or spec.get("exempt") or {}
        shares[level["metadata"]["name"]] = kind.get("nominalConcurrencyShares", 0)
    total = sum(shares.values()) or 1
    return {name: math.ceil(_SEATS * share / total) for name, share in shares.items()}
