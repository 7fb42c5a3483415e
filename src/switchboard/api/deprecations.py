"""Warnings about what is deprecated: whole kinds, and fields of new or changed objects.

Words from `pkg/api/{pod,service}/warnings.go` and the strategies' WarningsOnCreate/Update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from switchboard.objects.kinds import Kind

Object = dict[str, Any]
Rule = Callable[[Object, Object], Iterator[str]]

# (group, version, plural) -> warning of every request
KINDS = {
    ("", "v1", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ("", "v1", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
}

_OLD_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}
_TEMPLATES = frozenset(("deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "replicationcontrollers"))


def of(kind: Kind, obj: Object, old: Object | None) -> list[str]:
    """Warnings for a write of `obj` (over `old`); what was there before is not warned about again."""
    rule = _RULES.get((kind.group, kind.plural))
    if rule is None:
        return []
    before = set(rule(old, old)) if old is not None else set()
    return [text for text in rule(obj, old or {}) if text not in before]


def _service(obj: Object, _: Object) -> Iterator[str]:
    spec = obj.get("spec") or {}
    if spec.get("externalIPs"):
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'
    if spec.get("type") == "ExternalName" and spec.get("sessionAffinity") == "ClientIP":
        yield "spec.sessionAffinity is ignored for services of type ExternalName"


def _slice(obj: Object, _: Object) -> Iterator[str]:
    if obj.get("addressType") == "FQDN":
        yield "spec.addressType: FQDN endpoints are deprecated"


def _ingress(obj: Object, _: Object) -> Iterator[str]:
    if "kubernetes.io/ingress.class" in (obj["metadata"].get("annotations") or {}):
        yield "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"


def _cron_job(obj: Object, _: Object) -> Iterator[str]:
    schedule = (obj.get("spec") or {}).get("schedule", "")
    if "TZ=" in schedule:
        yield (
            "CRON_TZ or TZ used in spec.schedule is not officially supported, see "
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    template = ((obj.get("spec") or {}).get("jobTemplate") or {}).get("spec") or {}
    yield from _pod_spec((template.get("template") or {}).get("spec") or {}, "spec.jobTemplate.spec.template.spec")


def _pod(obj: Object, _: Object) -> Iterator[str]:
    yield from _pod_spec(obj.get("spec") or {}, "spec")


def _template(obj: Object, _: Object) -> Iterator[str]:
    yield from _pod_spec(((obj.get("spec") or {}).get("template") or {}).get("spec") or {}, "spec.template.spec")


def _pod_spec(spec: Object, path: str) -> Iterator[str]:
    for label in spec.get("nodeSelector") or ():
        if label in _OLD_LABELS:
            since, new = _OLD_LABELS[label]
            yield f'{path}.nodeSelector[{label}]: deprecated since {since}; use "{new}" instead'
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        if not alias.get("ip"):
            yield f"{path}.hostAliases[{i}].ip: is empty"
    for i, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            yield f'{path}.imagePullSecrets[{i}].name: invalid empty name ""'
    for i, volume in enumerate(spec.get("volumes") or ()):
        yield from _volume(volume, f"{path}.volumes[{i}]")
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        why = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{path}.terminationGracePeriodSeconds: {why}"
    for field in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(field) or ()):
            yield from _container(container, f"{path}.{field}[{i}]")
    yield from _host_ports(spec, path)


def _volume(volume: Object, path: str) -> Iterator[str]:
    if "gitRepo" in volume:
        yield f"{path}.gitRepo: deprecated in v1.11, and disabled by default in v1.33+"
    if "scaleIO" in volume:
        yield f"{path}.scaleIO: deprecated in v1.16, non-functional in v1.22+"
    if "cephfs" in volume:
        yield f"{path}.cephfs: deprecated in v1.28, non-functional in v1.31+"
    if "rbd" in volume:
        yield f"{path}.rbd: deprecated in v1.28, non-functional in v1.31+"


def _container(container: Object, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for i, env in enumerate(container.get("env") or ()):
        name = env.get("name", "")
        if name in seen:
            yield f'{path}.env[{i}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)
    for field, limits in (container.get("resources") or {}).items():
        if isinstance(limits, dict):
            for resource, amount in limits.items():
                if resource in ("memory", "ephemeral-storage") and str(amount).endswith("m"):
                    why = f'fractional byte value "{amount}" is invalid, must be an integer'
                    yield f"{path}.resources.{field}[{resource}]: {why}"


def _host_ports(spec: Object, path: str) -> Iterator[str]:
    for i, container in enumerate(spec.get("containers") or ()):
        seen: dict[tuple[Any, Any], int] = {}
        for j, port in enumerate(container.get("ports") or ()):
            key = (port.get("containerPort"), port.get("protocol"))
            if key in seen and not port.get("hostPort"):
                where = f"{path}.containers[{i}].ports[{seen[key]}]"
                yield f"{path}.containers[{i}].ports[{j}]: duplicate port definition with {where}"
            seen.setdefault(key, j)


_RULES: dict[tuple[str, str], Rule] = {
    ("", "services"): _service,
    ("", "pods"): _pod,
    ("discovery.k8s.io", "endpointslices"): _slice,
    ("networking.k8s.io", "ingresses"): _ingress,
    ("batch", "cronjobs"): _cron_job,
    ("", "replicationcontrollers"): _template,
    ("batch", "jobs"): _template,
    **{("apps", plural): _template for plural in _TEMPLATES},
}
