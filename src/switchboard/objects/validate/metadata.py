"""Rules for `metadata`, of every kind (apimachinery/pkg/api/validation/objectmeta.go)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from switchboard.objects import names
from switchboard.objects.names import Check
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]
ANNOTATIONS_LIMIT = 256 * 1024
_RESERVED = (".", "..")
_IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def path_segment(text: str) -> list[str]:
    """The loosest name rule: whatever can stand in a URL path (RBAC names, custom resources never)."""
    if text in _RESERVED:
        return [f"may not be '{text}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in text]


def _prefix(check: Check, base: str) -> list[str]:
    """A generateName is checked as if something valid followed its trailing dash."""
    return check(base[:-1] + "a" if len(base) > 1 and base.endswith("-") else base)


def new(obj: Object, namespaced: bool, name_check: Check, errs: Errors, path: str = "metadata") -> None:
    """Metadata of an object, new or not."""
    meta: Object = obj.get("metadata") or {}
    base, name = meta.get("generateName"), meta.get("name")
    if base:
        for message in _prefix(name_check, base):
            errs.invalid(f"{path}.generateName", base, message)
    if not name:
        errs.required(f"{path}.name", "name or generateName is required")
    else:
        for message in name_check(name):
            errs.invalid(f"{path}.name", name, message)
    namespace = meta.get("namespace")
    if namespaced:
        if not namespace:
            errs.required(f"{path}.namespace")
        else:
            errs.check(f"{path}.namespace", namespace, names.dns_label)
    elif namespace:
        errs.forbidden(f"{path}.namespace", "not allowed on this type")
    rest(meta, errs, path)


def rest(meta: Object, errs: Errors, path: str) -> None:
    """What holds for template metadata too: generation, labels, annotations, owners, finalizers, managed fields."""
    generation = meta.get("generation")
    if generation is not None and generation < 0:
        errs.invalid(f"{path}.generation", generation, "must be greater than or equal to 0")
    if meta.get("labels"):
        check_labels(meta["labels"], f"{path}.labels", errs)
    if meta.get("annotations"):
        check_annotations(meta["annotations"], f"{path}.annotations", errs)
    if meta.get("ownerReferences"):
        _owners(meta["ownerReferences"], f"{path}.ownerReferences", errs)
    for finalizer in meta.get("finalizers") or ():
        errs.check(f"{path}.finalizers", finalizer, names.qualified_name)
    if meta.get("finalizers"):
        _propagation(meta["finalizers"], f"{path}.finalizers", errs)


def _propagation(finalizers: list[str], path: str, errs: Errors) -> None:
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        errs.invalid(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set")


def check_labels(values: Mapping[str, str], path: str, errs: Errors) -> None:
    """Keys and values of a label map."""
    for key, value in values.items():
        if names._qualified(key):
            errs.check(path, key, names.qualified_name)
        if names._label_value(value):
            errs.check(path, value, names.label_value)


def check_annotations(values: Mapping[str, str], path: str, errs: Errors) -> None:
    """Keys are checked in lower case; all together hold at most 256 KiB."""
    size = 0
    for key, value in values.items():
        for message in names.qualified_name(key.lower()):
            errs.invalid(path, key, message)
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT:
        errs.too_long(path, ANNOTATIONS_LIMIT)


def _owners(owners: list[Object], path: str, errs: Errors) -> None:
    controller = ""
    for i, owner in enumerate(owners):
        here = f"{path}[{i}]"
        version = owner.get("apiVersion") or ""
        if ("/" in version.strip("/") and version.count("/") > 1) or not version.rpartition("/")[2]:
            errs.invalid(f"{here}.apiVersion", version, "version must not be empty")
        for name in ("kind", "name", "uid"):
            if not owner.get(name):
                errs.invalid(
                    f"{here}.{name}", "", f"{name} must not be empty" if name != "name" else "must not be empty"
                )
        if (version, owner.get("kind")) == ("v1", "Event"):
            errs.invalid(here, "", "/v1, Kind=Event is disallowed from being an owner")
        if owner.get("controller"):
            named = f"{owner.get('kind')}/{owner.get('name')}"
            if controller:
                found = f'Found "true" in references for {controller} and {named}'
                errs.invalid(path, owners, f"Only one reference can have Controller set to true. {found}")
            controller = named


def updated(obj: Object, old: Object, errs: Errors, path: str = "metadata") -> None:
    """What an update may do to metadata; call after system fields that were left out are filled in again."""
    meta: Object = obj.get("metadata") or {}
    before: Object = old.get("metadata") or {}
    marked = before.get("deletionTimestamp")
    added = set(meta.get("finalizers") or ()) - set(before.get("finalizers") or ()) if marked else ()
    if added:
        quoted = ", ".join(f'"{each}"' for each in sorted(added))
        errs.forbidden(
            f"{path}.finalizers",
            f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{quoted}}}",
        )
    generation = meta.get("generation") or 0
    if generation < (before.get("generation") or 0):
        errs.invalid(f"{path}.generation", generation, "must not be decremented")
    for name in _IMMUTABLE:
        if meta.get(name) != before.get(name):
            errs.immutable(f"{path}.{name}", meta.get(name), before.get(name))
    if not meta.get("resourceVersion"):
        errs.invalid(f"{path}.resourceVersion", meta.get("resourceVersion") or "", "must be specified for an update")
    rest(meta, errs, path)
