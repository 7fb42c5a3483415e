"""Warnings about what is deprecated or surprising: whole kinds, and fields of new or changed objects.

Words and moments from the strategies' WarningsOnCreate and WarningsOnUpdate (`pkg/registry`, `pkg/api/*/warnings.go`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from switchboard.api import podwarnings
from switchboard.api.addresswarnings import of_address, of_cidr
from switchboard.objects import names
from switchboard.objects.kinds import Kind

Object = dict[str, Any]
Rule = Callable[[Object, Object | None], Iterator[str]]

# (group, version, plural) -> warning of every request
KINDS = {
    ("", "v1", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ("", "v1", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
}

_OWN_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_HINTS, _TOPOLOGY = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_BETA_OPTIONS = "volume.beta.kubernetes.io/mount-options"
_MANY_INDEXES = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
    "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
)


def of(kind: Kind, obj: Object, old: Object | None) -> list[str]:
    """Warnings for a write of `obj` (over `old`)."""
    rule = _RULES.get((kind.group, kind.plural))
    return list(rule(obj, old)) if rule is not None else []


def _annotations(obj: Object) -> Object:
    return obj["metadata"].get("annotations") or {}


def _service(obj: Object, _: Object | None) -> Iterator[str]:
    spec = obj.get("spec") or {}
    kind, external, balancer = spec.get("type"), spec.get("externalIPs") or (), spec.get("loadBalancerIP") or ""
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if _HINTS in _annotations(obj):
        yield f"annotation {_HINTS} is deprecated, please use {_TOPOLOGY} instead"
    if spec.get("clusterIP") not in (None, "", "None"):
        for i, address in enumerate(spec.get("clusterIPs") or ()):
            yield from of_address(f"spec.clusterIPs[{i}]", address)
    if headless:
        ignored = (
            ("loadBalancerIP", balancer),
            ("externalIPs", external),
            ("SessionAffinity", spec.get("sessionAffinity") != "None"),
        )
        yield from (f"spec.{field} is ignored for headless services" for field, given in ignored if given)
    for i, address in enumerate(external):
        yield from of_address(f"spec.externalIPs[{i}]", address)
    if external and not headless and kind != "ExternalName":
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    yield from of_address("spec.loadBalancerIP", balancer)
    for i, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from of_cidr(f"spec.loadBalancerSourceRanges[{i}]", cidr)
    if kind == "ExternalName" and external:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if kind != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _slice(obj: Object, old: Object | None) -> Iterator[str]:
    if obj.get("addressType") == "FQDN" and old is None:
        yield "spec.addressType: FQDN endpoints are deprecated"
    labels = obj["metadata"].get("labels") or {}
    if labels.get("endpointslice.kubernetes.io/managed-by") in _OWN_CONTROLLERS:
        return  # these write every address in its proper form
    for i, endpoint in enumerate(obj.get("endpoints") or ()):
        for j, address in enumerate(endpoint.get("addresses") or ()):
            yield from of_address(f"endpoints[{i}].addresses[{j}]", address)


def _endpoints(obj: Object, _: Object | None) -> Iterator[str]:
    if (obj["metadata"].get("labels") or {}).get("endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return
    for i, subset in enumerate(obj.get("subsets") or ()):
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field) or ()):
                yield from of_address(f"subsets[{i}].{field}[{j}].ip", address.get("ip") or "")


def _network_policy(obj: Object, _: Object | None) -> Iterator[str]:
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate((obj.get("spec") or {}).get(field) or ()):
            for j, peer in enumerate(rule.get(peers) or ()):
                block, at = peer.get("ipBlock") or {}, f"spec.{field}[{i}].{peers}[{j}].ipBlock"
                yield from of_cidr(f"{at}.cidr", block.get("cidr") or "")
                for k, cidr in enumerate(block.get("except") or ()):
                    yield from of_cidr(f"{at}.except[{k}]", cidr)


def _ingress(obj: Object, old: Object | None) -> Iterator[str]:
    if old is None and _INGRESS_CLASS in _annotations(obj) and (obj.get("spec") or {}).get("ingressClassName") is None:
        yield f"annotation \"{_INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"


def _account(obj: Object, old: Object | None) -> Iterator[str]:
    if _MOUNTABLE in _annotations(obj) and (old is None or _MOUNTABLE not in _annotations(old)):
        why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        yield f"metadata.annotations[{_MOUNTABLE}]: {why}"


def _claim(obj: Object, _: Object | None) -> Iterator[str]:
    yield from _storage_class_annotation(obj)
    yield from podwarnings.of_claim(obj.get("spec") or {}, "spec")


def _storage_class_annotation(obj: Object) -> Iterator[str]:
    if _BETA_CLASS in _annotations(obj):
        why = 'deprecated since v1.8; use "storageClassName" attribute instead'
        yield f"metadata.annotations[{_BETA_CLASS}]: {why}"


def _volume(obj: Object, _: Object | None) -> Iterator[str]:
    spec = obj.get("spec") or {}
    yield from _storage_class_annotation(obj)
    if _BETA_OPTIONS in _annotations(obj):
        yield f'metadata.annotations[{_BETA_OPTIONS}]: deprecated since v1.31; use "mountOptions" attribute instead'
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        why = "Instead, the recommended approach is to use dynamic provisioning."
        yield f"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. {why}"
    for i, term in enumerate(((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()):
        yield from podwarnings.of_node_term(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{i}]")
    for source in ("cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"):
        if spec.get(source) is not None:
            yield f"spec.{podwarnings.VOLUME_NAMES.get(source, source)}: {podwarnings.OLD_VOLUMES[source]}"


def _storage_class(obj: Object, _: Object | None) -> Iterator[str]:
    for i, topology in enumerate(obj.get("allowedTopologies") or ()):
        for j, expression in enumerate(topology.get("matchLabelExpressions") or ()):
            if (key := expression.get("key")) in podwarnings.OLD_LABELS:
                yield f"allowedTopologies[{i}].matchLabelExpressions[{j}].key: {podwarnings.OLD_LABELS[key]}"


def _capacity(obj: Object, _: Object | None) -> Iterator[str]:
    selector = obj.get("nodeTopology") or {}
    yield from podwarnings.of_node_term(selector, "nodeTopology")
    for label in sorted(selector.get("matchLabels") or ()):
        if label in podwarnings.OLD_LABELS:
            yield f"nodeTopology.matchLabels.{label}: {podwarnings.OLD_LABELS[label]}"


def _runtime_class(obj: Object, _: Object | None) -> Iterator[str]:
    for label in sorted((obj.get("scheduling") or {}).get("nodeSelector") or ()):
        if label in podwarnings.OLD_LABELS:
            yield f"scheduling.nodeSelector: {podwarnings.OLD_LABELS[label]}"


def _node(obj: Object, _: Object | None) -> Iterator[str]:
    spec = obj.get("spec") or {}
    if spec.get("configSource") is not None:
        yield "spec.configSource: the feature is removed"
    if spec.get("externalID"):
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"


def _pod(obj: Object, old: Object | None) -> Iterator[str]:
    if old is None:  # pods are changed by programs, often
        yield from _host_name(obj, "the Pod's hostname")
        yield from podwarnings.of_template(obj, "")


def _host_name(obj: Object, used: str) -> Iterator[str]:
    why = names.dns_label(obj["metadata"].get("name") or "")
    if why:
        risk = "which can result in surprising behavior; a DNS label is recommended"
        yield f"metadata.name: this is used in {used}, {risk}: [{' '.join(why)}]"


def _named(obj: Object, old: Object | None) -> Iterator[str]:
    if old is None:
        yield from _host_name(obj, "Pod names and hostnames")
    yield from _template(obj, old)


def _changed(obj: Object, old: Object | None) -> bool:
    return old is None or obj["metadata"].get("generation") != old["metadata"].get("generation")


def _template(obj: Object, old: Object | None) -> Iterator[str]:
    if _changed(obj, old):
        yield from podwarnings.of_template((obj.get("spec") or {}).get("template") or {}, "spec.template")


def _pod_template(obj: Object, old: Object | None) -> Iterator[str]:
    if _changed(obj, old):
        yield from podwarnings.of_template(obj.get("template") or {}, "template")


def _stateful_set(obj: Object, old: Object | None) -> Iterator[str]:
    yield from _template(obj, old)
    spec = obj.get("spec") or {}
    if _changed(obj, old):
        for i, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            at = f"spec.volumeClaimTemplates[{i}]" + ("" if old is None else ".Spec")  # upstream's two paths
            yield from podwarnings.of_claim(claim.get("spec") or {}, at)
    if (spec.get("revisionHistoryLimit") or 0) < 0:
        why = "a negative value retains all historical revisions; a value >= 0 is recommended"
        yield f"spec.revisionHistoryLimit: {why}"


def _job(obj: Object, old: Object | None) -> Iterator[str]:
    if old is None:
        yield from _host_name(obj, "Pod names and hostnames")
    if _changed(obj, old):
        yield from _job_spec(obj.get("spec") or {}, "spec")


def _cron_job(obj: Object, old: Object | None) -> Iterator[str]:
    spec = obj.get("spec") or {}
    if old is None:
        yield from _host_name(obj, "Pod names and hostnames")
    if _changed(obj, old):
        yield from _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    if old is not None and "TZ" in spec.get("schedule", ""):
        docs = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"
        yield f"cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see {docs} for more details"


def _job_spec(spec: Object, path: str) -> Iterator[str]:
    many = (spec.get("completions") or 0) > 100_000 and (spec.get("parallelism") or 0) > 10_000
    if spec.get("completionMode") == "Indexed" and many:
        yield f"{path}: {_MANY_INDEXES}"
    yield from podwarnings.of_template(spec.get("template") or {}, f"{path}.template")


_RULES: dict[tuple[str, str], Rule] = {
    ("", "services"): _service,
    ("", "pods"): _pod,
    ("", "endpoints"): _endpoints,
    ("", "nodes"): _node,
    ("", "persistentvolumes"): _volume,
    ("", "persistentvolumeclaims"): _claim,
    ("", "podtemplates"): _pod_template,
    ("", "replicationcontrollers"): _named,
    ("", "serviceaccounts"): _account,
    ("apps", "daemonsets"): _template,
    ("apps", "deployments"): _named,
    ("apps", "replicasets"): _named,
    ("apps", "statefulsets"): _stateful_set,
    ("batch", "cronjobs"): _cron_job,
    ("batch", "jobs"): _job,
    ("discovery.k8s.io", "endpointslices"): _slice,
    ("networking.k8s.io", "ingresses"): _ingress,
    ("networking.k8s.io", "networkpolicies"): _network_policy,
    ("node.k8s.io", "runtimeclasses"): _runtime_class,
    ("storage.k8s.io", "csistoragecapacities"): _capacity,
    ("storage.k8s.io", "storageclasses"): _storage_class,
}
