"""Rules for pod specs, pods and pod templates (pkg/apis/core/validation: ValidatePodSpec)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names, podresources
from switchboard.objects.validate import affinity, containers, security
from switchboard.objects.validate import metadata as meta_rules
from switchboard.objects.validate.fields import Errors, go_struct
from switchboard.objects.validate.volumes import volumes

Object = dict[str, Any]
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod(obj: Object, errs: Errors) -> None:
    """A new Pod but its metadata."""
    spec: Object = obj.get("spec") or {}
    any_pod(obj, errs)
    if spec.get("ephemeralContainers"):
        errs.forbidden("spec.ephemeralContainers", "cannot be set on create")
    if spec.get("schedulingGates") and spec.get("nodeName"):
        errs.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def any_pod(obj: Object, errs: Errors) -> None:
    """What holds of a Pod at any time: annotations, spec, and what templates are not asked."""
    spec: Object = obj.get("spec") or {}
    known_annotations((obj.get("metadata") or {}).get("annotations") or {}, spec, errs)
    pod_spec(spec, "spec", errs, whole=True)
    if not spec.get("serviceAccountName"):
        for i, volume in enumerate(spec.get("volumes") or ()):
            for j, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if "serviceAccountToken" in source:
                    path = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                    errs.forbidden(path, "must not be specified when serviceAccountName is not set")
    for name in ("containers", "initContainers"):
        for i, entry in enumerate(spec.get(name) or ()):
            containers.padded(entry, f"spec.{name}[{i}]", errs)


MIRROR = "kubernetes.io/config.mirror"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def known_annotations(values: dict[str, str], spec: Object, errs: Errors, path: str = "metadata.annotations") -> None:
    """Annotations that mean something to a pod (ValidatePodSpecificAnnotations)."""
    if MIRROR in values and not spec.get("nodeName"):
        errs.invalid(f"{path}[{MIRROR}]", values[MIRROR], "must set spec.nodeName if mirror pod annotation is set")
    for key, value in values.items():
        if key.startswith(_APPARMOR):
            name = key.removeprefix(_APPARMOR)
            if name not in [
                entry.get("name")
                for group in ("initContainers", "containers", "ephemeralContainers")
                for entry in spec.get(group) or ()
            ]:
                errs.invalid(f"{path}[{key}]", name, "container not found")
            if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
                errs.invalid(f"{path}[{key}]", value, f'invalid AppArmor profile name: "{value}"')
    cost = values.get(_DELETION_COST)
    if cost is not None and not _is_int32(cost):
        errs.invalid(f"{path}[{_DELETION_COST}]", cost, "must be a 32bit integer")


def _is_int32(text: str) -> bool:
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit()) or (digits[0] == "0" and text != "0"):
        return False
    return -(2**31) <= int(text) < 2**31


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


def pod_spec(spec: Object, path: str, errs: Errors, *, whole: bool = False) -> None:
    """Every rule of a pod spec, in upstream's order; `whole`: of a Pod, not of a template."""
    around = containers.Pod(spec)
    if spec.get("volumes"):
        volumes(spec["volumes"], f"{path}.volumes", errs)
    containers.containers(spec.get("containers") or [], f"{path}.containers", around, errs)
    containers.init_containers(spec.get("initContainers") or [], f"{path}.initContainers", around, errs)
    if spec.get("ephemeralContainers"):
        known = set(around.names)
        containers.ephemeral_containers(spec["ephemeralContainers"], f"{path}.ephemeralContainers", around, known, errs)
    containers.host_network(spec, path, whole, errs)
    errs.one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), ("Always", "OnFailure", "Never"))
    errs.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS)
    if spec.get("nodeSelector"):
        meta_rules.check_labels(spec["nodeSelector"], f"{path}.nodeSelector", errs)
    security.pod(spec, path, errs)
    if spec.get("affinity"):
        affinity.affinity(spec["affinity"], f"{path}.affinity", errs)
    _dns(spec, path, errs)
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        errs.check(f"{path}.readinessGates[{i}].conditionType", gate.get("conditionType") or "", names.qualified_name)
    _gates(spec, path, errs)
    affinity.spread(spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints", errs)
    security.host_users(spec, path, errs)
    _names(spec, path, errs)
    if spec.get("resources"):
        resources(spec, f"{path}.resources", errs)


def resources(spec: Object, path: str, errs: Errors) -> None:
    """Resources of a pod as a whole: at least what its containers ask for, at most what none of them may exceed."""
    own = spec["resources"]
    if own.get("claims"):
        errs.forbidden(f"{path}.claims", "claims may not be set for Resources at pod-level")
    for part in ("limits", "requests"):
        for name in own.get(part) or ():
            if name not in podresources.COMPUTE and not name.startswith("hugepages-"):
                errs.unsupported(f"{path}.{part}[{name}]", name, podresources.COMPUTE)
    containers.resources({k: v for k, v in own.items() if k != "claims"}, path, set(), errs)
    least = podresources.of_pod({**spec, "resources": None, "overhead": None})
    for name, amount in podresources.amounts(own.get("requests")).items():
        if amount < least.get(name, 0):
            said = podresources.text(name, least[name])
            why = f"must be greater than or equal to aggregate container requests of {said}"
            errs.invalid(f"{path}.requests[{name}]", own["requests"][name], why)
    most = podresources.amounts(own.get("limits"))
    here = path.removesuffix(".resources")
    for group in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(group) or ()):
            for name, amount in podresources.of_container(container, "limits").items():
                if name in most and amount > most[name]:
                    field = f"{here}.{group}[{i}].resources.limits[{name}]"
                    why = f"must be less than or equal to pod limits of {own['limits'][name]}"
                    errs.invalid(field, container["resources"]["limits"][name], why)


