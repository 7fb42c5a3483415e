"""What a URL path names: an API resource (group, version, plural, namespace, name, subresource) or something else.

The rules are upstream's RequestInfo (`apiserver/pkg/endpoints/request/requestinfo.go`): `/api/<version>/...` and
`/apis/<group>/<version>/...`, an optional deprecated `watch/` prefix, `namespaces/<ns>/` before namespaced resources,
and `namespaces/<name>[/status|/finalize]` for namespaces themselves. Parsed targets are kept: paths repeat.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

# Subresources that are connections, in whose answers only those at their two ends have a say.
CONNECTIONS = frozenset(("attach", "exec", "portforward", "proxy"))
# Those that last as long as they are wanted, answered whatever the method's usual verb is.
LASTING = CONNECTIONS | {"log"}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")
_KEPT = 2048  # targets kept at most, of 600 bytes; the table is emptied when full, which is cheaper than an LRU


class Target(NamedTuple):
    """A parsed path. `is_resource` is false for everything but resources; then only `path` means anything.

    `rest` is the raw path behind the subresource (`/some/path` of a proxy call, "/" for just a trailing slash).
    """

    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watch: bool = False


_targets: dict[str, Target] = {}


def parse(path: str) -> Target:
    """The target of a raw (percent-encoded) path."""
    found = _targets.get(path)
    if found is None:
        found = _parse(path)
        if len(_targets) >= _KEPT:
            _targets.clear()
        _targets[path] = found
    return found


def _parse(path: str) -> Target:
    parts = path.split("/")
    if parts[1:2] == ["api"]:
        group, skip = "", 2
    elif parts[1:2] == ["apis"] and len(parts) > 3:
        group, skip = parts[2], 3
    else:
        return Target(path)
    if len(parts) <= skip + 1 or not parts[skip]:
        return Target(path)
    version = parts[skip]
    rest = parts[skip + 1 :]
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    if not rest[0]:
        return Target(path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = unquote(rest[1]), rest[2:]
    plural = rest[0]
    name = unquote(rest[1]) if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    tail = "/" + "/".join(rest[3:]) if len(rest) > 3 else ""
    return Target(path, True, group, version, plural, namespace, name, subresource, tail, watch)
