"""Rules for what containers get from outside: environment variables and the downward API
(pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]
_ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_RESOURCE_FIELDS = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)


def variable(entry: Object, path: str, errs: Errors) -> None:
    """One entry of `env`: a name, and a value or one source."""
    name = entry.get("name") or ""
    if not name:
        errs.required(f"{path}.name")
    else:
        errs.check(f"{path}.name", name, names.env_name)
    source = entry.get("valueFrom")
    if source is None:
        return
    here = f"{path}.valueFrom"
    kinds = [
        kind
        for kind in ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
        if kind in source
    ]
    if "fieldRef" in source:
        field_ref(source["fieldRef"], f"{here}.fieldRef", _ENV_FIELDS, errs)
    if "resourceFieldRef" in source:
        resource_ref(source["resourceFieldRef"], f"{here}.resourceFieldRef", False, errs)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in source:
            _key_ref(source[kind], f"{here}.{kind}", errs)
    if "fileKeyRef" in source:
        for part in ("key", "volumeName", "path"):
            if not source["fileKeyRef"].get(part):
                errs.required(f"{here}.fileKeyRef.{part}")
    if not kinds:
        errs.invalid(
            here,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        )
    elif entry.get("value"):
        errs.invalid(here, "", "may not be specified when `value` is not empty")
    elif len(kinds) > 1:
        errs.invalid(here, "", "may not have more than one field specified at a time")


def _key_ref(reference: Object, path: str, errs: Errors) -> None:
    if not reference.get("name"):
        errs.required(f"{path}.name")
    if not reference.get("key"):
        errs.required(f"{path}.key")
    else:
        errs.check(f"{path}.key", reference["key"], names.config_key)


_KNOWN_FIELDS = (
    set(_ENV_FIELDS)
    | set(VOLUME_FIELDS)
    | {
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.hostNetwork",
        "status.phase",
        "status.nominatedNodeName",
        "spec.host",
    }
)


def field_ref(reference: Object, path: str, allowed: tuple[str, ...], errs: Errors) -> None:
    """A downward API field."""
    if not reference.get("apiVersion"):
        errs.required(f"{path}.apiVersion")
        return
    field = reference.get("fieldPath") or ""
    if not field:
        errs.required(f"{path}.fieldPath")
        return
    base, bracket, key = field.partition("['")
    if bracket and key.endswith("']") and base in ("metadata.annotations", "metadata.labels"):
        wanted = key[:-2]
        for message in names.qualified_name(wanted.lower() if base.endswith("annotations") else wanted):
            errs.invalid(path, wanted, message)
        return
    if base not in _KNOWN_FIELDS:
        errs.invalid(f"{path}.fieldPath", field, f"error converting fieldPath: field label not supported: {field}")
    elif bracket or field not in allowed:
        errs.unsupported(f"{path}.fieldPath", field, sorted(allowed))


def resource_ref(reference: Object, path: str, volume: bool, errs: Errors) -> None:
    """A downward API resource."""
    name = reference.get("resource") or ""
    if volume and not reference.get("containerName"):
        errs.required(f"{path}.containerName")
    elif not name:
        errs.required(f"{path}.resource")
    elif name not in _RESOURCE_FIELDS and not name.startswith(("limits.hugepages-", "requests.hugepages-")):
        errs.unsupported(f"{path}.resource", name, _RESOURCE_FIELDS)
    divisor = reference.get("divisor") or "0"
    allowed = (
        ("1m", "1")
        if name.endswith(".cpu")
        else ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
    )
    if divisor not in ("0", *allowed):
        what = "cpu resources" if name.endswith(".cpu") else "memory resources"
        listed = " ".join(allowed)
        errs.invalid(f"{path}.divisor", divisor, f"unsupported divisor for {what}, must be one of [{listed}]")


def env_from(source: Object, path: str, errs: Errors) -> None:
    """One entry of `envFrom`: a ConfigMap or a Secret."""
    prefix = source.get("prefix")
    if prefix:
        errs.check(f"{path}.prefix", prefix, names.env_name)
    kinds = [kind for kind in ("configMapRef", "secretRef") if kind in source]
    for kind in kinds:
        if not source[kind].get("name"):
            errs.required(f"{path}.{kind}.name")
    if not kinds:
        errs.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
    elif len(kinds) > 1:
        errs.invalid(path, "", "may not have more than one field specified at a time")
