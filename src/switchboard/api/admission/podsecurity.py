"""PodSecurity: namespaces say by labels which level their pods must keep to, and which one to warn about.

Enforced are pods; about workloads there are warnings, as nobody reads the events of their pods. Source:
`k8s.io/pod-security-admission/admission/admission.go`.
"""

from __future__ import annotations

import re
from typing import Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.admission.pods import refuse
from switchboard.api.keyspace import decode
from switchboard.objects.errors import FieldError, Invalid
from switchboard.objects.podsecurity import LEVELS, violations
from switchboard.store.store import Store

Object = dict[str, Any]
_LABEL = "pod-security.kubernetes.io/"
_MODES = ("enforce", "audit", "warn")
_VERSION = re.compile(r"latest|v1\.(0|[1-9][0-9]*)")
_TEMPLATES = frozenset(
    (
        ("", "podtemplates"),
        ("", "replicationcontrollers"),
        ("apps", "replicasets"),
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("batch", "jobs"),
        ("batch", "cronjobs"),
    )
)


def policy(labels: dict[str, str] | None, mode: str) -> tuple[str, str]:
    """(level, version) of a namespace for a mode; what cannot be read counts as restricted."""
    given = (labels or {}).get(_LABEL + mode)
    if given is None:
        return "privileged", "latest"
    version = (labels or {}).get(f"{_LABEL}{mode}-version", "latest")
    return given if given in LEVELS else "restricted", version if _VERSION.fullmatch(version) else "latest"


class PodSecurity(Neutral):
    """Refuses pods and warns about templates."""

    resources = frozenset(("pods", "namespaces", *(plural for _, plural in _TEMPLATES)))

    def __init__(self, store: Store) -> None:
        self._store = store

    def validate(self, op: Operation) -> None:
        """Look at pods, workloads and the labels of namespaces."""
        if op.obj is None or op.verb not in ("CREATE", "UPDATE"):
            return
        if (op.group, op.plural) == ("", "pods") and op.sub in ("", "ephemeralcontainers"):
            if op.old is None or op.old["spec"] != op.obj["spec"]:
                self._pod(op, op.obj)
        elif (op.group, op.plural) in _TEMPLATES and not op.sub:
            self._template(op, op.obj)
        elif (op.group, op.plural) == ("", "namespaces") and not op.sub:
            self._namespace(op, op.obj)

    def _labels(self, op: Operation) -> dict[str, str]:
        record = self._store.head(f"/core/namespaces/{op.namespace}")
        labels: dict[str, str] = record.meta if record is not None else {}
        return labels

    def _pod(self, op: Operation, pod: Object) -> None:
        labels = self._labels(op)
        level, version = policy(labels, "enforce")
        op.call.annotate(_LABEL + "enforce-policy", f"{level}:{version}")
        found = violations(level, pod["metadata"], pod["spec"])
        self._note(op, labels, pod["metadata"], pod["spec"])
        if found:
            raise refuse(op, f'violates PodSecurity "{level}:{version}": {found}')
        self._warn(op, labels, pod["metadata"], pod["spec"])

    @staticmethod
    def _note(op: Operation, labels: dict[str, str], meta: Object, spec: Object) -> None:
        if not op.call.audited or _LABEL + "audit" not in labels:
            return
        level, version = policy(labels, "audit")
        found = violations(level, meta, spec)
        if found:
            op.call.annotate(_LABEL + "audit-violations", f'would violate PodSecurity "{level}:{version}": {found}')

    @staticmethod
    def _warn(op: Operation, labels: dict[str, str], meta: Object, spec: Object) -> None:
        level, version = policy(labels, "warn")
        found = violations(level, meta, spec)
        if found:
            op.call.warn(f'would violate PodSecurity "{level}:{version}": {found}')

    def _template(self, op: Operation, obj: Object) -> None:
        labels = self._labels(op)
        if _LABEL + "warn" not in labels and _LABEL + "audit" not in labels:
            return
        spec = obj.get("spec") or {}
        if op.plural == "cronjobs":
            spec = (spec.get("jobTemplate") or {}).get("spec") or {}
        template = (obj if op.plural == "podtemplates" else spec).get("template") or {}
        meta, inner = template.get("metadata") or {}, template.get("spec") or {}
        self._note(op, labels, meta, inner)
        self._warn(op, labels, meta, inner)

    def _namespace(self, op: Operation, namespace: Object) -> None:
        labels = namespace["metadata"].get("labels") or {}
        before = ((op.old or {}).get("metadata") or {}).get("labels") or {}
        wanted = {k: v for k, v in labels.items() if k.startswith(_LABEL) and before.get(k) != v}
        if not wanted:
            return
        errors = [error for key, value in sorted(wanted.items()) if (error := _label_error(key, value))]
        if errors:
            raise Invalid.of("Namespace", "", namespace["metadata"].get("name", ""), errors)
        level, version = policy(labels, "enforce")
        if op.old is not None and level != "privileged" and policy(before, "enforce") != (level, version):
            self._existing(op, namespace["metadata"]["name"], level, version)

    def _existing(self, op: Operation, name: str, level: str, version: str) -> None:
        """Warn about the pods that are there already and would not be let in."""
        groups: dict[str, list[str]] = {}
        for record in self._store.scan(f"/core/pods/{name}/"):
            pod = decode(record.value)
            found = violations(level, pod["metadata"], pod["spec"])
            if found:
                groups.setdefault(", ".join(part.split(" (")[0] for part in found.split("), ")), []).append(
                    pod["metadata"]["name"]
                )
        if groups:
            start = f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{level}:{version}"'
            op.call.warn(start)
            for text, pods in sorted(groups.items(), key=lambda item: item[1]):
                more = len(pods) - 1
                rest = f" (and {more} other pod{'s' if more > 1 else ''})" if more else ""
                op.call.warn(f"{pods[0]}{rest}: {text}")


def _label_error(key: str, value: str) -> FieldError | None:
    mode = key.removeprefix(_LABEL)
    path = f"metadata.labels[{key}]"
    if mode in _MODES and value not in LEVELS:
        text = f'Invalid value: "{value}": must be one of {", ".join(LEVELS)}'
        return FieldError("FieldValueInvalid", path, text)
    if mode.removesuffix("-version") in _MODES and mode.endswith("-version") and not _VERSION.fullmatch(value):
        text = f'Invalid value: "{value}": must be "latest" or "v1.x"'
        return FieldError("FieldValueInvalid", path, text)
    return None
