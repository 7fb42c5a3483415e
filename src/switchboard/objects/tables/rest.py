"""Rows of the administrative groups: roles, storage, admission, certificates, priorities, devices, API services."""

from __future__ import annotations

from typing import Any

from switchboard.objects.tables import human
from switchboard.objects.tables.core import name_and_age, name_and_created
from switchboard.objects.tables.human import NONE, UNSET, age, name


def _spec(obj: dict[str, Any]) -> dict[str, Any]:
    return obj.get("spec") or {}


def _binding(obj: dict[str, Any], now: float) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        kind, who = subject.get("kind", ""), subject.get("name", "")
        named = f"{subject.get('namespace', '')}/{who}" if kind == "ServiceAccount" else who
        subjects.setdefault(kind, []).append(named)
    people = [", ".join(subjects[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [name(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age(obj, now), *people]


def _csr(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status = _spec(obj), obj.get("status") or {}
    types = {c.get("type") for c in status.get("conditions") or ()}
    word = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    word += ",Failed" if "Failed" in types else ""
    word += ",Issued" if status.get("certificate") else ""
    wanted = spec.get("expirationSeconds")
    return [
        name(obj),
        age(obj, now),
        spec.get("signerName", NONE),
        spec.get("username", ""),
        NONE if wanted is None else human.duration(wanted),
        word,
    ]


def _lease(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), _spec(obj).get("holderIdentity") or "", age(obj, now)]


def _runtime_class(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), obj.get("handler", ""), age(obj, now)]


def _disruption_budget(obj: dict[str, Any], now: float) -> list[Any]:
    spec = _spec(obj)
    limits = [str(spec[key]) if spec.get(key) is not None else "N/A" for key in ("minAvailable", "maxUnavailable")]
    return [name(obj), *limits, (obj.get("status") or {}).get("disruptionsAllowed", 0), age(obj, now)]


def _priority_class(obj: dict[str, Any], now: float) -> list[Any]:
    policy = obj.get("preemptionPolicy", "")
    return [name(obj), obj.get("value", 0), obj.get("globalDefault", False), age(obj, now), policy]


_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _storage_class(obj: dict[str, Any], now: float) -> list[Any]:
    annotations = obj["metadata"].get("annotations") or {}
    default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    return [
        name(obj) + (" (default)" if default else ""),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        obj.get("allowVolumeExpansion", False),
        age(obj, now),
    ]


def _volume_attachment(obj: dict[str, Any], now: float) -> list[Any]:
    spec = _spec(obj)
    volume = (spec.get("source") or {}).get("persistentVolumeName", "")
    attached = (obj.get("status") or {}).get("attached", False)
    return [name(obj), spec.get("attacher", ""), volume, spec.get("nodeName", ""), attached, age(obj, now)]


def _volume_attributes_class(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), obj.get("driverName", ""), age(obj, now)]


def _csi_driver(obj: dict[str, Any], now: float) -> list[Any]:
    spec = _spec(obj)
    tokens = ",".join(t.get("audience", "") for t in spec.get("tokenRequests") or ())
    return [
        name(obj),
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        tokens or UNSET,
        spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age(obj, now),
    ]


def _csi_node(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), len(_spec(obj).get("drivers") or ()), age(obj, now)]


def _webhooks(obj: dict[str, Any], now: float) -> list[Any]:
    return [name(obj), len(obj.get("webhooks") or ()), age(obj, now)]


def _policy(obj: dict[str, Any], now: float) -> list[Any]:
    spec = _spec(obj)
    rules = spec.get("validations") or spec.get("mutations") or ()
    of = spec.get("paramKind")
    parameters = f"{of.get('apiVersion', '')}/{of.get('kind', '')}" if of else UNSET
    return [name(obj), len(rules), parameters, age(obj, now)]


def _policy_binding(obj: dict[str, Any], now: float) -> list[Any]:
    spec = _spec(obj)
    ref = spec.get("paramRef")
    text = UNSET
    if ref:
        text = f"{ref['namespace']}/{ref.get('name', '')}" if ref.get("namespace") else ref.get("name", "")
    return [name(obj), spec.get("policyName", ""), text, age(obj, now)]


def _api_service(obj: dict[str, Any], now: float) -> list[Any]:
    service = _spec(obj).get("service")
    where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    available = "Unknown"
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Available":
            available = condition.get("status", "")
            if available != "True":
                available += f" ({condition.get('reason', '')})"
    return [name(obj), where, available, age(obj, now)]


def _flow_schema(obj: dict[str, Any], now: float) -> list[Any]:
    spec = _spec(obj)
    dangling = [
        c.get("status", "?") for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == "Dangling"
    ]
    return [
        name(obj),
        (spec.get("priorityLevelConfiguration") or {}).get("name", NONE),
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type", NONE),
        age(obj, now),
        dangling[-1] if dangling else "?",
    ]


def _priority_level(obj: dict[str, Any], now: float) -> list[Any]:
    spec = _spec(obj)
    limited = spec.get("limited") or spec.get("exempt") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing")
    return [
        name(obj),
        spec.get("type", ""),
        limited.get("nominalConcurrencyShares", NONE),
        *(queuing.get(key, 0) if queuing else NONE for key in ("queues", "handSize", "queueLengthLimit")),
        age(obj, now),
    ]


def _resource_claim(obj: dict[str, Any], now: float) -> list[Any]:
    status, deleted = obj.get("status") or {}, bool(obj["metadata"].get("deletionTimestamp"))
    states = ["deleted"] if deleted else []
    if status.get("allocation") is not None:
        states.append("allocated")
        states += ["reserved"] if status.get("reservedFor") else []
    elif not deleted:
        states.append("pending")
    return [name(obj), ",".join(states), age(obj, now)]


def _resource_slice(obj: dict[str, Any], now: float) -> list[Any]:
    spec = _spec(obj)
    pool = (spec.get("pool") or {}).get("name", "")
    return [name(obj), spec.get("nodeName") or UNSET, spec.get("driver", ""), pool, age(obj, now)]


_RBAC, _STORAGE, _ADMISSION = "rbac.authorization.k8s.io/v1/", "storage.k8s.io/v1/", "admissionregistration.k8s.io/v1/"

ROWS = {
    _RBAC + "roles": name_and_created,
    _RBAC + "clusterroles": name_and_created,
    _RBAC + "rolebindings": _binding,
    _RBAC + "clusterrolebindings": _binding,
    _STORAGE + "storageclasses": _storage_class,
    _STORAGE + "volumeattachments": _volume_attachment,
    _STORAGE + "volumeattributesclasses": _volume_attributes_class,
    _STORAGE + "csidrivers": _csi_driver,
    _STORAGE + "csinodes": _csi_node,
    _STORAGE + "csistoragecapacities": name_and_created,
    _ADMISSION + "mutatingwebhookconfigurations": _webhooks,
    _ADMISSION + "validatingwebhookconfigurations": _webhooks,
    _ADMISSION + "validatingadmissionpolicies": _policy,
    _ADMISSION + "mutatingadmissionpolicies": _policy,
    _ADMISSION + "validatingadmissionpolicybindings": _policy_binding,
    _ADMISSION + "mutatingadmissionpolicybindings": _policy_binding,
    "apiextensions.k8s.io/v1/customresourcedefinitions": name_and_created,
    "apiregistration.k8s.io/v1/apiservices": _api_service,
    "certificates.k8s.io/v1/certificatesigningrequests": _csr,
    "coordination.k8s.io/v1/leases": _lease,
    "flowcontrol.apiserver.k8s.io/v1/flowschemas": _flow_schema,
    "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": _priority_level,
    "node.k8s.io/v1/runtimeclasses": _runtime_class,
    "policy/v1/poddisruptionbudgets": _disruption_budget,
    "resource.k8s.io/v1/deviceclasses": name_and_age,
    "resource.k8s.io/v1/resourceclaims": _resource_claim,
    "resource.k8s.io/v1/resourceclaimtemplates": name_and_age,
    "resource.k8s.io/v1/resourceslices": _resource_slice,
    "scheduling.k8s.io/v1/priorityclasses": _priority_class,
}
