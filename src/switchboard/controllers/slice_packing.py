"""Endpoints are packed into slices with as few writes as can be (pure).

Rules (staging/src/k8s.io/endpointslice/reconciler.go): what stays valid stays where it is; slices that change anyway
take new endpoints first; then one unchanged slice that has room for all that is left; then new slices. Slices are
never repacked only to be fuller. A Service without endpoints has one empty slice for each address type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard.controllers.owners import reference_to
from switchboard.controllers.slice_endpoints import Ports, ports_key

Object = dict[str, Any]

MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME: Final = "kubernetes.io/service-name"
HEADLESS: Final = "service.kubernetes.io/headless"
TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"
Group = tuple[str, Ports]


@dataclass(frozen=True, slots=True)
class Frame:
    """What all slices of one owner share: labels (with managed-by), annotations (`exact`: and no others), most
    endpoints in one slice."""

    owner: Object
    prefix: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    most: int = 100
    exact: bool = False


@dataclass(slots=True)
class Writes:
    """Slices to create, to update (whole objects) and to delete."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.create or self.update or self.delete)


def identity(endpoint: Object) -> tuple[Any, ...]:
    """What makes two endpoints of a slice the same one: the address and whose it is."""
    return (tuple(endpoint["addresses"]), (endpoint.get("targetRef") or {}).get("uid"))


def pack(
    frame: Frame,
    types: Iterable[str],
    existing: Iterable[Object],
    wanted: Mapping[Group, Iterable[Object]],
    *,
    placeholders: bool = True,
) -> Writes:
    """The writes that lead from the existing slices to the wanted endpoints of each (address type, ports)."""
    types = list(types)
    out = Writes()
    groups: dict[Group, list[Object]] = {}
    for piece in existing:
        group = (piece.get("addressType", ""), ports_key(piece.get("ports")))
        if piece["metadata"].get("deletionTimestamp"):
            continue
        if group[0] in types and _owned(frame, piece):
            groups.setdefault(group, []).append(piece)
        else:
            out.delete.append(piece)
    filled = {group: list(endpoints) for group, endpoints in wanted.items() if group[0] in types}
    for group, endpoints in filled.items():
        if endpoints:
            _pack_group(frame, group, groups.pop(group, []), endpoints, out)
    spare = groups  # nothing is wanted under these ports any more
    if placeholders:
        for type_ in types:
            if not any(group[0] == type_ and endpoints for group, endpoints in filled.items()):
                _placeholder(frame, type_, spare.pop((type_, ()), []), out)
    for pieces in spare.values():
        out.delete.extend(pieces)
    _recycle(frame, out)
    return out


def _recycle(frame: Frame, out: Writes) -> None:
    """A slice that is to go becomes one that is to come: one write for two, and packets wait for one commit only."""
    spare: dict[str, list[Object]] = {}
    for piece in out.delete:
        if _owned(frame, piece):
            spare.setdefault(piece["addressType"], []).append(piece)
    for new in list(out.create):
        if pieces := spare.get(new["addressType"]):
            piece = pieces.pop()
            out.delete.remove(piece)
            out.create.remove(new)
            out.update.append({**_changed(frame, piece, new["endpoints"]), "ports": new["ports"]})


def _owned(frame: Frame, piece: Object) -> bool:
    uid = frame.owner["metadata"].get("uid")
    refs = piece["metadata"].get("ownerReferences") or ()
    return any(ref.get("uid") == uid for ref in refs)


def _placeholder(frame: Frame, type_: str, pieces: list[Object], out: Writes) -> None:
    if not pieces:
        out.create.append(_new(frame, (type_, ()), []))
        return
    first, *rest = pieces
    if first.get("endpoints") or _stale_meta(frame, first):
        out.update.append(_changed(frame, first, []))
    out.delete.extend(rest)


