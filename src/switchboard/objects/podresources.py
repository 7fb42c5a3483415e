"""What a pod asks for: requests and limits of all its containers as numbers (pure).

Source: component-helpers/resource/helpers.go. Amounts: cpu in thousandths, everything else in whole units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from switchboard.objects import quantity

Object = dict[str, Any]
Amounts = dict[str, int]

COMPUTE = ("cpu", "memory")  # what a pod as a whole can ask for, what its quality of service goes by


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


def text(name: str, amount: int) -> str:
    """A number as a quantity, the shortest that says the same."""
    if name == "cpu":
        return str(amount // 1000) if amount % 1000 == 0 else f"{amount}m"
    for unit, factor in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if amount and amount % factor == 0:
            return f"{amount // factor}{unit}"
    return str(amount)


def _add(total: Amounts, more: Amounts) -> Amounts:
    return {name: total.get(name, 0) + more.get(name, 0) for name in total.keys() | more.keys()}


def _most(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in left.keys() | right.keys()}


def of_container(container: Object, part: str = "requests") -> Amounts:
    """`requests` or `limits` of one container."""
    return amounts((container.get("resources") or {}).get(part))


def settled(pod: Object) -> Object:
    """A bound pod's spec with the requests to count for it while it is resized (KEP-1287): the most of what it asks
    for, was allocated and has; not what it asks for when that can never be.
    """
    status, spec = pod.get("status") or {}, pod["spec"]
    known = {s["name"]: s for part in ("containerStatuses", "initContainerStatuses") for s in status.get(part) or ()}
    if not known:
        return spec  # type: ignore[no-any-return]
    pending = (c.get("reason") for c in status.get("conditions") or () if c.get("type") == "PodResizePending")
    never = next(pending, "") == "Infeasible"
    parts = ("containers", "initContainers")
    counted = {part: [_settled(c, known.get(c["name"]), never) for c in spec.get(part) or ()] for part in parts}
    out = {**spec, **{part: found for part, found in counted.items() if found}}
    return _settled(out, status, never) if spec.get("resources") else out


def _settled(container: Object, status: Object | None, never: bool) -> Object:
    """A container, or the spec of a pod that has resources as a whole, by what its status says of it."""
    resources = container.get("resources") or {}
    asked, allocated = resources.get("requests") or {}, (status or {}).get("allocatedResources")
    force = ((status or {}).get("resources") or {}).get("requests")
    if not allocated or asked == allocated == (force or allocated):
        return container
    given: Object = {} if never else dict(asked)
    for name in COMPUTE:
        every = [part[name] for part in (given, allocated, force or {}) if name in part]
        if every:
            given[name] = max(every, key=lambda text: amounts({name: text}).get(name, 0))
    return {**container, "resources": {**resources, "requests": asked | given}}


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


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort (`pkg/apis/core/v1/helper/qos`)."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    if spec.get("resources"):
        containers = [{"resources": spec["resources"]}]
    best_effort = guaranteed = True
    for container in containers:
        resources = container.get("resources") or {}
        requests, limits = _computing(resources.get("requests")), _computing(resources.get("limits"))
        if requests or limits:
            best_effort = False
        if limits.keys() != set(COMPUTE) or limits | requests != limits:
            guaranteed = False
    return "BestEffort" if best_effort else "Guaranteed" if guaranteed else "Burstable"


def _computing(given: Mapping[str, Any] | None) -> Amounts:
    """Exact amounts of what quality of service goes by; what is nothing, or no quantity, is left out."""
    out: Amounts = {}
    for name in COMPUTE:
        try:
            nano = quantity.of((given or {}).get(name)).nano
        except quantity.QuantityError:
            continue
        if nano > 0:
            out[name] = nano
    return out
