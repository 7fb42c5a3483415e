"""What a StatefulSet does next: pods with identities, one after another (pure).

Source: pkg/controller/statefulset/stateful_set_control.go, stateful_set_utils.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard.controllers.history import HASH_LABEL
from switchboard.controllers.owners import reference_to
from switchboard.controllers.pods import from_template, is_available, is_finished, is_ready, phase
from switchboard.controllers.rollout import resolve

Object = dict[str, Any]

NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"
_ORDINAL: Final = re.compile(r"(.*)-([0-9]+)\Z")


def ordinal(sts: Object, pod: Object) -> int | None:
    """A pod's number if its name is of this StatefulSet."""
    match = _ORDINAL.match(pod["metadata"]["name"])
    return int(match[2]) if match and match[1] == sts["metadata"]["name"] else None


def start(sts: Object) -> int:
    """The first ordinal."""
    return int((sts["spec"].get("ordinals") or {}).get("start") or 0)


def replicas(sts: Object) -> int:
    """spec.replicas, 1 when absent."""
    number = sts["spec"].get("replicas")
    return 1 if number is None else int(number)


def claim_name(template: Object, pod_name: str) -> str:
    """Name of the claim that a pod has of one claim template."""
    return f"{template['metadata']['name']}-{pod_name}"


def pod_for(sts: Object, number: int, template: Object, revision: str) -> Object:
    """The pod with this ordinal, of the template of the revision of this name."""
    name = f"{sts['metadata']['name']}-{number}"
    pod = from_template(template, sts, name=name)
    labels = {**(pod["metadata"].get("labels") or {}), HASH_LABEL: revision, NAME_LABEL: name, INDEX_LABEL: str(number)}
    spec = {**pod["spec"], "hostname": name}
    if sts["spec"].get("serviceName"):
        spec["subdomain"] = sts["spec"]["serviceName"]
    claims = sts["spec"].get("volumeClaimTemplates") or ()
    if claims:
        ours = {claim["metadata"]["name"] for claim in claims}
        volumes = [v for v in spec.get("volumes") or () if v.get("name") not in ours]
        for claim in claims:
            source = {"claimName": claim_name(claim, name)}
            volumes.append({"name": claim["metadata"]["name"], "persistentVolumeClaim": source})
        spec["volumes"] = volumes
    return {**pod, "metadata": {**pod["metadata"], "labels": labels}, "spec": spec}


