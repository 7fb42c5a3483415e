"""The one table of what differs between kinds: strategies, handlers of subresources, and kinds with verbs of their
own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from switchboard.api.kinds import bindings, pods, policies, pools, reviews, scale, signing, tokens
from switchboard.api.kinds.base import (
    Conditional,
    CreatedOnUpdate,
    Generational,
    Plain,
    Returned,
    Strategy,
)
from switchboard.api.kinds.definitions import DefinitionStrategy
from switchboard.api.kinds.services import ServiceStrategy
from switchboard.api.kinds.spaces import NamespaceStrategy
from switchboard.api.kinds.workloads import ControllerStrategy, DaemonStrategy, JobStrategy, PodTemplateStrategy
from switchboard.api.paths import LASTING
from switchboard.objects.kinds import Kind
from switchboard.transport.messages import Response

if TYPE_CHECKING:
    from switchboard.api.call import Call

Handler = Callable[["Call"], "Response | Awaitable[Response]"]
Pools = pools.Pools

_DEFAULT = Plain()
_GENERATIONAL = Generational()
_STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "services"): ServiceStrategy(),
    ("", "pods"): pods.PodStrategy(),
    ("", "namespaces"): NamespaceStrategy(),
    ("", "serviceaccounts"): Returned(),
    ("", "persistentvolumes"): Returned(),
    ("", "persistentvolumeclaims"): Returned(),
    ("", "podtemplates"): PodTemplateStrategy(),
    ("", "resourcequotas"): Returned(),
    ("", "replicationcontrollers"): ControllerStrategy(),
    ("", "endpoints"): policies.EndpointsStrategy(),
    ("", "events"): CreatedOnUpdate(),
    ("events.k8s.io", "events"): CreatedOnUpdate(),
    ("", "limitranges"): CreatedOnUpdate(),
    ("coordination.k8s.io", "leases"): policies.LeaseStrategy(),
    ("apps", "deployments"): _GENERATIONAL,
    ("apps", "replicasets"): _GENERATIONAL,
    ("apps", "statefulsets"): _GENERATIONAL,
    ("apps", "daemonsets"): DaemonStrategy(),
    ("batch", "jobs"): JobStrategy(),
    ("batch", "cronjobs"): _GENERATIONAL,
    ("policy", "poddisruptionbudgets"): _GENERATIONAL,
    ("autoscaling", "horizontalpodautoscalers"): _DEFAULT,
    ("networking.k8s.io", "ingresses"): _GENERATIONAL,
    ("networking.k8s.io", "ingressclasses"): _GENERATIONAL,
    ("networking.k8s.io", "networkpolicies"): _GENERATIONAL,
    ("networking.k8s.io", "servicecidrs"): Conditional(),
    ("networking.k8s.io", "ipaddresses"): Conditional(),
    ("discovery.k8s.io", "endpointslices"): policies.EndpointSliceStrategy(),
    ("rbac.authorization.k8s.io", "roles"): CreatedOnUpdate(),
    ("rbac.authorization.k8s.io", "clusterroles"): CreatedOnUpdate(),
    ("rbac.authorization.k8s.io", "rolebindings"): CreatedOnUpdate(),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): CreatedOnUpdate(),
    ("certificates.k8s.io", "certificatesigningrequests"): signing.SigningStrategy(),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): policies.WebhookStrategy(),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): policies.WebhookStrategy(),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): _GENERATIONAL,
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): _GENERATIONAL,
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"): _GENERATIONAL,
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"): _GENERATIONAL,
    ("apiextensions.k8s.io", "customresourcedefinitions"): DefinitionStrategy(),
    ("apiregistration.k8s.io", "apiservices"): Conditional(),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): _GENERATIONAL,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): _GENERATIONAL,
    ("scheduling.k8s.io", "priorityclasses"): policies.PriorityClassStrategy(),
    ("storage.k8s.io", "csidrivers"): _GENERATIONAL,
}

_CUSTOM = policies.CustomStrategy()

# Subresources with handlers of their own; the others show the object itself and go through the usual verbs.
_SUBRESOURCES: dict[tuple[str, str, str], Handler] = {
    ("", "pods", "binding"): bindings.bind,
    ("", "pods", "eviction"): bindings.evict,
    ("", "serviceaccounts", "token"): tokens.create,
}
_SCALED = frozenset(
    (("apps", "deployments"), ("apps", "replicasets"), ("apps", "statefulsets"), ("", "replicationcontrollers"))
)

# Kinds that are questions rather than stored objects.
_VERBS: dict[tuple[str, str, str], Handler] = {
    ("", "bindings", "create"): bindings.bind,
    ("", "componentstatuses", "get"): reviews.component_status,
    ("", "componentstatuses", "list"): reviews.component_statuses,
    ("authentication.k8s.io", "selfsubjectreviews", "create"): reviews.self_subject,
    ("authentication.k8s.io", "tokenreviews", "create"): tokens.review,
    ("authorization.k8s.io", "selfsubjectaccessreviews", "create"): reviews.self_access,
    ("authorization.k8s.io", "subjectaccessreviews", "create"): reviews.access,
    ("authorization.k8s.io", "localsubjectaccessreviews", "create"): reviews.access,
    ("authorization.k8s.io", "selfsubjectrulesreviews", "create"): reviews.self_rules,
}


def strategy(kind: Kind) -> Strategy:
    """The strategy of a kind."""
    if kind.custom:
        return _CUSTOM
    return _STRATEGIES.get((kind.group, kind.plural), _DEFAULT)


def subresource(kind: Kind, sub: str) -> Handler | None:
    """The handler of a subresource that is not just a view of the object."""
    if sub == "scale" and (kind.custom or (kind.group, kind.plural) in _SCALED):
        return scale.handle
    if sub in LASTING:
        from switchboard.api import proxying, streams

        return proxying.handle if sub == "proxy" else streams.handle
    return _SUBRESOURCES.get((kind.group, kind.plural, sub))


def verb(kind: Kind, name: str) -> Handler | None:
    """The handler of a kind that is not stored."""
    return _VERBS.get((kind.group, kind.plural, name))
