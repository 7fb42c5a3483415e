"""Rules for volumes of pods (pkg/apis/core/validation: ValidateVolumes)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names, quantity
from switchboard.objects.validate.environment import VOLUME_FIELDS, field_ref, resource_ref
from switchboard.objects.validate.fields import Errors
from switchboard.objects.validate.mounts import local_path, no_backsteps

Object = dict[str, Any]
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")
_REQUIRED = {  # sources whose only rule is that fields are given
    "nfs": ("server", "path"),
    "awsElasticBlockStore": ("volumeID",),
    "gcePersistentDisk": ("pdName",),
    "glusterfs": ("endpoints", "path"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "rbd": ("monitors", "image"),
    "quobyte": ("registry", "volume"),
    "azureFile": ("secretName", "shareName"),
    "azureDisk": ("diskName", "diskURI"),
    "vsphereVolume": ("volumePath",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "scaleIO": ("gateway", "system", "volumeName"),
    "flexVolume": ("driver",),
    "gitRepo": ("repository",),
    "iscsi": ("targetPortal", "iqn"),
}
_NAMED = {"fc": 0, "flocker": 0, "storageos": 0, "csi": 0, "ephemeral": 0, "image": 0}
SOURCES = (
    "emptyDir",
    "hostPath",
    "secret",
    "configMap",
    "downwardAPI",
    "projected",
    "persistentVolumeClaim",
    *_REQUIRED,
    *_NAMED,
)


def volumes(entries: list[Object], path: str, errs: Errors) -> None:
    """`spec.volumes`: unique names, one source each."""
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        here = f"{path}[{i}]"
        name = entry.get("name") or ""
        _source(entry, here, errs)
        if not name:
            errs.required(f"{here}.name")
        else:
            errs.check(f"{here}.name", name, names.dns_label)
        if name and name in seen:
            errs.duplicate(f"{here}.name", name)
        seen.add(name)


def _source(entry: Object, path: str, errs: Errors) -> None:
    found = [kind for kind in SOURCES if kind in entry]
    for i, kind in enumerate(found):
        here = f"{path}.{kind}"
        if i:
            errs.forbidden(here, "may not specify more than 1 volume type")
            continue
        check = _CHECKS.get(kind)
        if check is not None:
            check(entry[kind], here, errs)
        for field in _REQUIRED.get(kind, ()):
            if not entry[kind].get(field):
                errs.required(f"{here}.{field}")
    if not found:
        errs.required(path, "must specify a volume type")


def _empty_dir(source: Object, path: str, errs: Errors) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.of(limit).nano < 0:
        errs.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def host_path(source: Object, path: str, errs: Errors) -> None:
    """A file or folder of the node, in a pod or a PersistentVolume."""
    where = source.get("path") or ""
    if not where:
        errs.required(f"{path}.path")
        return
    no_backsteps(where, f"{path}.path", errs)
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        errs.unsupported(f"{path}.type", kind, _HOST_PATH_TYPES)


def _mode(value: int | None, path: str, errs: Errors) -> None:
    if value is not None and not 0 <= value <= 0o777:
        errs.invalid(path, value, _MODE)


def _items(items: list[Object], path: str, errs: Errors) -> None:
    for i, item in enumerate(items):
        here = f"{path}[{i}]"
        if not item.get("key"):
            errs.required(f"{here}.key")
        if not item.get("path"):
            errs.required(f"{here}.path")
        else:
            _inside(item["path"], f"{here}.path", errs)
        _mode(item.get("mode"), f"{here}.mode", errs)


def _inside(text: str, path: str, errs: Errors) -> None:
    local_path(text, path, errs)
    if text.startswith("..") and ".." not in text.split("/"):
        errs.invalid(path, text, "must not start with '..'")


def _secret(source: Object, path: str, errs: Errors) -> None:
    if not source.get("secretName"):
        errs.required(f"{path}.secretName")
    _mode(source.get("defaultMode"), f"{path}.defaultMode", errs)
    _items(source.get("items") or [], f"{path}.items", errs)


def _config_map(source: Object, path: str, errs: Errors) -> None:
    if not source.get("name"):
        errs.required(f"{path}.name")
    _mode(source.get("defaultMode"), f"{path}.defaultMode", errs)
    _items(source.get("items") or [], f"{path}.items", errs)


def _downward(source: Object, path: str, errs: Errors) -> None:
    _mode(source.get("defaultMode"), f"{path}.defaultMode", errs)
    for item in source.get("items") or ():
        here = path
        if not item.get("path"):
            errs.required(f"{here}.path")
        else:
            _inside(item["path"], f"{here}.path", errs)
        if "fieldRef" in item:
            field_ref(item["fieldRef"], f"{here}.fieldRef", VOLUME_FIELDS, errs)
            if "resourceFieldRef" in item:
                errs.invalid(here, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif "resourceFieldRef" in item:
            resource_ref(item["resourceFieldRef"], f"{here}.resourceFieldRef", True, errs)
        else:
            errs.required(f"{here}.fieldRef", "one of fieldRef and resourceFieldRef is required")
        _mode(item.get("mode"), f"{here}.mode", errs)


def _claim(source: Object, path: str, errs: Errors) -> None:
    if not source.get("claimName"):
        errs.required(f"{path}.claimName")


def _projected(source: Object, path: str, errs: Errors) -> None:
    _mode(source.get("defaultMode"), f"{path}.defaultMode", errs)
    paths: set[str] = set()
    for i, part in enumerate(source.get("sources") or ()):
        here = f"{path}.sources[{i}]"
        kinds = [kind for kind in _PROJECTIONS if kind in part]
        for j, kind in enumerate(kinds):
            if j:
                errs.forbidden(f"{here}.{kind}", "may not specify more than 1 volume type")
                continue
            _projection(kind, part[kind], f"{here}.{kind}", paths, errs)


def _projection(kind: str, part: Object, path: str, paths: set[str], errs: Errors) -> None:
    if kind in ("secret", "configMap"):
        if not part.get("name"):
            errs.required(f"{path}.name")
        _items(part.get("items") or [], f"{path}.items", errs)
        found = [item.get("path") for item in part.get("items") or ()]
    elif kind == "downwardAPI":
        _downward(part, path, errs)
        found = [item.get("path") for item in part.get("items") or ()]
    elif kind == "serviceAccountToken":
        seconds = part.get("expirationSeconds", 0)
        if seconds < 600:
            errs.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        if seconds > 1 << 32:
            errs.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        if not part.get("path"):
            errs.required(f"{path}.path")
        else:
            _inside(part["path"], f"{path}.path", errs)
        found = [part.get("path")]
    else:
        found = [part.get("path")]
    for each in found:
        if each and each in paths:
            errs.invalid(path, each, "conflicting duplicate paths")
        if each:
            paths.add(each)


def _csi(source: Object, path: str, errs: Errors) -> None:
    driver = source.get("driver") or ""
    if not driver:
        errs.required(f"{path}.driver")
        return
    if len(driver) > 63:
        errs.too_long(f"{path}.driver", 63)
    errs.check(f"{path}.driver", driver.lower(), names.dns_subdomain)


def _ephemeral(source: Object, path: str, errs: Errors) -> None:
    if not source.get("volumeClaimTemplate"):
        errs.required(f"{path}.volumeClaimTemplate")


_CHECKS = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "persistentVolumeClaim": _claim,
    "projected": _projected,
    "csi": _csi,
    "ephemeral": _ephemeral,
}
