"""Which webhooks an operation concerns: rules, selectors, match policy.

Source: `apiserver/pkg/admission/plugin/webhook/{generic,predicates}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from switchboard.api import typed
from switchboard.api.admission.chain import Operation
from switchboard.api.keyspace import decode, encode_any
from switchboard.objects import convert
from switchboard.objects.kinds import Kind
from switchboard.objects.schema import clean_as
from switchboard.objects.selectors import LabelSelector, from_object
from switchboard.objects.types import definition_of
from switchboard.store.record import Event
from switchboard.store.store import Store

if TYPE_CHECKING:
    from switchboard.objects.cel.conditions import Conditions

Object = dict[str, Any]
_GROUP = "admissionregistration.k8s.io"
# Configurations of admission are never shown to webhooks: one could make its own removal impossible.
_EXEMPT = frozenset(
    f"{mode}{what}"
    for mode in ("validating", "mutating")
    for what in ("webhookconfigurations", "admissionpolicies", "admissionpolicybindings")
)


@dataclass(slots=True)
class Hook:
    """One webhook of a configuration, with its selectors made."""

    key: str
    webhook: Object
    namespaces: LabelSelector
    objects: LabelSelector
    conditions: Conditions | None = None  # made when they are first asked

    @property
    def name(self) -> str:
        """`name.of.webhook.example`."""
        return str(self.webhook["name"])


class Configurations:
    """The webhooks of one kind of configuration, by the name of their configuration; read again when one changes."""

    def __init__(self, store: Store, plural: str) -> None:
        self._store = store
        self._prefix = f"/{_GROUP}/{plural}/"
        self._hooks: list[Hook] | None = None
        self._subscription = store.subscribe(self._prefix, store.revision, self._changed)

    def _changed(self, _: list[Event]) -> None:
        self._hooks = None

    def hooks(self) -> list[Hook]:
        """Every webhook, in the order they are asked."""
        if self._hooks is None:
            self._hooks = []
            for record in self._store.scan(self._prefix):
                configuration = decode(record.value)
                uid = configuration["metadata"]["uid"]
                for i, webhook in enumerate(configuration.get("webhooks") or ()):
                    namespaces, objects = (
                        from_object(webhook.get(f"{n}Selector") or {}) for n in ("namespace", "object")
                    )
                    self._hooks.append(Hook(f"{uid}/{i}", webhook, namespaces, objects))
        return self._hooks

    def matching(self, op: Operation) -> Iterator[tuple[Hook, Kind]]:
        """The webhooks to ask, each with the kind (version) in which it wants the object."""
        if op.group == _GROUP and op.plural in _EXEMPT:
            return
        for hook in self.hooks():
            kind = kind_for(op, hook)
            if kind is not None and selected(self._store, op, hook):
                yield hook, kind


def selected(store: Store, op: Operation, hook: Hook) -> bool:
    """Whether a hook's selectors choose the object and its namespace."""
    if not hook.objects.everything and not any(
        obj is not None and "metadata" in obj and hook.objects.matches((obj["metadata"] or {}).get("labels"))
        for obj in (op.obj, op.old)
    ):
        return False
    if hook.namespaces.everything:
        return True
    if (op.group, op.plural) == ("", "namespaces"):
        shown = op.obj if op.obj is not None and not op.sub else op.old
        return hook.namespaces.matches(((shown or {}).get("metadata") or {}).get("labels"))
    if not op.namespace:
        return True
    record = store.head(f"/core/namespaces/{op.namespace}")
    return hook.namespaces.matches(record.meta if record is not None else None)


def kind_for(op: Operation, hook: Hook) -> Kind | None:
    """The kind that some rule names: the request's own, or with matchPolicy Equivalent another version of it."""
    own = op.call.kind
    rules = hook.webhook.get("rules") or ()
    if any(covers(rule, op, own) for rule in rules):
        return own
    if hook.webhook.get("matchPolicy") == "Exact":
        return None
    registry = op.call.app.registry
    for group, plural in {(own.group, own.plural), (own.storage[0], own.storage[2])}:
        for version in registry.versions(group):
            other = registry.resource(group, version, plural)
            if other is None or other is own or other.storage[2] != own.storage[2]:
                continue
            if any(covers(rule, op, other) for rule in rules):
                return other
    return None


