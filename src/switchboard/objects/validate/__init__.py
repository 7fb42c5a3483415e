"""Whether an object may be stored: one table from kind to rules; every rule adds to a list of field errors,
nothing is raised.

Rules see objects after `schema.clean` and defaults. They look at nothing but the object and, in an update, the
stored one: what
depends on other objects (addresses taken, quotas, roles held) is refused elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from switchboard.objects import names
from switchboard.objects.errors import FieldError
from switchboard.objects.kinds import Kind
from switchboard.objects.validate import (
    admission,
    apiservices,
    batch,
    certificates,
    core,
    crd,
    endpoints,
    flowcontrol,
    generic,
    jobs,
    jobstatus,
    metadata,
    network,
    pod_update,
    pods,
    policy,
    quotas,
    service,
    storage,
    webhooks,
    workloads,
)
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]
Rule = Callable[[Object, Errors], None]
Change = Callable[[Object, Object, Errors], None]
Both = Callable[[Object, Object | None, Errors], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one kind. `new` holds for every write of the main resource unless `once`; `both` also knows the
    old object."""

    new: Rule | None = None
    both: Both | None = None
    change: Change | None = None
    status: Change | None = None
    name: names.Check = names.dns_subdomain
    once: bool = False  # `new` is for creations only
    subresources: tuple[tuple[str, Change], ...] = ()


def _counts(kind: str) -> Change:
    return lambda obj, old, errs: workloads.counts(kind, obj, errs)


def _template_object(obj: Object, errs: Errors) -> None:
    pods.template(obj.get("template") or {}, "template", errs)


