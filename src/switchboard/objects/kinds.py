"""Which kinds there are: built-in ones from the discovery table, and those that CustomResourceDefinitions add.

A `Kind` is one resource in one version. Two kinds may share stored objects (`storage`): core and events.k8s.io Events,
HorizontalPodAutoscalers v1 and v2; `convert.py` turns the stored form into another. Order of groups is that of
`/apis` on a real server: priorities of `cmd/kube-apiserver/app/aggregator.go`, then custom groups by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from switchboard.objects.types import definition_of, table

GROUP_ORDER = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
)
_RANK = {group: rank for rank, group in enumerate(GROUP_ORDER)}

# (group, plural) -> (storage group, storage version, storage plural) where it is not the kind itself.
_SHARED_STORAGE = {
    ("events.k8s.io", "events"): ("", "v1", "events"),
    ("", "events"): ("", "v1", "events"),
    ("autoscaling", "horizontalpodautoscalers"): ("autoscaling", "v2", "horizontalpodautoscalers"),
}
_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?$")
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Subresource:
    """`pods/eviction`: the group, version and kind of its bodies, and its verbs."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]

    @property
    def api_version(self) -> str:
        """`autoscaling/v1`, or `v1` for core."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One resource of the API in one version; compared by identity (a changed CRD makes a new one)."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: Mapping[str, Subresource] = field(default_factory=lambda: _NONE)
    definition: str | None = None  # name in the type table; None for custom kinds
    storage: tuple[str, str, str] = ("", "", "")  # group, version, plural under which objects are stored
    list_kind: str = ""
    schema: Any = None  # a custom kind's structural schema (OpenAPI v3), None for built-in kinds
    extra: Any = None  # whatever the owner of a dynamic kind keeps beside it (its CRD)

    api_version: str = field(init=False)  # `apps/v1`, or `v1` for core
    storage_prefix: str = field(init=False)  # start of the store keys of its objects: `/core/pods/`
    custom: bool = field(init=False)  # a CustomResourceDefinition made it

    def __post_init__(self) -> None:
        put = object.__setattr__  # the class is frozen; these are asked for several times in every request
        put(self, "api_version", f"{self.group}/{self.version}" if self.group else self.version)
        put(self, "storage_prefix", f"/{self.storage[0] or 'core'}/{self.storage[2]}/")
        put(self, "custom", self.definition is None)

    @property
    def resource(self) -> str:
        """`deployments.apps`, or `pods`: as GroupResource prints itself in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def error_group(self) -> str:
        """The group that messages about an object name: Events are core objects whichever way they come."""
        return self.group if self.definition is None else self.storage[0]

    def __repr__(self) -> str:
        return f"Kind({self.api_version} {self.kind})"


def split_api_version(api_version: str) -> tuple[str, str]:
    """`apps/v1` -> ("apps", "v1"); `v1` -> ("", "v1"). More slashes than one: ValueError."""
    group, slash, version = api_version.rpartition("/")
    if "/" in group or (slash and not group):
        raise ValueError(f"unexpected GroupVersion string: {api_version}")
    return group, version


def version_order(version: str) -> tuple[Any, ...]:
    """Sort key: v2 before v1 before v1beta2 before v1beta1 before v1alpha1 before anything else by name.

    Source: apimachinery/pkg/version/helpers.go CompareKubeAwareVersionStrings.
    """
    match = _VERSION.match(version)
    if match is None:
        return (3, 0, 0, version)
    major, stage, minor = match.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), version)


def _built_in(group_version: str, resources: list[dict[str, Any]]) -> Iterator[Kind]:
    group, version = ("", "v1") if group_version == "core" else split_api_version(group_version)
    subs: dict[str, dict[str, Subresource]] = {}
    for res in resources:
        plural, slash, sub = res["name"].partition("/")
        if slash:
            subs.setdefault(plural, {})[sub] = Subresource(
                sub, res.get("group", group), res.get("version", version), res["kind"], tuple(res["verbs"])
            )
    for res in resources:
        plural = res["name"]
        if "/" in plural:
            continue
        yield Kind(
            group=group,
            version=version,
            kind=res["kind"],
            plural=plural,
            singular=res["singularName"],
            namespaced=res["namespaced"],
            verbs=tuple(res["verbs"]),
            short_names=tuple(res.get("shortNames", ())),
            categories=tuple(res.get("categories", ())),
            subresources=MappingProxyType(subs.get(plural, {})),
            definition=definition_of(group, version, res["kind"]),
            storage=_SHARED_STORAGE.get((group, plural), (group, version, plural)),
            list_kind=res["kind"] + "List",
        )


