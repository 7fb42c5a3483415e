"""Who owns which field: managedFields of plain writes (`track_update`), and server-side apply (`apply`).

KEP-555. Source of the rules: apimachinery/pkg/util/managedfields and sigs.k8s.io/structured-merge-diff/merge/update.go.
The pieces: `fieldtypes` (how a value is divided), `fieldchanges` (what changed), `fieldset` (sets of paths),
`fieldmerge` (merging and removing values), `managed` (the entries).
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from switchboard.objects import managed
from switchboard.objects.errors import BadRequest, Conflict, StatusError
from switchboard.objects.fieldchanges import added, changes, collapsed, created, field_set, with_named_fields
from switchboard.objects.fieldmerge import merge, problems, remove
from switchboard.objects.fieldset import SELF, FieldSet, covers, difference, intersection, paths, union
from switchboard.objects.fieldtypes import Type, definition_type, schema_type
from switchboard.objects.kinds import Kind
from switchboard.objects.managed import APPLY, BEFORE_APPLY, UPDATE, Entry
from switchboard.objects.resetfields import Resets, resets
from switchboard.objects.types import definition_of

Object = dict[str, Any]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_LAST_APPLIED_MAX = 256 * 1024

# Nobody owns these: identity, and what only the server writes (stripmeta.go).
_STRIPPED_TOP = ("apiVersion", "kind")
_STRIPPED_META = frozenset(
    "name namespace creationTimestamp selfLink uid clusterName generation managedFields resourceVersion".split()
)

_NOTHING: FieldSet = {}


def type_of(obj: Object, kind: Kind | None = None) -> Type:
    """How an object's fields are divided: by its kind, else by its apiVersion and kind, else deduced."""
    if kind is not None:
        return definition_type(kind.definition) if kind.definition else _custom_type(kind)
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    name = definition_of(group, version, str(obj.get("kind", "")))
    return definition_type(name) if name else schema_type(None)


_custom: dict[int, tuple[Kind, Type]] = {}


def _custom_type(kind: Kind) -> Type:
    """Compiled once per Kind (a changed CRD makes a new Kind)."""
    found = _custom.get(id(kind))
    if found is None or found[0] is not kind:
        if len(_custom) > 4096:
            _custom.clear()
        found = _custom[id(kind)] = (kind, schema_type(kind.schema))
    return found[1]


def _resets(kind: Kind | None, type_: Type, subresource: str) -> Resets:
    """What this endpoint resets, so that nobody comes to own it there."""
    if kind is not None:
        return resets(kind, subresource)
    return Resets({"f:status": {}} if not subresource and type_.declares("status") else _NOTHING)


def _current(entries: list[Entry], type_: Type, kind: Kind | None) -> list[Entry]:
    """Entries as they stand today: none of versions that there are no more, and what is atomic by now owned whole."""
    if kind is None:
        return entries
    if kind.custom:
        for entry in entries:
            entry.fields = collapsed(type_, entry.fields)
        return entries
    return [e for e in entries if e.api_version == kind.api_version or _is_version(e.api_version, kind.kind)]


def _is_version(api_version: str, kind: str) -> bool:
    group, _, version = api_version.rpartition("/")
    return definition_of(group, version, kind) is not None


def _bare(obj: Object) -> Object:
    """The object without what is never owned."""
    out = {key: value for key, value in obj.items() if key not in _STRIPPED_TOP}
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        out["metadata"] = {key: value for key, value in metadata.items() if key not in _STRIPPED_META}
    return out


def _stripped(fields: FieldSet) -> FieldSet:
    """A set without the membership of `metadata` itself, and without metadata when nothing of it is left."""
    metadata = fields.get("f:metadata")
    if metadata is None or (metadata and SELF not in metadata):
        return fields
    below = {key: value for key, value in metadata.items() if key != "."}
    out = {key: value for key, value in fields.items() if key != "f:metadata"}
    if below:
        out["f:metadata"] = below
    return out


def track_update(
    obj: Object,
    old: Object | None,
    *,
    manager: str,
    api_version: str,
    subresource: str = "",
    now: str = "",
    kind: Kind | None = None,
) -> None:
    """Record in `obj.metadata.managedFields` that `manager` set what differs from `old` (None: a new object).

    `now` is the time as RFC 3339. Other managers lose what changed; an object whose entries were
    forgotten stays without.
    """
    type_ = type_of(obj, kind)
    entries, forget = managed.live_or_new(old, obj, subresource)
    if old is None:
        touched, removed = _created(type_, obj, kind), _NOTHING
    elif forget or not entries:
        managed.put(obj, [])
        return
    else:
        added_or_modified, gone = changes(type_, _bare(old), _bare(obj))
        touched, removed = added_or_modified or {}, gone or {}
    entries = _current(entries, type_, kind)
    reset = _resets(kind, type_, subresource)
    touched = _stripped(reset.left(touched))
    removed = reset.left(removed) if removed else removed
    if touched or removed:
        me = Entry(manager, UPDATE, api_version, subresource, now, touched)
        entries = managed.cap(_taken_over(entries, me, removed)) if entries else [me] if touched else []
    managed.put(obj, entries)


