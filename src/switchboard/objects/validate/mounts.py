"""Rules for what containers mount: volume mounts, devices, and paths that must stay inside
(pkg/apis/core/validation)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]


def mounts(entry: Object, path: str, known: Collection[str], errs: Errors) -> None:
    """`volumeMounts` of a container; `known`: the names of the pod's volumes."""
    points: set[str] = set()
    for i, mount in enumerate(entry["volumeMounts"]):
        here = f"{path}.volumeMounts[{i}]"
        name, point = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            errs.required(f"{here}.name")
        elif name not in known:
            errs.not_found(f"{here}.name", name)
        if not point:
            errs.required(f"{here}.mountPath")
        elif point in points:
            errs.invalid(f"{here}.mountPath", point, "must be unique")
        points.add(point)
        for part in ("subPath", "subPathExpr"):
            if mount.get(part):
                local_path(mount[part], f"{path}.volumeMounts.{part}", errs)
        if mount.get("subPath") and mount.get("subPathExpr"):
            errs.invalid(
                f"{path}.volumeMounts.subPathExpr",
                mount["subPathExpr"],
                "subPathExpr and subPath are mutually exclusive",
            )
        propagation = mount.get("mountPropagation")
        if propagation is not None and propagation not in ("Bidirectional", "HostToContainer", "None"):
            errs.unsupported(
                f"{path}.volumeMounts.mountPropagation", propagation, ("Bidirectional", "HostToContainer", "None")
            )
        privileged = (entry.get("securityContext") or {}).get("privileged")
        if propagation == "Bidirectional" and not privileged:
            errs.forbidden(
                f"{path}.volumeMounts.mountPropagation",
                "Bidirectional mount propagation is available only to privileged containers",
            )


def local_path(text: str, path: str, errs: Errors) -> None:
    """A relative path that stays inside: not absolute, no `..`."""
    if text.startswith("/"):
        errs.invalid(path, text, "must be a relative path")
    no_backsteps(text, path, errs)


def no_backsteps(text: str, path: str, errs: Errors) -> None:
    """No `..` element in a path."""
    if ".." in text.split("/"):
        errs.invalid(path, text, "must not contain '..'")


def devices(entry: Object, path: str, known: Collection[str], errs: Errors) -> None:
    """`volumeDevices` of a container."""
    seen: set[str] = set()
    for i, device in enumerate(entry.get("volumeDevices") or ()):
        here = f"{path}.volumeDevices[{i}]"
        name, point = device.get("name") or "", device.get("devicePath") or ""
        if not name:
            errs.required(f"{here}.name")
        elif name not in known:
            errs.not_found(f"{here}.name", name)
        if not point:
            errs.required(f"{here}.devicePath")
        elif point in seen:
            errs.invalid(f"{here}.devicePath", point, "must be unique")
        else:
            no_backsteps(point, f"{here}.devicePath", errs)
        seen.add(point)
