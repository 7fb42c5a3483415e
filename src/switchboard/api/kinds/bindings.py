"""Binding a pod to a node, and evicting one from it within its disruption budgets."""

from __future__ import annotations

from typing import Any

from switchboard.api import bodies, query, representing
from switchboard.api.admission.chain import Operation
from switchboard.api.call import Call
from switchboard.api.deleting import remove
from switchboard.api.keyspace import decode, key_of, prefix_of
from switchboard.api.metadata import now
from switchboard.api.writing import change, sealed
from switchboard.objects.errors import BadRequest, Conflict, FieldError, Invalid, NotFound, StatusError, TooManyRequests
from switchboard.objects.selectors import SelectorError, from_object
from switchboard.store.errors import Changed
from switchboard.transport.messages import Response

Object = dict[str, Any]

_BINDING = "io.k8s.api.core.v1.Binding"
_EVICTION = "io.k8s.api.policy.v1.Eviction"
_CREATED: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def bind(call: Call) -> Response:
    """`pods/binding` (and the old `bindings`): set spec.nodeName once, and the PodScheduled condition."""
    call.options = query.write_options(call.params, "CreateOptions")
    binding = bodies.decode(call, call.kind, _BINDING, ("v1", "Binding"))
    name = binding.get("metadata", {}).get("name", "")
    if call.name and name and name != call.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.name})")
    pods = call.app.registry.resource("", "v1", "pods")
    assert pods is not None
    pod_call = call.for_object(call.namespace, call.name or name)
    pod_call.kind, pod_call.subresource, pod_call.verb = pods, pods.subresources["binding"], "patch"
    _check_target(binding, pod_call.name)

    def assign(pod: Object) -> Object:
        _assign(pod, binding)
        return pod

    await change(pod_call, assign, tracked=True, prepared=True)
    return representing.shown_object(call, _CREATED, 201)


def _check_target(binding: Object, name: str) -> None:
    target = binding.get("target") or {}
    errors = []
    if target.get("kind") not in (None, "", "Node"):
        text = f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
        errors.append(FieldError("FieldValueNotSupported", "target.kind", text))
    if not target.get("name"):
        errors.append(FieldError("FieldValueRequired", "target.name", "Required value"))
    if errors:
        raise Invalid.of("Binding", "", name, errors)


def _assign(pod: Object, binding: Object) -> None:
    meta, spec, node = pod["metadata"], pod["spec"], binding["target"]["name"]
    name = meta["name"]
    uid = binding.get("metadata", {}).get("uid")
    if uid and uid != meta.get("uid"):
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta.get('uid')}"
        raise Conflict.of("pods/binding", "", name, why)
    if "deletionTimestamp" in meta:
        raise Conflict.of("pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
        raise Conflict.of("pods/binding", "", name, why)
    if spec.get("schedulingGates"):
        raise Conflict.of("pods/binding", "", name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    notes = binding.get("metadata", {}).get("annotations")
    if notes:
        meta["annotations"] = {**(meta.get("annotations") or {}), **notes}
    labels = binding.get("metadata", {}).get("labels")
    if labels:
        meta["labels"] = {**(meta.get("labels") or {}), **labels}
    conditions = [c for c in pod["status"].get("conditions") or () if c.get("type") != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
    pod["status"]["conditions"] = [*conditions, scheduled]


async def evict(call: Call) -> Response:
    """`pods/eviction`: a delete that respects disruption budgets; 429 with a cause while they do not allow it."""
    call.options = query.write_options(call.params, "CreateOptions")
    eviction = bodies.decode(call, call.kind, _EVICTION, ("policy/v1", "Eviction"))
    name = eviction.get("metadata", {}).get("name")
    if name and name != call.name:
        raise BadRequest(f"the name in the URL ({call.name}) and in the body ({name}) differ")
    if (eviction.get("deleteOptions") or {}).get("dryRun"):
        call.options = query.WriteOptions(dry_run=True)
    record = call.app.store.get(key_of(call.kind, call.namespace, call.name))
    if record is None:
        raise NotFound.of("pods", "", call.name)
    operation = Operation(call, "CREATE", eviction, None, call.namespace, call.name)
    await call.app.admission.mutate(operation)
    await call.app.admission.validate(operation)
    options = dict(eviction.get("deleteOptions") or {})
    pod = decode(record.value)
    if not _ignores_budgets(pod):
        await _spend_budget(call, pod)
    if not call.dry_run:
        await _mark_evicted(call)
    await remove(call, options)
    return representing.shown_object(call, _CREATED, 201)


async def _mark_evicted(call: Call) -> None:
    """The pod says that it was evicted, for those who tell that from a failure (KEP-3329)."""
    status_call = call.for_object(call.namespace, call.name)
    status_call.subresource, status_call.verb = call.kind.subresources["status"], "update"

    def mark(pod: Object) -> Object:
        status = pod.setdefault("status", {})
        conditions = [c for c in status.get("conditions") or () if c.get("type") != "DisruptionTarget"]
        told = {"type": "DisruptionTarget", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
        told |= {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
        status["conditions"] = [*conditions, told]
        return pod

    await change(status_call, mark, tracked=True, prepared=True)


def _ignores_budgets(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]


async def _spend_budget(call: Call, pod: Object) -> None:
    """Take one disruption from the budget that covers the pod; two budgets are an error (eviction.go)."""
    budgets = call.app.registry.resource("policy", "v1", "poddisruptionbudgets")
    assert budgets is not None
    labels = pod["metadata"].get("labels") or {}
    covering = []
    for record in call.app.store.scan(prefix_of(budgets, call.namespace)):
        budget = decode(record.value)
        try:
            if from_object((budget.get("spec") or {}).get("selector")).matches(labels):
                covering.append((record, budget))
        except SelectorError:
            continue
    if not covering:
        return
    if len(covering) > 1:
        raise StatusError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            code=500,
            reason="InternalError",
        )
    record, budget = covering[0]
    ready = any(
        c.get("type") == "Ready" and c.get("status") == "True"
        for c in (pod.get("status") or {}).get("conditions") or ()
    )
    if not ready and _may_go_unready(budget):
        return
    _refuse_without_budget(budget)
    if call.dry_run:
        return
    status = budget["status"]
    status["disruptionsAllowed"] = status.get("disruptionsAllowed", 0) - 1
    status.setdefault("disruptedPods", {})[call.name] = now()
    budget_call = call.for_object(call.namespace, budget["metadata"]["name"])
    budget_call.kind = budgets
    head = call.app.store.head(record.key)
    if head is not record:
        raise TooManyRequests.after("Cannot evict pod: the disruption budget changed, try again.", 1)
    try:
        await call.app.store.put(record.key, sealed(budget_call, budget), expect=head)
    except Changed:
        raise TooManyRequests.after("Cannot evict pod: the disruption budget changed, try again.", 1) from None


def _may_go_unready(budget: Object) -> bool:
    spec, status = budget.get("spec") or {}, budget.get("status") or {}
    if spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    return bool(status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0)


def _refuse_without_budget(budget: Object) -> None:
    status, name = budget.get("status") or {}, budget["metadata"]["name"]
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        error = TooManyRequests.after("Cannot evict pod as it would violate the pod's disruption budget.", 10)
        cause = f"The disruption budget {name} is still being processed by the server."
    elif status.get("disruptionsAllowed", 0) <= 0:
        error = TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", details={})
        cause = (
            f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
            f"{status.get('currentHealthy', 0)} currently"
        )
    else:
        return
    error.details = {**(error.details or {}), "causes": [{"reason": "DisruptionBudget", "message": cause}]}
    raise error
