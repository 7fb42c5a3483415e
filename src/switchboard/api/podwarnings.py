"""Warnings about pod specs and what embeds them, in the order and words of `pkg/api/pod/warnings.go`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from switchboard.api.addresswarnings import of_address
from switchboard.objects import names
from switchboard.objects.quantity import QuantityError, parse

Object = dict[str, Any]

OLD_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
OLD_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
# Upstream names one volume source otherwise than the API does.
VOLUME_NAMES = {"storageos": "storageOS"}
_OLD_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def of_template(template: Object, at: str) -> Iterator[str]:
    """Warnings about a pod ("" for `at`) or a pod template at that path."""
    spec, annotations = template.get("spec") or {}, (template.get("metadata") or {}).get("annotations") or {}
    prefix = f"{at}." if at else ""
    path = f"{prefix}spec"
    yield from _placement(spec, path)
    for key, why in _OLD_ANNOTATIONS.items():
        if key in annotations:
            yield f"{prefix}metadata.annotations[{key}]: {why}"
    for i, volume in enumerate(spec.get("volumes") or ()):
        yield from _volume(volume, f"{path}.volumes[{i}]")
    yield from _overlaps(spec)
    yield from _repeats(spec, "hostAliases", "ip", path)
    yield from _repeats(spec, "imagePullSecrets", "name", path)
    for i, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            yield f'{path}.imagePullSecrets[{i}].name: invalid empty name ""'
    yield from _fractions(spec.get("overhead"), f"{path}.overhead")
    if _SECCOMP_POD in annotations and not (spec.get("securityContext") or {}).get("seccompProfile"):
        yield f"{prefix}metadata.annotations[{_SECCOMP_POD}]: {_SECCOMP}"
    for container, where in _containers(spec, path):
        yield from _annotated(spec, container, annotations, at)
        yield from _container(container, where)
    yield from _ports(spec, path)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        why = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{path}.terminationGracePeriodSeconds: {why}"
    yield from _pod_affinity(spec.get("affinity") or {}, f"{path}.affinity")
    for i, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        yield from of_address(f"{path}.dnsConfig.nameservers[{i}]", server)
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        yield from of_address(f"{path}.hostAliases[{i}].ip", alias.get("ip") or "")


def of_node_term(term: Object, path: str, *, values: bool = False) -> Iterator[str]:
    """Old node labels in a term of a node selector; with `values` also what can be no label's value."""
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key", "")
        if key in OLD_LABELS:
            yield f"{path}.matchExpressions[{i}].key: {key} is {OLD_LABELS[key]}"
        for j, value in enumerate(expression.get("values") or () if values else ()):
            for why in names.label_value(value):
                yield f"{path}.matchExpressions[{i}].values[{j}]: {value} is invalid, {why}"


def of_claim(spec: Object, path: str) -> Iterator[str]:
    """A PersistentVolumeClaim's spec."""
    for field in ("requests", "limits"):
        amounts = (spec.get("resources") or {}).get(field)
        yield from _fractions(amounts, f"{path}.resources.{field}", ("storage",))


