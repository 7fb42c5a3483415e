"""Rules for containers: ports, environment, probes, hooks, resources, security (pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names, quantity
from switchboard.objects.validate import addresses, environment, mounts, security
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL = ("Always", "IfNotPresent", "Never")
_RESTART = ("Always", "Never", "OnFailure")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_NOT_EPHEMERAL = ("ports", "resizePolicy", "restartPolicy", "restartPolicyRules", *_PROBES, "lifecycle")


class Pod:
    """What checks of containers need of the pod around them."""

    __slots__ = ("claims", "grace", "host_users", "names", "restart", "volumes")

    def __init__(self, spec: Object) -> None:
        self.names: set[str] = set()
        self.grace: int | None = spec.get("terminationGracePeriodSeconds")
        self.restart: str = spec.get("restartPolicy") or ""
        self.host_users: bool = spec.get("hostUsers") is not False
        self.volumes: set[str] = {each.get("name", "") for each in spec.get("volumes") or ()}
        self.claims: set[str] = {each.get("name", "") for each in spec.get("resourceClaims") or ()}


def containers(entries: list[Object], path: str, pod: Pod, errs: Errors) -> None:
    """`spec.containers`: at least one."""
    if not entries:
        errs.required(path)
    host_ports: set[str] = set()
    for i, entry in enumerate(entries):
        here = f"{path}[{i}]"
        _common(entry, here, pod, errs)
        _unique(entry, here, pod, errs)
        _running(entry, here, pod, errs)
        _restart_policy(entry, here, errs)
    for i, entry in enumerate(entries):
        _host_ports(entry, f"{path}[{i}]", host_ports, errs)


def _running(entry: Object, path: str, pod: Pod, errs: Errors) -> None:
    """Hooks and probes of a container that is meant to go on running."""
    if entry.get("lifecycle"):
        _lifecycle(entry["lifecycle"], f"{path}.lifecycle", pod, errs)
    for name in _PROBES:
        if name in entry:
            _probe(entry[name], f"{path}.{name}", name, pod, errs)


_ACTIONS = ("Restart", "RestartAllContainers")


def _restart_policy(entry: Object, path: str, errs: Errors) -> None:
    policy, rules = entry.get("restartPolicy"), entry.get("restartPolicyRules") or []
    if policy is None:
        if rules:
            errs.required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")
    elif policy not in _RESTART:
        errs.unsupported(f"{path}.restartPolicy", policy, _RESTART)
    if len(rules) > 20:
        errs.too_many(f"{path}.restartPolicyRules", len(rules), 20)
    for i, rule in enumerate(rules):
        here, codes = f"{path}.restartPolicyRules[{i}]", rule.get("exitCodes")
        if rule.get("action") not in _ACTIONS:
            errs.unsupported(f"{here}.action", rule.get("action") or "", _ACTIONS)
        if codes is None:
            errs.required(f"{here}.exitCodes", "must be specified")
            continue
        if codes.get("operator") not in ("In", "NotIn"):
            errs.unsupported(f"{here}.exitCodes.operator", codes.get("operator") or "", ("In", "NotIn"))
        if len(codes.get("values") or ()) > 255:
            errs.too_many(f"{here}.exitCodes.values", len(codes["values"]), 255)


def init_containers(entries: list[Object], path: str, pod: Pod, errs: Errors) -> None:
    """`spec.initContainers`: probes and hooks only for those that go on running. Their host ports may repeat those of
    others, since they run one by one."""
    for i, entry in enumerate(entries):
        here = f"{path}[{i}]"
        _common(entry, here, pod, errs)
        _restart_policy(entry, here, errs)
        _unique(entry, here, pod, errs)
        _host_ports(entry, f"{path}[0]", set(), errs)
        if entry.get("restartPolicy") == "Always":
            _running(entry, here, pod, errs)
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
        padded(entry, here, errs)
        _unique(entry, here, pod, errs)
        if target and target not in known:
            errs.not_found(f"{here}.targetContainerName", target)
        for name in _NOT_EPHEMERAL:
            if entry.get(name):
                errs.forbidden(f"{here}.{name}", "cannot be set for an Ephemeral Container")
        if entry.get("resources"):
            errs.forbidden(f"{here}.resources", "cannot be set for an Ephemeral Container")
        for j, mount in enumerate(entry.get("volumeMounts") or ()):
            for name in ("subPath", "subPathExpr"):
                if mount.get(name):
                    errs.forbidden(f"{here}.volumeMounts[{j}].{name}", "cannot be set for an Ephemeral Container")


def padded(entry: Object, path: str, errs: Errors) -> None:
    """Spaces around an image's name, which pods (and not templates) may not have."""
    image = entry.get("image") or ""
    if image != image.strip():
        errs.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")


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
    policy = entry.get("terminationMessagePolicy")
    if not policy:
        errs.required(f"{path}.terminationMessagePolicy")
    elif policy not in ("File", "FallbackToLogsOnError"):
        errs.unsupported(f"{path}.terminationMessagePolicy", policy, ("File", "FallbackToLogsOnError"))
    if entry.get("ports"):
        _ports(entry["ports"], f"{path}.ports", errs)
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
    _resize_policy(entry.get("resizePolicy") or [], f"{path}.resizePolicy", pod, errs)
    if entry.get("securityContext"):
        security.container(entry["securityContext"], f"{path}.securityContext", pod.host_users, errs)


