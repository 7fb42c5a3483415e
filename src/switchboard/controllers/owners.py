"""Who belongs to whom: controller references, and which objects an owner adopts or lets go.

Source: kubernetes/pkg/controller/controller_ref_manager.go. An owner adopts an orphan that its selector matches and
releases what it owns but no longer matches; both are patches that name the uid, so that a namesake is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from switchboard.objects.selectors import LabelSelector

Object = dict[str, Any]


def controller_of(obj: Object) -> Object | None:
    """The owner reference with `controller: true`, or None."""
    for ref in obj["metadata"].get("ownerReferences") or ():
        if ref.get("controller"):
            return ref  # type: ignore[no-any-return]
    return None


def controller_uid(obj: Object) -> list[str]:
    """Index function: the uid of the controller, nothing for an orphan."""
    ref = controller_of(obj)
    return [ref.get("uid", "")] if ref else []


def reference_to(owner: Object) -> Object:
    """The controller reference that children of `owner` carry."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


@dataclass(slots=True)
class Claim:
    """What an owner has (`owned`), and what it should take or let go first."""

    owned: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def claim(owner: Object, selector: LabelSelector, held: Iterable[Object], orphans: Iterable[Object]) -> Claim:
    """Sort an owner's children (`held`) and the orphans of its namespace. An owner on its way out only keeps."""
    going = bool(owner["metadata"].get("deletionTimestamp"))
    out = Claim()
    for obj in held:
        matches = selector.matches(obj["metadata"].get("labels"))
        if matches:
            out.owned.append(obj)
        elif not going:
            out.release.append(obj)
    if not going:
        for obj in orphans:
            if not obj["metadata"].get("deletionTimestamp") and selector.matches(obj["metadata"].get("labels")):
                out.adopt.append(obj)
    return out


def adoption(owner: Object, obj: Object) -> Object:
    """Strategic patch that makes `owner` the controller of `obj`."""
    return {"metadata": {"ownerReferences": [reference_to(owner)], "uid": obj["metadata"]["uid"]}}


def release(owner: Object, obj: Object) -> Object:
    """Strategic patch that takes the reference to `owner` away."""
    gone = {"$patch": "delete", "uid": owner["metadata"]["uid"]}
    return {"metadata": {"ownerReferences": [gone], "uid": obj["metadata"]["uid"]}}
