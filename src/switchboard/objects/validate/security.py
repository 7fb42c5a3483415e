"""Rules for security contexts of pods and containers (pkg/apis/core/validation: ValidateSecurityContext and
validatePodSpecSecurityContext)."""

from __future__ import annotations

import re
from typing import Any

from switchboard.objects.validate import mounts
from switchboard.objects.validate.fields import Errors, go_struct

Object = dict[str, Any]
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_INTERNAL = (  # the order in which a context's fields are told
    "Capabilities",
    "Privileged",
    "SELinuxOptions",
    "WindowsOptions",
    "RunAsUser",
    "RunAsGroup",
    "RunAsNonRoot",
    "ReadOnlyRootFilesystem",
    "AllowPrivilegeEscalation",
    "ProcMount",
    "SeccompProfile",
    "AppArmorProfile",
)


def _capitalised(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[0].upper() + key[1:]: _capitalised(inner) for key, inner in value.items()}
    return value


def _internal(context: Object) -> Object:
    given = _capitalised(context)
    given["SELinuxOptions"] = given.pop("SeLinuxOptions", None)
    return {name: given.get(name) for name in _INTERNAL}


def _identity(context: Object, name: str, path: str, errs: Errors) -> None:
    value = context.get(name)
    if value is not None and not 0 <= value <= 2**31 - 1:
        errs.invalid(f"{path}.{name}", value, "must be between 0 and 2147483647, inclusive")