def _order(kind: Kind) -> tuple[Any, ...]:
    return _RANK.get(kind.group, len(_RANK)), kind.group, version_order(kind.version), kind.plural


class Registry:
    """Every kind served, built-in or dynamic. Lookups are dict accesses; `changes` counts additions and removals."""

    def __init__(self, kinds: Iterable[Kind] | None = None) -> None:
        """The built-in kinds, or the given ones alone."""
        self.changes = 0
        self._by_plural: dict[tuple[str, str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str, str], Kind] = {}
        self._by_definition: dict[str, Kind] = {}
        if kinds is None:
            listings = table("discovery").items()
            kinds = (kind for version, listing in listings for kind in _built_in(version, listing["resources"]))
        for kind in kinds:
            self.add(kind)
        self.changes = 0

    def add(self, kind: Kind) -> None:
        """Serve a kind (again: the newer one wins)."""
        self._by_plural[kind.group, kind.version, kind.plural] = kind
        self._by_kind[kind.group, kind.version, kind.kind] = kind
        if kind.definition is not None:
            self._by_definition[kind.definition] = kind
        self.changes += 1

    def remove(self, kind: Kind) -> None:
        """Serve it no longer; unknown kinds are ignored."""
        self._by_plural.pop((kind.group, kind.version, kind.plural), None)
        self._by_kind.pop((kind.group, kind.version, kind.kind), None)
        if kind.definition is not None:
            self._by_definition.pop(kind.definition, None)
        self.changes += 1

    def resource(self, group: str, version: str, plural: str) -> Kind | None:
        """By URL path: (`apps`, `v1`, `deployments`)."""
        return self._by_plural.get((group, version, plural))

    def gvk(self, group: str, version: str, kind: str) -> Kind | None:
        """By (`apps`, `v1`, `Deployment`)."""
        return self._by_kind.get((group, version, kind))

    def of(self, api_version: str, kind: str) -> Kind | None:
        """By what stands in an object: (`apps/v1`, `Deployment`)."""
        group, _, version = api_version.rpartition("/")
        return self._by_kind.get((group, version, kind))

    def group_kind(self, group: str, kind: str) -> Kind | None:
        """The preferred version of a group's kind."""
        for version in self.versions(group):
            found = self._by_kind.get((group, version, kind))
            if found is not None:
                return found
        return None

    def group_resource(self, group: str, plural: str) -> Kind | None:
        """The preferred version of a group's resource."""
        for version in self.versions(group):
            found = self._by_plural.get((group, version, plural))
            if found is not None:
                return found
        return None

    def definition(self, name: str) -> Kind | None:
        """By definition name in the type table."""
        return self._by_definition.get(name)

    def groups(self) -> list[str]:
        """Group names in the order of `/apis`, core (`""`) first."""
        found = {kind.group for kind in self._by_plural.values()}
        return sorted(found, key=lambda group: (_RANK.get(group, len(_RANK)), group))

    def versions(self, group: str) -> list[str]:
        """A group's versions, the preferred one first."""
        found = {version for g, version, _ in self._by_plural if g == group}
        return sorted(found, key=version_order)

    def preferred(self, group: str) -> str | None:
        """The version that discovery recommends, None for an unknown group."""
        return next(iter(self.versions(group)), None)

    def kinds(self, group: str | None = None, version: str | None = None) -> list[Kind]:
        """All kinds, of one group, or of one group-version; in discovery order (by plural within a version)."""
        found = [
            kind
            for kind in self._by_plural.values()
            if (group is None or kind.group == group) and (version is None or kind.version == version)
        ]
        return sorted(
            found, key=lambda k: (_RANK.get(k.group, len(_RANK)), k.group, version_order(k.version), k.plural)
        )

    def __iter__(self) -> Iterator[Kind]:
        return iter(self.kinds())