def claims_for(sts: Object, pod_name: str) -> list[Object]:
    """The claims that a pod needs."""
    out = []
    labels = (sts["spec"].get("selector") or {}).get("matchLabels") or {}
    policy = sts["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    for template in sts["spec"].get("volumeClaimTemplates") or ():
        meta = template.get("metadata") or {}
        new: Object = {
            "name": claim_name(template, pod_name),
            "namespace": sts["metadata"].get("namespace"),
            "labels": {**(meta.get("labels") or {}), **labels},
        }
        if meta.get("annotations"):
            new["annotations"] = dict(meta["annotations"])
        if policy.get("whenDeleted") == "Delete":
            new["ownerReferences"] = [{**reference_to(sts), "controller": True, "blockOwnerDeletion": True}]
        out.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": new, "spec": template["spec"]})
    return out


@dataclass(slots=True)
class Plan:
    """Ordinals to create (with the revision to take), pods to delete; each list is what may be done at once."""

    create: list[tuple[int, str]] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def _healthy(pod: Object) -> bool:
    return is_ready(pod) and phase(pod) == "Running" and not pod["metadata"].get("deletionTimestamp")


def _fine(pod: Object, least: int, now: float) -> bool:
    return _healthy(pod) and is_available(pod, least, now)


def plan(sts: Object, pods: Sequence[Object], current: str, update: str, now: float) -> Plan:
    """The next step. `current` and `update` are the names of the two revisions."""
    out = Plan()
    if sts["metadata"].get("deletionTimestamp"):
        return out
    held = {n: pod for pod in pods if (n := ordinal(sts, pod)) is not None}
    first, last = start(sts), start(sts) + replicas(sts)
    inside = range(first, last)
    surplus = sorted((n for n in held if n not in inside), reverse=True)
    monotonic = sts["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel"
    least = sts["spec"].get("minReadySeconds") or 0
    for number in inside:
        pod = held.get(number)
        if pod is not None and is_finished(pod):
            if not pod["metadata"].get("deletionTimestamp"):
                out.delete.append(pod)
            if monotonic:
                return out
        elif pod is None:
            out.create.append((number, _revision(sts, number, current, update)))
            if monotonic:
                return out
        elif monotonic and not _fine(pod, least, now):
            return out
    if surplus:
        _condemn(surplus, held, monotonic, least, now, out)
        if monotonic:
            return out
    if not out.create and not out.delete:
        _update(sts, held, inside, update, least, now, out)
    return out


def _condemn(
    surplus: Sequence[int], held: Mapping[int, Object], monotonic: bool, least: int, now: float, out: Plan
) -> None:
    """Scale down from the highest ordinal, one when the one before is gone. A pod that is not available is waited for,
    unless it is the first of those: then none before it can be what ails it."""
    first = min((n for n in surplus if not _fine(held[n], least, now)), default=None)
    for number in surplus:
        pod = held[number]
        if pod["metadata"].get("deletionTimestamp"):
            if monotonic:
                return
            continue
        if monotonic and number != first and not _fine(pod, least, now):
            return
        out.delete.append(pod)
        if monotonic:
            return


def _revision(sts: Object, number: int, current: str, update: str) -> str:
    """The revision a pod with this ordinal is created in: below the partition (or not yet reached) the current one."""
    strategy = sts["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return update
    relative = number - start(sts)
    if "rollingUpdate" in strategy:
        below = (strategy["rollingUpdate"] or {}).get("partition") or 0
    else:
        below = (sts.get("status") or {}).get("currentReplicas") or 0
    return current if relative < below else update


def _update(
    sts: Object, held: Mapping[int, Object], inside: range, update: str, least: int, now: float, out: Plan
) -> None:
    """A rolling update from the highest ordinal down to the partition, waiting for each to be healthy."""
    strategy = sts["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return
    rolling = strategy.get("rollingUpdate") or {}
    lowest = inside.start + (rolling.get("partition") or 0)
    most = max(1, resolve(rolling.get("maxUnavailable", 1), len(inside), up=True))
    unavailable = sum(not _fine(held[n], least, now) for n in inside if n in held)
    for number in reversed(inside):
        if number < lowest:
            return
        pod = held.get(number)
        if pod is None:
            return
        fine = _fine(pod, least, now)
        if revision_of(pod) != update and not pod["metadata"].get("deletionTimestamp"):
            if unavailable - (not fine) >= most:
                return
            out.delete.append(pod)
            unavailable += fine
            if unavailable >= most:
                return
        elif not fine and most == 1:
            return


def revision_of(pod: Object) -> str:
    """The name of the revision a pod was made from; a StatefulSet's pods have no bare hash in the label."""
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def status(sts: Object, pods: Sequence[Object], current: str, update: str, now: float) -> Object:
    """The StatefulSet's status, from the names of both revisions. A finished update makes the update current."""
    mine = [pod for pod in pods if ordinal(sts, pod) is not None]
    least = sts["spec"].get("minReadySeconds") or 0
    alive = [pod for pod in mine if not pod["metadata"].get("deletionTimestamp") and not is_finished(pod)]
    numbers = {
        "replicas": len([p for p in mine if not is_finished(p)]),
        "readyReplicas": sum(is_ready(p) and phase(p) == "Running" for p in mine),
        "availableReplicas": sum(is_available(p, least, now) and phase(p) == "Running" for p in mine),
        "currentReplicas": sum(revision_of(p) == current for p in alive),
        "updatedReplicas": sum(revision_of(p) == update for p in alive),
    }
    wanted = replicas(sts)
    done = numbers["updatedReplicas"] == numbers["replicas"] == numbers["readyReplicas"] == wanted
    partition = ((sts["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0
    rolling = (sts["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    if rolling and done and not partition:
        current = update
        numbers["currentReplicas"] = numbers["updatedReplicas"]
    old = sts.get("status") or {}
    out: Object = {
        "observedGeneration": sts["metadata"].get("generation", 0),
        "replicas": numbers.pop("replicas"),
        "availableReplicas": numbers.pop("availableReplicas"),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": old.get("collisionCount") or 0,
    }
    out |= {key: value for key, value in numbers.items() if value}
    return out | ({"conditions": old["conditions"]} if old.get("conditions") else {})
