"""Rules for RBAC, scheduling and storage kinds (pkg/apis/{rbac,scheduling,storage,core}/validation)."""

from __future__ import annotations

from posixpath import normpath
from typing import Any

from switchboard.objects import names, quantity
from switchboard.objects.validate import labels
from switchboard.objects.validate.fields import IMMUTABLE, Errors
from switchboard.objects.validate.metadata import path_segment
from switchboard.objects.validate.mounts import no_backsteps
from switchboard.objects.validate.volumes import host_path

Object = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"


def role(obj: Object, errs: Errors) -> None:
    """Role and ClusterRole."""
    namespaced = obj.get("kind") == "Role"
    for i, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{i}]"
        if not rule.get("verbs"):
            errs.required(f"{path}.verbs", "verbs must contain at least one value")
        urls = rule.get("nonResourceURLs")
        if urls:
            if namespaced:
                errs.invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                errs.invalid(
                    f"{path}.nonResourceURLs",
                    urls,
                    "rules cannot apply to both regular resources and non-resource URLs",
                )
            continue
        if not rule.get("apiGroups"):
            errs.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            errs.required(f"{path}.resources", "resource rules must supply at least one resource")
    for i, selector in enumerate((obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()):
        labels.selector(selector, f"aggregationRule.clusterRoleSelectors[{i}]", errs)
    if "aggregationRule" in obj and not (obj["aggregationRule"] or {}).get("clusterRoleSelectors"):
        errs.required(
            "aggregationRule.clusterRoleSelectors",
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        )


def binding(obj: Object, errs: Errors) -> None:
    """RoleBinding and ClusterRoleBinding."""
    reference = obj.get("roleRef") or {}
    if reference.get("apiGroup") != _RBAC:
        errs.unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (_RBAC,))
    kinds = ("ClusterRole",) if obj.get("kind") == "ClusterRoleBinding" else ("Role", "ClusterRole")
    if reference.get("kind") not in kinds:
        errs.unsupported("roleRef.kind", reference.get("kind") or "", kinds)
    if not reference.get("name"):
        errs.required("roleRef.name")
    else:
        for message in path_segment(reference["name"]):
            errs.invalid("roleRef.name", reference["name"], message)
    for i, subject in enumerate(obj.get("subjects") or ()):
        _subject(subject, f"subjects[{i}]", obj.get("kind") == "RoleBinding", errs)


def _subject(subject: Object, path: str, namespaced: bool, errs: Errors) -> None:
    kind, group = subject.get("kind") or "", subject.get("apiGroup") or ""
    if not subject.get("name"):
        errs.required(f"{path}.name")
    if kind == "ServiceAccount":
        if subject.get("name"):
            errs.check(f"{path}.name", subject["name"], names.dns_subdomain)
        if group:
            errs.unsupported(f"{path}.apiGroup", group, ("",))
        if not namespaced and not subject.get("namespace"):
            errs.required(f"{path}.namespace")
    elif kind in ("User", "Group"):
        if group != _RBAC:
            errs.unsupported(f"{path}.apiGroup", group, (_RBAC,))
    else:
        errs.unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))


def binding_update(obj: Object, old: Object, errs: Errors) -> None:
    """The role a binding refers to stays."""
    if obj.get("roleRef") != old.get("roleRef"):
        errs.invalid("roleRef", _internal_ref(obj.get("roleRef") or {}), "cannot change roleRef")


def _internal_ref(reference: Object) -> Object:
    return {
        "APIGroup": reference.get("apiGroup", ""),
        "Kind": reference.get("kind", ""),
        "Name": reference.get("name", ""),
    }


def priority_class(obj: Object, errs: Errors) -> None:
    """scheduling.k8s.io/v1 PriorityClass."""
    name, value = (obj.get("metadata") or {}).get("name") or "", obj.get("value") or 0
    if name.startswith("system-"):
        known = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}
        if known.get(name) != value:
            errs.forbidden(
                "metadata.name",
                "priority class names with 'system-' prefix are reserved for system use only. error: "
                + (
                    f"{name} is not a known system priority class"
                    if name not in known
                    else f"value of {name} PriorityClass must be {known[name]}"
                ),
            )
    elif value > 1000000000:
        errs.forbidden("value", "maximum allowed value of a user defined priority is 1000000000")
    policy = obj.get("preemptionPolicy")
    if policy is not None and policy not in ("Never", "PreemptLowerPriority"):
        errs.unsupported("preemptionPolicy", policy, ("Never", "PreemptLowerPriority"))


def priority_class_update(obj: Object, old: Object, errs: Errors) -> None:
    """Value and preemption policy stay."""
    if obj.get("value") != old.get("value"):
        errs.forbidden("value", "may not be changed in an update.")
    if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
        errs.invalid("preemptionPolicy", obj.get("preemptionPolicy"), IMMUTABLE)


def storage_class(obj: Object, errs: Errors) -> None:
    """storage.k8s.io/v1 StorageClass."""
    if not obj.get("provisioner"):
        errs.required("provisioner")
    else:
        for message in names.qualified_name(obj["provisioner"].lower()):
            errs.invalid("provisioner", obj["provisioner"], message)
    if obj.get("reclaimPolicy") is not None and obj["reclaimPolicy"] not in ("Delete", "Retain"):
        errs.unsupported("reclaimPolicy", obj["reclaimPolicy"], ("Delete", "Retain"))
    mode = obj.get("volumeBindingMode")
    if mode is None:
        errs.required("volumeBindingMode")
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        errs.unsupported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer"))


def storage_class_update(obj: Object, old: Object, errs: Errors) -> None:
    """What volumes were made with stays."""
    for name in ("parameters", "provisioner", "reclaimPolicy"):
        if (obj.get(name) or None) != (old.get(name) or None):
            errs.forbidden(name, "updates to " + name + " are forbidden.")
    errs.immutable("volumeBindingMode", obj.get("volumeBindingMode"), old.get("volumeBindingMode"))


