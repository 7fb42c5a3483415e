"""Rules for pod specs, pods and pod templates (pkg/apis/core/validation: ValidatePodSpec)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names
from switchboard.objects.validate import containers, labels
from switchboard.objects.validate import metadata as meta_rules
from switchboard.objects.validate.fields import Errors
from switchboard.objects.validate.volumes import volumes

Object = dict[str, Any]
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod(obj: Object, errs: Errors) -> None:
    """A new Pod but its metadata."""
    spec: Object = obj.get("spec") or {}
    pod_spec(spec, "spec", errs)
    if spec.get("ephemeralContainers"):
        errs.forbidden("spec.ephemeralContainers", "cannot be set on create")
    if spec.get("schedulingGates") and spec.get("nodeName"):
        errs.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def template(value: Object, path: str, errs: Errors) -> None:
    """A pod template: labels, annotations, spec; no ephemeral containers."""
    meta = value.get("metadata") or {}
    if meta.get("labels"):
        meta_rules.check_labels(meta["labels"], f"{path}.labels", errs)
    if meta.get("annotations"):
        meta_rules.check_annotations(meta["annotations"], f"{path}.annotations", errs)
    spec = value.get("spec") or {}
    pod_spec(spec, f"{path}.spec", errs)
    if spec.get("ephemeralContainers"):
        errs.forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def pod_spec(spec: Object, path: str, errs: Errors) -> None:
    """Every rule of a pod spec, in upstream's order."""
    around = containers.Pod(spec)
    if spec.get("volumes"):
        volumes(spec["volumes"], f"{path}.volumes", errs)
    containers.containers(spec.get("containers") or [], f"{path}.containers", around, errs)
    containers.init_containers(spec.get("initContainers") or [], f"{path}.initContainers", around, errs)
    if spec.get("ephemeralContainers"):
        known = set(around.names)
        containers.ephemeral_containers(spec["ephemeralContainers"], f"{path}.ephemeralContainers", around, known, errs)
    _policies(spec, path, errs)
    if spec.get("nodeSelector"):
        meta_rules.check_labels(spec["nodeSelector"], f"{path}.nodeSelector", errs)
    if spec.get("securityContext"):
        _security(spec["securityContext"], f"{path}.securityContext", errs)
    if spec.get("affinity"):
        _affinity(spec["affinity"], f"{path}.affinity", errs)
    _dns(spec, path, errs)
    _gates(spec, path, errs)
    for i, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        _spread(constraint, f"{path}.topologySpreadConstraints[{i}]", errs)
    _pairs(spec, path, errs)
    _names(spec, path, errs)
    if spec.get("tolerations"):
        tolerations(spec["tolerations"], f"{path}.tolerations", errs)
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        errs.check(f"{path}.hostAliases[{i}].ip", alias.get("ip") or "", names.ip)
        for host in alias.get("hostnames") or ():
            errs.check(f"{path}.hostAliases[{i}].hostnames", host, names.dns_subdomain)
    if spec.get("resources"):
        containers.resources(spec["resources"], f"{path}.resources", set(), errs)


def _policies(spec: Object, path: str, errs: Errors) -> None:
    errs.one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), ("Always", "OnFailure", "Never"))
    errs.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS)
    preemption = spec.get("preemptionPolicy")
    if preemption is not None and preemption not in ("Never", "PreemptLowerPriority"):
        errs.unsupported(f"{path}.preemptionPolicy", preemption, ("Never", "PreemptLowerPriority"))
    system = (spec.get("os") or {}).get("name")
    if "os" in spec:
        errs.one_of(f"{path}.os.name", system, ("linux", "windows"))


def _names(spec: Object, path: str, errs: Errors) -> None:
    for name, check in (
        ("serviceAccountName", names.dns_subdomain),
        ("nodeName", names.dns_subdomain),
    ):
        if spec.get(name):
            errs.check(f"{path}.{name}", spec[name], check)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        errs.invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    for name, check in (
        ("hostname", names.dns_label),
        ("subdomain", names.dns_label),
        ("priorityClassName", names.dns_subdomain),
        ("runtimeClassName", names.dns_subdomain),
        ("schedulerName", names.dns_subdomain),
    ):
        if spec.get(name):
            errs.check(f"{path}.{name}", spec[name], check)


def _pairs(spec: Object, path: str, errs: Errors) -> None:
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        errs.check(f"{path}.readinessGates[{i}].conditionType", gate.get("conditionType") or "", names.qualified_name)
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        errs.invalid(
            f"{path}.securityContext.shareProcessNamespace",
            True,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        )


def _gates(spec: Object, path: str, errs: Errors) -> None:
    seen: set[str] = set()
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        here, name = f"{path}.schedulingGates[{i}]", gate.get("name") or ""
        errs.check(here, name, names.qualified_name)
        if name in seen:
            errs.duplicate(here, name)
        seen.add(name)