def _placement(spec: Object, path: str) -> Iterator[str]:
    for label in sorted(spec.get("nodeSelector") or ()):
        if label in OLD_LABELS:
            yield f"{path}.nodeSelector[{label}]: {OLD_LABELS[label]}"
    nodes, at = (spec.get("affinity") or {}).get("nodeAffinity") or {}, f"{path}.affinity.nodeAffinity"
    for i, term in enumerate((nodes.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        yield from of_node_term(term, f"{at}.{_REQUIRED}.nodeSelectorTerms[{i}]")
    for i, term in enumerate(nodes.get(_PREFERRED) or ()):
        yield from of_node_term(term.get("preference") or {}, f"{at}.{_PREFERRED}[{i}].preference", values=True)
    for i, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        at, key = f"{path}.topologySpreadConstraints[{i}]", spread.get("topologyKey")
        if key in OLD_LABELS:
            yield f"{at}.topologyKey: {key} is {OLD_LABELS[key]}"
        if spread.get("labelSelector") is None:
            yield f"{at}.labelSelector: {_NO_SELECTOR}"


def _pod_affinity(affinity: Object, path: str) -> Iterator[str]:
    for field in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(field) or {}
        for i, term in enumerate(terms.get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                yield f"{path}.{field}.{_REQUIRED}[{i}].labelSelector: {_NO_SELECTOR}"
        for i, term in enumerate(terms.get(_PREFERRED) or ()):
            if (term.get("podAffinityTerm") or {}).get("labelSelector") is None:
                yield f"{path}.{field}.{_PREFERRED}[{i}].podAffinityTerm.labelSelector: {_NO_SELECTOR}"


def _volume(volume: Object, path: str) -> Iterator[str]:
    for source, why in OLD_VOLUMES.items():
        if volume.get(source) is not None:
            yield f"{path}.{VOLUME_NAMES.get(source, source)}: {why}"
    template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if template is not None:
        yield from of_claim(template.get("spec") or {}, f"{path}.ephemeral.volumeClaimTemplate.spec")


def _repeats(spec: Object, field: str, key: str, path: str) -> Iterator[str]:
    seen = set()
    for i, item in enumerate(spec.get(field) or ()):
        value = item.get(key) or ""
        if value in seen:
            yield f'{path}.{field}[{i}].{key}: duplicate {key} "{value}"'
        seen.add(value)


def _fractions(
    amounts: Object | None, path: str, resources: Iterable[str] = ("memory", "ephemeral-storage")
) -> Iterator[str]:
    for resource in resources:
        if resource not in (amounts or {}):
            continue
        try:
            amount = parse(str((amounts or {})[resource]))
        except QuantityError:  # refused by validation
            continue
        if amount.milli % 1000:
            yield f'{path}[{resource}]: fractional byte value "{amount}" is invalid, must be an integer'


def _containers(spec: Object, path: str) -> Iterator[tuple[Object, str]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            yield container, f"{path}.{field}[{i}]"


def _annotated(spec: Object, container: Object, annotations: Object, at: str) -> Iterator[str]:
    """Annotations that a security context's fields replaced (a pod's own for AppArmor are turned into them)."""
    security, name = container.get("securityContext") or {}, container.get("name", "")
    prefix = f"{at}." if at else ""
    if _SECCOMP_CONTAINER + name in annotations and not security.get("seccompProfile"):
        yield f"{prefix}metadata.annotations[{_SECCOMP_CONTAINER}{name}]: {_SECCOMP}"
    given = security.get("appArmorProfile") or (spec.get("securityContext") or {}).get("appArmorProfile")
    if at and not given and _APPARMOR + name in annotations:
        why = 'deprecated since v1.30; use the "appArmorProfile" field instead'
        yield f"{prefix}metadata.annotations[{_APPARMOR}{name}]: {why}"


def _container(container: Object, path: str) -> Iterator[str]:
    amounts = container.get("resources") or {}
    for resource in ("memory", "ephemeral-storage"):
        for field in ("limits", "requests"):
            yield from _fractions(amounts.get(field), f"{path}.resources.{field}", (resource,))
    seen: set[str] = set()
    for i, env in enumerate(container.get("env") or ()):
        name, value = env.get("name", ""), env.get("value") or ""
        reference = f"$({name})"
        hides = env.get("valueFrom") is not None or value == reference or reference not in value
        if name in seen and hides:
            yield f'{path}.env[{i}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _ports(spec: Object, path: str) -> Iterator[str]:
    same: dict[tuple[Any, Any], list[tuple[str, str, int]]] = {}
    for port, at in _each_port(spec, path):
        host, host_port = port.get("hostIP") or "", port.get("hostPort") or 0
        number, protocol = port.get("containerPort"), port.get("protocol") or ""
        if host and not host_port:
            shown = f"Name:{port.get('name') or ''} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{host}"
            yield f"{at}: hostIP set without hostPort: {{{shown}}}"
        others = same.setdefault((number, protocol), [])
        for where, other_host, other_port in others:
            if (host, host_port) == (other_host, other_port):
                yield f"{at}: duplicate port definition with {where}"
            elif not host_port or not other_port:
                yield f"{at}: overlapping port definition with {where}"
            elif host_port == other_port and bool(host) != bool(other_host):
                yield f"{at}: dangerously ambiguous port definition with {where}"
        others.append((at, host, host_port))
    named: dict[str, str] = {}
    for port, at in _each_port(spec, path):
        name = port.get("name")
        if name and name in named:
            where = named[name]
            by_name = f"services and probes that select ports by name will use {where}"
            yield f'{at}: duplicate port name "{name}" with {where}, {by_name}'
        elif name:
            named[name] = at


def _each_port(spec: Object, path: str) -> Iterator[tuple[Object, str]]:
    for container, where in _containers(spec, path):
        for i, port in enumerate(container.get("ports") or ()):
            yield port, f"{where}.ports[{i}]"


def _overlaps(spec: Object) -> Iterator[str]:
    """Files of one volume that hide each other."""
    for volume in spec.get("volumes") or ():
        name = volume.get("name", "")
        for field, what, key in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
            source = volume.get(field) or {}
            files = [(item.get("path", ""), "") for item in source.get("items") or ()]
            yield from _overlapping(f'volume "{name}" ({what} "{source.get(key) or ""}")', files)
        files = [(item.get("path", ""), "") for item in (volume.get("downwardAPI") or {}).get("items") or ()]
        yield from _overlapping(f'volume "{name}" (DownwardAPI)', files)
        if volume.get("projected") is None:
            continue
        files = []
        for source in volume["projected"].get("sources") or ():
            if not source:
                yield f'volume "{name}" (Projected) has no sources provided'
            files.extend(_projected(source))
        yield from _overlapping(f'volume "{name}" (Projected)', files)


def _projected(source: Object) -> Iterator[tuple[str, str]]:
    """(path, where it comes from) of a projected source's files."""
    for field, what in (("configMap", "ConfigMap"), ("secret", "Secret"), ("downwardAPI", "DownwardAPI")):
        given = source.get(field) or {}
        if given.get("items") is not None:
            label = what if field == "downwardAPI" else f'{what} "{given.get("name") or ""}"'
            yield from ((item.get("path", ""), label) for item in given["items"])
            return
    if source.get("serviceAccountToken") is not None:
        yield source["serviceAccountToken"].get("path", ""), "ServiceAccountToken"
    elif source.get("clusterTrustBundle") is not None:
        bundle = source["clusterTrustBundle"]
        yield bundle.get("path", ""), f'ClusterTrustBundle "{bundle.get("name") or bundle.get("signerName") or ""}"'
    elif source.get("podCertificate") is not None:
        for field, what in (
            ("certificateChainPath", "chain"),
            ("keyPath", "key"),
            ("credentialBundlePath", "credential bundle"),
        ):
            if source["podCertificate"].get(field):
                yield source["podCertificate"][field], f"PodCertificate {what}"


def _overlapping(where: str, files: list[tuple[str, str]]) -> Iterator[str]:
    before: list[tuple[str, str]] = []
    for path, source in ((path.rstrip("/"), source) for path, source in files):
        for other, origin in before if path else ():
            if other and (f"{other}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other}/")):
                yield f"{where}: overlapping paths: {_file(path, source)} with {_file(other, origin)}"
        before.append((path, source))


def _file(path: str, source: str) -> str:
    return f'"{path}" ({source})' if source else f'"{path}"'
