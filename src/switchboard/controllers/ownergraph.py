"""Who depends on whom by ownerReferences, as far as anything may have to be deleted for it (pure).

Kept are only objects with owners, and objects that wait for their dependents (foreground or orphan deletion).
Source of the rules: kubernetes/pkg/controller/garbagecollector/{garbagecollector,graph_builder}.go.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard.client import Resource
from switchboard.client.keysets import KeySets

Object = dict[str, Any]

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"


@dataclass(frozen=True, slots=True)
class Owner:
    """One owner reference."""

    api_version: str
    kind: str
    name: str
    uid: str
    blocking: bool = False


@dataclass(slots=True)
class Node:
    """An object, as far as the graph needs it."""

    res: Resource
    namespace: str
    name: str
    uid: str
    owners: tuple[Owner, ...] = ()
    deleting: bool = False
    finalizers: frozenset[str] = frozenset()

    @property
    def foreground(self) -> bool:
        """It is being deleted and waits for its dependents to go first."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphaning(self) -> bool:
        """It is being deleted and waits for its dependents to be let go."""
        return self.deleting and ORPHAN in self.finalizers


def node_of(res: Resource, meta: Mapping[str, Any]) -> Node:
    """An object's metadata -> its node."""
    owners = tuple(_owner(reference) for reference in meta.get("ownerReferences") or ())
    return Node(
        res,
        sys.intern(meta.get("namespace") or ""),
        meta["name"],
        meta.get("uid") or "",
        owners,
        bool(meta.get("deletionTimestamp")),
        frozenset(finalizers) if (finalizers := meta.get("finalizers")) else _NONE,
    )


_NONE: Final[frozenset[str]] = frozenset()


def _owner(reference: Mapping[str, Any]) -> Owner:
    version, kind = reference.get("apiVersion", ""), reference.get("kind", "")
    name, uid = reference.get("name", ""), reference.get("uid", "")
    return Owner(sys.intern(version), sys.intern(kind), name, uid, bool(reference.get("blockOwnerDeletion")))


@dataclass(slots=True)
class Work:
    """uids to look at: whether they should be deleted, and whether their dependents should be let go."""

    delete: set[str] = field(default_factory=set)
    orphan: set[str] = field(default_factory=set)


class Graph:
    """The nodes, and the dependents of each uid."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._dependents = KeySets()

    def dependents(self, uid: str) -> list[Node]:
        """Objects that name this uid as an owner."""
        return [self.nodes[d] for d in self._dependents.get(uid)]

    def seen(self, node: Node) -> Work:
        """An object appeared or changed; what to look at now."""
        work = Work()
        old = self.nodes.get(node.uid)
        before = old.owners if old else ()
        if node.owners or node.foreground or node.orphaning:
            node.owners = self._known(node.owners)
            self.nodes[node.uid] = node
        elif old:
            del self.nodes[node.uid]
        self._link(node.uid, before, node.owners)
        if node.owners and node.owners != before:
            work.delete.add(node.uid)  # are its owners there?
        if node.orphaning and not (old and old.orphaning):
            work.orphan.add(node.uid)
        if node.foreground and not (old and old.foreground):
            work.delete.add(node.uid)
            work.delete.update(d.uid for d in self.dependents(node.uid))
        if (node.deleting and not (old and old.deleting)) or before != node.owners:
            # An owner that waits in the foreground may wait for this one no longer.
            work.delete.update(o.uid for o in (*before, *node.owners) if self._waits(o.uid))
        return work

    def _known(self, owners: tuple[Owner, ...]) -> tuple[Owner, ...]:
        """The same owners as another dependent's, where they are equal: most have many."""
        for owner in owners:
            for dependent in self._dependents.get(owner.uid):
                held = self.nodes[dependent].owners
                return held if held == owners else owners
        return owners

    def gone(self, uid: str) -> Work:
        """An object is no more; what to look at now."""
        work = Work()
        old = self.nodes.pop(uid, None)
        if old is not None:
            self._link(uid, old.owners, ())
            work.delete.update(o.uid for o in old.owners if self._waits(o.uid))
        work.delete.update(self._dependents.get(uid))
        return work

    def _waits(self, uid: str) -> bool:
        node = self.nodes.get(uid)
        return node is not None and node.foreground

    def _link(self, uid: str, before: Iterable[Owner], after: Iterable[Owner]) -> None:
        old, new = {o.uid for o in before}, {o.uid for o in after}
        for owner in old - new:
            self._dependents.drop(owner, uid)
        for owner in new - old:
            self._dependents.add(owner, uid)

    def blocking(self, uid: str) -> list[Node]:
        """Dependents that keep a foreground deletion from ending."""
        return [d for d in self.dependents(uid) if any(o.uid == uid and o.blocking for o in d.owners)]


@dataclass(slots=True)
class Verdict:
    """What becomes of an object whose owners are known: nothing, other references, or deletion with a policy."""

    keep: list[Owner] | None = None  # write these references
    policy: str = ""  # delete with this propagation policy


def judge(node: Node, states: Mapping[str, str], has_dependents: bool) -> Verdict:
    """`states` by owner uid: `solid`, `absent`, or `waiting` (the owner is deleted in the foreground)."""
    solid = [o for o in node.owners if states[o.uid] == "solid"]
    if solid:
        return Verdict(keep=solid if len(solid) < len(node.owners) else None)
    waiting = any(states[o.uid] == "waiting" for o in node.owners)
    if waiting and has_dependents:
        return Verdict(policy="Foreground")
    if ORPHAN in node.finalizers:
        return Verdict(policy="Orphan")
    return Verdict(policy="Foreground" if FOREGROUND in node.finalizers else "Background")
