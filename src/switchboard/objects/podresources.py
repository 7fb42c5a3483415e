"""What a pod asks for: requests and limits of all its containers as numbers (pure).

Source: component-helpers/resource/helpers.go. Amounts: cpu in thousandths, everything else in whole units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from switchboard.objects import quantity

Object = dict[str, Any]
Amounts = dict[str, int]


def amounts(given: Mapping[str, Any] | None) -> Amounts:
    """Quantities as numbers; what is no quantity counts as nothing."""
    out: Amounts = {}
    for name, value in (given or {}).items():
        try:
            parsed = quantity.of(value)
        except quantity.QuantityError:
            continue
        out[name] = parsed.milli if name == "cpu" else int(parsed)
    return out


def _add(total: Amounts, more: Amounts) -> Amounts:
    return {name: total.get(name, 0) + more.get(name, 0) for name in total.keys() | more.keys()}


def _most(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in left.keys() | right.keys()}


def of_container(container: Object, part: str = "requests") -> Amounts:
    """`requests` or `limits` of one container."""
    return amounts((container.get("resources") or {}).get(part))


def of_pod(spec: Object, part: str = "requests") -> Amounts:
    """What a pod needs at its worst moment: all containers and sidecars, or an init container beside the sidecars
    started before it; pod-level amounts take their place; overhead comes on top."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        total = _add(total, of_container(container, part))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        need = of_container(container, part)
        if container.get("restartPolicy") == "Always":
            sidecars = _add(sidecars, need)
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _add(sidecars, need))
    total = _most(_add(total, sidecars), peak)
    total |= amounts((spec.get("resources") or {}).get(part))
    overhead = amounts(spec.get("overhead"))
    if part == "limits":
        overhead = {name: value for name, value in overhead.items() if name in total}
    return _add(total, overhead)
