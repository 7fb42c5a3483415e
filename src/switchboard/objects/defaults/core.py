"""Defaults of the core group but pods (pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

import base64
from typing import Any

from switchboard.objects.defaults import pods

Object = dict[str, Any]


def service(obj: Object) -> None:
    """A Service; addresses, families and ports are the allocator's."""
    spec = obj.setdefault("spec", {})
    affinity = spec.setdefault("sessionAffinity", "None")
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {})
        config.setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    kind = spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs")):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    elif spec.get("internalTrafficPolicy") == "Cluster":
        del spec["internalTrafficPolicy"]  # says nothing for a name, and is not kept
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def endpoints(obj: Object) -> None:
    """Endpoints: ports are TCP unless they say otherwise."""
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def replication_controller(obj: Object) -> None:
    """The template's labels become selector and labels where there are none."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    body = spec.get("template")
    if body is None:
        return
    pods.template(body)
    labels = (body.get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        meta = obj.setdefault("metadata", {})
        if not meta.get("labels"):
            meta["labels"] = dict(labels)


def pod_template(obj: Object) -> None:
    """The `PodTemplate` kind."""
    pods.template(obj.setdefault("template", {}))


def secret(obj: Object) -> None:
    """Type Opaque; `stringData` moves into `data` (it is never kept)."""
    obj.setdefault("type", "Opaque")
    text = obj.pop("stringData", None)
    if text:
        data = obj.get("data") or {}
        for key, value in text.items():
            data[key] = base64.b64encode(value.encode()).decode()
        obj["data"] = data


def namespace(obj: Object) -> None:
    """Every namespace has its name as a label."""
    meta = obj.setdefault("metadata", {})
    name = meta.get("name")
    if name:
        labels = meta.get("labels") or {}
        labels["kubernetes.io/metadata.name"] = name
        meta["labels"] = labels
    obj.setdefault("status", {}).setdefault("phase", "Active")


def claim(obj: Object) -> None:
    """A PersistentVolumeClaim, also inside StatefulSets."""
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")
    _sources(obj["spec"])


def _sources(spec: Object) -> None:
    """A PVC's dataSource and dataSourceRef mirror each other (normalizeDataSources)."""
    old, new = spec.get("dataSource"), spec.get("dataSourceRef")
    if old and not new:
        spec["dataSourceRef"] = dict(old)
    elif new and not old and not new.get("namespace"):
        spec["dataSource"] = {key: value for key, value in new.items() if key != "namespace"}


_VOLUME_DEFAULTS: dict[str, dict[str, Any]] = {
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def volume(obj: Object) -> None:
    """A PersistentVolume."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    for source, values in _VOLUME_DEFAULTS.items():
        if source in spec:
            for name, value in values.items():
                spec[source].setdefault(name, value)
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def node(obj: Object) -> None:
    """Allocatable is the capacity until somebody says less; podCIDR is the first of podCIDRs."""
    status = obj.get("status") or {}
    if "allocatable" not in status and status.get("capacity"):
        status["allocatable"] = dict(status["capacity"])
    spec = obj.get("spec") or {}
    if spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    elif spec.get("podCIDR"):
        spec["podCIDRs"] = [spec["podCIDR"]]


def limit_range(obj: Object) -> None:
    """For containers: default from max, request from default, request from min."""
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        limits = item.get("default") or {}
        for name, value in (item.get("max") or {}).items():
            limits.setdefault(name, value)
        requests = item.get("defaultRequest") or {}
        for name, value in limits.items():
            requests.setdefault(name, value)
        for name, value in (item.get("min") or {}).items():
            requests.setdefault(name, value)
        for key, values in (("default", limits), ("defaultRequest", requests)):
            if values:
                item[key] = values
