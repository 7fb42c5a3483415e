"""The ClusterRoles of controllers, each bound to the service account `kube-system/<controller>`; lines as in
`roles.py`.

Source: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go` (1.36).
"""

from __future__ import annotations

from switchboard.api.roles import EVENTS, READ

_PODS = "- : pods : create delete list patch watch"
_REVISIONS = f"apps : controllerrevisions : create delete {READ} patch update"
_WORKLOADS = (
    f"apps extensions : deployments : {READ}",
    f"apps extensions : replicasets : {READ}",
    f"- : replicationcontrollers : {READ}",
    f"policy : poddisruptionbudgets : {READ}",
    f"apps : statefulsets : {READ}",
)
_SLICES = f"discovery.k8s.io : endpointslices : create delete {READ} update"

CONTROLLER_ROLES: dict[str, tuple[str, ...]] = {
    "attachdetach-controller": (
        "- : persistentvolumeclaims persistentvolumes : list watch",
        f"- : nodes : {READ}",
        "- : nodes/status : patch update",
        "- : pods : list watch",
        EVENTS,
        f"storage.k8s.io : volumeattachments : create delete {READ}",
        f"storage.k8s.io : csidrivers : {READ}",
        f"storage.k8s.io : csinodes : {READ}",
    ),
    "certificate-controller": (
        f"certificates.k8s.io : certificatesigningrequests : delete {READ}",
        "certificates.k8s.io : certificatesigningrequests/approval certificatesigningrequests/status : update",
        "certificates.k8s.io : signers : approve : kubernetes.io/kube-apiserver-client-kubelet",
        "certificates.k8s.io : signers : sign : kubernetes.io/kube-apiserver-client "
        "kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
        "authorization.k8s.io : subjectaccessreviews : create",
        EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        "rbac.authorization.k8s.io : clusterroles : escalate get list patch update watch",
    ),
    "cronjob-controller": (
        "batch : cronjobs : get list update watch",
        f"batch : jobs : create delete {READ} patch update",
        "batch : cronjobs/status : update",
        "batch : cronjobs/finalizers : update",
        "- : pods : delete list watch",
        EVENTS,
    ),
    "daemon-set-controller": (
        f"apps extensions : daemonsets : {READ}",
        "apps extensions : daemonsets/status : update",
        "apps extensions : daemonsets/finalizers : update",
        "- : nodes : list watch",
        _PODS,
        "- : pods/binding : create",
        _REVISIONS,
        EVENTS,
    ),
    "deployment-controller": (
        "apps extensions : deployments : get list update watch",
        "apps extensions : deployments/status : update",
        "apps extensions : deployments/finalizers : update",
        f"apps extensions : replicasets : create delete {READ} patch update",
        "- : pods : get list update watch",
        EVENTS,
    ),
    "device-taint-eviction-controller": (
        f"- : pods : delete {READ}",
        "- : pods/status : patch update",
        f"resource.k8s.io : resourceclaims : {READ}",
        f"resource.k8s.io : resourceslices : {READ}",
        f"resource.k8s.io : deviceclasses : {READ}",
        EVENTS,
    ),
    "disruption-controller": (
        *_WORKLOADS,
        "policy : poddisruptionbudgets/status : update",
        "- : pods/status : patch update",
        "* : */scale : get",
        EVENTS,
    ),
    "endpoint-controller": (
        f"- : pods services : {READ}",
        f"- : endpoints : create delete {READ} update",
        "- : endpoints/restricted : create",
        EVENTS,
    ),
    "endpointslice-controller": (
        f"- : nodes pods services : {READ}",
        "- : services/finalizers : update",
        _SLICES,
        EVENTS,
    ),
    "endpointslicemirroring-controller": (
        f"- : endpoints services : {READ}",
        "- : services/finalizers : update",
        "- : endpoints/finalizers : update",
        _SLICES,
        EVENTS,
    ),
    "ephemeral-volume-controller": (
        f"- : pods : {READ}",
        "- : pods/finalizers : update",
        f"- : persistentvolumeclaims : create {READ}",
        EVENTS,
    ),
    "expand-controller": (
        f"- : persistentvolumes : {READ} patch update",
        "- : persistentvolumeclaims/status : patch update",
        f"- : persistentvolumeclaims : {READ}",
        EVENTS,
    ),
    "generic-garbage-collector": (f"* : * : delete {READ} patch update", EVENTS),
    "horizontal-pod-autoscaler": (
        f"autoscaling : horizontalpodautoscalers : {READ}",
        "autoscaling : horizontalpodautoscalers/status : update",
        "* : */scale : get update",
        "- : pods : list watch",
        "metrics.k8s.io : pods : list watch",
        f"custom.metrics.k8s.io : * : {READ}",
        f"external.metrics.k8s.io : * : {READ}",
        EVENTS,
    ),
    "job-controller": (
        f"batch : jobs : {READ} patch update",
        "batch : jobs/status : update",
        "batch : jobs/finalizers : update",
        _PODS,
        EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        "- : configmaps : get : kube-apiserver-legacy-service-account-token-tracking",
        "- : secrets : delete patch",
    ),
    "namespace-controller": (
        f"- : namespaces : delete {READ}",
        "- : namespaces/finalize namespaces/status : update",
        f"* : * : delete deletecollection {READ}",
    ),
    "node-controller": (
        f"- : nodes : delete {READ} patch update",
        "- : nodes/status : patch update",
        "- : pods/status : patch update",
        f"- : pods : delete {READ}",
        EVENTS,
    ),
    "persistent-volume-binder": (
        f"- : persistentvolumes : create delete {READ} update",
        "- : persistentvolumes/status : update",
        f"- : persistentvolumeclaims : {READ} update",
        "- : persistentvolumeclaims/status : update",
        f"- : pods : create delete {READ}",
        f"storage.k8s.io : storageclasses : {READ}",
        "- : nodes : list watch",
        EVENTS,
        "- : events : watch",
    ),
    "pod-garbage-collector": ("- : pods : delete list watch", f"- : nodes : {READ}", "- : pods/status : patch"),
    "pv-protection-controller": (f"- : persistentvolumes : {READ} update", EVENTS),
    "pvc-protection-controller": (
        f"- : persistentvolumeclaims : {READ} update",
        "- : persistentvolumeclaims/status : update",
        f"- : pods : {READ}",
        EVENTS,
    ),
    "replicaset-controller": (
        f"apps extensions : replicasets : {READ} update",
        "apps extensions : replicasets/status : update",
        "apps extensions : replicasets/finalizers : update",
        _PODS,
        EVENTS,
    ),
    "replication-controller": (
        f"- : replicationcontrollers : {READ} update",
        "- : replicationcontrollers/status : update",
        "- : replicationcontrollers/finalizers : update",
        _PODS,
        EVENTS,
    ),
    "resource-claim-controller": (
        f"- : pods : {READ}",
        "- : pods/finalizers : update",
        f"resource.k8s.io : resourceclaims : create delete {READ}",
        "resource.k8s.io : resourceclaims resourceclaims/status : patch update",
        "- : pods/status : patch update",
        EVENTS,
        "resource.k8s.io : resourceclaims/binding : patch update",
    ),
    "resourcequota-controller": ("* : * : list watch", "- : resourcequotas/status : update", EVENTS),
    "root-ca-cert-publisher": ("- : configmaps : create update", EVENTS),
    "route-controller": ("- : nodes : list watch", "- : nodes/status : patch", EVENTS),
    "selinux-warning-controller": (
        EVENTS,
        f"- : persistentvolumes : {READ}",
        f"- : persistentvolumeclaims : {READ}",
        f"- : pods : {READ}",
        f"storage.k8s.io : csidrivers : {READ}",
    ),
    "service-account-controller": ("- : serviceaccounts : create", EVENTS),
    "service-cidrs-controller": (
        f"networking.k8s.io : servicecidrs : {READ} patch update",
        "networking.k8s.io : servicecidrs/finalizers : patch update",
        "networking.k8s.io : servicecidrs/status : patch update",
        f"networking.k8s.io : ipaddresses : {READ}",
        EVENTS,
    ),
    "service-controller": (
        f"- : services : {READ}",
        "- : services/status : patch update",
        "- : nodes : list watch",
        EVENTS,
    ),
    "statefulset-controller": (
        "- : pods : list watch",
        f"apps : statefulsets : {READ}",
        "apps : statefulsets/status : update",
        "apps : statefulsets/finalizers : update",
        "- : pods : create delete get patch update",
        _REVISIONS,
        f"- : persistentvolumeclaims : create {READ}",
        "- : persistentvolumeclaims : delete update",
        "- : pods/finalizers : update",
        EVENTS,
    ),
    "ttl-after-finished-controller": (f"batch : jobs : delete {READ}", EVENTS),
    "ttl-controller": ("- : nodes : list patch update watch", EVENTS),
    "validatingadmissionpolicy-status-controller": (
        f"admissionregistration.k8s.io : validatingadmissionpolicies : {READ}",
        "admissionregistration.k8s.io : validatingadmissionpolicies/status : get patch update",
        EVENTS,
    ),
    "volumeattributesclass-protection-controller": (
        f"- : persistentvolumeclaims : {READ}",
        f"- : persistentvolumes : {READ}",
        f"storage.k8s.io : volumeattributesclasses : {READ} update",
        EVENTS,
    ),
}
