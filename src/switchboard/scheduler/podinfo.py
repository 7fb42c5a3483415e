"""A pod as the scheduler sees it: everything that filters ask for, read once.

Source: pkg/scheduler/framework/types.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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


@dataclass(eq=False)
class PodInfo:
    """A pod; compared by identity."""

    raw: Object
    requests: Amounts = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.requests = of_pod(settled(self.raw))

    @property
    def spec(self) -> Object:
        """Its spec."""
        return self.raw["spec"]  # type: ignore[no-any-return]

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.raw["metadata"].get("namespace") or ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.raw["metadata"]["name"]  # type: ignore[no-any-return]

    @property
    def key(self) -> str:
        """namespace/name."""
        return f"{self.namespace}/{self.name}"

    @property
    def uid(self) -> str:
        """Its uid."""
        return self.raw["metadata"].get("uid") or ""

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.raw["metadata"].get("labels") or _NO_LABELS

    @property
    def priority(self) -> int:
        """spec.priority, 0 when absent."""
        return int(self.spec.get("priority") or 0)

    @property
    def terminating(self) -> bool:
        """Being deleted."""
        return bool(self.raw["metadata"].get("deletionTimestamp"))

    @cached_property
    def scoring(self) -> tuple[int, int]:
        """(cpu, memory) with assumptions for containers that request nothing."""
        cpu = memory = 0
        for container in self.spec.get("containers") or ():
            need = of_container(container)
            cpu += need.get("cpu", _DEFAULT_CPU)
            memory += need.get("memory", _DEFAULT_MEMORY)
        return max(cpu, self.requests.get("cpu", 0)), max(memory, self.requests.get("memory", 0))

    @cached_property
    def ports(self) -> tuple[tuple[str, str, int], ...]:
        """(host address, protocol, host port) of all containers and sidecars."""
        return host_ports(self.spec)

    def _affinity(self, kind: str, rule: str) -> tuple[Term, ...]:
        given = ((self.spec.get("affinity") or {}).get(kind) or {}).get(f"{rule}DuringSchedulingIgnoredDuringExecution")
        return _terms(self, given, weighted=rule == "preferred")

    @cached_property
    def affinity(self) -> tuple[Term, ...]:
        """Required pod affinity."""
        return self._affinity("podAffinity", "required")

    @cached_property
    def anti_affinity(self) -> tuple[Term, ...]:
        """Required pod anti-affinity."""
        return self._affinity("podAntiAffinity", "required")

    @cached_property
    def preferred(self) -> tuple[Term, ...]:
        """Preferred pod affinity; anti-affinity with negative weights."""
        near = self._affinity("podAffinity", "preferred")
        far = self._affinity("podAntiAffinity", "preferred")
        turned = (Term(t.selector, t.namespaces, t.namespace_selector, t.topology, -t.weight) for t in far)
        return (*near, *turned)


_NO_LABELS: Final[Mapping[str, str]] = {}