_RESIZE = ("NotRequired", "RestartContainer")


def _resize_policy(entries: list[Object], path: str, pod: Pod, errs: Errors) -> None:
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        resource, policy = entry.get("resourceName") or "", entry.get("restartPolicy") or ""
        if resource in seen:
            errs.duplicate(f"{path}[{i}]", resource)
        seen.add(resource)
        errs.one_of(path, resource, ("cpu", "memory"))
        errs.one_of(path, policy, _RESIZE)
        if pod.restart == "Never" and policy != "NotRequired":
            errs.invalid(path, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'")


def _ports(ports: list[Object], path: str, errs: Errors) -> None:
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


def _host_ports(entry: Object, path: str, taken: set[str], errs: Errors) -> None:
    for i, port in enumerate(entry.get("ports") or ()):
        host = port.get("hostPort") or 0
        if host:
            key = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{host}"
            if key in taken:
                errs.duplicate(f"{path}.ports[{i}].hostPort", key)
            taken.add(key)


def host_network(spec: Object, path: str, whole: bool, errs: Errors) -> None:
    """On the host's network a container's port is the host's; a template may leave that to the pod's defaults."""
    if not spec.get("hostNetwork"):
        return
    for i, entry in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(entry.get("ports") or ()):
            host = port.get("hostPort") or 0
            if (whole or host) and host != (port.get("containerPort") or 0):
                here = f"{path}.containers[{i}].ports[{j}].hostPort"
                errs.invalid(here, host, "must match `containerPort` when `hostNetwork` is true")


def _lifecycle(hooks: Object, path: str, pod: Pod, errs: Errors) -> None:
    for name in ("postStart", "preStop"):
        if name in hooks:
            _handler(hooks[name], f"{path}.{name}", pod, errs)


def _handler(handler: Object, path: str, pod: Pod, errs: Errors) -> None:
    found = [kind for kind in _HANDLERS if kind in handler]
    for i, kind in enumerate(found):
        if i:
            errs.forbidden(f"{path}.{kind}", "may not specify more than 1 handler type")
        else:
            _action(kind, handler[kind], f"{path}.{kind}", pod, errs)
    if not found:
        errs.required(path, "must specify a handler type")


def _action(kind: str, action: Object, path: str, pod: Pod, errs: Errors) -> None:
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
        if seconds < 0 or (pod.grace is not None and seconds > pod.grace):
            errs.invalid(
                path, seconds, f"must be non-negative and less than terminationGracePeriodSeconds ({pod.grace or 0})"
            )


def _probe(probe: Object, path: str, name: str, pod: Pod, errs: Errors) -> None:
    _handler(probe, path, pod, errs)
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
_KNOWN = frozenset(
    (
        *_STANDARD,
        *(f"{part}.{name}" for part in ("requests", "limits") for name in _STANDARD),
        *("pods", "services", "services.nodeports", "services.loadbalancers", "replicationcontrollers"),
        *("secrets", "configmaps", "resourcequotas", "persistentvolumeclaims", "storage", "requests.storage"),
    )
)


def known(name: str) -> bool:
    """A resource that Kubernetes itself names."""
    return name in _KNOWN or name.startswith(("hugepages-", "requests.hugepages-"))


def resource_name(name: str, path: str, errs: Errors) -> None:
    """A resource a container can have: a standard one, hugepages, or a qualified name."""
    wrong = names.qualified_name(name)
    for message in wrong:
        errs.invalid(path, name, message)
    if "/" in name or name in _STANDARD or name.startswith("hugepages-"):
        return
    if not wrong and not known(name):
        errs.invalid(path, name, "must be a standard resource type or fully qualified")
    errs.invalid(path, name, "must be a standard resource for containers")


def resource(name: str, amount: str, path: str, errs: Errors) -> None:
    """One resource of a container and how much of it."""
    resource_name(name, path, errs)
    _amount(name, amount, path, errs)


def resources(value: Object, path: str, claims: set[str], errs: Errors) -> None:
    """Requests and limits of a container: known names, not negative, requests within limits."""
    limits, requests = value.get("limits") or {}, value.get("requests") or {}
    for name, amount in limits.items():
        resource(name, amount, f"{path}.limits[{name}]", errs)
    for name, amount in requests.items():
        resource(name, amount, f"{path}.requests[{name}]", errs)
        if name not in limits:
            if not _overcommit(name):
                errs.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
            continue
        wanted, most = quantity.of(amount), quantity.of(limits[name])
        if not _overcommit(name) and wanted.nano != most.nano:
            errs.invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limits[name]}")
        elif wanted.nano > most.nano:
            errs.invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limits[name]}")
    named = {*limits, *requests}
    if any(name.startswith("hugepages-") for name in named) and not named & {"cpu", "memory"}:
        errs.forbidden(path, "HugePages require cpu or memory")
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
