"""Field selectors (`?fieldSelector=status.phase=Running,metadata.name!=a`): grammar, the fields each kind
supports, predicates.

Grammar from apimachinery/pkg/fields/selector.go, fields from the kinds' conversion.go
(AddFieldLabelConversionFunc) and strategies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from switchboard.objects.errors import BadRequest
from switchboard.objects.kinds import Kind

Object = dict[str, Any]
Getter = Callable[[Object], str]
_TERM = re.compile(r"((?:[^\\!=]|\\.|!(?!=))*?)(!=|==|=)(.*)\Z", re.S)


def _at(path: str, zero: str = "") -> Getter:
    *parents, last = path.split(".")

    def get(obj: Object) -> str:
        here: Any = obj
        for part in parents:
            here = here.get(part)
            if here is None:
                return zero
        value = here.get(last)
        if value is None:
            return zero
        return value if value.__class__ is str else str(value).lower() if value.__class__ is bool else str(value)

    return get


def _paths(*paths: str, **zeros: str) -> dict[str, Getter]:
    return {path: _at(path) for path in paths}


def _event_source(obj: Object) -> str:
    return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")


_META = _paths("metadata.name", "metadata.namespace")
_NAME = _paths("metadata.name")
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT = {
    **_META,
    **_paths(*(f"involvedObject.{part}" for part in _INVOLVED), "reason", "reportingComponent", "type"),
    "source": _event_source,
}
_NEW_EVENT = {
    **_META,
    **{f"regarding.{part}": _EVENT[f"involvedObject.{part}"] for part in _INVOLVED},
    **_paths("reason", "type"),
    "reportingController": _EVENT["reportingComponent"],
}
_POD = {
    **_META,
    **_paths("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase"),
    **_paths("status.podIP", "status.nominatedNodeName"),
    "spec.host": _at("spec.nodeName"),
    "spec.hostNetwork": _at("spec.hostNetwork", "false"),
    "status.podIPs": lambda obj: ",".join(ip.get("ip", "") for ip in (obj.get("status") or {}).get("podIPs") or ()),
}

# (group, kind) -> field -> how to read it from an object, in stored form. Kinds not named have name and namespace.
_FIELDS: dict[tuple[str, str], dict[str, Getter]] = {
    ("", "Pod"): _POD,
    ("", "Node"): {**_NAME, "spec.unschedulable": _at("spec.unschedulable", "false")},
    ("", "ReplicationController"): {**_META, "status.replicas": _at("status.replicas", "0")},
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): _NEW_EVENT,
    ("", "Namespace"): {**_NAME, **_paths("status.phase")},
    ("", "Secret"): {**_META, **_paths("type")},
    ("", "Service"): {**_META, **_paths("spec.clusterIP", "spec.type")},
    ("batch", "Job"): {**_META, "status.successful": _at("status.succeeded", "0")},
    ("certificates.k8s.io", "CertificateSigningRequest"): {**_NAME, **_paths("spec.signerName")},
    ("resource.k8s.io", "ResourceSlice"): {**_NAME, **_paths("spec.nodeName", "spec.driver")},
}
_UNSUPPORTED = {("batch", "Job"): 'field label "{}" not supported for Job'}


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """`field = value`, or with `negated` `field != value`."""

    field: str
    value: str
    negated: bool


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All requirements must hold; none matches everything."""

    requirements: tuple[FieldRequirement, ...] = ()
    _tests: tuple[tuple[Getter, str, bool], ...] = ()

    @property
    def everything(self) -> bool:
        """True when it selects every object."""
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The value a field must have, None when it may have several: lets a list of one name be a get."""
        return next((r.value for r in self.requirements if r.field == field and not r.negated), None)

    def matches(self, obj: Object) -> bool:
        """Whether an object (in stored form) is selected."""
        return all((get(obj) == value) is not negated for get, value, negated in self._tests)

    def __str__(self) -> str:
        return ",".join(f"{r.field}{'!=' if r.negated else '='}{escape(r.value)}" for r in self.requirements)


EVERYTHING = FieldSelector()


def escape(value: str) -> str:
    r"""A value for the text form: `\`, `,` and `=` get a backslash."""
    return re.sub(r"([\\,=])", r"\\\1", value)


def _unescape(value: str) -> str:
    out: list[str] = []
    i = 0
    while i < len(value):
        c = value[i]
        if c == "\\":
            following = value[i + 1 : i + 2]
            if following not in ("\\", ",", "=") or not following:
                raise BadRequest(f"invalid field selector: invalid escape sequence: \\{following}")
            out.append(following)
            i += 2
            continue
        if c in ",=":
            raise BadRequest(f"invalid field selector: unescaped character in value: {ord(c)}")
        out.append(c)
        i += 1
    return "".join(out)


def _terms(text: str) -> list[str]:
    return sorted(term for term in re.findall(r"(?:\\.|[^,\\]|\\\Z)+", text, re.S) if term)


def parse(text: str, kind: Kind, selectable: Iterable[str] = ()) -> FieldSelector:
    """Text -> FieldSelector for a kind; `selectable`: more field paths (a CRD's selectableFields). BadRequest
    otherwise."""
    fields = _FIELDS.get((kind.group, kind.kind))
    known = fields or _META
    more = {path: _at(path) for path in selectable}
    requirements, tests = [], []
    for term in _terms(text):
        match = _TERM.match(term)
        if match is None:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{term}'")
        name, operator, value = match[1], match[2], _unescape(match[3])
        get = known.get(name) or more.get(name)
        if get is None:
            raise BadRequest(_refusal(kind, name, fields is not None))
        requirements.append(FieldRequirement(name, value, operator == "!="))
        tests.append((get, value, operator == "!="))
    return FieldSelector(tuple(requirements), tuple(tests))


def _refusal(kind: Kind, name: str, own_fields: bool) -> str:
    if own_fields:
        return _UNSUPPORTED.get((kind.group, kind.kind), "field label not supported: {}").format(name)
    if kind.custom:
        return f"field label not supported: {name}"
    return f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'
