"""Rules for containers: ports, environment, probes, hooks, resources, security (pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names, quantity
from switchboard.objects.validate import addresses, environment, mounts
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL = ("Always", "IfNotPresent", "Never")
_RESTART = ("Always", "Never", "OnFailure")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_NOT_EPHEMERAL = ("ports", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "resizePolicy")


class Pod:
    """What checks of containers need of the pod around them."""

    __slots__ = ("claims", "host_network", "host_ports", "names", "volumes")

    def __init__(self, spec: Object) -> None:
        self.names: set[str] = set()
        self.host_ports: set[str] = set()
        self.volumes: set[str] = {each.get("name", "") for each in spec.get("volumes") or ()}
        self.claims: set[str] = {each.get("name", "") for each in spec.get("resourceClaims") or ()}
        self.host_network = bool(spec.get("hostNetwork"))


def containers(entries: list[Object], path: str, pod: Pod, errs: Errors) -> None:
    """`spec.containers`: at least one."""
    if not entries:
        errs.required(path)
    for i, entry in enumerate(entries):
        here = f"{path}[{i}]"
        _common(entry, here, pod, errs)
        _unique(entry, here, pod, errs)
        if entry.get("lifecycle"):
            _lifecycle(entry["lifecycle"], f"{here}.lifecycle", errs)
        for name in _PROBES:
            if name in entry:
                _probe(entry[name], f"{here}.{name}", name, pod, errs)
        _restart_policy(entry, here, errs)


def _restart_policy(entry: Object, path: str, errs: Errors) -> None:
    policy = entry.get("restartPolicy")
    if policy is not None and policy not in _RESTART:
        errs.unsupported(f"{path}.restartPolicy", policy, _RESTART)


def init_containers(entries: list[Object], path: str, pod: Pod, errs: Errors) -> None:
    """`spec.initContainers`: probes and hooks only for those that go on running."""
    for i, entry in enumerate(entries):
        here = f"{path}[{i}]"
        _common(entry, here, pod, errs)
        sidecar = entry.get("restartPolicy") == "Always"
        _restart_policy(entry, here, errs)
        _unique(entry, here, pod, errs)
        if sidecar:
            if entry.get("lifecycle"):
                _lifecycle(entry["lifecycle"], f"{here}.lifecycle", errs)
            for name in _PROBES:
                if name in entry:
                    _probe(entry[name], f"{here}.{name}", name, pod, errs)
            continue
        for name in ("lifecycle", *_PROBES):
            if name in entry:
                errs.forbidden(f"{here}.{name}", "may not be set for init containers without restartPolicy=Always")


def ephemeral_containers(entries: list[Object], path: str, pod: Pod, known: set[str], errs: Errors) -> None:
    """`spec.ephemeralContainers`: no ports, probes, hooks or resources."""
    for i, entry in enumerate(entries):
        here = f"{path}[{i}]"
        target = entry.get("targetContainerName")
        _common(entry, here, pod, errs)
        _unique(entry, here, pod, errs)
        if target and target not in known:
            errs.not_found(f"{here}.targetContainerName", target)
        for name in _NOT_EPHEMERAL:
            if entry.get(name):
                errs.forbidden(f"{here}.{name}", "cannot be set for an Ephemeral Container")
        if entry.get("resources"):
            errs.forbidden(f"{here}.resources", "cannot be set for an Ephemeral Container")


def _unique(entry: Object, path: str, pod: Pod, errs: Errors) -> None:
    name = entry.get("name") or ""
    if name in pod.names:
        errs.duplicate(f"{path}.name", name)
    elif name:
        pod.names.add(name)


def _common(entry: Object, path: str, pod: Pod, errs: Errors) -> None:
    name, image = entry.get("name") or "", entry.get("image") or ""
    if not name:
        errs.required(f"{path}.name")
    else:
        errs.check(f"{path}.name", name, names.dns_label)
    if not image:
        errs.required(f"{path}.image")
    elif image != image.strip():
        errs.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    policy = entry.get("terminationMessagePolicy")
    if not policy:
        errs.required(f"{path}.terminationMessagePolicy")
    elif policy not in ("File", "FallbackToLogsOnError"):
        errs.unsupported(f"{path}.terminationMessagePolicy", policy, ("File", "FallbackToLogsOnError"))
    if entry.get("ports"):
        _ports(entry["ports"], f"{path}.ports", pod, errs)
    for i, one in enumerate(entry.get("env") or ()):
        environment.variable(one, f"{path}.env[{i}]", errs)
    for i, source in enumerate(entry.get("envFrom") or ()):
        environment.env_from(source, f"{path}.envFrom[{i}]", errs)
    if entry.get("volumeMounts"):
        mounts.mounts(entry, path, pod.volumes, errs)
    mounts.devices(entry, path, pod.volumes, errs)
    pull = entry.get("imagePullPolicy")
    if not pull:
        errs.required(f"{path}.imagePullPolicy")
    elif pull not in _PULL:
        errs.unsupported(f"{path}.imagePullPolicy", pull, _PULL)
    if entry.get("resources"):
        resources(entry["resources"], f"{path}.resources", pod.claims, errs)
    if entry.get("securityContext"):
        _security(entry["securityContext"], f"{path}.securityContext", errs)


def _ports(ports: list[Object], path: str, pod: Pod, errs: Errors) -> None:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        here = f"{path}[{i}]"
        name = port.get("name")
        if name:
            errs.check(f"{here}.name", name, names.port_name)
            if name in seen:
                errs.duplicate(f"{here}.name", name)
            seen.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            errs.required(f"{here}.containerPort")
        else:
            errs.port(f"{here}.containerPort", number)
        if host:
            errs.port(f"{here}.hostPort", host)
        protocol = port.get("protocol")
        if not protocol:
            errs.required(f"{here}.protocol")
        elif protocol not in _PROTOCOLS:
            errs.unsupported(f"{here}.protocol", protocol, _PROTOCOLS)
        if port.get("hostIP"):
            errs.check(f"{here}.hostIP", port["hostIP"], names.ip)
    for i, port in enumerate(ports):
        host = port.get("hostPort") or 0
        if host:
            key = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{host}"
            if key in pod.host_ports:
                errs.duplicate(f"{path}[{i}].hostPort", key)
            pod.host_ports.add(key)
            if pod.host_network and host != port.get("containerPort"):
                errs.invalid(
                    f"{path}[{i}].containerPort",
                    port.get("containerPort"),
                    "must match `hostPort` when `hostNetwork` is true",
                )


def _lifecycle(hooks: Object, path: str, errs: Errors) -> None:
    for name in ("postStart", "preStop"):
        if name in hooks:
            _handler(hooks[name], f"{path}.{name}", errs)


def _handler(handler: Object, path: str, errs: Errors) -> None:
    found = [kind for kind in _HANDLERS if kind in handler]
    for i, kind in enumerate(found):
        if i:
            errs.forbidden(f"{path}.{kind}", "may not specify more than 1 handler type")
        else:
            _action(kind, handler[kind], f"{path}.{kind}", errs)
    if not found:
        errs.required(path, "must specify a handler type")


def _action(kind: str, action: Object, path: str, errs: Errors) -> None:
    if kind == "exec":
        if not action.get("command"):
            errs.required(f"{path}.command")
    elif kind == "httpGet":
        if not action.get("path"):
            errs.required(f"{path}.path")
        addresses.port_or_name(f"{path}.port", action.get("port", 0), errs)
        if action.get("scheme") not in ("HTTP", "HTTPS"):
            errs.unsupported(f"{path}.scheme", action.get("scheme", ""), ("HTTP", "HTTPS"))
        for header in action.get("httpHeaders") or ():
            for message in names.http_header(header.get("name") or ""):
                errs.invalid(f"{path}.httpHeaders", header.get("name") or "", message)
    elif kind == "tcpSocket":
        addresses.port_or_name(f"{path}.port", action.get("port", 0), errs)
    elif kind == "grpc":
        errs.port(f"{path}.port", action.get("port") or 0)
    elif kind == "sleep":
        seconds = action.get("seconds") or 0
        if seconds < 0:
            errs.invalid(path, seconds, "must be greater than 0 and less than terminationGracePeriodSeconds")


def _probe(probe: Object, path: str, name: str, pod: Pod, errs: Errors) -> None:
    _handler(probe, path, errs)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        errs.not_negative(f"{path}.{field}", probe.get(field))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        errs.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0")
    if name == "readinessProbe":
        if grace is not None:
            errs.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
    elif (probe.get("successThreshold") or 0) != 1:
        errs.invalid(f"{path}.successThreshold", probe.get("successThreshold") or 0, "must be 1")


_STANDARD = ("cpu", "memory", "ephemeral-storage")


def resource_name(name: str, path: str, errs: Errors) -> None:
    """A resource a container can have: a standard one, hugepages, or a qualified name."""
    wrong = names.qualified_name(name)
    for message in wrong:
        errs.invalid(path, name, message)
    if not wrong and "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        errs.invalid(path, name, "must be a standard resource type or fully qualified")
        errs.invalid(path, name, "must be a standard resource for containers")


def resources(value: Object, path: str, claims: set[str], errs: Errors) -> None:
    """Requests and limits of a container: known names, not negative, requests within limits."""
    limits, requests = value.get("limits") or {}, value.get("requests") or {}
    for name, amount in limits.items():
        here = f"{path}.limits[{name}]"
        resource_name(name, here, errs)
        _amount(name, amount, here, errs)
    for name, amount in requests.items():
        here = f"{path}.requests[{name}]"
        resource_name(name, here, errs)
        _amount(name, amount, here, errs)
        if name not in limits:
            if not _overcommit(name):
                errs.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
            continue
        wanted, most = quantity.of(amount), quantity.of(limits[name])
        if not _overcommit(name) and wanted.nano != most.nano:
            errs.invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limits[name]}")
        elif wanted.nano > most.nano:
            errs.invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limits[name]}")
    for i, claim in enumerate(value.get("claims") or ()):
        if not claim.get("name"):
            errs.required(f"{path}.claims[{i}].name")
        elif claim["name"] not in claims:
            errs.not_found(f"{path}.claims[{i}]", claim["name"])


def _overcommit(name: str) -> bool:
    """Requests below limits are fine for plain resources; extended ones and hugepages must be equal."""
    return ("/" not in name and not name.startswith("hugepages-")) or name.split("/")[0].endswith("kubernetes.io")


def _amount(name: str, amount: str, path: str, errs: Errors) -> None:
    value = quantity.of(amount)
    if value.nano < 0:
        errs.invalid(path, amount, "must be greater than or equal to 0")
    if (not _overcommit(name) or name == "pods") and value.nano % quantity.NANO:
        errs.invalid(path, amount, "must be an integer")


def _security(context: Object, path: str, errs: Errors) -> None:
    for name in ("runAsUser", "runAsGroup"):
        value = context.get(name)
        if value is not None and not 0 <= value <= 2**31 - 1:
            errs.invalid(f"{path}.{name}", value, "must be between 0 and 2147483647, inclusive")
    mount = context.get("procMount")
    if mount is not None and mount not in ("Default", "Unmasked"):
        errs.unsupported(f"{path}.procMount", mount, ("Default", "Unmasked"))
    seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", errs)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            errs.invalid(path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            errs.invalid(
                path, context, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            )


def seccomp(profile: Object | None, path: str, errs: Errors) -> None:
    """A seccomp (or, in the same shape, AppArmor) profile."""
    if profile is None:
        return
    kind, local = profile.get("type"), profile.get("localhostProfile")
    if not kind:
        errs.required(f"{path}.type", "type is required when seccompProfile is set")
    elif kind == "Localhost":
        if local is None:
            errs.required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            mounts.local_path(local, f"{path}.localhostProfile", errs)
    elif local is not None:
        errs.invalid(f"{path}.localhostProfile", local, "can only be set when seccomp type is Localhost")
    if kind and kind not in ("Localhost", "RuntimeDefault", "Unconfined"):
        errs.unsupported(f"{path}.type", kind, ("Localhost", "RuntimeDefault", "Unconfined"))
