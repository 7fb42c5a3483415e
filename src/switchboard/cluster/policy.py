"""What the cluster's own roles may do, as RBAC objects beside the API's default ones: DNS and Service proxy.

Nodes have no role: the API's node authorizer knows what each runs. The one difference to upstream's
`system:node-proxier`: our proxy also makes host ports, so it reads pods.
"""

from __future__ import annotations

import asyncio
from typing import Any

from switchboard.client.resources import Resource
from switchboard.client.verbs import Client
from switchboard.objects.errors import AlreadyExists

_GROUP = "rbac.authorization.k8s.io"
ROLES = Resource(_GROUP, "v1", "clusterroles", "ClusterRole", False)
BINDINGS = Resource(_GROUP, "v1", "clusterrolebindings", "ClusterRoleBinding", False)

Rule = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # groups, resources, verbs
_READ = ("get", "list", "watch")
_EVENTS: Rule = (("", "events.k8s.io"), ("events",), ("create", "patch", "update"))

# role name -> (kind of subject, its name, rules)
POLICY: dict[str, tuple[str, str, tuple[Rule, ...]]] = {
    "system:switchboard:dns": (
        "User",
        "system:dns",
        (
            (("",), ("services", "endpoints", "pods", "namespaces", "nodes"), _READ),
            (("discovery.k8s.io",), ("endpointslices",), _READ),
            # it announces itself as Service kube-system/kube-dns
            (("",), ("services", "endpoints"), ("create", "update", "patch")),
            (("discovery.k8s.io",), ("endpointslices",), ("create", "update", "patch", "delete")),
            _EVENTS,
        ),
    ),
    "system:switchboard:proxy": (
        "User",
        "system:kube-proxy",
        (
            (("",), ("services", "endpoints", "pods", "nodes"), _READ),
            (("discovery.k8s.io",), ("endpointslices",), _READ),
            _EVENTS,
        ),
    ),
}


def objects() -> list[tuple[Resource, dict[str, Any]]]:
    """Every role with its binding."""
    made: list[tuple[Resource, dict[str, Any]]] = []
    for name, (kind, subject, rules) in POLICY.items():
        meta = {"name": name, "labels": {"app.kubernetes.io/managed-by": "switchboard"}}
        listed = [{"apiGroups": list(g), "resources": list(r), "verbs": list(v)} for g, r, v in rules]
        role = {"apiVersion": f"{_GROUP}/v1", "kind": "ClusterRole", "metadata": meta, "rules": listed}
        reference = {"apiGroup": _GROUP, "kind": "ClusterRole", "name": name}
        subjects = [{"apiGroup": _GROUP, "kind": kind, "name": subject}]
        binding = {"apiVersion": f"{_GROUP}/v1", "kind": "ClusterRoleBinding", "metadata": meta}
        made += [(ROLES, role), (BINDINGS, binding | {"roleRef": reference, "subjects": subjects})]
    return made


async def ensure(client: Client) -> None:
    """Make what is missing, and put rules back that were changed; all at once, so that it is one commit."""
    await asyncio.gather(*(_ensure(client, resource, wanted) for resource, wanted in objects()))


async def _ensure(client: Client, resource: Resource, wanted: dict[str, Any]) -> None:
    try:
        await client.create(resource, wanted)
    except AlreadyExists:
        there = await client.get(resource, wanted["metadata"]["name"])
        if any(there.get(key) != wanted[key] for key in ("rules", "subjects") if key in wanted):
            await client.update(resource, there | {key: wanted[key] for key in ("rules", "subjects") if key in wanted})
