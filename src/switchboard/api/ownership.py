"""Who owns which field: managedFields of plain writes, and what counts as no change.

The sets themselves are made by `objects.apply`; here stands when they are made and for whom.
"""

from __future__ import annotations

from typing import Any

from switchboard.api.call import Call
from switchboard.api.metadata import check_name, check_namespace, now
from switchboard.objects import apply

Object = dict[str, Any]


def track(call: Call, obj: Object, old: Object | None) -> None:
    """Record in `obj` that the call's manager set what differs from `old` (operation Update)."""
    kind = call.kind
    apply.track_update(
        obj, old, manager=call.manager, api_version=kind.api_version, subresource=call.sub, now=now(), kind=kind
    )


def applied(call: Call, live: Object | None, wanted: Object) -> Object:
    """Server-side apply of `wanted` over `live`, for the call's manager and with its `force`."""
    kind = call.kind
    made = apply.apply(
        live,
        wanted,
        manager=call.options.field_manager,
        api_version=kind.api_version,
        force=bool(call.options.force),
        subresource=call.sub,
        now=now(),
        kind=kind,
    )
    check_name(wanted if live is None else made, call.name)
    if (wanted.get("metadata") or {}).get("name") not in (None, call.name):
        check_name(wanted, call.name)
    check_namespace(wanted, call.namespace, kind.namespaced)
    if live is None:
        made["metadata"].pop("resourceVersion", None)  # it cannot be anybody's: the object does not exist
    return made


def unchanged(obj: Object, old: Object) -> bool:
    """Whether an update changes nothing but, at most, times in managedFields."""
    if obj.keys() != old.keys():
        return False
    for name, value in obj.items():
        if name != "metadata" and value != old[name]:
            return False
    new_meta, old_meta = obj["metadata"], old["metadata"]
    for name in new_meta.keys() | old_meta.keys():
        if name not in ("resourceVersion", "managedFields") and new_meta.get(name) != old_meta.get(name):
            return False
    return _timeless(new_meta.get("managedFields")) == _timeless(old_meta.get("managedFields"))


def _timeless(entries: list[Object] | None) -> list[Object]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in entries or ()]
