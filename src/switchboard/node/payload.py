"""What stands in configMap, secret, downwardAPI and projected volumes: sources in, files out. Pure.

Sources: pkg/volume/configmap, secret, downwardapi, projected (MakePayload, collectData).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from switchboard.node.atomic import File
from switchboard.node.fields import FieldFailure, pod_field, resource_field

Object = dict[str, Any]


class VolumeFailure(Exception):
    """A volume that cannot be made (yet): the text of a FailedMount event."""


@dataclass(slots=True)
class Sources:
    """Objects a volume is filled from, by name; tokens by (audience, expiration)."""

    config_maps: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    tokens: Mapping[tuple[str, int], str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    host_ips: list[str] = field(default_factory=list)
    ips: list[str] = field(default_factory=list)


def files(pod: Object, volume: Object, sources: Sources) -> dict[str, File]:
    """The files of one volume. Raises VolumeFailure."""
    if "projected" in volume:
        source = volume["projected"]
        mode = source.get("defaultMode", 0o644)
        found: dict[str, File] = {}
        for part in source.get("sources") or ():
            found |= _part(pod, part, mode, sources)
        return found
    if "configMap" in volume:
        source = volume["configMap"]
        return _config_map(source, source.get("name", ""), source.get("defaultMode", 0o644), sources)
    if "secret" in volume:
        source = volume["secret"]
        return _secret(source, source.get("secretName", ""), source.get("defaultMode", 0o644), sources)
    source = volume["downwardAPI"]
    return _downward(pod, source, source.get("defaultMode", 0o644), sources)


def _part(pod: Object, part: Object, mode: int, sources: Sources) -> dict[str, File]:
    if "configMap" in part:
        return _config_map(part["configMap"], part["configMap"].get("name", ""), mode, sources)
    if "secret" in part:
        return _secret(part["secret"], part["secret"].get("name", ""), mode, sources)
    if "downwardAPI" in part:
        return _downward(pod, part["downwardAPI"], mode, sources)
    if "serviceAccountToken" in part:
        source = part["serviceAccountToken"]
        token = sources.tokens[source.get("audience", ""), source.get("expirationSeconds", 3600)]
        user = common_user(pod)
        private = user is not None or (pod["spec"].get("securityContext") or {}).get("fsGroup") is not None
        return {source["path"]: File(token.encode(), 0o600 if private else mode, user)}
    raise VolumeFailure(f"projected source {', '.join(part)} is not supported")


def common_user(pod: Object) -> int | None:
    """The user that every container runs as, where they all say the same: a token is this user's alone."""
    spec = pod["spec"]
    default = (spec.get("securityContext") or {}).get("runAsUser")
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    users = {(c.get("securityContext") or {}).get("runAsUser", default) for c in containers}
    return users.pop() if len(users) == 1 else None


def _config_map(source: Object, name: str, mode: int, sources: Sources) -> dict[str, File]:
    found = sources.config_maps.get(name)
    if found is None:
        return _missing(source, "configmap", name)
    data = {k: v.encode() for k, v in (found.get("data") or {}).items()}
    data |= {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}
    return _chosen(source, data, mode, f"configmap references non-existent config key: {{key}} ({name})")


def _secret(source: Object, name: str, mode: int, sources: Sources) -> dict[str, File]:
    found = sources.secrets.get(name)
    if found is None:
        return _missing(source, "secret", name)
    data = {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()}
    return _chosen(source, data, mode, f"references non-existent secret key: {{key}} ({name})")


def _missing(source: Object, what: str, name: str) -> dict[str, File]:
    if source.get("optional"):
        return {}
    raise VolumeFailure(f'{what} "{name}" not found')


def _chosen(source: Object, data: Mapping[str, bytes], mode: int, missing: str) -> dict[str, File]:
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    found: dict[str, File] = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise VolumeFailure(missing.format(key=item["key"]))
        found[item["path"]] = File(data[item["key"]], item.get("mode", mode))
    return found


def _downward(pod: Object, source: Object, mode: int, sources: Sources) -> dict[str, File]:
    found: dict[str, File] = {}
    for item in source.get("items") or ():
        try:
            if "fieldRef" in item:
                text = pod_field(pod, item["fieldRef"].get("fieldPath", ""), sources.ips, sources.host_ips)
            else:
                ref = item["resourceFieldRef"]
                text = resource_field(pod, pod["spec"]["containers"][0], ref, sources.allocatable)
        except FieldFailure as why:
            raise VolumeFailure(str(why)) from None
        found[item["path"]] = File(text.encode(), item.get("mode", mode))
    return found


def shows(pod: Object, *prefixes: str) -> bool:
    """Whether fields of the pod whose paths begin so stand in volumes of its own."""
    parts = (part for volume in pod["spec"].get("volumes") or () for part in _parts(volume))
    items = (item for part in parts for item in (part.get("downwardAPI") or {}).get("items") or ())
    return any((item.get("fieldRef") or {}).get("fieldPath", "").startswith(prefixes) for item in items)


def _parts(volume: Object) -> list[Object]:
    """The sources of a projected volume; any other is its own one."""
    return volume["projected"].get("sources") or [] if "projected" in volume else [volume]


def references(volume: Object) -> tuple[set[str], set[str], set[tuple[str, int]]]:
    """(ConfigMaps, Secrets, tokens) that a volume is filled from."""
    maps, secrets, tokens = set(), set(), set()
    for part in _parts(volume):
        if "configMap" in part:
            maps.add(part["configMap"].get("name", ""))
        if "secret" in part:
            secrets.add(part["secret"].get("secretName") or part["secret"].get("name", ""))
        if "serviceAccountToken" in part:
            source = part["serviceAccountToken"]
            tokens.add((source.get("audience", ""), source.get("expirationSeconds", 3600)))
    return maps, secrets, tokens