def _created(type_: Type, obj: Object, kind: Kind | None) -> FieldSet:
    """The set of a new object; a custom one is compared with nothing at all, so its top-level structs are owned too."""
    bare = _bare(obj)
    if kind is None or kind.definition:
        return created(type_, bare)
    return {field.element: added(field.type, value) for name, value in bare.items() if (field := type_.field(name))}


def _taken_over(entries: list[Entry], me: Entry, removed: FieldSet) -> list[Entry]:
    """Everybody loses what `me` took and what is gone; `me` keeps what it had besides."""
    out = []
    lost = union(me.fields, removed) if removed else me.fields
    for entry in entries:
        if not removed and entry.identity == me.identity and covers(entry.fields, me.fields):
            me.fields, me.stored = entry.fields, entry.stored  # the same fields again, as most writers write
            continue
        rest = difference(entry.fields, lost)
        if entry.identity == me.identity and me.fields:
            me.fields = union(rest, me.fields)
        elif rest:
            entry.fields = rest
            out.append(entry)
    if me.fields:
        out.append(me)
    return out


class Conflicts(Conflict):
    """Fields that other managers own with other values; `fields` is the set of them."""

    def __init__(self, found: list[tuple[Entry, FieldSet]]) -> None:
        found = sorted(found, key=lambda pair: pair[0].identifier)
        self.fields: FieldSet = {}
        lines: list[str] = []
        causes = []
        for entry, conflict in found:
            self.fields = union(self.fields, conflict)
            who = entry.shown()
            lines.append(f"conflicts with {who}:")
            for path in paths(conflict):
                lines.append(f"- {path}")
                causes.append({"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path})
        if len(causes) == 1:
            text = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
        else:
            text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
        super().__init__(text, details={"causes": causes})
        self.found = found


def apply(
    live: Object | None,
    config: Object,
    *,
    manager: str,
    api_version: str,
    force: bool = False,
    subresource: str = "",
    now: str = "",
    kind: Kind | None = None,
) -> Object:
    """Server-side apply: `config` laid over `live` (None: it does not exist), with managedFields brought up to date.

    What the manager applied before and does not apply now is removed, unless somebody else owns it. Raises Conflict
    (reason FieldManagerConflict in each cause) unless `force`; 500 for a configuration that is not of its type (unknown
    fields, duplicate keys), as upstream answers it; BadRequest for another kind or for managedFields in it.
    """
    _check(config, kind, api_version, subresource)
    type_ = type_of(config, kind)
    wrong = list(problems(type_, config))
    if wrong:
        text = wrong[0] if len(wrong) == 1 else "\n  ".join(["errors:", *wrong])
        raise StatusError(f"failed to create typed patch object ({_named(config)}): {text}", code=500, reason="")
    one = _Application(live, config, type_, kind, Entry(manager, APPLY, api_version, subresource, now, {}))
    try:
        new = one.run(force)
    except Conflicts as conflicts:
        if manager != "kubectl":
            raise
        _only_client_side(conflicts, live or {}, type_, api_version)
        new = one.run(True)
    if manager == "kubectl" and (new["metadata"].get("annotations") or {}).get(LAST_APPLIED):
        _renew_last_applied(new, config)
    return new


def _check(config: Object, kind: Kind | None, api_version: str, subresource: str) -> None:
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    if kind is None or (subresource and subresource != "status"):
        return
    if config.get("apiVersion") != api_version or config.get("kind") != kind.kind:
        group, _, version = str(config.get("apiVersion") or "").rpartition("/")
        raise BadRequest(f"invalid object type: {group}/{version}, Kind={config.get('kind') or ''}")


def _named(config: Object) -> str:
    """`namespace/name; group/version, Kind=kind` of an applied configuration, as the error of a wrong one says it."""
    metadata = config.get("metadata") or {}
    group, _, version = str(config.get("apiVersion") or "").rpartition("/")
    where = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    return f"{where}; {group}/{version}, Kind={config.get('kind', '')}"


class _Application:
    """One configuration on its way into one object."""

    def __init__(self, live: Object | None, config: Object, type_: Type, kind: Kind | None, me: Entry) -> None:
        self.live, self.config, self.type, self.me = live or {}, config, type_, me
        self.reset = _resets(kind, type_, me.subresource)
        entries = managed.trusted(self.live.get("metadata", {}).get("managedFields"))
        if not entries and live is not None:
            before = _stripped(self.reset.left(_created(type_, live, kind)))
            if before:
                entries = [Entry(BEFORE_APPLY, UPDATE, me.api_version, me.subresource, me.time, before)]
        entries = _current(entries, type_, kind)
        self.last = next((entry for entry in entries if entry.identity == me.identity), None)
        self.others = [entry for entry in entries if entry.identity != me.identity]

    def run(self, force: bool) -> Object:
        """The new object; raises Conflicts unless forced."""
        applied = self.reset.left(field_set(self.type, self.config))
        new = self._merged(applied)
        touched, removed = changes(self.type, _bare(self.live), _bare(new))
        changed = self.reset.left(union(touched or {}, removed or {}))
        wanted = self.reset.left(touched or {})
        if not force:
            found = [(e, both) for e in self.others if (both := intersection(e.fields, wanted))]
            if found:
                raise Conflicts(found)
        mine = _stripped(self.reset.left(field_set(self.type, _bare(self.config))))
        time = self.me.time if new != self.live else self.last.time if self.last else ""
        kept = [
            Entry(e.manager, e.operation, e.api_version, e.subresource, e.time, rest)
            for e in self.others
            if (rest := difference(e.fields, changed))
        ]
        me = Entry(self.me.manager, APPLY, self.me.api_version, self.me.subresource, time, mine)
        managed.put(new, [*kept, me] if mine else kept)
        return new

    def _merged(self, applied: FieldSet) -> Object:
        config = msgspec.json.decode(msgspec.json.encode(self.config))  # what is made of it is changed later
        new: Object = merge(self.type, self.live, config)
        if self.last is None or not self.last.fields or covers(applied, self.last.fields):
            return new
        managed_by_any = applied
        for entry in self.others:
            managed_by_any = union(managed_by_any, entry.fields)
        return _pruned(self.type, new, self.last.fields, managed_by_any)


def _pruned(type_: Type, merged: Object, last: FieldSet, owned: FieldSet) -> Object:
    """Without what was applied last time and is `owned` by nobody any more (merge/update.go: prune)."""
    last = with_named_fields(type_, last)
    present = with_named_fields(type_, field_set(type_, merged))
    left = _present(type_, remove(type_, merged, last))
    left = _present(type_, remove(type_, merged, difference(present, union(left, with_named_fields(type_, owned)))))
    gone = intersection(difference(present, left), last)
    return cast("Object", remove(type_, merged, gone)) if gone else merged


def _present(type_: Type, value: Any) -> FieldSet:
    return with_named_fields(type_, field_set(type_, value))


def _only_client_side(conflicts: Conflicts, live: Object, type_: Type, api_version: str) -> None:
    """Raise the conflicts that are not with what kubectl itself applied on the client side (lastappliedmanager.go)."""
    text = (live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        last = msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        last = None
    if not isinstance(last, dict) or last.get("apiVersion") != api_version:
        raise conflicts
    if any(problems(type_, last)) or any(problems(type_, live)):
        raise conflicts
    # Fields whose value is no longer what was applied are somebody else's by now.
    touched, removed = changes(type_, _bare(last), _bare(live))
    theirs = difference(field_set(type_, last), union(touched or {}, removed or {}))
    left = [(entry, rest) for entry, fields in conflicts.found if (rest := difference(fields, theirs))]
    if left:
        raise Conflicts(left)


def _renew_last_applied(new: Object, config: Object) -> None:
    """Keep the annotation of client-side apply true, so that going back to it undoes nothing."""
    metadata = dict(config.get("metadata") or {})
    metadata.pop("managedFields", None)
    if metadata.get("annotations") is None:
        metadata.pop("annotations", None)
    else:
        metadata["annotations"] = {k: v or "" for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
    text = msgspec.json.encode(config | {"metadata": metadata}, order="sorted").decode() + "\n"
    annotations = {key: value or "" for key, value in new["metadata"]["annotations"].items()}
    if sum(len(key) + len(value) for key, value in annotations.items()) + len(text) > _LAST_APPLIED_MAX:
        del annotations[LAST_APPLIED]
    else:
        annotations[LAST_APPLIED] = text
    new["metadata"]["annotations"] = annotations
