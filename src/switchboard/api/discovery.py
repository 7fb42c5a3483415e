"""Discovery: which groups, versions and resources there are, at /api, /apis and below, plain and aggregated.

Documents are built from the kinds registry when first asked for and again when it has changed (custom resources).
Aggregated discovery (KEP-3352) is `apidiscovery.k8s.io/v2`; v2beta1 is gone in 1.36 and answered with 406.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from switchboard.api.documents import Document
from switchboard.objects.errors import NotAcceptable
from switchboard.objects.kinds import Kind, Registry, Subresource

if TYPE_CHECKING:
    from switchboard.api.aggregation import Aggregation

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_UNACCEPTABLE = (
    "only the following media types are accepted: application/json, application/yaml, "
    "application/vnd.kubernetes.protobuf, application/cbor"
)


class Discovery:
    """The discovery documents of a registry. `address` (host:port) is what /api says clients reach the server at."""

    def __init__(self, registry: Registry, address: str = "", aggregation: Aggregation | None = None) -> None:
        self._registry, self._address, self._aggregation = registry, address, aggregation
        self._built = (-1, -1)
        self._documents: dict[tuple[str, bool], Document | None] = {}

    def find(self, path: str, accept: str | None) -> Document | None:
        """The document of a path, None when it is not a discovery path that exists. Raises NotAcceptable."""
        now = self._registry.changes, self._aggregation.changes if self._aggregation is not None else 0
        if self._built != now:
            self._documents.clear()
            self._built = now
        path = path.rstrip("/")
        aggregated = path in ("/api", "/apis") and _wants_aggregated(accept)
        key = path, aggregated
        if key not in self._documents:
            if len(self._documents) > 4096:  # paths that do not exist are remembered as well
                self._documents.clear()
            self._documents[key] = self._build(path, aggregated)
        return self._documents[key]

    def _build(self, path: str, aggregated: bool) -> Document | None:
        head, _, rest = path.lstrip("/").partition("/")
        if head not in ("api", "apis") or rest.count("/") > 1:
            return None
        content: dict[str, Any] | None
        if aggregated:
            content = aggregated_list(self._registry, core=head == "api")
            if head == "apis":
                self._add_remote_discovery(content["items"])
        elif not rest:
            content = self._versions() if head == "api" else group_list(self._registry)
            if head == "apis":
                self._add_remote_groups(content["groups"])
        elif head == "api" or "/" in rest:
            group, _, version = rest.rpartition("/")
            content = resource_list(self._registry, group, version) if bool(group) == (head == "apis") else None
        else:
            groups = [g for g in (api_group(self._registry, rest),) if g is not None]
            self._add_remote_groups(groups, only=rest)
            content = groups[0] if groups else None
            content = {"kind": "APIGroup", "apiVersion": "v1", **content} if content else None
        if content is None:
            return None
        body = msgspec.json.encode(content)
        return Document([body, b"\n"], AGGREGATED if aggregated else "application/json")

    def _add_remote_groups(self, groups: list[dict[str, Any]], only: str = "") -> None:
        """What other servers serve, behind our own."""
        for group, remotes in self._aggregation.versions() if self._aggregation is not None else ():
            versions = [{"groupVersion": f"{group}/{r.version}", "version": r.version} for r in remotes if r.available]
            if not versions or only not in ("", group):
                continue
            held = next((g for g in groups if g["name"] == group), None)
            if held is None:
                groups.append({"name": group, "versions": versions, "preferredVersion": versions[0]})
            else:
                held["versions"] += [v for v in versions if v not in held["versions"]]

    def _add_remote_discovery(self, items: list[dict[str, Any]]) -> None:
        for group, remotes in self._aggregation.versions() if self._aggregation is not None else ():
            versions = [
                {
                    "version": r.version,
                    "resources": list(_remote_resources(r.resources or [], group, r.version)),
                    "freshness": "Current" if r.available and r.resources is not None else "Stale",
                }
                for r in remotes
            ]
            held = next((i for i in items if i["metadata"].get("name") == group), None)
            if held is None:
                items.append({"metadata": {"name": group}, "versions": versions})
            else:
                known = {r.version for r in remotes}
                held["versions"] = [v for v in held["versions"] if v["version"] not in known] + versions

    def _versions(self) -> dict[str, Any]:
        return {
            "kind": "APIVersions",
            "versions": self._registry.versions(""),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}],
        }


def _wants_aggregated(accept: str | None) -> bool:
    """Whether the first clause of Accept that can be served asks for that form. Raises NotAcceptable if none can."""
    for clause in (accept or "").split(","):
        media, *raw = (part.strip() for part in clause.split(";"))
        params = dict(part.split("=", 1) for part in raw if "=" in part)
        if media in ("", "*/*", "application/*", "application/json", "application/yaml") and "as" not in params:
            return False
        if media == "application/json" and params.get("g") == "apidiscovery.k8s.io" and params.get("v") == "v2":
            return True
    if "as=" in (accept or ""):
        raise NotAcceptable(_UNACCEPTABLE)
    return False


def api_group(registry: Registry, group: str) -> dict[str, Any] | None:
    """An `APIGroup` without its type, or None when there is no such group."""
    versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in registry.versions(group)]
    if not group or not versions:
        return None
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def group_list(registry: Registry) -> dict[str, Any]:
    """`/apis`: every named group, in order of priority."""
    groups = [api_group(registry, group) for group in registry.groups() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def resource_list(registry: Registry, group: str, version: str) -> dict[str, Any] | None:
    """`/apis/<group>/<version>` or `/api/v1`: the resources and their subresources; None when there are none."""
    kinds = registry.kinds(group, version)
    if not kinds:
        return None
    resources = []
    for kind in kinds:
        resources.append(_resource(kind))
        resources += [_subresource(kind, sub) for _, sub in sorted(kind.subresources.items())]
    if not group:  # upstream's has no apiVersion either
        return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    group_version = f"{group}/{version}"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _names(kind: Kind) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if kind.short_names:
        out["shortNames"] = kind.short_names
    if kind.categories:
        out["categories"] = kind.categories
    return out


def _resource(kind: Kind) -> dict[str, Any]:
    return (
        {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": kind.verbs,
        }
        | _names(kind)
        | _storage_version(kind)
    )


def _storage_version(kind: Kind) -> dict[str, str]:
    """The hash by which clients that migrate stored objects see that their storage version changed.

    Kinds that are not stored have none; of a custom kind's versions only the stored one has it."""
    group, version, _ = kind.storage
    if kind.verbs == ("create",) or kind.plural == "componentstatuses" or (kind.custom and version != kind.version):
        return {}
    digest = hashlib.sha256(f"{group}/{version}/{kind.kind}".encode()).digest()
    return {"storageVersionHash": base64.b64encode(digest[:8]).decode()}


