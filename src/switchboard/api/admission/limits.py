"""LimitRanger: defaults and bounds for containers, pods and claims, from the LimitRanges of their namespace.

Source: `plugin/pkg/admission/limitranger/admission.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.admission.pods import is_pod, refuse
from switchboard.api.keyspace import decode
from switchboard.objects import podresources, quantity
from switchboard.objects.quantity import Quantity
from switchboard.store.store import Store

Object = dict[str, Any]
_ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger(Neutral):
    """Fills in and refuses."""

    resources = frozenset(("pods", "persistentvolumeclaims"))

    def __init__(self, store: Store) -> None:
        self._store = store

    def _ranges(self, op: Operation) -> list[Object]:
        return [decode(r.value) for r in self._store.scan(f"/core/limitranges/{op.namespace}/")]

    def mutate(self, op: Operation) -> None:
        """Requests and limits that a new pod's containers leave out."""
        if not is_pod(op, "CREATE"):
            return
        assert op.obj is not None
        texts: list[str] = []
        for limits in self._ranges(op):
            for item in limits["spec"].get("limits") or ():
                if item.get("type") == "Container":
                    texts += _fill(op.obj["spec"], item)
        if texts:
            meta = op.obj["metadata"]
            text = "LimitRanger plugin set: " + "; ".join(texts)
            meta["annotations"] = {**(meta.get("annotations") or {}), _ANNOTATION: text}

    def validate(self, op: Operation) -> None:
        """Refuse what is out of bounds."""
        resized = op.plural == "pods" and op.sub == "resize" and op.verb == "UPDATE"
        if is_pod(op, "CREATE") or resized:
            check: Callable[[Object, Object], Iterator[str]] = _pod_errors
        elif op.plural == "persistentvolumeclaims" and not op.group and not op.sub and op.verb in ("CREATE", "UPDATE"):
            check = _claim_errors
        else:
            return
        assert op.obj is not None
        errors = [text for limits in self._ranges(op) for text in check(limits, op.obj)]
        if errors:
            raise refuse(op, errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")


def _fill(spec: Object, item: Object) -> list[str]:
    """Set defaults of one LimitRange item; what was set, in words."""
    texts = []
    for field, word in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(field) or ():
            resources = container.setdefault("resources", {})
            for part, source, name in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
                have = resources.get(part) or {}
                added = {k: v for k, v in (item.get(source) or {}).items() if k not in have}
                if added:
                    resources[part] = {**have, **added}
                    texts.append(f"{', '.join(sorted(added))} {name} for {word} {container['name']}")
    return texts


def _quantities(values: Object | None) -> dict[str, Quantity]:
    return {name: quantity.of(value) for name, value in (values or {}).items()}


def _pod_errors(limits: Object, pod: Object) -> Iterator[str]:
    spec = pod["spec"]
    for item in limits["spec"].get("limits") or ():
        if item.get("type") == "Container":
            for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
                resources = container.get("resources") or {}
                yield from _bounds(item, _quantities(resources.get("requests")), _quantities(resources.get("limits")))
        elif item.get("type") == "Pod":
            yield from _bounds(item, _total(spec, "requests"), _total(spec, "limits"))


def _total(spec: Object, part: str) -> dict[str, Quantity]:
    """What all containers of a pod ask for together; a limit counts only where every container has one."""
    amounts = podresources.of_pod(spec, part)
    if part == "limits":
        containers = spec.get("containers") or ()
        every = [set((c.get("resources") or {}).get("limits") or ()) for c in containers]
        amounts = {k: v for k, v in amounts.items() if all(k in each for each in every)}
    binary = ("memory", "ephemeral-storage")
    return {
        name: Quantity(
            value * (10**6 if name == "cpu" else quantity.NANO), "BinarySI" if name in binary else "DecimalSI"
        )
        for name, value in amounts.items()
    }


def _bounds(item: Object, requests: dict[str, Quantity], limits: dict[str, Quantity]) -> Iterator[str]:
    kind = item["type"]
    for name, bound in sorted(_quantities(item.get("min")).items()):
        yield from _minimum(name, kind, bound, requests.get(name), limits.get(name))
    for name, bound in sorted(_quantities(item.get("max")).items()):
        yield from _maximum(name, kind, bound, requests.get(name), limits.get(name))
    for name, bound in sorted(_quantities(item.get("maxLimitRequestRatio")).items()):
        yield from _ratio(name, kind, bound, requests.get(name), limits.get(name))


def _minimum(name: str, kind: str, bound: Quantity, request: Quantity | None, limit: Quantity | None) -> Iterable[str]:
    rule = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        yield f"{rule}.  No request is specified"
    elif request < bound:
        yield f"{rule}, but request is {request}"
    elif limit is not None and limit < bound:
        yield f"{rule}, but limit is {limit}"


def _maximum(name: str, kind: str, bound: Quantity, request: Quantity | None, limit: Quantity | None) -> Iterable[str]:
    rule = f"maximum {name} usage per {kind} is {bound}"
    if limit is None:
        yield f"{rule}.  No limit is specified"
    elif bound < limit:
        yield f"{rule}, but limit is {limit}"
    elif request is not None and bound < request:
        yield f"{rule}, but request is {request}"


def _ratio(name: str, kind: str, bound: Quantity, request: Quantity | None, limit: Quantity | None) -> Iterable[str]:
    rule = f"{name} max limit to request ratio per {kind} is {bound}"
    if request is None or request.nano == 0:
        yield f"{rule}, but no request is specified or request is 0"
    elif limit is None or limit.nano == 0:
        yield f"{rule}, but no limit is specified or limit is 0"
    elif limit.nano * quantity.NANO > bound.nano * request.nano:
        yield f"{rule}, but provided ratio is {limit.nano / request.nano:f}"


def _claim_errors(limits: Object, claim: Object) -> Iterator[str]:
    requests = _quantities((claim["spec"].get("resources") or {}).get("requests"))
    for item in limits["spec"].get("limits") or ():
        if item.get("type") != "PersistentVolumeClaim":
            continue
        for name, bound in sorted(_quantities(item.get("min")).items()):
            yield from _minimum(name, item["type"], bound, requests.get(name), None)
        for name, bound in sorted(_quantities(item.get("max")).items()):
            request = requests.get(name)
            rule = f"maximum {name} usage per {item['type']} is {bound}"
            if request is None:
                yield f"{rule}.  No request is specified"
            elif bound < request:
                yield f"{rule}, but request is {request}"
