"""What upstream fills into pods and pod templates (pkg/apis/core/v1/defaults.go and the v1 conversions)."""

from __future__ import annotations

import re
from typing import Any

from switchboard.objects import quantity

Object = dict[str, Any]
_IMAGE = re.compile(
    r"(?P<name>(?:[A-Za-z0-9._-]+(?::[0-9]+)?/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,}))?\Z"
)
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def pull_policy(image: str) -> str:
    """`Always` for the tag `latest` or none at all, else `IfNotPresent`."""
    match = _IMAGE.match(image)
    if match is None:
        return "IfNotPresent"
    latest = match["tag"] == "latest" or (match["tag"] is None and match["digest"] is None)
    return "Always" if latest else "IfNotPresent"


def pod(obj: Object) -> None:
    """A Pod: its spec, and what only pods get (service links, requests from limits, host ports)."""
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1  # of pods alone: a template keeps what it says
    for name in ("initContainers", "containers"):
        for container in spec.get(name) or ():
            _requests_from_limits(container.get("resources"))
            if spec.get("hostNetwork"):
                for port in container.get("ports") or ():
                    if not port.get("hostPort") and port.get("containerPort"):
                        port["hostPort"] = port["containerPort"]
    if spec.get("resources"):
        _pod_level_requests(spec)
    status = obj.get("status")
    if status:
        _first_of_many(status, "podIP", "podIPs")
        _first_of_many(status, "hostIP", "hostIPs")


def _first_of_many(status: Object, one: str, many: str) -> None:
    """podIP and podIPs[0] are the same thing; either may be given."""
    if status.get(many):
        status[one] = status[many][0].get("ip", "")
    elif status.get(one):
        status[many] = [{"ip": status[one]}]


def _requests_from_limits(resources: Object | None) -> None:
    limits = resources.get("limits") if resources else None
    if not limits or resources is None:
        return
    requests = resources.get("requests")
    if requests is None:
        requests = resources["requests"] = {}
    for name, value in limits.items():
        requests.setdefault(name, value)


def _pod_level_requests(spec: Object) -> None:
    """Pod-level requests that are not given: the sum of the containers', else the pod-level limit (KEP-2837)."""
    resources = spec["resources"]
    limits = resources.get("limits")
    if not limits:
        return
    requests = resources.setdefault("requests", {})
    sums: dict[str, quantity.Quantity] = {}
    for container in spec.get("containers") or ():
        for name, value in ((container.get("resources") or {}).get("requests") or {}).items():
            sums[name] = sums[name] + quantity.of(value) if name in sums else quantity.of(value)
    for name, value in [*((n, str(v)) for n, v in sums.items()), *limits.items()]:
        if name in ("cpu", "memory") or name.startswith("hugepages-"):
            requests.setdefault(name, value)


def template(obj: Object) -> None:
    """The PodTemplateSpec of a workload."""
    pod_spec(obj.setdefault("spec", {}))


def pod_spec(spec: Object) -> None:
    """What every pod spec gets, in pods and in templates."""
    default = spec.setdefault
    default("restartPolicy", "Always")
    default("terminationGracePeriodSeconds", 30)
    default("dnsPolicy", "ClusterFirst")
    default("securityContext", {})
    default("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in spec.get("containers") or ():
        _container(container)
    for container in spec.get("initContainers") or ():
        _container(container)
    for container in spec.get("ephemeralContainers") or ():
        _container(container)
    for entry in spec.get("volumes") or ():
        volume(entry)


def _container(container: Object) -> None:
    default = container.setdefault
    default("terminationMessagePath", "/dev/termination-log")
    default("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source and "fieldRef" in source:
            source["fieldRef"].setdefault("apiVersion", "v1")
        if source and "fileKeyRef" in source:
            source["fileKeyRef"].setdefault("optional", False)
    for name in _PROBES:
        if name in container:
            _probe(container[name])
    lifecycle = container.get("lifecycle")
    if lifecycle:
        for name in ("postStart", "preStop"):
            if name in lifecycle:
                _http_get(lifecycle[name].get("httpGet"))


def _probe(probe: Object) -> None:
    default = probe.setdefault
    default("timeoutSeconds", 1)
    default("periodSeconds", 10)
    default("successThreshold", 1)
    default("failureThreshold", 3)
    _http_get(probe.get("httpGet"))
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http_get(action: Object | None) -> None:
    if action is not None:
        action.setdefault("path", "/")
        action.setdefault("scheme", "HTTP")


_SIMPLE_VOLUMES: dict[str, dict[str, Any]] = {
    "secret": {"defaultMode": 0o644},
    "configMap": {"defaultMode": 0o644},
    "downwardAPI": {"defaultMode": 0o644},
    "projected": {"defaultMode": 0o644},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def volume(entry: Object) -> None:
    """One entry of `spec.volumes`; no source at all means an emptyDir."""
    if len(entry) <= 1 and "emptyDir" not in entry:
        entry["emptyDir"] = {}
    for source, values in _SIMPLE_VOLUMES.items():
        found = entry.get(source)
        if found is not None:
            for name, value in values.items():
                found.setdefault(name, value)
    _downward_items(entry.get("downwardAPI"))
    for part in (entry.get("projected") or {}).get("sources") or ():
        if "serviceAccountToken" in part:
            part["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        if "podCertificate" in part:
            part["podCertificate"].setdefault("maxExpirationSeconds", 86400)
        _downward_items(part.get("downwardAPI"))
    claim = ((entry.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec")
    if claim is not None:
        claim.setdefault("volumeMode", "Filesystem")
    image = entry.get("image")
    if image is not None and not image.get("pullPolicy"):
        image["pullPolicy"] = pull_policy(image.get("reference") or "")


def _downward_items(source: Object | None) -> None:
    for item in (source or {}).get("items") or ():
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")