def _names(spec: Object, path: str, errs: Errors) -> None:
    for name in ("serviceAccountName", "nodeName"):
        if spec.get(name):
            errs.check(f"{path}.{name}", spec[name], names.dns_subdomain)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        errs.invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            errs.check(f"{path}.{name}", spec[name], names.dns_label)
    _hostname_override(spec, path, errs)
    if spec.get("tolerations"):
        tolerations(spec["tolerations"], f"{path}.tolerations", errs)
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        errs.check(f"{path}.hostAliases[{i}].ip", alias.get("ip") or "", names.ip)
        for j, host in enumerate(alias.get("hostnames") or ()):
            errs.check(f"{path}.hostAliases[{i}].hostnames[{j}]", host, names.dns_subdomain)
    for name in ("priorityClassName", "runtimeClassName"):
        if spec.get(name):
            errs.check(f"{path}.{name}", spec[name], names.dns_subdomain)
    if spec.get("preemptionPolicy") is not None:
        errs.one_of(f"{path}.preemptionPolicy", spec["preemptionPolicy"], ("PreemptLowerPriority", "Never"))
    for name, amount in (spec.get("overhead") or {}).items():
        containers.resource(name, amount, f"{path}.overhead[{name}]", errs)
    security.system(spec, path, errs)


def _hostname_override(spec: Object, path: str, errs: Errors) -> None:
    name, here = spec.get("hostnameOverride"), f"{path}.hostnameOverride"
    if name is None:
        return
    if len(name) > 64:
        errs.too_long(here, 64)
    errs.check(here, name, names.dns_subdomain)
    if spec.get("hostNetwork"):
        errs.forbidden(here, "may not be specified when `hostNetwork` is true")
    if spec.get("setHostnameAsFQDN"):
        errs.forbidden(here, "may not be specified when `setHostnameAsFQDN` is true")


def _gates(spec: Object, path: str, errs: Errors) -> None:
    seen: set[str] = set()
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        here, name = f"{path}.schedulingGates[{i}]", gate.get("name") or ""
        errs.check(here, name, names.qualified_name)
        if name in seen:
            errs.duplicate(here, name)
        seen.add(name)


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
            wrong = names.label_value(value.get("value") or "")
            if wrong:
                errs.invalid(f"{here}.operator", value.get("value"), ";".join(wrong))
        elif operator == "Exists":
            if value.get("value"):
                errs.invalid(
                    f"{here}.operator", go_struct(_internal(value)), "value must be empty when `operator` is 'Exists'"
                )
        elif operator in ("Gt", "Lt"):
            if not names.DECIMAL.fullmatch(value.get("value") or ""):
                wrong_number = "must be a valid decimal integer in canonical form"
                errs.invalid(f"{here}.value", value.get("value") or "", wrong_number)
        else:
            errs.unsupported(f"{here}.operator", operator, ("Equal", "Exists", "Gt", "Lt"))
        if effect and effect not in _EFFECTS:
            errs.unsupported(f"{here}.effect", effect, _EFFECTS)


def _internal(toleration: Object) -> Object:
    text = {name.capitalize(): toleration.get(name) or "" for name in ("key", "operator", "value", "effect")}
    return {**text, "TolerationSeconds": toleration.get("tolerationSeconds")}
