"""Defaults of the smaller groups: networking, discovery, rbac, admission, storage, apiextensions, scheduling, flow
control."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"


def network_policy(obj: Object) -> None:
    """networking.k8s.io/v1 NetworkPolicy."""
    spec = obj.setdefault("spec", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def ingress_class(obj: Object) -> None:
    """networking.k8s.io/v1 IngressClass."""
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def endpoint_slice(obj: Object) -> None:
    """discovery.k8s.io/v1 EndpointSlice."""
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def binding(obj: Object) -> None:
    """RoleBinding and ClusterRoleBinding."""
    reference = obj.setdefault("roleRef", {})
    if not reference.get("apiGroup"):
        reference["apiGroup"] = _RBAC
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC


def webhooks(obj: Object) -> None:
    """Mutating- and ValidatingWebhookConfiguration."""
    for hook in obj.get("webhooks") or ():
        hook.setdefault("failurePolicy", "Fail")
        hook.setdefault("matchPolicy", "Equivalent")
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        hook.setdefault("timeoutSeconds", 10)
        if obj.get("kind") == "MutatingWebhookConfiguration":
            hook.setdefault("reinvocationPolicy", "Never")
        for rule in hook.get("rules") or ():
            rule.setdefault("scope", "*")
        client = hook.get("clientConfig") or {}
        if "service" in client:
            client["service"].setdefault("port", 443)


def _match(resources: Object | None) -> None:
    if resources is not None:
        resources.setdefault("matchPolicy", "Equivalent")
        resources.setdefault("namespaceSelector", {})
        resources.setdefault("objectSelector", {})
        for name in ("resourceRules", "excludeResourceRules"):
            for rule in resources.get(name) or ():
                rule.setdefault("scope", "*")


def admission_policy(obj: Object) -> None:
    """ValidatingAdmissionPolicy and MutatingAdmissionPolicy."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _match(spec.get("matchConstraints"))


def admission_policy_binding(obj: Object) -> None:
    """Their bindings."""
    _match((obj.get("spec") or {}).get("matchResources"))


def storage_class(obj: Object) -> None:
    """storage.k8s.io/v1 StorageClass."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def csi_driver(obj: Object) -> None:
    """storage.k8s.io/v1 CSIDriver."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("attachRequired", True)
    spec.setdefault("podInfoOnMount", False)
    spec.setdefault("storageCapacity", False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    spec.setdefault("requiresRepublish", False)
    spec.setdefault("seLinuxMount", False)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def custom_resource_definition(obj: Object) -> None:
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if names.get("kind"):
        if not names.get("singular"):
            names["singular"] = names["kind"].lower()
        if not names.get("listKind"):
            names["listKind"] = names["kind"] + "List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    client = (conversion.get("webhook") or {}).get("clientConfig") or {}
    if "service" in client:
        client["service"].setdefault("port", 443)


def priority_class(obj: Object) -> None:
    """scheduling.k8s.io/v1 PriorityClass."""
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def flow_schema(obj: Object) -> None:
    """flowcontrol FlowSchema."""
    spec = obj.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def priority_level(obj: Object) -> None:
    """flowcontrol PriorityLevelConfiguration."""
    spec = obj.setdefault("spec", {})
    if "exempt" in spec or spec.get("type") == "Exempt":
        exempt = spec.setdefault("exempt", {})
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    limited = spec.get("limited")
    if limited is not None:
        limited.setdefault("nominalConcurrencyShares", 30)
        limited.setdefault("lendablePercent", 0)
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        for name, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
            if queuing is not None and not queuing.get(name):
                queuing[name] = value


def api_service(obj: Object) -> None:
    """apiregistration APIService."""
    service = (obj.get("spec") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def token_request(obj: Object) -> None:
    """authentication TokenRequest: an hour."""
    obj.setdefault("spec", {}).setdefault("expirationSeconds", 3600)


def resource_claim(obj: Object) -> None:
    """resource.k8s.io ResourceClaim and ResourceClaimTemplate."""
    spec = obj.get("spec") or {}
    devices = (spec.get("spec") or spec).get("devices") or {}
    for request in devices.get("requests") or ():
        exact = [request["exactly"]] if "exactly" in request else request.get("firstAvailable") or []
        for each in exact:
            if each.setdefault("allocationMode", "ExactCount") == "ExactCount":
                each.setdefault("count", 1)
            for toleration in each.get("tolerations") or ():
                toleration.setdefault("operator", "Equal")
