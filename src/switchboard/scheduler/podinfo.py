"""A pod as the scheduler sees it: everything that filters ask for, read once.

Source: pkg/scheduler/framework/types.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from switchboard.objects import selectors
from switchboard.objects.placement import host_ports
from switchboard.objects.podresources import Amounts, of_container, of_pod, settled

Object = dict[str, Any]

_DEFAULT_CPU, _DEFAULT_MEMORY = 100, 200 * 1024 * 1024  # what scoring takes for containers that request nothing


@dataclass(frozen=True, slots=True)
class Term:
    """One pod affinity term, compiled: which pods, in which namespaces, how far around."""

    selector: selectors.LabelSelector
    namespaces: frozenset[str]
    namespace_selector: selectors.LabelSelector | None
    topology: str
    weight: int = 0

    def matches(self, pod: PodInfo, labels_of: Callable[[str], Mapping[str, str]]) -> bool:
        """Whether it speaks of this pod; `labels_of` gives a namespace's labels."""
        inside = pod.namespace in self.namespaces
        if not inside and self.namespace_selector is not None:
            inside = self.namespace_selector.matches(labels_of(pod.namespace))
        return inside and self.selector.matches(pod.labels)


def _terms(pod: PodInfo, part: Iterable[Object] | None, *, weighted: bool) -> tuple[Term, ...]:
    out = []
    for entry in part or ():
        term = entry.get("podAffinityTerm") or {} if weighted else entry
        selector = dict(term.get("labelSelector") or {}) if term.get("labelSelector") is not None else None
        if selector is not None:
            selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *_label_keys(pod, term)]
        names = frozenset(term.get("namespaces") or ())
        by_label = term.get("namespaceSelector")
        if not names and by_label is None:
            names = frozenset({pod.namespace})
        out.append(
            Term(
                selectors.from_object(selector),
                names,
                selectors.from_object(by_label) if by_label is not None else None,
                term.get("topologyKey") or "",
                int(entry.get("weight") or 0) if weighted else 0,
            )
        )
    return tuple(out)


def _label_keys(pod: PodInfo, term: Object) -> list[Object]:
    """matchLabelKeys and mismatchLabelKeys as expressions with the pod's own values."""
    out: list[Object] = []
    for part, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        for key in term.get(part) or ():
            if key in pod.labels:
                out.append({"key": key, "operator": operator, "values": [pod.labels[key]]})
    return out


class PodInfo:
    """A pod; compared by identity. `raw` is the object, or empty once the pod has its node (`lighten`)."""

    __slots__ = (
        *("affinity", "anti_affinity", "controller", "key", "labels", "namespace", "ports", "preferred"),
        *("priority", "raw", "requests", "scoring", "started", "terminating", "uid"),
    )

    def __init__(self, raw: Object) -> None:
        meta, spec = raw["metadata"], raw["spec"]
        self.raw = raw
        self.namespace: str = _kept(meta.get("namespace") or "")
        self.key = f"{self.namespace}/{meta['name']}"
        self.uid: str = meta.get("uid") or ""
        labels = meta.get("labels")
        self.labels: Mapping[str, str] = _kept(labels, *labels.items()) if labels else _NO_LABELS
        self.controller = _controller(meta)
        self.terminating = bool(meta.get("deletionTimestamp"))
        self.started: str = (raw.get("status") or {}).get("startTime") or ""
        self.priority = int(spec.get("priority") or 0)
        requests = of_pod(settled(raw))
        self.requests: Amounts = _kept(requests, *requests.items()) if requests else requests
        self.scoring = _kept(_scoring(spec, self.requests))  # (cpu, memory), of containers that request nothing as well
        self.ports = host_ports(spec)  # (host address, protocol, host port) of all containers and sidecars
        self.affinity = self._affinity("podAffinity", "required")
        self.anti_affinity = self._affinity("podAntiAffinity", "required")
        near = self._affinity("podAffinity", "preferred")
        far = self._affinity("podAntiAffinity", "preferred")
        turned = (Term(t.selector, t.namespaces, t.namespace_selector, t.topology, -t.weight) for t in far)
        self.preferred = (*near, *turned)  # preferred pod affinity; anti-affinity with negative weights

    @property
    def name(self) -> str:
        """Its name, seldom asked for: one text less of each of very many."""
        return self.key.rpartition("/")[2]

    @property
    def spec(self) -> Object:
        """Its spec."""
        return self.raw["spec"]  # type: ignore[no-any-return]

    @property
    def reference(self) -> Object:
        """Which pod it is, for Events."""
        return {"apiVersion": "v1", "kind": "Pod", "namespace": self.namespace, "name": self.name, "uid": self.uid}

    def lighten(self) -> PodInfo:
        """Let the object go: what others ask of a pod that has its node was read."""
        self.raw = {}
        return self

    def _affinity(self, kind: str, rule: str) -> tuple[Term, ...]:
        given = ((self.spec.get("affinity") or {}).get(kind) or {}).get(f"{rule}DuringSchedulingIgnoredDuringExecution")
        return _terms(self, given, weighted=rule == "preferred") if given else ()


_NO_LABELS: Final[Mapping[str, str]] = {}
_MOST_KEPT: Final = 4096
_seen: dict[Any, Any] = {}


def _kept(value: Any, *parts: Any) -> Any:
    """The first of equal values (`parts` of it, where it cannot be a key): pods are much alike, and very many."""
    if len(_seen) > _MOST_KEPT:
        _seen.clear()
    return _seen.setdefault(parts or value, value)


def _controller(meta: Object) -> str:
    """The uid of the owner that controls it."""
    for ref in meta.get("ownerReferences") or ():
        if ref.get("controller"):
            return str(_kept(ref.get("uid") or ""))
    return ""


def _scoring(spec: Object, requests: Amounts) -> tuple[int, int]:
    """(cpu, memory) with assumptions for containers that request nothing."""
    cpu = memory = 0
    for container in spec.get("containers") or ():
        need = of_container(container)
        cpu += need.get("cpu", _DEFAULT_CPU)
        memory += need.get("memory", _DEFAULT_MEMORY)
    return max(cpu, requests.get("cpu", 0)), max(memory, requests.get("memory", 0))