_ADMISSION, _RBAC, _NETWORK, _STORAGE, _FLOWS = (
    "admissionregistration.k8s.io",
    "rbac.authorization.k8s.io",
    "networking.k8s.io",
    "storage.k8s.io",
    "flowcontrol.apiserver.k8s.io",
)
_SEGMENT = metadata.path_segment
_RULES: dict[tuple[str, str], Rules] = {
    ("", "Pod"): Rules(
        pods.pod,
        change=pod_update.pod_update,
        status=pod_update.status_update,
        once=True,
        subresources=(("ephemeralcontainers", pod_update.ephemeral_update), ("resize", pod_update.resize)),
    ),
    ("", "PodTemplate"): Rules(_template_object),
    ("", "Service"): Rules(
        both=service.service,
        change=service.service_update,
        status=service.load_balancer_status,
        name=names.dns_label,
    ),
    ("", "Endpoints"): Rules(both=endpoints.endpoints),
    ("", "ConfigMap"): Rules(core.config_map, change=core.config_map_update),
    ("", "Secret"): Rules(core.secret, change=core.secret_update),
    ("", "ServiceAccount"): Rules(),
    ("", "Namespace"): Rules(core.namespace, status=core.namespace_status, name=names.dns_label),
    ("", "Node"): Rules(core.node, change=core.node_update),
    ("", "ResourceQuota"): Rules(quotas.resource_quota, change=quotas.resource_quota_update),
    ("", "LimitRange"): Rules(quotas.limit_range),
    ("", "Event"): Rules(core.event),
    ("events.k8s.io", "Event"): Rules(core.event_v1, once=True),
    ("", "ReplicationController"): Rules(workloads.replication_controller, status=_counts("ReplicationController")),
    ("", "PersistentVolumeClaim"): Rules(policy.claim, change=policy.claim_update),
    ("", "PersistentVolume"): Rules(policy.volume, change=policy.volume_update),
    ("apps", "Deployment"): Rules(workloads.deployment, change=workloads.selector_kept, status=_counts("Deployment")),
    ("apps", "ReplicaSet"): Rules(workloads.replica_set, change=workloads.selector_kept, status=_counts("ReplicaSet")),
    ("apps", "DaemonSet"): Rules(workloads.daemon_set, change=workloads.selector_kept, status=_counts("DaemonSet")),
    ("apps", "StatefulSet"): Rules(
        workloads.stateful_set, change=workloads.stateful_set_update, status=_counts("StatefulSet")
    ),
    ("apps", "ControllerRevision"): Rules(core.controller_revision, change=core.controller_revision_update),
    ("batch", "Job"): Rules(jobs.job, change=jobs.job_update, status=jobstatus.job_status),
    ("batch", "CronJob"): Rules(batch.cron_job),
    ("policy", "PodDisruptionBudget"): Rules(batch.budget),
    ("autoscaling", "HorizontalPodAutoscaler"): Rules(batch.autoscaler),
    ("coordination.k8s.io", "Lease"): Rules(core.lease),
    ("certificates.k8s.io", "CertificateSigningRequest"): Rules(
        certificates.request,
        change=certificates.main_update,
        status=certificates.status_update,
        name=_SEGMENT,
        once=True,
        subresources=(("approval", certificates.approval_update),),
    ),
    ("discovery.k8s.io", "EndpointSlice"): Rules(both=endpoints.endpoint_slice, change=endpoints.endpoint_slice_update),
    (_NETWORK, "Ingress"): Rules(network.ingress, status=network.ingress_status),
    (_NETWORK, "IngressClass"): Rules(network.ingress_class, change=network.ingress_class_update),
    (_NETWORK, "NetworkPolicy"): Rules(network.network_policy),
    (_NETWORK, "ServiceCIDR"): Rules(network.service_cidr, change=network.service_cidr_update),
    (_NETWORK, "IPAddress"): Rules(network.ip_address, change=network.ip_address_update, name=names.canonical_ip),
    (_RBAC, "Role"): Rules(policy.role, name=_SEGMENT),
    (_RBAC, "ClusterRole"): Rules(policy.role, name=_SEGMENT),
    (_RBAC, "RoleBinding"): Rules(policy.binding, change=policy.binding_update, name=_SEGMENT),
    (_RBAC, "ClusterRoleBinding"): Rules(policy.binding, change=policy.binding_update, name=_SEGMENT),
    (_ADMISSION, "MutatingWebhookConfiguration"): Rules(webhooks.configuration),
    (_ADMISSION, "ValidatingWebhookConfiguration"): Rules(webhooks.configuration),
    (_ADMISSION, "ValidatingAdmissionPolicy"): Rules(admission.validating_policy, status=admission.policy_status),
    (_ADMISSION, "MutatingAdmissionPolicy"): Rules(admission.mutating_policy),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): Rules(admission.validating_binding),
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): Rules(admission.mutating_binding),
    (_FLOWS, "FlowSchema"): Rules(flowcontrol.flow_schema, status=flowcontrol.status),
    (_FLOWS, "PriorityLevelConfiguration"): Rules(flowcontrol.priority_level, status=flowcontrol.status),
    ("scheduling.k8s.io", "PriorityClass"): Rules(policy.priority_class, change=policy.priority_class_update),
    (_STORAGE, "StorageClass"): Rules(policy.storage_class, change=policy.storage_class_update),
    (_STORAGE, "CSIDriver"): Rules(storage.csi_driver, change=storage.csi_driver_update),
    (_STORAGE, "CSINode"): Rules(storage.csi_node, change=storage.csi_node_update),
    (_STORAGE, "CSIStorageCapacity"): Rules(storage.capacity, change=storage.capacity_update),
    (_STORAGE, "VolumeAttributesClass"): Rules(storage.attributes_class, change=storage.attributes_class_update),
    (_STORAGE, "VolumeAttachment"): Rules(storage.attachment, change=storage.attachment_update),
    ("node.k8s.io", "RuntimeClass"): Rules(policy.runtime_class, change=policy.runtime_class_update),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Rules(crd.definition, change=crd.definition_update),
    ("apiregistration.k8s.io", "APIService"): Rules(apiservices.api_service, name=_SEGMENT),
}
_PLAIN = Rules()


def create(kind: Kind, obj: Object) -> list[FieldError]:
    """Every reason why a new object (with its system fields filled in) may not be stored."""
    errs = Errors()
    rules = _RULES.get((kind.group, kind.kind))
    metadata.new(obj, kind.namespaced, (rules or _PLAIN).name, errs)
    if rules is None:
        if kind.definition is not None:
            generic.by_schema(kind.definition, obj, errs)
        return errs
    if rules.new is not None:
        rules.new(obj, errs)
    if rules.both is not None:
        rules.both(obj, None, errs)
    return errs


def update(kind: Kind, obj: Object, old: Object, sub: str = "") -> list[FieldError]:
    """Every reason why `old` may not become `obj`; `sub` is the subresource the write came through, empty for the
    object itself."""
    errs = Errors()
    metadata.updated(obj, old, errs)
    rules = _RULES.get((kind.group, kind.kind))
    if rules is None:
        if kind.definition is not None and not sub:
            generic.by_schema(kind.definition, obj, errs)
        return errs
    if sub:
        change = rules.status if sub == "status" else dict(rules.subresources).get(sub)
        if change is not None:
            change(obj, old, errs)
        return errs
    if rules.change is not None:
        rules.change(obj, old, errs)
    if rules.new is not None and not rules.once:
        rules.new(obj, errs)
    if rules.both is not None:
        rules.both(obj, old, errs)
    return errs