def _subresource(kind: Kind, sub: Subresource) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": f"{kind.plural}/{sub.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.kind,
        "verbs": sub.verbs,
    }
    if (sub.group, sub.version) != (kind.group, kind.version):
        out |= {"group": sub.group, "version": sub.version}
    return out


def aggregated_list(registry: Registry, *, core: bool) -> dict[str, Any]:
    """`APIGroupDiscoveryList`: everything below /api (core) or /apis in one document."""
    items = []
    for group in registry.groups():
        if (group == "") == core:
            versions = [
                {
                    "version": v,
                    "resources": [_discovery(kind) for kind in registry.kinds(group, v)],
                    "freshness": "Current",
                }
                for v in registry.versions(group)
            ]
            items.append({"metadata": {"name": group} if group else {}, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _remote_resources(resources: list[dict[str, Any]], group: str, version: str) -> Iterator[dict[str, Any]]:
    """Plain discovery of another server, in the aggregated form."""
    for each in resources:
        if "/" in each["name"]:
            continue
        subs = [r for r in resources if r["name"].startswith(each["name"] + "/")]
        out = {
            "resource": each["name"],
            "responseKind": _kind_of(each, group, version),
            "scope": "Namespaced" if each.get("namespaced") else "Cluster",
            "singularResource": each.get("singularName", ""),
            "verbs": each.get("verbs") or [],
        }
        out |= {name: each[name] for name in ("shortNames", "categories") if each.get(name)}
        if subs:
            out["subresources"] = [
                {
                    "subresource": sub["name"].partition("/")[2],
                    "responseKind": _kind_of(sub, group, version),
                    "verbs": sub.get("verbs") or [],
                }
                for sub in subs
            ]
        yield out


def _kind_of(resource: dict[str, Any], group: str, version: str) -> dict[str, str]:
    named = resource.get("group") or group, resource.get("version") or version
    return {"group": named[0], "version": named[1], "kind": resource.get("kind", "")}


def _response_kind(kind: Kind, group: str, version: str, name: str) -> dict[str, str]:
    # Built-in kinds leave group and version empty where they are those of the path; custom ones say them.
    own = (group, version) == (kind.group, kind.version) and not kind.custom
    return {"group": "" if own else group, "version": "" if own else version, "kind": name}


def _discovery(kind: Kind) -> dict[str, Any]:
    out: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": _response_kind(kind, kind.group, kind.version, kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    } | _names(kind)
    if kind.subresources:
        out["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _response_kind(kind, sub.group, sub.version, sub.kind),
                "verbs": sub.verbs,
            }
            for _, sub in sorted(kind.subresources.items())
        ]
    return out
