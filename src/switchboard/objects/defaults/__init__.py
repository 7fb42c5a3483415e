"""What a real server fills in when a field is not given: one table from kind to function, each working in place.

Defaults come after `schema.clean` and before admission and validation. They are applied to what clients send, and
are already
there in what is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from switchboard.objects.defaults import core, pods, policy, workloads
from switchboard.objects.kinds import Kind

Default = Callable[[dict[str, Any]], None]

_DEFAULTS: dict[tuple[str, str, str], Default] = {
    ("", "v1", "Pod"): pods.pod,
    ("", "v1", "PodTemplate"): core.pod_template,
    ("", "v1", "Service"): core.service,
    ("", "v1", "Endpoints"): core.endpoints,
    ("", "v1", "ReplicationController"): core.replication_controller,
    ("", "v1", "Secret"): core.secret,
    ("", "v1", "Namespace"): core.namespace,
    ("", "v1", "PersistentVolumeClaim"): core.claim,
    ("", "v1", "PersistentVolume"): core.volume,
    ("", "v1", "Node"): core.node,
    ("", "v1", "LimitRange"): core.limit_range,
    ("apps", "v1", "Deployment"): workloads.deployment,
    ("apps", "v1", "ReplicaSet"): workloads.replica_set,
    ("apps", "v1", "DaemonSet"): workloads.daemon_set,
    ("apps", "v1", "StatefulSet"): workloads.stateful_set,
    ("batch", "v1", "Job"): workloads.job,
    ("batch", "v1", "CronJob"): workloads.cron_job,
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): workloads.autoscaler_v1,
    ("autoscaling", "v2", "HorizontalPodAutoscaler"): workloads.autoscaler,
    ("networking.k8s.io", "v1", "NetworkPolicy"): policy.network_policy,
    ("networking.k8s.io", "v1", "IngressClass"): policy.ingress_class,
    ("discovery.k8s.io", "v1", "EndpointSlice"): policy.endpoint_slice,
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"): policy.binding,
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"): policy.binding,
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"): policy.webhooks,
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"): policy.webhooks,
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"): policy.admission_policy,
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"): policy.admission_policy,
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"): policy.admission_policy_binding,
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding"): policy.admission_policy_binding,
    ("storage.k8s.io", "v1", "StorageClass"): policy.storage_class,
    ("storage.k8s.io", "v1", "CSIDriver"): policy.csi_driver,
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): policy.custom_resource_definition,
    ("scheduling.k8s.io", "v1", "PriorityClass"): policy.priority_class,
    ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"): policy.flow_schema,
    ("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"): policy.priority_level,
    ("apiregistration.k8s.io", "v1", "APIService"): policy.api_service,
    ("authentication.k8s.io", "v1", "TokenRequest"): policy.token_request,
    ("resource.k8s.io", "v1", "ResourceClaim"): policy.resource_claim,
    ("resource.k8s.io", "v1", "ResourceClaimTemplate"): policy.resource_claim,
}


def apply(kind: Kind, obj: dict[str, Any]) -> None:
    """Fill in the defaults of a built-in kind, in place; other kinds are left as they are."""
    default = _DEFAULTS.get((kind.group, kind.version, kind.kind))
    if default is not None:
        default(obj)
