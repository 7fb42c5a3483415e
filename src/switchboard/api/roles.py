"""The ClusterRoles that every cluster has for people and for its own components, as a literal table.

One line is one PolicyRule: `groups : resources : verbs [: names]`, with `-` for the core group, or `urls : verbs` where
it begins with a slash. Source: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go` (1.36). The controllers'
roles are in `controller_roles.py`, the objects are made in `policy.py`.
"""

from __future__ import annotations

READ = "get list watch"
WRITE = "create delete deletecollection patch update"
ALL = "create delete deletecollection get list patch update watch"
EVENTS = "- events.k8s.io : events : create patch update"

_EXTENSIONS = "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets"
_LEADING = (
    "coordination.k8s.io : leases : create get list update watch",
    "coordination.k8s.io : leasecandidates : create get list update watch",
)

# name -> rules
CLUSTER_ROLES: dict[str, tuple[str, ...]] = {
    "cluster-admin": ("* : * : *", "/* : *"),
    "system:discovery": (
        "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/ : get",
    ),
    "system:monitoring": ("/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* : get",),
    "system:basic-user": (
        "authorization.k8s.io : selfsubjectaccessreviews selfsubjectrulesreviews : create",
        "authentication.k8s.io : selfsubjectreviews : create",
    ),
    "system:public-info-viewer": ("/healthz /livez /readyz /version /version/ : get",),
    "system:aggregate-to-admin": (
        "authorization.k8s.io : localsubjectaccessreviews : create",
        f"rbac.authorization.k8s.io : rolebindings roles : {ALL}",
    ),
    "system:aggregate-to-edit": (
        f"- : pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy : {READ}",
        "- : serviceaccounts : impersonate",
        f"- : pods pods/attach pods/exec pods/portforward pods/proxy : {WRITE}",
        "- : pods/eviction : create",
        "- : configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        f"serviceaccounts services services/proxy : {WRITE}",
        "- : serviceaccounts/token : create",
        "apps : daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
        f"statefulsets statefulsets/scale : {WRITE}",
        f"autoscaling : horizontalpodautoscalers : {WRITE}",
        f"batch : cronjobs jobs : {WRITE}",
        f"extensions : {_EXTENSIONS} replicasets/scale replicationcontrollers/scale : {WRITE}",
        f"policy : poddisruptionbudgets : {WRITE}",
        f"networking.k8s.io : ingresses networkpolicies : {WRITE}",
        f"coordination.k8s.io : leases : {ALL}",
        f"resource.k8s.io : resourceclaims resourceclaimtemplates : {WRITE}",
    ),
    "system:aggregate-to-view": (
        "- : configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        f"replicationcontrollers/scale serviceaccounts services services/status : {READ}",
        "- : bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        f"resourcequotas resourcequotas/status : {READ}",
        f"- : namespaces : {READ}",
        f"discovery.k8s.io : endpointslices : {READ}",
        "apps : controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
        f"replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale "
        f"statefulsets/status : {READ}",
        f"autoscaling : horizontalpodautoscalers horizontalpodautoscalers/status : {READ}",
        f"batch : cronjobs cronjobs/status jobs jobs/status : {READ}",
        "extensions : daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses "
        "ingresses/status networkpolicies replicasets replicasets/scale replicasets/status "
        f"replicationcontrollers/scale : {READ}",
        f"policy : poddisruptionbudgets poddisruptionbudgets/status : {READ}",
        f"networking.k8s.io : ingresses ingresses/status networkpolicies : {READ}",
        f"resource.k8s.io : resourceclaims resourceclaims/status resourceclaimtemplates : {READ}",
    ),
    "system:aggregated-metrics-reader": (f"metrics.k8s.io : nodes pods : {READ}",),  # a metrics server brings it
    "system:heapster": (f"- : events namespaces nodes pods : {READ}", f"extensions : deployments : {READ}"),
    "system:node": (
        "authentication.k8s.io : tokenreviews : create",
        "authorization.k8s.io : localsubjectaccessreviews subjectaccessreviews : create",
        f"- : services : {READ}",
        f"- : nodes : create {READ}",
        "- : nodes/status : patch update",
        "- : nodes : patch update",
        "- events.k8s.io : events : create patch update",
        f"- : pods : {READ}",
        "- : pods : create delete",
        "- : pods/status : patch update",
        "- : pods/eviction : create",
        f"- : configmaps secrets : {READ}",
        "- : persistentvolumeclaims persistentvolumes : get",
        "- : endpoints : get",
        f"certificates.k8s.io : certificatesigningrequests : create {READ}",
        "coordination.k8s.io : leases : create delete get patch update",
        "storage.k8s.io : volumeattachments : get",
        "- : serviceaccounts/token : create",
        "- : persistentvolumeclaims/status : get patch update",
        f"storage.k8s.io : csidrivers : {READ}",
        "storage.k8s.io : csinodes : create delete get patch update",
        f"node.k8s.io : runtimeclasses : {READ}",
        "resource.k8s.io : resourceclaims : get",
        f"resource.k8s.io : resourceslices : {ALL}",
    ),
    "system:node-problem-detector": ("- : nodes : get", "- : nodes/status : patch", EVENTS),
    "system:node-proxier": (
        "- : endpoints services : list watch",
        f"- : nodes : {READ}",
        EVENTS,
        "discovery.k8s.io : endpointslices : list watch",
        "networking.k8s.io : servicecidrs : list watch",
    ),
    "system:kubelet-api-admin": (
        f"- : nodes : {READ}",
        "- : nodes : proxy",
        "- : nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats : *",
    ),
    "system:node-bootstrapper": (f"certificates.k8s.io : certificatesigningrequests : create {READ}",),
    "system:auth-delegator": (
        "authentication.k8s.io : tokenreviews : create",
        "authorization.k8s.io : subjectaccessreviews : create",
    ),
    "system:kube-aggregator": (f"- : endpoints services : {READ}",),
    "system:kube-controller-manager": (
        EVENTS,
        "coordination.k8s.io : leases : create",
        "coordination.k8s.io : leases : get update : kube-controller-manager",
        "- : secrets serviceaccounts : create",
        "- : secrets : delete",
        "- : configmaps namespaces secrets serviceaccounts : get",
        "- : secrets serviceaccounts : update",
        "authentication.k8s.io : tokenreviews : create",
        "authorization.k8s.io : subjectaccessreviews : create",
        "* : * : list watch",
        "- : serviceaccounts/token : create",
    ),
    "system:kube-dns": ("- : endpoints services : list watch",),
    "system:kube-scheduler": (
        EVENTS,
        "coordination.k8s.io : leases : create",
        "coordination.k8s.io : leases : get update : kube-scheduler",
        f"- : nodes : {READ}",
        f"- : pods : delete {READ}",
        "- : bindings pods/binding : create",
        "- : pods/status : patch update",
        f"- : replicationcontrollers services : {READ}",
        f"apps extensions : replicasets : {READ}",
        f"apps : statefulsets : {READ}",
        f"policy : poddisruptionbudgets : {READ}",
        f"- : persistentvolumeclaims persistentvolumes : {READ}",
        "authentication.k8s.io : tokenreviews : create",
        "authorization.k8s.io : subjectaccessreviews : create",
        f"storage.k8s.io : csinodes : {READ}",
        f"- : namespaces : {READ}",
        f"storage.k8s.io : csidrivers : {READ}",
        f"storage.k8s.io : csistoragecapacities : {READ}",
        f"resource.k8s.io : deviceclasses resourceslices : {READ}",
        f"resource.k8s.io : resourceclaims : {READ} patch update",
        "resource.k8s.io : resourceclaims/status : patch update",
        "resource.k8s.io : resourceclaims/binding : patch update",
    ),
    "system:persistent-volume-provisioner": (
        "- : persistentvolumes : create delete get list watch",
        "- : persistentvolumeclaims : get list update watch",
        f"storage.k8s.io : storageclasses : {READ}",
        "- : events : watch",
        EVENTS,
    ),
    "system:volume-scheduler": (
        "- : persistentvolumes : get list patch update watch",
        f"storage.k8s.io : storageclasses : {READ}",
        "- : persistentvolumeclaims : get list patch update watch",
    ),
    "system:service-account-issuer-discovery": ("/.well-known/openid-configuration /openid/v1/jwks : get",),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        "certificates.k8s.io : certificatesigningrequests/nodeclient : create",
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        "certificates.k8s.io : certificatesigningrequests/selfnodeclient : create",
    ),
    **{
        f"system:certificates.k8s.io:{short}-approver": (
            f"certificates.k8s.io : signers : approve : kubernetes.io/{short}",
        )
        for short in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
    },
}

