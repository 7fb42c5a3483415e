"""Pod Security Standards: what a pod does that the levels `baseline` and `restricted` do not allow (pure).

Every check gives (reason, detail) in upstream's words, or None. Source: `k8s.io/pod-security-admission/policy`, the
checks of the newest version of each level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Object = dict[str, Any]
Violation = tuple[str, str]
Check = Callable[[Object, Object], "Violation | None"]  # pod metadata, pod spec

LEVELS = ("privileged", "baseline", "restricted")

_CAPABILITIES = frozenset(
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID "
    "SYS_CHROOT".split()
)
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    )
)
_VOLUMES = frozenset(
    "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret".split()
)
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def _containers(spec: Object) -> Iterator[tuple[str, Object, Object]]:
    """(name, securityContext, container) of every container."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield container.get("name", ""), container.get("securityContext") or {}, container


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _plural(word: str, things: Iterable[Any]) -> str:
    return word if len(list(things)) == 1 else f"{word}s"


def _named(names: list[str]) -> str:
    return f"{_plural('container', names)} {_quoted(names)}"


def _setters(pod: bool, names: list[str]) -> str:
    """`pod and container "c"`."""
    return " and ".join((["pod"] if pod else []) + ([_named(names)] if names else []))


def _privileged(_: Object, spec: Object) -> Violation | None:
    bad = [name for name, security, _c in _containers(spec) if security.get("privileged")]
    return ("privileged", f"{_named(bad)} must not set securityContext.privileged=true") if bad else None


def _host_namespaces(_: Object, spec: Object) -> Violation | None:
    bad = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return ("host namespaces", ", ".join(bad)) if bad else None


