"""The type table: every built-in kind's fields as data (recorded from Kubernetes 1.36.2), loaded when first asked for.

Definitions have the shape of OpenAPI v3 schemas; a `$ref` is the bare name of another definition. List semantics
are in
`x-kubernetes-list-type`, `x-kubernetes-list-map-keys`, `x-kubernetes-patch-merge-key`, `x-kubernetes-patch-strategy`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, cast

import msgspec


@cache
def table(name: str) -> dict[str, Any]:
    """One of the tables under `objects/data` (`types`, `discovery`, `columns`, `protobuf`), decoded once."""
    data = (resources.files(__package__) / "data" / f"{name}.json").read_bytes()
    return cast("dict[str, Any]", msgspec.json.decode(data))


def definitions() -> dict[str, dict[str, Any]]:
    """Definition name (`io.k8s.api.core.v1.Pod`) -> schema."""
    types = table("types")
    return cast("dict[str, dict[str, Any]]", next(v for v in types.values() if isinstance(v, dict)))


@cache
def _by_gvk() -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for name, definition in definitions().items():
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            found.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    return found


def definition_of(group: str, version: str, kind: str) -> str | None:
    """The definition name of a group-version-kind, or None when the table does not have it."""
    return _by_gvk().get((group, version, kind))