# Roles that are the union of others: name -> label of those that go in.
AGGREGATED = {"admin": "aggregate-to-admin", "edit": "aggregate-to-edit", "view": "aggregate-to-view"}
# Which of these are part of which (several are told apart by spaces): `view` is in `edit`, and `edit` in `admin`.
LABELS = {
    "system:aggregated-metrics-reader": "aggregate-to-admin aggregate-to-edit aggregate-to-view",
    "edit": "aggregate-to-admin",
    "view": "aggregate-to-edit",
    "system:aggregate-to-admin": "aggregate-to-admin",
    "system:aggregate-to-edit": "aggregate-to-edit",
    "system:aggregate-to-view": "aggregate-to-view",
}

# role -> subjects, each `Kind name` (a service account: `ServiceAccount namespace/name`)
CLUSTER_BINDINGS: dict[str, tuple[str, ...]] = {
    "cluster-admin": ("Group system:masters",),
    "system:monitoring": ("Group system:monitoring",),
    "system:discovery": ("Group system:authenticated",),
    "system:basic-user": ("Group system:authenticated",),
    "system:public-info-viewer": ("Group system:authenticated", "Group system:unauthenticated"),
    "system:node-proxier": ("User system:kube-proxy",),
    "system:kube-controller-manager": ("User system:kube-controller-manager",),
    "system:kube-dns": ("ServiceAccount kube-system/kube-dns",),
    "system:kube-scheduler": ("User system:kube-scheduler",),
    "system:volume-scheduler": ("User system:kube-scheduler",),
    "system:service-account-issuer-discovery": ("Group system:serviceaccounts",),
    "system:node": (),  # nodes are authorised by what they run (`nodeauthz.py`), not by a binding
}

