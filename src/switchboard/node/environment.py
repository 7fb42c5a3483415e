"""A container's environment, command and arguments: values, references, expansion. Pure, given the objects referred to.

Sources: pkg/kubelet/kubelet_pods.go makeEnvironmentVariables, pkg/kubelet/envvars (Service variables),
third_party/forked/golang/expansion ($(NAME), $$ escapes).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from switchboard.node.envfiles import from_file
from switchboard.node.failures import ConfigFailure
from switchboard.node.fields import FieldFailure, pod_field, resource_field

Object = dict[str, Any]
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


@dataclass(slots=True)
class Referred:
    """Objects that environment variables refer to, by name; absent ones are missing."""

    config_maps: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    services: Iterable[Object] = ()  # those of the pod's namespace
    kubernetes: Object | None = None  # Service default/kubernetes
    allocatable: Mapping[str, str] = field(default_factory=dict)  # of the node, for limits that are not set
    folders: Mapping[str, Path] = field(default_factory=dict)  # of volumes, by name


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; unknown names stay as they stand, `$$` is a `$`."""

    def one(match: re.Match[str]) -> str:
        whole = match.group(0)
        if whole == "$$":
            return "$"
        return values.get(match.group(1), whole)

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


def environment(
    pod: Object, container: Object, ips: list[str], host_ips: list[str], referred: Referred
) -> dict[str, str]:
    """All variables of a container, in order. Raises ConfigFailure when something required is missing."""
    values: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        values |= _all_of(source, referred)
    services = service_variables(pod, referred)
    scope = services | values  # what `$(NAME)` may refer to: also Service variables that are not written out
    for entry in container.get("env") or ():
        name = entry["name"]
        if "valueFrom" in entry:
            value = _referred(entry["valueFrom"], pod, container, ips, host_ips, referred)
            if value is None:
                continue
        else:
            value = expand(entry.get("value", ""), scope)
        values[name] = scope[name] = value
    return services | values


def command(container: Object, values: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """(command, args) with variables expanded."""
    return (
        [expand(word, values) for word in container.get("command") or ()],
        [expand(word, values) for word in container.get("args") or ()],
    )


def _all_of(source: Object, referred: Referred) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for key, known, what in (
        ("configMapRef", referred.config_maps, "configmap"),
        ("secretRef", referred.secrets, "secret"),
    ):
        ref = source.get(key)
        if ref is None:
            continue
        found = known.get(ref["name"])
        if found is None:
            if ref.get("optional"):
                return {}
            raise ConfigFailure(f'{what} "{ref["name"]}" not found')
        data = texts(found) if key == "secretRef" else found.get("data") or {}
        return {prefix + k: v for k, v in data.items() if _NAME.fullmatch(prefix + k)}
    return {}


def texts(secret: Object) -> dict[str, str]:
    """A Secret's data as text."""
    return {k: base64.b64decode(v).decode("utf-8", "surrogateescape") for k, v in (secret.get("data") or {}).items()}


def _referred(
    source: Object, pod: Object, container: Object, ips: list[str], host_ips: list[str], referred: Referred
) -> str | None:
    """The value a `valueFrom` leads to, None for an optional one that leads nowhere."""
    try:
        if "fieldRef" in source:
            return pod_field(pod, source["fieldRef"].get("fieldPath", ""), ips, host_ips)
        if "resourceFieldRef" in source:
            return resource_field(pod, container, source["resourceFieldRef"], referred.allocatable)
    except FieldFailure as why:
        raise ConfigFailure(str(why)) from None
    if "fileKeyRef" in source:
        return from_file(source["fileKeyRef"], referred.folders)
    secret = "secretKeyRef" in source
    ref = source["secretKeyRef" if secret else "configMapKeyRef"]
    found = (referred.secrets if secret else referred.config_maps).get(ref["name"])
    what = "secret" if secret else "configmap"
    space = pod["metadata"]["namespace"]
    if found is None:
        if ref.get("optional"):
            return None
        raise ConfigFailure(f'{what} "{ref["name"]}" not found')
    data = texts(found) if secret else found.get("data") or {}
    if ref["key"] not in data:
        if ref.get("optional"):
            return None
        kind = "Secret" if secret else "ConfigMap"
        raise ConfigFailure(f"couldn't find key {ref['key']} in {kind} {space}/{ref['name']}")
    return str(data[ref["key"]])


def service_variables(pod: Object, referred: Referred) -> dict[str, str]:
    """`FOO_SERVICE_HOST`, `FOO_PORT_80_TCP_ADDR` ... of the namespace's Services; the API's Service always."""
    chosen = [referred.kubernetes] if referred.kubernetes else []
    if pod["spec"].get("enableServiceLinks", True):
        own = [s for s in referred.services if s["metadata"]["name"] != "kubernetes" or not chosen]
        chosen = [*own, *chosen]
    values: dict[str, str] = {}
    for service in chosen:
        values |= _of_service(service)
    return values


def _of_service(service: Object) -> dict[str, str]:
    spec = service["spec"]
    host, ports = spec.get("clusterIP", ""), spec.get("ports") or []
    if not host or host == "None" or not ports:
        return {}
    name = service["metadata"]["name"].upper().replace("-", "_")
    bracketed = f"[{host}]" if ":" in host else host
    values = {f"{name}_SERVICE_HOST": host, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            values[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for number, port in enumerate(ports):
        protocol = port.get("protocol", "TCP")
        url = f"{protocol.lower()}://{bracketed}:{port['port']}"
        if number == 0:
            values[f"{name}_PORT"] = url
        prefix = f"{name}_PORT_{port['port']}_{protocol}"
        values |= {
            prefix: url,
            f"{prefix}_PROTO": protocol.lower(),
            f"{prefix}_PORT": str(port["port"]),
            f"{prefix}_ADDR": host,
        }
    return values
