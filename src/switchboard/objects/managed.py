"""`metadata.managedFields`: entries in, entries out, in the order, with the times and under the limits of upstream.

An entry is one manager's set: identified by manager, operation, subresource, and for updates also by API version.
Source: apimachinery/pkg/util/managedfields/internal (managedfields.go, capmanagers.go, buildmanagerinfo.go).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from switchboard.objects.fieldset import FieldSet, is_field_set, ordered, union

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10
ANCIENT = "ancient-changes"
BEFORE_APPLY = "before-first-apply"

Identity = tuple[str, str, str, str]


@dataclass(slots=True)
class Entry:
    """One manager's fields. `time` is RFC 3339, empty when it never changed anything."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet
    stored: FieldSet | None = None  # as `encode` wrote them once, and so in order

    @property
    def identity(self) -> Identity:
        """What tells entries apart: appliers keep their entry when they change version."""
        version = "" if self.operation == APPLY else self.api_version
        return self.manager, self.operation, version, self.subresource

    @property
    def identifier(self) -> str:
        """The same as text (BuildManagerIdentifier): conflicts are told in its order."""
        names = ("manager", "operation", "apiVersion", "subresource")
        pairs = {name: text for name, text in zip(names, self.identity, strict=True) if text}
        return msgspec.json.encode(pairs).decode()

    def encode(self) -> dict[str, Any]:
        """As `meta/v1 ManagedFieldsEntry`."""
        out: dict[str, Any] = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            out["time"] = self.time
        out["fieldsType"] = "FieldsV1"
        out["fieldsV1"] = self.fields if self.fields is self.stored else ordered(self.fields)
        if self.subresource:
            out["subresource"] = self.subresource
        return out

    def shown(self) -> str:
        """As conflicts name it: `"m1" with subresource "status" using v1 at 2024-01-01T00:00:00Z`."""
        text = quoted(self.manager)
        if self.subresource:
            text += f" with subresource {quoted(self.subresource)}"
        # The time is no part of the identity that upstream prints from, so it is never shown.
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


def quoted(text: str) -> str:
    """As Go's %q for the names that managers have."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def decode(entries: Any) -> list[Entry] | None:
    """Entries of an object; None when any of them is not one (then nobody's word is taken)."""
    if not isinstance(entries, list):
        return []
    out: list[Entry] = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("operation") not in (APPLY, UPDATE):
            return None
        fields = entry.get("fieldsV1")
        if entry.get("fieldsType") != "FieldsV1" or (fields is not None and not is_field_set(fields)):
            return None
        texts = [entry.get(key, "") for key in ("manager", "operation", "apiVersion", "subresource", "time")]
        if not all(isinstance(text, str | None) for text in texts):
            return None
        manager, operation, version, subresource, time = (text or "" for text in texts)
        if not version:
            return None
        out.append(Entry(manager, operation, version, subresource, time, fields or {}))
    return out


def trusted(entries: Any) -> list[Entry]:
    """Entries that this server wrote itself: decoded without a check of their sets."""
    return [
        Entry(
            entry.get("manager", ""),
            entry.get("operation", UPDATE),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
            entry.get("time", ""),
            fields := entry.get("fieldsV1") or {},
            fields,
        )
        for entry in entries or ()
    ]


def live_or_new(old: dict[str, Any] | None, new: dict[str, Any], subresource: str) -> tuple[list[Entry], bool]:
    """The entries to go on from, and whether the client asked to forget them all (`managedFields: []`, or `[{}]`).

    What an update sends counts where it decodes and is not empty (clients may hand over fields), not on subresources.
    """
    before = (old or {}).get("metadata", {}).get("managedFields")
    sent = new.get("metadata", {}).get("managedFields")
    if subresource or sent is None or sent is before or sent == before:
        return trusted(before), False
    if sent in ([], [{}]):
        return [], True
    return decode(sent) or trusted(before), False


def _key(entry: Entry) -> tuple[str, str, str, str, str]:
    # Times are compared by seconds; RFC 3339 in UTC with a fixed width sorts as text.
    return entry.operation, entry.time[:19], entry.manager, entry.api_version, entry.subresource


def encode(entries: list[Entry]) -> list[dict[str, Any]]:
    """Sorted: appliers before updaters, then by time, manager, version, subresource."""
    if len(entries) > 1:
        entries = sorted(entries, key=_key)
    return [entry.encode() for entry in entries if entry.fields]


def cap(entries: list[Entry]) -> list[Entry]:
    """At most ten updaters: the oldest of a version are merged into one called `ancient-changes`."""
    if len(entries) <= MAX_UPDATERS:
        return entries
    updaters = sorted(
        (e for e in entries if e.operation == UPDATE),
        key=lambda e: (e.time[:19], e.manager, e.api_version, e.subresource),
    )
    count = len(updaters)
    if count <= MAX_UPDATERS:
        return entries
    first: dict[str, Entry] = {}
    gone: set[Identity] = set()
    buckets: dict[str, Entry] = {}
    for entry in updaters:
        if count <= MAX_UPDATERS:
            break
        version = entry.api_version
        if version not in first:
            first[version] = entry
            continue
        bucket = buckets.get(version)
        if bucket is None:
            gone.add(first[version].identity)
            bucket = Entry(ANCIENT, UPDATE, version, "", entry.time, first[version].fields)
        buckets[version] = replace(bucket, fields=union(bucket.fields, entry.fields), time=entry.time)
        gone.add(entry.identity)
        count -= 1
    kept = [entry for entry in entries if entry.identity not in gone]
    return kept + list(buckets.values())


def put(obj: dict[str, Any], entries: list[Entry]) -> None:
    """Write the entries into an object's metadata (a metadata dict of its own is made, not changed)."""
    encoded = encode(entries)
    metadata = dict(obj.get("metadata", {}))
    metadata.pop("managedFields", None)
    if encoded:
        metadata["managedFields"] = encoded
    obj["metadata"] = metadata