def _security(context: Object, path: str, errs: Errors) -> None:
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        value = context.get(name)
        if value is not None and not 0 <= value <= 2**31 - 1:
            errs.invalid(f"{path}.{name}", value, "must be between 0 and 2147483647, inclusive")
    for i, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= 2**31 - 1:
            errs.invalid(f"{path}.supplementalGroups[{i}]", group, "must be between 0 and 2147483647, inclusive")
    seen: set[str] = set()
    for i, sysctl in enumerate(context.get("sysctls") or ()):
        name = sysctl.get("name") or ""
        if not name:
            errs.required(f"{path}.sysctls[{i}].name")
        elif name in seen:
            errs.duplicate(f"{path}.sysctls[{i}].name", name)
        seen.add(name)
    change = context.get("fsGroupChangePolicy")
    if change is not None and change not in ("Always", "OnRootMismatch"):
        errs.unsupported(f"{path}.fsGroupChangePolicy", change, ("Always", "OnRootMismatch"))
    containers.seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", errs)


def _dns(spec: Object, path: str, errs: Errors) -> None:
    config = spec.get("dnsConfig")
    here = f"{path}.dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if config is None:
            errs.required(here, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            errs.required(f"{here}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        errs.invalid(f"{here}.nameservers", servers, "must not have more than 3 nameservers")
    for i, server in enumerate(servers):
        errs.check(f"{here}.nameservers[{i}]", server, names.ip)
    if len(searches) > 32:
        errs.invalid(f"{here}.searches", searches, "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        errs.invalid(
            f"{here}.searches",
            searches,
            "must not have more than 2048 characters (including spaces) in the search list",
        )
    for i, search in enumerate(searches):
        if search != ".":
            for message in names.dns_subdomain_underscore(search.removesuffix(".")):
                errs.invalid(f"{here}.searches[{i}]", search.removesuffix("."), message)
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errs.required(f"{here}.options[{i}]", "must not be empty")


def _affinity(value: Object, path: str, errs: Errors) -> None:
    node = value.get("nodeAffinity") or {}
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    if required in node:
        labels.node_selector(node[required], f"{path}.nodeAffinity.{required}", errs)
    for i, term in enumerate(node.get(preferred) or ()):
        here = f"{path}.nodeAffinity.{preferred}[{i}]"
        _weight(term, here, errs)
        labels.node_selector_term(term.get("preference") or {}, f"{here}.preference", errs)
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = value.get(kind) or {}
        for i, term in enumerate(terms.get(required) or ()):
            _pod_term(term, f"{path}.{kind}.{required}[{i}]", errs)
        for i, term in enumerate(terms.get(preferred) or ()):
            here = f"{path}.{kind}.{preferred}[{i}]"
            _weight(term, here, errs)
            _pod_term(term.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm", errs)


def _weight(term: Object, path: str, errs: Errors) -> None:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        errs.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _pod_term(term: Object, path: str, errs: Errors) -> None:
    labels.selector(term.get("labelSelector"), f"{path}.labelSelector", errs)
    labels.selector(term.get("namespaceSelector"), f"{path}.namespaceSelector", errs)
    for namespace in term.get("namespaces") or ():
        errs.check(f"{path}.namespace", namespace, names.dns_label)
    key = term.get("topologyKey") or ""
    if not key:
        errs.required(f"{path}.topologyKey", "can not be empty")
    errs.check(f"{path}.topologyKey", key, names.qualified_name)


def _spread(value: Object, path: str, errs: Errors) -> None:
    skew = value.get("maxSkew") or 0
    if skew <= 0:
        errs.invalid(f"{path}.maxSkew", skew, "must be greater than zero")
    key = value.get("topologyKey") or ""
    if not key:
        errs.required(f"{path}.topologyKey", "can not be empty")
    else:
        errs.check(f"{path}.topologyKey", key, names.qualified_name)
    when = value.get("whenUnsatisfiable") or ""
    if when not in ("DoNotSchedule", "ScheduleAnyway"):
        errs.unsupported(f"{path}.whenUnsatisfiable", when, ("DoNotSchedule", "ScheduleAnyway"))
    domains = value.get("minDomains")
    if domains is not None:
        if domains <= 0:
            errs.invalid(f"{path}.minDomains", domains, "must be greater than zero")
        if when != "DoNotSchedule":
            errs.invalid(
                f"{path}.minDomains", domains, f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
            )
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = value.get(name)
        if policy is not None and policy not in ("Honor", "Ignore"):
            errs.unsupported(f"{path}.{name}", policy, ("Honor", "Ignore"))
    labels.selector(value.get("labelSelector"), f"{path}.labelSelector", errs)


def tolerations(values: list[Object], path: str, errs: Errors) -> None:
    """`spec.tolerations`."""
    for i, value in enumerate(values):
        here = f"{path}[{i}]"
        key, operator, effect = value.get("key") or "", value.get("operator") or "", value.get("effect") or ""
        if key:
            errs.check(f"{here}.key", key, names.qualified_name)
        if not key and operator != "Exists":
            errs.invalid(
                f"{here}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if "tolerationSeconds" in value and effect != "NoExecute":
            errs.invalid(f"{here}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        if operator in ("Equal", ""):
            for message in names.label_value(value.get("value") or ""):
                errs.invalid(f"{here}.operator", value.get("value"), message)
        elif operator == "Exists":
            if value.get("value"):
                errs.invalid(f"{here}.operator", value, "value must be empty when `operator` is 'Exists'")
        elif operator not in ("Gt", "Lt"):
            errs.unsupported(f"{here}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in _EFFECTS:
            errs.unsupported(f"{here}.effect", effect, _EFFECTS)
