"""Which resources an API has, custom ones included: for controllers that act on every kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from switchboard.client import Client, Resource, error_of_reply

Object = dict[str, Any]

_AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Found:
    """A resource in its group's preferred version, and its verbs."""

    resource: Resource
    verbs: frozenset[str]


async def resources(client: Client) -> list[Found]:
    """Every resource once, in the version that the server prefers. Raises StatusError or Disconnected."""
    found: list[Found] = []
    for path in ("/api", "/apis"):
        reply = await client.raw("GET", path, headers={"accept": f"{_AGGREGATED},application/json"})
        if reply.status != 200:
            raise error_of_reply(reply)
        body = msgspec.json.decode(reply.body)
        if body.get("kind") == "APIGroupDiscoveryList":
            found += _aggregated(body)
        else:
            found += await _one_by_one(client, path, body)
    return found


def _aggregated(body: Object) -> Iterator[Found]:
    for group in body.get("items") or ():
        seen: set[str] = set()
        for version in group.get("versions") or ():
            for entry in version.get("resources") or ():
                plural = entry["resource"]
                if plural in seen:
                    continue
                seen.add(plural)
                kind = (entry.get("responseKind") or {}).get("kind") or ""
                name = group.get("metadata", {}).get("name") or ""
                res = Resource(name, version["version"], plural, kind, entry.get("scope") == "Namespaced")
                yield Found(res, frozenset(entry.get("verbs") or ()))


async def _one_by_one(client: Client, path: str, body: Object) -> list[Found]:
    """Servers without aggregated discovery: a request for each group and version."""
    found: list[Found] = []
    core = {"name": "", "versions": [{"version": v} for v in body.get("versions") or ()]}
    groups: list[Object] = body.get("groups") or [core]
    for group in groups:
        seen: set[str] = set()
        for version in group.get("versions") or ():
            name = group.get("name") or ""
            root = f"{path}/{name}/{version['version']}" if name else f"{path}/{version['version']}"
            reply = await client.raw("GET", root)
            if reply.status != 200:
                raise error_of_reply(reply)
            for entry in msgspec.json.decode(reply.body).get("resources") or ():
                plural = entry["name"]
                if "/" not in plural and plural not in seen:
                    seen.add(plural)
                    res = Resource(name, version["version"], plural, entry["kind"], bool(entry.get("namespaced")))
                    found.append(Found(res, frozenset(entry.get("verbs") or ())))
    return found
