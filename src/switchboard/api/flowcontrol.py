"""Priority and fairness: which FlowSchema a request belongs to, as answers say it; the status of FlowSchemas.

Who waits and for what is in `seats.py`. Source: `apiserver/pkg/util/flowcontrol`,
`apiserver/pkg/server/filters/priority-and-fairness.go`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from switchboard.api.identity import LOOPBACK, Identity
from switchboard.api.keyspace import decode, encode_any
from switchboard.api.metadata import now
from switchboard.api.seats import Level, Room, Waits
from switchboard.objects.flowobjects import GROUP
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.api.paths import Target
    from switchboard.store.record import Event

_log = logging.getLogger(__name__)
Object = dict[str, Any]
Headers = list[tuple[str, str]]
SCHEMAS, LEVELS = f"/{GROUP}/flowschemas/", f"/{GROUP}/prioritylevelconfigurations/"
_IDENTITIES = 2_000
_REQUESTS = 1_000  # kinds of requests that are remembered for each identity
_MANAGER = "api-priority-and-fairness-config-consumer-v1"
_AGENT = {"user-agent": _MANAGER, "content-type": "application/apply-patch+yaml"}


class Flow:
    """One FlowSchema: who and what it is about, what answers say of it, and what is counted, whatever it changes to."""

    def __init__(self, obj: Object, level: Level, level_uid: str) -> None:
        self.name: str = obj["metadata"]["name"]
        self.dispatched = self.waiting = 0
        self.refused: dict[str, int] = {}
        self.waits: dict[bool, Waits] = {}  # by whether they were seated in the end
        self.configure(obj, level, level_uid)

    def configure(self, obj: Object, level: Level, level_uid: str) -> None:
        """Take over what the object says."""
        meta, spec = obj["metadata"], obj.get("spec") or {}
        self.order = (spec.get("matchingPrecedence") or 1000, self.name)
        self.rules: list[Object] = spec.get("rules") or []
        self.level = level
        self.by = (spec.get("distinguisherMethod") or {}).get("type", "")
        self.headers: Headers = [
            ("x-kubernetes-pf-flowschema-uid", meta["uid"]),
            ("x-kubernetes-pf-prioritylevel-uid", level_uid),
        ]

    def distinguisher(self, identity: Identity, namespace: str) -> str:
        """What tells the flows of this schema apart."""
        return identity.user if self.by == "ByUser" else namespace if self.by == "ByNamespace" else ""

    def waited(self, seconds: float, *, executed: bool) -> None:
        """Count the time that a request was in a queue."""
        waits = self.waits.get(executed)
        if waits is None:
            waits = self.waits[executed] = Waits()
        waits.add(seconds)


def _level_of(spec: Object) -> str:
    """The priority level that a FlowSchema names."""
    return (spec.get("priorityLevelConfiguration") or {}).get("name") or ""


class _Known:
    """What may be about one identity: schemas with their rules (None: about everything), and what was asked before."""

    __slots__ = ("found", "groups", "seen")

    def __init__(self, groups: tuple[str, ...], found: list[tuple[list[Object] | None, Flow]]) -> None:
        self.groups, self.found = groups, found
        self.seen: dict[tuple[str, ...], Flow | None] = {}


class Flows:
    """The schemas in memory; what concerns an identity is made once."""

    def __init__(self, app: App) -> None:
        self._store = app.store
        self.room = Room()
        self._current = False
        self._flows: list[Flow] = []
        self._known: dict[str, _Known] = {}  # by user
        self._subscriptions = [
            app.store.subscribe(prefix, app.store.revision, self._changed) for prefix in (SCHEMAS, LEVELS)
        ]

    def _changed(self, _: list[Event]) -> None:
        self._current = False
        self._known.clear()

    def find(self, identity: Identity, verb: str, target: Target) -> Flow | None:
        """The schema that a request belongs to; None where none is about it."""
        known = self._known.get(identity.user)
        if known is None or known.groups != identity.groups:
            known = self._learn(identity)
        if known.found and known.found[0][0] is None:
            return known.found[0][1]
        if not target.is_resource:
            return _first(known, verb, target)
        asked = (verb, target.group, target.plural, target.subresource, target.namespace)
        try:
            return known.seen[asked]
        except KeyError:
            if len(known.seen) >= _REQUESTS:
                known.seen.clear()
            found = known.seen[asked] = _first(known, verb, target)
            return found

    @property
    def all(self) -> list[Flow]:
        """The schemas in the order in which they are asked."""
        if not self._current:
            self._read()
        return self._flows

    def _read(self) -> None:
        """The objects as they are now."""
        uids, specs = {}, {}
        for record in self._store.scan(LEVELS):
            obj = decode(record.value)
            name = obj["metadata"]["name"]
            uids[name], specs[name] = obj["metadata"]["uid"], obj.get("spec") or {}
        self.room.configure(specs)
        before = {flow.name: flow for flow in self._flows}
        flows = []
        for record in self._store.scan(SCHEMAS):
            obj = decode(record.value)
            named = _level_of(obj.get("spec") or {})
            if named in uids:
                level, flow = self.room.levels[named], before.get(obj["metadata"]["name"])
                if flow is None:
                    flow = Flow(obj, level, uids[named])
                else:
                    flow.configure(obj, level, uids[named])
                flows.append(flow)
        self._flows, self._current = sorted(flows, key=lambda flow: flow.order), True

    def _learn(self, identity: Identity) -> _Known:
        found: list[tuple[list[Object] | None, Flow]] = []
        for flow in self.all:
            rules = [rule for rule in flow.rules if any(_is(s, identity) for s in rule.get("subjects") or ())]
            if any(_is_everything(rule) for rule in rules):
                found.append((None, flow))
                break
            if rules:
                found.append((rules, flow))
        if len(self._known) >= _IDENTITIES:
            self._known.clear()
        known = self._known[identity.user] = _Known(identity.groups, found)
        return known


def _first(known: _Known, verb: str, target: Target) -> Flow | None:
    for rules, flow in known.found:
        if rules is None or any(_covers(rule, verb, target) for rule in rules):
            return flow
    return None


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
