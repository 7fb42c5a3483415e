"""nodeSelector, node affinity and taints: does a node suit, as far as only its own object says (pure).

Source: component-helpers/scheduling/corev1/nodeaffinity/nodeaffinity.go, corev1/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from switchboard.objects import names

Object = dict[str, Any]


def _expression(expression: Object, labels: Mapping[str, str]) -> bool:
    key, operator = expression.get("key", ""), expression.get("operator", "")
    values = list(expression.get("values") or ())
    held = labels.get(key)
    if operator == "In":
        return held in values if held is not None else False
    if operator == "NotIn":
        return held not in values
    if operator == "Exists":
        return held is not None
    if operator == "DoesNotExist":
        return held is None
    if operator in ("Gt", "Lt") and held is not None and len(values) == 1:
        try:
            left, right = int(held), int(values[0])
        except ValueError:
            return False
        return left > right if operator == "Gt" else left < right
    return False


def term_matches(term: Object, name: str, labels: Mapping[str, str]) -> bool:
    """One nodeSelectorTerm; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    here = {"metadata.name": name}
    return all(_expression(e, labels) for e in expressions) and all(_expression(f, here) for f in fields)


def selector_matches(selector: Object | None, name: str, labels: Mapping[str, str]) -> bool:
    """A NodeSelector: one of its terms is enough; None matches all."""
    if selector is None:
        return True
    return any(term_matches(term, name, labels) for term in selector.get("nodeSelectorTerms") or ())


def suits(spec: Object, name: str, labels: Mapping[str, str]) -> bool:
    """A pod's nodeSelector and required node affinity."""
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return selector_matches(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"), name, labels)


def preference(spec: Object, name: str, labels: Mapping[str, str]) -> int:
    """The sum of weights of the preferred terms that match."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return sum(
        int(entry.get("weight") or 0)
        for entry in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        if term_matches(entry.get("preference") or {}, name, labels)
    )


def host_ports(spec: Object) -> tuple[tuple[str, str, int], ...]:
    """(host address, protocol, host port) of all containers and sidecars of a pod."""
    out = []
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                out.append((port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"]))
    return tuple(out)


def ports_clash(wanted: Iterable[tuple[str, str, int]], taken: Iterable[tuple[str, str, int]]) -> bool:
    """Whether a host port is taken: the same number and protocol on the same address, or on all of them."""
    for ip, protocol, number in wanted:
        for other_ip, other_protocol, other_number in taken:
            if (protocol, number) == (other_protocol, other_number) and (
                ip == other_ip or "0.0.0.0" in (ip, other_ip) or "::" in (ip, other_ip)
            ):
                return True
    return False


def tolerates(tolerations: Iterable[Object], taint: Object) -> bool:
    """Whether one of the tolerations fits a taint."""
    for toleration in tolerations:
        if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
            continue
        key = toleration.get("key") or ""
        operator = toleration.get("operator") or "Equal"
        if key and key != taint.get("key"):
            continue
        if not key and operator != "Exists":
            continue
        if operator in ("Gt", "Lt"):
            fits = _compares(operator, taint.get("value") or "", toleration.get("value") or "")
        else:
            fits = operator == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")
        if fits:
            return True
    return False


def _compares(operator: str, value: str, limit: str) -> bool:
    """Whether a taint's value is greater (or less) than a toleration's, both whole numbers (KEP-5471)."""
    if not names.DECIMAL.fullmatch(value) or not names.DECIMAL.fullmatch(limit):
        return False
    return int(value) > int(limit) if operator == "Gt" else int(value) < int(limit)


def untolerated(spec: Object, taints: Iterable[Object], effects: tuple[str, ...]) -> list[Object]:
    """Taints of these effects that the pod does not tolerate."""
    tolerations = spec.get("tolerations") or ()
    return [t for t in taints if t.get("effect") in effects and not tolerates(tolerations, t)]