def _pack_group(frame: Frame, group: Group, pieces: list[Object], endpoints: list[Object], out: Writes) -> None:
    left = {identity(endpoint): endpoint for endpoint in endpoints}
    touched: list[tuple[Object, list[Object]]] = []
    untouched: list[tuple[Object, list[Object]]] = []
    for piece in sorted(pieces, key=lambda p: p["metadata"]["name"]):
        held = piece.get("endpoints") or []
        kept: list[Object] = []
        same = True
        for endpoint in held:
            new = left.pop(identity(endpoint), None)
            if new is None:
                same = False
                continue
            kept.append(new)
            same = same and new == endpoint
        if not kept and held:
            out.delete.append(piece)
        else:
            (untouched if same and not _stale_meta(frame, piece) and len(kept) <= frame.most else touched).append(
                (piece, kept)
            )
    rest = _split_overfull(frame, touched) + list(left.values())
    rest = _fill(touched, rest, frame.most)
    rest = _reuse(frame, rest, untouched, touched)
    out.update.extend(_changed(frame, piece, kept) for piece, kept in touched)
    for start in range(0, len(rest), frame.most):
        out.create.append(_new(frame, group, rest[start : start + frame.most]))


def _split_overfull(frame: Frame, touched: list[tuple[Object, list[Object]]]) -> list[Object]:
    """Endpoints beyond the most that a slice may have (the setting was lowered)."""
    spilled: list[Object] = []
    for _, kept in touched:
        spilled += kept[frame.most :]
        del kept[frame.most :]
    return spilled


def _fill(touched: list[tuple[Object, list[Object]]], rest: list[Object], most: int) -> list[Object]:
    """Slices that are written anyway take what they can, the fullest first."""
    for _, kept in sorted(touched, key=lambda pair: -len(pair[1])):
        room = most - len(kept)
        kept += rest[:room]
        rest = rest[room:]
    return rest


def _reuse(
    frame: Frame,
    rest: list[Object],
    untouched: list[tuple[Object, list[Object]]],
    touched: list[tuple[Object, list[Object]]],
) -> list[Object]:
    """One more write at most: an unchanged slice with room for the remainder takes it."""
    over = len(rest) % frame.most
    if not over:
        return rest
    fitting = [pair for pair in untouched if len(pair[1]) + over <= frame.most]
    if not fitting:
        return rest
    piece, kept = max(fitting, key=lambda pair: len(pair[1]))
    touched.append((piece, kept + rest[len(rest) - over :]))
    return rest[: len(rest) - over]


def _stale_meta(frame: Frame, piece: Object) -> bool:
    meta = piece["metadata"]
    if (meta.get("labels") or {}) != dict(frame.labels):
        return True
    held = meta.get("annotations") or {}
    if frame.exact:
        return {key: value for key, value in held.items() if key != TRIGGER} != dict(frame.annotations)
    return any(held.get(key) != value for key, value in frame.annotations.items() if key != TRIGGER)


def _changed(frame: Frame, piece: Object, endpoints: list[Object]) -> Object:
    meta = dict(piece["metadata"])
    meta["labels"] = dict(frame.labels)
    others = {} if frame.exact else meta.get("annotations") or {}
    annotations = {key: value for key, value in others.items() if key != TRIGGER}
    meta["annotations"] = annotations | dict(frame.annotations)
    if not meta["annotations"]:
        del meta["annotations"]
    return {**piece, "metadata": meta, "endpoints": endpoints}


def _new(frame: Frame, group: Group, endpoints: list[Object]) -> Object:
    meta: Object = {
        "generateName": frame.prefix,
        "namespace": frame.owner["metadata"].get("namespace"),
        "labels": dict(frame.labels),
        "ownerReferences": [reference_to(frame.owner)],
    }
    if frame.annotations:
        meta["annotations"] = dict(frame.annotations)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta,
        "addressType": group[0],
        "endpoints": endpoints,
        "ports": [dict(port) for port in group[1]],
    }
