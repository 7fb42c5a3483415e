"""Fields that an endpoint puts back to what they were: whoever sends them there does not own them.

Source: GetResetFields and GetResetFieldsFilter of each kind's strategy (pkg/registry). The main endpoint resets status
where there is a status endpoint, and that resets everything else that stands here.
"""

from __future__ import annotations

from switchboard.objects.fieldset import ANY, FieldSet, within, without_trees
from switchboard.objects.kinds import Kind

_NOTHING: FieldSet = {}
_SPEC: FieldSet = {"f:spec": {}}
_STATUS: FieldSet = {"f:status": {}}
_ALL_BUT_STATUS: FieldSet = {"f:metadata": {}, "f:spec": {}}

# (group, plural, subresource) -> what is reset there, where it is not the usual.
_RESETS: dict[tuple[str, str, str], FieldSet] = {
    ("", "pods", "status"): _SPEC | {"f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}},
    ("apps", "deployments", "status"): _SPEC | {"f:metadata": {"f:labels": {}}},
    ("apiextensions.k8s.io", "customresourcedefinitions", "status"): _ALL_BUT_STATUS,
    ("flowcontrol.apiserver.k8s.io", "flowschemas", "status"): _ALL_BUT_STATUS,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", "status"): _ALL_BUT_STATUS,
    ("resource.k8s.io", "resourceclaims", "status"): _ALL_BUT_STATUS,
    ("storage.k8s.io", "volumeattachments", "status"): _ALL_BUT_STATUS,
    ("certificates.k8s.io", "certificatesigningrequests", ""): _SPEC | _STATUS,
    ("certificates.k8s.io", "certificatesigningrequests", "status"): _SPEC | {"f:status": {"f:conditions": {}}},
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): _SPEC | {"f:status": {"f:certificate": {}}},
}

# Endpoints that reset everything but this.
_RESIZED: FieldSet = {ANY: {"f:resources": {}, "f:resizePolicy": {}}}
_WRITTEN: dict[tuple[str, str, str], FieldSet] = {
    ("", "pods", "ephemeralcontainers"): {"f:spec": {"f:ephemeralContainers": {}}},
    ("", "pods", "resize"): {"f:spec": {"f:resources": {}, "f:containers": _RESIZED, "f:initContainers": _RESIZED}},
}


class Resets:
    """What an endpoint resets: some fields, or all but some."""

    __slots__ = ("_fields", "_written")

    def __init__(self, fields: FieldSet, written: FieldSet | None = None) -> None:
        self._fields, self._written = fields, written

    def left(self, fields: FieldSet) -> FieldSet:
        """Those of the fields that stay as they were sent."""
        if self._written is not None:
            return within(fields, self._written)
        return fields if self._fields.keys().isdisjoint(fields) else without_trees(fields, self._fields)


def resets(kind: Kind, subresource: str) -> Resets:
    """What an endpoint of a kind (`subresource` empty for the object's own) resets."""
    """What the endpoint of a kind, or of one of its subresources, resets."""
    written = _WRITTEN.get((kind.group, kind.plural, subresource)) if subresource and not kind.custom else None
    return Resets(_NOTHING, written) if written is not None else Resets(reset_fields(kind, subresource))


def reset_fields(kind: Kind, subresource: str) -> FieldSet:
    """The fields that the endpoint resets, where it does not reset all but some."""
    found = _RESETS.get((kind.group, kind.plural, subresource))
    if found is not None and not kind.custom:
        return found
    if subresource == "status":
        return _ALL_BUT_STATUS if kind.custom else _SPEC
    return _STATUS if not subresource and "status" in kind.subresources else _NOTHING


# What of the metadata a status endpoint resets that resets all of it (ResetObjectMetaForStatus).
_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


def reset_metadata(kind: Kind) -> tuple[str, ...]:
    """The names below metadata that the status endpoint leaves as they were."""
    fields = reset_fields(kind, "status").get("f:metadata")
    if fields is None:
        return ()
    return tuple(name.removeprefix("f:") for name in fields) or _METADATA