# (namespace, name) -> rules
ROLES: dict[tuple[str, str], tuple[str, ...]] = {
    ("kube-public", "system:controller:bootstrap-signer"): (
        f"- : configmaps : {READ}",
        "- : configmaps : update : cluster-info",
        EVENTS,
    ),
    ("kube-system", "extension-apiserver-authentication-reader"): (
        f"- : configmaps : {READ} : extension-apiserver-authentication",
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): _LEADING,
    ("kube-system", "system::leader-locking-kube-scheduler"): _LEADING,
    ("kube-system", "system:controller:bootstrap-signer"): (f"- : secrets : {READ}",),
    ("kube-system", "system:controller:cloud-provider"): ("- : configmaps : create get list watch",),
    ("kube-system", "system:controller:token-cleaner"): (f"- : secrets : delete {READ}", EVENTS),
}

# (namespace, binding) -> (role, subjects)
BINDINGS: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("kube-public", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        ("ServiceAccount kube-system/bootstrap-signer",),
    ),
    ("kube-system", "system::extension-apiserver-authentication-reader"): (
        "extension-apiserver-authentication-reader",
        ("User system:kube-controller-manager", "User system:kube-scheduler"),
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): (
        "system::leader-locking-kube-controller-manager",
        ("User system:kube-controller-manager", "ServiceAccount kube-system/kube-controller-manager"),
    ),
    ("kube-system", "system::leader-locking-kube-scheduler"): (
        "system::leader-locking-kube-scheduler",
        ("User system:kube-scheduler", "ServiceAccount kube-system/kube-scheduler"),
    ),
    **{
        ("kube-system", f"system:controller:{name}"): (
            f"system:controller:{name}",
            (f"ServiceAccount kube-system/{name}",),
        )
        for name in ("bootstrap-signer", "cloud-provider", "token-cleaner")
    },
}