def container(context: Object, path: str, host_users: bool, errs: Errors) -> None:
    """`securityContext` of a container; `host_users`: the pod has the host's users."""
    _identity(context, "runAsUser", path, errs)
    _identity(context, "runAsGroup", path, errs)
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            errs.unsupported(f"{path}.procMount", mount, ("Default", "Unmasked"))
        if host_users and mount == "Unmasked":
            errs.invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`")
    seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", errs)
    if context.get("allowPrivilegeEscalation") is False:
        words = "cannot set `allowPrivilegeEscalation` to false and "
        if context.get("privileged"):
            errs.invalid(path, go_struct(_internal(context)), f"{words}`privileged` to true")
        for capability in (context.get("capabilities") or {}).get("add") or ():
            if capability == "CAP_SYS_ADMIN":
                errs.invalid(path, go_struct(_internal(context)), f"{words}`capabilities.Add` CAP_SYS_ADMIN")
    apparmor(context.get("appArmorProfile"), f"{path}.appArmorProfile", errs)


def pod(spec: Object, path: str, errs: Errors) -> None:
    """`spec.securityContext`."""
    context: Object = spec.get("securityContext") or {}
    here = f"{path}.securityContext"
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        _identity(context, name, here, errs)
    for i, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= 2**31 - 1:
            errs.invalid(f"{here}.supplementalGroups[{i}]", group, "must be between 0 and 2147483647, inclusive")
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        errs.invalid(f"{here}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled")
    _sysctls(spec, context, f"{here}.sysctls", errs)
    _one_of(context, "fsGroupChangePolicy", here, ("Always", "OnRootMismatch"), errs)
    seccomp(context.get("seccompProfile"), f"{here}.seccompProfile", errs)
    apparmor(context.get("appArmorProfile"), f"{here}.appArmorProfile", errs)
    _one_of(context, "supplementalGroupsPolicy", here, ("Merge", "Strict"), errs)


def _one_of(context: Object, name: str, path: str, allowed: tuple[str, ...], errs: Errors) -> None:
    value = context.get(name)
    if value is not None and value not in allowed:
        errs.unsupported(f"{path}.{name}", value, allowed)


def _sysctls(spec: Object, context: Object, path: str, errs: Errors) -> None:
    seen: set[str] = set()
    for i, sysctl in enumerate(context.get("sysctls") or ()):
        name, here = sysctl.get("name") or "", f"{path}[{i}].name"
        if not name:
            errs.required(here)
        elif len(name) > 253 or re.fullmatch(_SYSCTL[1:-1], name) is None:
            errs.invalid(here, name, f"must have at most 253 characters and match regex {_SYSCTL}")
        elif name in seen:
            errs.duplicate(here, name)
        plain = name.replace("/", ".")
        if spec.get("hostNetwork") and plain.startswith("net."):
            errs.invalid(here, name, "may not be specified when 'hostNetwork' is true")
        elif spec.get("hostIPC") and plain.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")):
            errs.invalid(here, name, "may not be specified when 'hostIPC' is true")
        seen.add(name)


def seccomp(profile: Object | None, path: str, errs: Errors) -> None:
    """A seccomp profile."""
    if profile is None:
        return
    kind, local = profile.get("type"), profile.get("localhostProfile")
    if not kind:
        errs.required(f"{path}.type", "type is required when seccompProfile is set")
    elif kind not in _PROFILES:
        errs.unsupported(f"{path}.type", kind, _PROFILES)
    if kind != "Localhost":
        if local is not None:
            value = go_struct({"Type": kind or "", "LocalhostProfile": local})
            errs.invalid(f"{path}.localhostProfile", value, "can only be set when seccomp type is Localhost")
    elif local is None:
        errs.required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
    else:
        mounts.local_path(local, f"{path}.localhostProfile", errs)


def apparmor(profile: Object | None, path: str, errs: Errors) -> None:
    """An AppArmor profile."""
    if profile is None:
        return
    kind, local, here = profile.get("type"), profile.get("localhostProfile"), f"{path}.localhostProfile"
    if kind == "Localhost":
        if not local:
            errs.required(here, "must be set when AppArmor type is Localhost")
        elif local != local.strip():
            errs.invalid(here, local, "must not be padded with whitespace")
        if len((local or "").encode()) > 4095:
            errs.too_long(here, 4095)
    elif kind in ("RuntimeDefault", "Unconfined"):
        if local is not None:
            errs.invalid(here, local, "can only be set when AppArmor type is Localhost")
    elif not kind:
        errs.required(f"{path}.type", "type is required when appArmorProfile is set")
    else:
        errs.unsupported(f"{path}.type", kind, _PROFILES)


_WINDOWS_POD = (  # what a pod for Windows may not have, in the order it is told
    "securityContext.appArmorProfile",
    "securityContext.seLinuxOptions",
    "hostUsers",
    "hostPID",
    "hostIPC",
    "securityContext.seccompProfile",
    "securityContext.fsGroup",
    "securityContext.fsGroupChangePolicy",
    "securityContext.sysctls",
    "shareProcessNamespace",
    "securityContext.runAsUser",
    "securityContext.runAsGroup",
    "securityContext.supplementalGroups",
    "securityContext.supplementalGroupsPolicy",
)
_WINDOWS_CONTAINER = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def system(spec: Object, path: str, errs: Errors) -> None:
    """`spec.os`, and that nothing of the other system is set."""
    name = (spec.get("os") or {}).get("name") or ""
    if "os" not in spec:
        return
    if not name:
        errs.required(f"{path}.os.name")
    elif name not in ("linux", "windows"):
        errs.unsupported(f"{path}.os.name", name, ("linux", "windows"))
    context: Object = spec.get("securityContext") or {}
    if name == "windows":
        for field in _WINDOWS_POD:
            first, _, second = field.partition(".")
            if (context.get(second) if second else spec.get(first)) not in (None, [], False) or (
                field in ("hostUsers", "shareProcessNamespace") and field in spec
            ):
                errs.forbidden(f"{path}.{field}", "cannot be set for a windows pod")
    elif name == "linux" and "windowsOptions" in context:
        errs.forbidden(f"{path}.securityContext.windowsOptions", "windows options cannot be set for a linux pod")
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for i, entry in enumerate(spec.get(group) or ()):
            _system_of(name, entry.get("securityContext") or {}, f"{path}.{group}[{i}].securityContext", errs)


def _system_of(name: str, context: Object, path: str, errs: Errors) -> None:
    if name == "linux" and "windowsOptions" in context:
        errs.forbidden(f"{path}.windowsOptions", "windows options cannot be set for a linux pod")
    elif name == "windows":
        for field in _WINDOWS_CONTAINER:
            if context.get(field) is not None:
                errs.forbidden(f"{path}.{field}", "cannot be set for a windows pod")


def host_users(spec: Object, path: str, errs: Errors) -> None:
    """Users of its own do not go with the host's namespaces."""
    if spec.get("hostUsers") is not False:
        return
    for field, told in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(field):
            errs.forbidden(f"{path}.{told}", "when `pod.Spec.HostUsers` is false")