def _host_paths(_: Object, spec: Object) -> Violation | None:
    bad = [v.get("name", "") for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return ("hostPath volumes", f"{_plural('volume', bad)} {_quoted(bad)}") if bad else None


def _host_ports(_: Object, spec: Object) -> Violation | None:
    bad: list[str] = []
    ports: set[int] = set()
    for name, _s, container in _containers(spec):
        used = {p["hostPort"] for p in container.get("ports") or () if p.get("hostPort")}
        if used:
            bad.append(name)
            ports |= used
    if not bad:
        return None
    use = "uses" if len(bad) == 1 else "use"
    word = _plural("hostPort", ports)
    return word, f"{_named(bad)} {use} {word} {', '.join(map(str, sorted(ports)))}"


def _hosts(container: Object) -> set[str]:
    handlers = [container.get(name) or {} for name in _PROBES]
    lifecycle = container.get("lifecycle") or {}
    handlers += [lifecycle.get(name) or {} for name in ("postStart", "preStop")]
    return {(h.get(kind) or {}).get("host") or "" for h in handlers for kind in ("httpGet", "tcpSocket")} - {""}


def _probe_hosts(_: Object, spec: Object) -> Violation | None:
    bad = {name: hosts for name, _s, container in _containers(spec) if (hosts := _hosts(container))}
    if not bad:
        return None
    use = "uses" if len(bad) == 1 else "use"
    found = sorted(set().union(*bad.values()))
    word = _plural("host", found)
    return f"probe or lifecycle {word}", f"{_named(list(bad))} {use} probe or lifecycle {word} {_quoted(found)}"


def _apparmor(meta: Object, spec: Object) -> Violation | None:
    pod = ((spec.get("securityContext") or {}).get("appArmorProfile") or {}).get("type") == "Unconfined"
    bad = [n for n, s, _c in _containers(spec) if (s.get("appArmorProfile") or {}).get("type") == "Unconfined"]
    notes = [
        f'"{key}"="{value}"'
        for key, value in sorted((meta.get("annotations") or {}).items())
        if key.startswith("container.apparmor.security.beta.kubernetes.io/")
        and not (value in ("", "runtime/default") or value.startswith("localhost/"))
    ]
    if not (pod or bad or notes):
        return None
    texts = [f'{_setters(pod, bad)} must not set AppArmor profile type to "Unconfined"'] if pod or bad else []
    texts += [f"{_plural('annotation', notes)} {', '.join(notes)}"] if notes else []
    return _plural("forbidden AppArmor profile", range(pod + len(bad) + len(notes))), "; ".join(texts)


def _added(security: Object) -> list[str]:
    return list((security.get("capabilities") or {}).get("add") or ())


def _capabilities(_: Object, spec: Object) -> Violation | None:
    bad = {n: wrong for n, s, _c in _containers(spec) if (wrong := set(_added(s)) - _CAPABILITIES)}
    if not bad:
        return None
    found = _quoted(sorted(set().union(*bad.values())))
    return (
        "non-default capabilities",
        f"{_named(list(bad))} must not include {found} in securityContext.capabilities.add",
    )


def _proc_mount(_: Object, spec: Object) -> Violation | None:
    if spec.get("hostUsers") is False:
        return None
    bad = {n: s["procMount"] for n, s, _c in _containers(spec) if s.get("procMount") not in (None, "Default")}
    if not bad:
        return None
    return (
        "procMount",
        f"{_named(list(bad))} must not set securityContext.procMount to {_quoted(sorted(set(bad.values())))}",
    )


def _selinux(_: Object, spec: Object) -> Violation | None:
    pod, bad = False, []
    types: set[str] = set()
    user = role = False
    own = [("", spec.get("securityContext") or {})]
    for name, security in own + [(n, s) for n, s, _c in _containers(spec)]:
        options = security.get("seLinuxOptions") or {}
        wrong = options.get("type", "") not in _SELINUX_TYPES
        if wrong:
            types.add(options["type"])
        user, role = user or bool(options.get("user")), role or bool(options.get("role"))
        if wrong or options.get("user") or options.get("role"):
            pod = pod or not name
            bad += [name] if name else []
    if not pod and not bad:
        return None
    texts = [f"{_plural('type', types)} {_quoted(sorted(types))}"] if types else []
    texts += ["user may not be set"] * user + ["role may not be set"] * role
    return "seLinuxOptions", f"{_setters(pod, bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(texts)}"


def _seccomp(security: Object) -> str:
    return str((security.get("seccompProfile") or {}).get("type") or "")


def _seccomp_baseline(_: Object, spec: Object) -> Violation | None:
    pod = _seccomp(spec.get("securityContext") or {}) == "Unconfined"
    bad = [n for n, s, _c in _containers(spec) if _seccomp(s) == "Unconfined"]
    if not pod and not bad:
        return None
    return "seccompProfile", f'{_setters(pod, bad)} must not set securityContext.seccompProfile.type to "Unconfined"'


def _sysctls(_: Object, spec: Object) -> Violation | None:
    names = [s.get("name", "") for s in (spec.get("securityContext") or {}).get("sysctls") or ()]
    bad = [name for name in names if name not in _SYSCTLS]
    return ("forbidden sysctls", ", ".join(bad)) if bad else None


def _host_process(_: Object, spec: Object) -> Violation | None:
    pod = bool(((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess"))
    bad = [n for n, s, _c in _containers(spec) if (s.get("windowsOptions") or {}).get("hostProcess")]
    if not pod and not bad:
        return None
    return "hostProcess", f"{_setters(pod, bad)} must not set securityContext.windowsOptions.hostProcess=true"


# Restricted


def _windows(spec: Object) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def _escalation(_: Object, spec: Object) -> Violation | None:
    if _windows(spec):
        return None
    bad = [n for n, s, _c in _containers(spec) if s.get("allowPrivilegeEscalation") is not False]
    text = "must set securityContext.allowPrivilegeEscalation=false"
    return ("allowPrivilegeEscalation != false", f"{_named(bad)} {text}") if bad else None


def _capabilities_restricted(_: Object, spec: Object) -> Violation | None:
    if _windows(spec):
        return None
    undropped = [n for n, s, _c in _containers(spec) if "ALL" not in ((s.get("capabilities") or {}).get("drop") or ())]
    added = {n: wrong for n, s, _c in _containers(spec) if (wrong := set(_added(s)) - {"NET_BIND_SERVICE"})}
    texts = [f'{_named(undropped)} must set securityContext.capabilities.drop=["ALL"]'] if undropped else []
    if added:
        found = _quoted(sorted(set().union(*added.values())))
        texts.append(f"{_named(list(added))} must not include {found} in securityContext.capabilities.add")
    return ("unrestricted capabilities", "; ".join(texts)) if texts else None


def _volumes(_: Object, spec: Object) -> Violation | None:
    bad: list[str] = []
    types: set[str] = set()
    for volume in spec.get("volumes") or ():
        kinds = {key for key in volume if key != "name"} - _VOLUMES
        if kinds:
            bad.append(volume.get("name", ""))
            types |= kinds
    if not bad:
        return None
    use = "uses" if len(bad) == 1 else "use"
    kind = _plural("restricted volume type", types)
    return "restricted volume types", f"{_plural('volume', bad)} {_quoted(bad)} {use} {kind} {_quoted(sorted(types))}"


def _non_root(_: Object, spec: Object) -> Violation | None:
    if spec.get("hostUsers") is False:
        return None
    pod = (spec.get("securityContext") or {}).get("runAsNonRoot")
    explicit = [n for n, s, _c in _containers(spec) if s.get("runAsNonRoot") is False]
    silent = [n for n, s, _c in _containers(spec) if s.get("runAsNonRoot") is None]
    if explicit or (pod is False and (silent or explicit)):
        text = f"{_setters(pod is False, explicit)} must not set securityContext.runAsNonRoot=false"
        return "runAsNonRoot != true", text
    if silent and not pod:
        return "runAsNonRoot != true", f"pod or {_named(silent)} must set securityContext.runAsNonRoot=true"
    return None


def _user(_: Object, spec: Object) -> Violation | None:
    if spec.get("hostUsers") is False:
        return None
    pod = (spec.get("securityContext") or {}).get("runAsUser") == 0
    bad = [n for n, s, _c in _containers(spec) if s.get("runAsUser") == 0]
    return ("runAsUser=0", f"{_setters(pod, bad)} must not set runAsUser=0") if pod or bad else None


def _seccomp_restricted(_: Object, spec: Object) -> Violation | None:
    if _windows(spec):
        return None
    fine = ("RuntimeDefault", "Localhost")
    pod = _seccomp(spec.get("securityContext") or {})
    wrong = [(n, _seccomp(s)) for n, s, _c in _containers(spec) if _seccomp(s) not in ("", *fine)]
    silent = [n for n, s, _c in _containers(spec) if not _seccomp(s)]
    pod_wrong = pod not in ("", *fine)
    if wrong or pod_wrong:
        values = sorted({value for _, value in wrong} | ({pod} if pod_wrong else set()))
        who = _setters(pod_wrong, [n for n, _ in wrong])
        return "seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {_quoted(values)}"
    if silent and not pod:
        text = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        return "seccompProfile", f"pod or {_named(silent)} {text}"
    return None


# In order of the checks' names, as upstream runs them; some of restricted take the place of those of baseline.
_BASELINE: tuple[Check, ...] = (
    _apparmor,
    _capabilities,
    _host_namespaces,
    _host_paths,
    _host_ports,
    _probe_hosts,
    _privileged,
    _proc_mount,
    _selinux,
    _seccomp_baseline,
    _sysctls,
    _host_process,
)
_RESTRICTED: tuple[Check, ...] = (
    *(c for c in _BASELINE if c not in (_capabilities, _host_paths, _seccomp_baseline)),
    _escalation,
    _capabilities_restricted,
    _volumes,
    _non_root,
    _user,
    _seccomp_restricted,
)
_CHECKS = {"privileged": (), "baseline": _BASELINE, "restricted": _RESTRICTED}


def violations(level: str, meta: Object, spec: Object) -> str:
    """What a pod (or template) does that the level does not allow, as one text; "" where nothing."""
    found = [check(meta, spec) for check in _CHECKS[level]]
    return ", ".join(f"{reason} ({detail})" for reason, detail in (f for f in found if f is not None))
