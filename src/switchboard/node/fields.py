"""The downward API: a pod's own fields and resources as text. Pure.

Sources: pkg/fieldpath/fieldpath.go, pkg/api/v1/resource/helpers.go ExtractContainerResourceValue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from switchboard.objects.quantity import NANO, parse

Object = dict[str, Any]
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class FieldFailure(Exception):
    """A field or resource that cannot be given."""


def pod_field(pod: Object, path: str, ips: list[str], host_ips: list[str]) -> str:
    """The value of a `fieldRef`. Raises FieldFailure for a path that is not supported."""
    meta, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((meta.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return map_text(meta.get(path.partition(".")[2]) or {})
    simple = {
        "metadata.name": meta.get("name", ""),
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": host_ips[0] if host_ips else "",
        "status.hostIPs": ",".join(host_ips),
        "status.podIP": ips[0] if ips else "",
        "status.podIPs": ",".join(ips),
    }
    if path not in simple:
        raise FieldFailure(f"unsupported fieldPath: {path}")
    return str(simple[path])


def map_text(values: Mapping[str, str]) -> str:
    """Labels or annotations as lines `key="value"`, sorted (fieldpath.FormatMap)."""
    return "\n".join(f"{k}={_quoted(v)}" for k, v in sorted(values.items()))


def _quoted(text: str) -> str:
    out = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return f'"{out}"'


def resource_field(pod: Object, container: Object, ref: Object, allocatable: Mapping[str, str]) -> str:
    """The value of a `resourceFieldRef`, in units of its divisor, rounded up; a limit not set is its
    pod's, or the node's.
    """
    name = ref.get("containerName")
    if name:
        every = [*(pod["spec"].get("initContainers") or ()), *(pod["spec"].get("containers") or ())]
        container = next((c for c in every if c["name"] == name), container)
    kind, _, resource = ref["resource"].partition(".")
    if kind not in ("limits", "requests"):
        raise FieldFailure(f"unsupported container resource : {ref['resource']}")
    resources = container.get("resources") or {}
    value = (resources.get(kind) or {}).get(resource)
    if kind == "limits" and (value is None or not amount_of(value)):
        value = ((pod["spec"].get("resources") or {}).get(kind) or {}).get(resource) or allocatable.get(resource)
    amount = amount_of(value) if value is not None else Fraction(0)
    divisor = amount_of(ref["divisor"]) if ref.get("divisor") not in (None, "", "0") else Fraction(1)
    return str(-(-amount // divisor))


def amount_of(text: str) -> Fraction:
    """A quantity's exact value."""
    return Fraction(parse(str(text)).nano, NANO)