def covers(rule: Object, op: Operation, kind: Kind) -> bool:
    """Whether a rule speaks of an operation on a kind."""
    for value, field in ((op.verb, "operations"), (kind.group, "apiGroups"), (kind.version, "apiVersions")):
        allowed = rule.get(field) or ()
        if "*" not in allowed and value not in allowed:
            return False
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") != kind.namespaced:
        return False
    return any(_resource(text, kind.plural, op.sub) for text in rule.get("resources") or ())


def _resource(text: str, plural: str, sub: str) -> bool:
    """`pods`, `*`, `pods/*`, `*/status`, `*/*`: a subresource matches only a rule that has a slash."""
    wanted, slash, wanted_sub = text.partition("/")
    if wanted not in ("*", plural):
        return False
    return wanted_sub in ("*", sub) if slash else not sub


def shown_as(kind: Kind, op: Operation, obj: Object | None) -> Object | None:
    """The operation's object in another version."""
    own = op.call.kind
    if obj is None or kind is own:
        return obj
    if own.custom:
        converted: Object = own.extra.type.conversion.convert(obj, kind.version)
        return converted
    stored = typed.stored(own, typed.copy_of(obj))
    return stored if typed.same_form(kind) else convert.from_storage(kind.kind, kind.api_version, stored)


def taken_back(kind: Kind, op: Operation, obj: Object) -> Object:
    """The reverse of `shown_as`, for an object that a webhook changed."""
    own = op.call.kind
    if kind is own:
        return obj
    if own.custom:
        converted: Object = own.extra.type.conversion.convert(obj, own.version)
        return converted
    stored = typed.stored(kind, obj)
    return stored if typed.same_form(own) else convert.from_storage(own.kind, own.api_version, stored)


def forms(kind: Kind, op: Operation) -> tuple[Object | None, Object | None]:
    """Object and old object as webhooks and policies are shown them."""
    obj, old = op.obj, op.old
    if op.sub == "scale":
        from switchboard.api.kinds.scale import scale_of

        return tuple(scale_of(op.call.kind, o) if o is not None and "spec" in o else o for o in (obj, old))  # type: ignore[return-value]
    return shown_as(kind, op, obj), shown_as(kind, op, old)


def _posted(op: Operation) -> tuple[str, str] | None:
    """(apiVersion, kind) of an object that is not of the operation's kind, but posted to a subresource of it: a
    TokenRequest, an Eviction, the options of a connection."""
    assert op.obj is not None
    own, name = op.call.kind, op.obj.get("kind")
    return (op.obj["apiVersion"], name) if name and name != own.kind else None


def clean(op: Operation, kind: Kind, changed: Object) -> list[str]:
    """Prune what was made of the operation's object in some version; the paths of unknown fields."""
    posted = _posted(op)
    if posted is None:
        return typed.clean(op.call.app, kind, changed)
    group, _, version = posted[0].rpartition("/")
    definition = definition_of(group, version, posted[1])
    return clean_as(definition, changed, posted[1], version) if definition is not None else []


def put_back(op: Operation, kind: Kind, changed: Object) -> None:
    """Replace the operation's object, in place, by what was made of it (clean already), with defaults."""
    assert op.obj is not None
    own, itself = op.call.kind, _posted(op) is None
    if itself:
        changed = taken_back(kind, op, changed)
    changed["kind"], changed["apiVersion"] = op.obj.get("kind", own.kind), op.obj.get("apiVersion", own.api_version)
    if itself:
        typed.default(own, changed)
    before = content(op)
    op.obj.clear()
    op.obj.update(changed)
    op.changed = op.changed or before != content(op)


def content(op: Operation) -> bytes:
    """The operation's object, to see whether it changes."""
    return encode_any(op.obj)
