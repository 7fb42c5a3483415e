"""Rows of the core group but pods, Services and workloads: nodes, namespaces, configuration, volumes, events."""

from __future__ import annotations

from typing import Any

from switchboard.objects.tables import human
from switchboard.objects.tables.human import NONE, UNKNOWN, UNSET, age, name


def name_and_age(obj: dict[str, Any], now: float) -> list[Any]:
    """What kinds without columns of their own show."""
    return [name(obj), age(obj, now)]


def name_and_created(obj: dict[str, Any], now: float) -> list[Any]:
    """Kinds without a printer upstream: the creation time itself."""
    return [name(obj), obj["metadata"].get("creationTimestamp")]


def _config_map(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def _secret(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def _namespace(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), (obj.get("status") or {}).get("phase", ""), age(obj, now)]


_ROLE = "node-role.kubernetes.io/"


def _roles(obj: dict[str, Any]) -> str:
    found = set()
    for key, value in (obj["metadata"].get("labels") or {}).items():
        if key.startswith(_ROLE) and key != _ROLE:
            found.add(key.removeprefix(_ROLE))
        elif key == "kubernetes.io/role" and value:
            found.add(value)
    return ",".join(sorted(found)) or NONE


def _node(obj: dict[str, Any], now: float) -> list[Any]:
    status = obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    ready = [c.get("status") for c in status.get("conditions") or () if c.get("type") == "Ready"]
    words = ["Ready" if ready[-1] == "True" else "NotReady"] if ready else ["Unknown"]
    if (obj.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    addresses: dict[str, str] = {}
    for address in status.get("addresses") or ():
        addresses.setdefault(address.get("type", ""), address.get("address", ""))
    return [
        name(obj),
        ",".join(words),
        _roles(obj),
        age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def _storage_class_of(obj: dict[str, Any]) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(_CLASS_ANNOTATION, (obj.get("spec") or {}).get("storageClassName") or ""))


def _phase(obj: dict[str, Any]) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else (obj.get("status") or {}).get("phase", "")


def _persistent_volume(obj: dict[str, Any], now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    claim = spec.get("claimRef")
    return [
        name(obj),
        (spec.get("capacity") or {}).get("storage", "0"),
        human.access_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _storage_class_of(obj),
        spec.get("volumeAttributesClassName", UNSET),
        (obj.get("status") or {}).get("reason", ""),
        age(obj, now),
        spec.get("volumeMode", UNSET),
    ]


def _persistent_volume_claim(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    bound = bool(spec.get("volumeName"))
    return [
        name(obj),
        _phase(obj),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "0") if bound else "",
        human.access_modes(status.get("accessModes")) if bound else "",
        _storage_class_of(obj),
        spec.get("volumeAttributesClassName", UNSET),
        age(obj, now),
        spec.get("volumeMode", UNSET),
    ]


def _resource_quota(obj: dict[str, Any], now: float) -> list[Any]:
    status = obj.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    texts: dict[bool, list[str]] = {True: [], False: []}
    for resource in sorted(hard):
        texts[resource.startswith("limits.")].append(f"{resource}: {used.get(resource, '0')}/{hard[resource]}")
    return [name(obj), ", ".join(texts[False]), ", ".join(texts[True]), age(obj, now)]


def _component_status(obj: dict[str, Any], now: float) -> list[Any]:
    for condition in obj.get("conditions") or ():
        if condition.get("type") == "Healthy":
            word = "Healthy" if condition.get("status") == "True" else "Unhealthy"
            return [name(obj), word, condition.get("message", ""), condition.get("error", "")]
    return [name(obj), "Unknown", "", ""]


def _event_times(obj: dict[str, Any], now: float) -> tuple[str, str, int]:
    """First seen, last seen, count: old events have timestamps and a count, new ones eventTime and a series."""
    first = human.since(obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime"), now)
    last_seen = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    last = human.since(last_seen, now) if last_seen else first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    series = obj.get("series")
    if series:
        last, count = human.since(series.get("lastObservedTime"), now), series.get("count", 0)
    return first, last, count


def _event(obj: dict[str, Any], now: float) -> list[Any]:
    """Both groups: events.k8s.io calls involvedObject `regarding`, message `note`, source `deprecatedSource`."""
    first, last, count = _event_times(obj, now)
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    kind = about.get("kind", "").lower()
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{about['name']}" if about.get("name") else kind,
        about.get("fieldPath", ""),
        f"{component}, {instance}" if instance else component,
        (obj.get("message") or obj.get("note") or "").strip(),
        first,
        count,
        name(obj),
    ]


ROWS = {
    "configmaps": _config_map,
    "secrets": _secret,
    "serviceaccounts": name_and_age,
    "namespaces": _namespace,
    "nodes": _node,
    "persistentvolumes": _persistent_volume,
    "persistentvolumeclaims": _persistent_volume_claim,
    "resourcequotas": _resource_quota,
    "limitranges": name_and_created,
    "componentstatuses": _component_status,
    "events": _event,
    "events.k8s.io/v1/events": _event,
}