_ACCESS = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def claim(obj: Object, errs: Errors) -> None:
    """v1 PersistentVolumeClaim."""
    spec = obj.get("spec") or {}
    labels.selector(spec.get("selector"), "spec.selector", errs)
    modes = spec.get("accessModes") or []
    if not modes:
        errs.required("spec.accessModes", "at least 1 access mode is required")
    for mode in modes:
        if mode not in _ACCESS:
            errs.unsupported("spec.accessModes", mode, _ACCESS)
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        errs.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        errs.required("spec.resources[storage]")
    elif quantity.of(size).nano <= 0:
        errs.invalid("spec.resources[storage]", size, "must be greater than zero")
    if spec.get("storageClassName"):
        errs.check("spec.storageClassName", spec["storageClassName"], names.dns_subdomain)
    if spec.get("volumeMode") is not None and spec["volumeMode"] not in ("Block", "Filesystem"):
        errs.unsupported("spec.volumeMode", spec["volumeMode"], ("Block", "Filesystem"))


def claim_update(obj: Object, old: Object, errs: Errors) -> None:
    """After creation only the size may grow, and the volume name be set."""
    spec, before = dict(obj.get("spec") or {}), dict(old.get("spec") or {})
    size, then = ((s.get("resources") or {}).get("requests", {}).get("storage") for s in (spec, before))
    for each in (spec, before):
        for name in ("resources", "volumeAttributesClassName"):
            each.pop(name, None)
    if not before.get("volumeName"):
        spec.pop("volumeName", None)
        before.pop("volumeName", None)
    if before.get("storageClassName") is None:  # a default class may come later (KEP-3333)
        spec.pop("storageClassName", None)
        before.pop("storageClassName", None)
    if spec != before:
        errs.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )
    if size is not None and then is not None:
        wanted, held = quantity.of(size), quantity.of(then)
        if wanted.nano < held.nano:
            errs.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
        elif wanted.nano > held.nano and (old.get("status") or {}).get("phase") != "Bound":
            errs.forbidden(
                "spec",
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
                "claims",
            )


_VOLUME_SOURCES = (
    "hostPath local nfs csi iscsi fc rbd cephfs glusterfs flexVolume awsElasticBlockStore "
    "gcePersistentDisk azureDisk azureFile "
    "cinder vsphereVolume photonPersistentDisk portworxVolume quobyte scaleIO storageos flocker"
).split()


def volume(obj: Object, errs: Errors) -> None:
    """v1 PersistentVolume."""
    spec = obj.get("spec") or {}
    modes = spec.get("accessModes") or []
    if not modes:
        errs.required("spec.accessModes")
    for mode in modes:
        if mode not in _ACCESS:
            errs.unsupported("spec.accessModes", mode, _ACCESS)
    if not spec.get("capacity"):
        errs.required("spec.capacity")
    elif set(spec["capacity"]) != {"storage"}:
        errs.unsupported("spec.capacity", spec["capacity"], ("storage",))
    for name, amount in (spec.get("capacity") or {}).items():
        if quantity.of(amount).nano <= 0:
            errs.invalid(f"spec.capacity[{name}]", amount, "must be greater than zero")
    if spec.get("persistentVolumeReclaimPolicy") not in ("Delete", "Recycle", "Retain", None, ""):
        errs.unsupported(
            "spec.persistentVolumeReclaimPolicy", spec["persistentVolumeReclaimPolicy"], ("Delete", "Recycle", "Retain")
        )
    required = (spec.get("nodeAffinity") or {}).get("required")
    if required is not None:
        labels.node_selector(required, "spec.nodeAffinity.required", errs)
    sources = [name for name in _VOLUME_SOURCES if name in spec]
    for name in sources[1:]:
        errs.forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    if not sources:
        errs.required("spec", "must specify a volume type")
    if "local" in spec and not spec.get("nodeAffinity"):
        errs.required("spec.nodeAffinity", "Local volume requires node affinity")
    _on_node(spec, errs)
    if spec.get("volumeMode") is not None and spec["volumeMode"] not in ("Block", "Filesystem"):
        errs.unsupported("spec.volumeMode", spec["volumeMode"], ("Block", "Filesystem"))


def _on_node(spec: Object, errs: Errors) -> None:
    """Sources that are paths of a node."""
    source = spec.get("hostPath")
    if source is not None:
        host_path(source, "spec.hostPath", errs)
        root = normpath(source.get("path") or ".").lstrip("/") == ""
        if root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            text = "may not be 'recycle' for a hostPath mount of '/'"
            errs.forbidden("spec.persistentVolumeReclaimPolicy", text)
    local = spec.get("local")
    if local is not None:
        if not local.get("path"):
            errs.required("spec.local.path")
        else:
            no_backsteps(local["path"], "spec.local.path", errs)


def volume_update(obj: Object, old: Object, errs: Errors) -> None:
    """The source of a volume stays."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if any(spec.get(name) != before.get(name) for name in _VOLUME_SOURCES):
        errs.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    if spec.get("volumeMode") != before.get("volumeMode"):
        errs.invalid("spec.volumeMode", spec.get("volumeMode"), IMMUTABLE)


def runtime_class(obj: Object, errs: Errors) -> None:
    """node.k8s.io/v1 RuntimeClass."""
    for message in names.dns_label(obj.get("handler") or ""):
        errs.invalid("handler", obj.get("handler") or "", message)


def runtime_class_update(obj: Object, old: Object, errs: Errors) -> None:
    """The handler stays."""
    errs.immutable("handler", obj.get("handler"), old.get("handler"))
