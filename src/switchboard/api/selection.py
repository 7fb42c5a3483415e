"""Which records of a kind a list, watch or deletecollection is about: label and field selectors over store records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from switchboard.api import typed
from switchboard.api.keyspace import decode, split_key
from switchboard.objects import fieldselectors, selectors
from switchboard.objects.fieldselectors import FieldSelector
from switchboard.objects.kinds import Kind
from switchboard.objects.selectors import LabelSelector
from switchboard.store.record import Record

Match = Callable[[Record], bool]


_recent: dict[int, tuple[bytes, Any]] = {}  # the last few objects decoded, by the id of their bytes
_RECENT = 8


def _decoded(record: Record) -> Any:
    """The object of a record, to be read only; watchers with field selectors ask for the same ones again and again."""
    value = record.value
    held = _recent.get(id(value))
    if held is not None and held[0] is value:
        return held[1]
    obj = decode(value)
    if len(_recent) >= _RECENT:
        del _recent[next(iter(_recent))]
    _recent[id(value)] = (value, obj)
    return obj


class Selection:
    """Both selectors of a request, compiled; `match` is None when everything is selected."""

    __slots__ = ("_text", "fields", "labels", "match", "name")

    def __init__(self, kind: Kind, label_text: str, field_text: str) -> None:
        self.labels: LabelSelector = selectors.parse_query(label_text) if label_text else selectors.EVERYTHING
        self.fields: FieldSelector = (
            fieldselectors.parse(field_text, kind, selectable_fields(kind)) if field_text else fieldselectors.EVERYTHING
        )
        self.name = self.fields.exact("metadata.name")
        self.match: Match | None = self._compile(kind)

    def _compile(self, kind: Kind) -> Match | None:
        label_tests = [requirement.test() for requirement in self.labels.requirements]
        names_only = all(r.field in ("metadata.name", "metadata.namespace") for r in self.fields.requirements)
        if self.fields.everything:
            if len(label_tests) == 1:
                only = label_tests[0]
                return lambda record: only(record.meta)
            if not label_tests:
                return None
        matches_labels, fields = self.labels.matches, self.fields.matches
        if names_only and self.name is not None and len(self.fields.requirements) == 1 and not label_tests:
            end = f"/{self.name}"
            return lambda record: record.key.endswith(end)
        shown = None if names_only or not kind.custom else _shower(kind)

        def matches_fields(record: Record) -> bool:
            if names_only:
                _, _, namespace, name = split_key(record.key)
                return fields({"metadata": {"name": name, "namespace": namespace}})
            return fields(_decoded(record) if shown is None else shown(_decoded(record)))

        if not label_tests:
            return matches_fields
        return lambda record: matches_labels(record.meta) and matches_fields(record)

    def select(self, records: list[Record]) -> list[Record]:
        """The records that match, in order."""
        match = self.match
        return records if match is None else [record for record in records if match(record)]


def _shower(kind: Kind) -> Callable[[Any], Any]:
    """What makes a stored object one of the version whose fields are selected; the stored one is shared."""
    type_ = typed.custom(kind)
    return lambda stored: type_.from_storage(typed.copy_of(stored))


def selectable_fields(kind: Kind) -> list[str]:
    """`selectableFields` of a custom kind's version (KEP-4358)."""
    extra = kind.extra
    if not isinstance(extra, dict):
        return []
    versions = cast("list[dict[str, Any]]", (extra.get("spec") or {}).get("versions") or [])
    for version in versions:
        if version.get("name") == kind.version:
            return [field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()]
    return []
