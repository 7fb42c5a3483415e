"""ControllerRevisions: the past templates of DaemonSets and StatefulSets, what `kubectl rollout undo` goes back to.

Source: pkg/controller/history/controller_history.go. A revision's data is the patch that restores the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from switchboard.client import Cache
from switchboard.client.resources import CONTROLLERREVISIONS
from switchboard.controllers.hashing import fnv1a, safe
from switchboard.controllers.owners import reference_to
from switchboard.objects.errors import AlreadyExists, NotFound

import msgspec  # isort: skip

Object = dict[str, Any]

# DaemonSets give their pods and their revisions the hash. StatefulSets give their pods the revision's name under the
# same label, and their revisions the hash under another.
HASH_LABEL: Final = "controller-revision-hash"
REVISION_LABEL: Final = "controller.kubernetes.io/hash"


def data_of(owner: Object) -> Object:
    """The patch that a revision keeps, its keys in order: clients compare it byte by byte with the one they make."""
    ordered: Object = _sorted({"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}})
    return ordered


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


def hash_of(data: Object, collisions: int | None) -> str:
    """The revision's hash."""
    text = msgspec.json.encode(data, order="deterministic")
    if collisions:
        text += str(collisions).encode()
    return safe(fnv1a(text))


def new_revision(owner: Object, number: int, labels: Object) -> Object:
    """The revision of an owner's present template."""
    data = data_of(owner)
    digest = hash_of(data, (owner.get("status") or {}).get("collisionCount"))
    meta = owner["metadata"]
    annotations = dict(meta.get("annotations") or {})  # all of them: clients look for others than the change's cause
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "namespace": meta.get("namespace"),
            "labels": {**labels, REVISION_LABEL if owner["kind"] == "StatefulSet" else HASH_LABEL: digest},
            "ownerReferences": [reference_to(owner)],
            **({"annotations": annotations} if annotations else {}),
        },
        "data": data,
        "revision": number,
    }


def digest(revision: Object) -> str:
    """A revision's hash label."""
    return str((revision["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def equal(left: Object, right: Object) -> bool:
    """Whether two revisions keep the same template."""
    return bool(_bare(left.get("data")) == _bare(right.get("data")))


def _bare(value: Any) -> Any:
    """Without the nulls and empty maps that a server may add or drop."""
    if isinstance(value, dict):
        return {k: b for k, v in value.items() if (b := _bare(v)) not in (None, {}, [])}
    if isinstance(value, list):
        return [_bare(v) for v in value]
    return value


async def current(cache: Cache, owner: Object, revisions: Sequence[Object]) -> tuple[Object, list[Object]]:
    """The revision of the owner's template, made or renumbered if need be, and all revisions, oldest first."""
    known = sorted(revisions, key=lambda r: r.get("revision") or 0)
    number = max((r.get("revision") or 0 for r in known), default=0) + 1
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    wanted = new_revision(owner, number, labels)
    same = [r for r in known if equal(r, wanted)]
    if not same:
        made = await _create(cache, wanted)
        return made, [*known, made]
    newest = same[-1]
    if newest is not known[-1]:  # gone back to: it is the newest again
        patch = {"revision": number}
        meta = newest["metadata"]
        updated = await cache.patch(CONTROLLERREVISIONS, meta["name"], patch, meta["namespace"])
        known = [*(r for r in known if r is not newest), updated]
        newest = updated
    return newest, known


async def _create(cache: Cache, wanted: Object) -> Object:
    try:
        return await cache.create(CONTROLLERREVISIONS, wanted)
    except AlreadyExists:
        held = await cache.client.get(CONTROLLERREVISIONS, wanted["metadata"]["name"], wanted["metadata"]["namespace"])
        if equal(held, wanted):
            return held
        raise


async def trim(cache: Cache, owner: Object, idle: Sequence[Object]) -> None:
    """Of the revisions that no pod has, oldest first, keep revisionHistoryLimit."""
    limit = owner["spec"].get("revisionHistoryLimit")
    limit = 10 if limit is None else limit
    for revision in idle[: max(0, len(idle) - limit)]:
        try:
            await cache.delete(CONTROLLERREVISIONS, revision["metadata"]["name"], revision["metadata"]["namespace"])
        except NotFound:
            continue
