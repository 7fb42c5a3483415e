"""A Deployment's history: which ReplicaSet is the new one, revision numbers, annotations that travel (pure).

Source: kubernetes/pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from switchboard.controllers.hashing import template_hash
from switchboard.controllers.owners import reference_to
from switchboard.controllers.rollout import DESIRED, MAX, Bounds, by_age

Object = dict[str, Any]

HASH_LABEL: Final = "pod-template-hash"
REVISION: Final = "deployment.kubernetes.io/revision"
HISTORY: Final = "deployment.kubernetes.io/revision-history"
_STAY: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        DESIRED,
        MAX,
        "deprecated.deployment.rollback.to",
    }
)


def revision(obj: Object) -> int:
    """The revision annotation as a number, 0 when there is none."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def same_template(left: Object, right: Object) -> bool:
    """Whether two pod templates are the same but for the hash label."""
    return bool(_essence(left) == _essence(right))


def _essence(template: Object) -> Any:
    meta = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH_LABEL}
    return {**meta, "labels": labels}, template.get("spec")


def split(deployment: Object, sets: Sequence[Object]) -> tuple[Object | None, list[Object]]:
    """(the new ReplicaSet: the oldest with the Deployment's template, all others)."""
    template = deployment["spec"]["template"]
    new = next((rs for rs in by_age(sets) if same_template(rs["spec"]["template"], template)), None)
    return new, [rs for rs in sets if rs is not new]


def copied_annotations(deployment: Object) -> dict[str, str]:
    """Annotations that a Deployment hands on to its new ReplicaSet."""
    return {k: v for k, v in (deployment["metadata"].get("annotations") or {}).items() if k not in _STAY}


def new_set(deployment: Object, number: int, replicas: int, limits: Bounds) -> Object:
    """The ReplicaSet to create for the Deployment's template, as revision `number`."""
    spec, meta = deployment["spec"], deployment["metadata"]
    template = spec["template"]
    digest = template_hash(template, (deployment.get("status") or {}).get("collisionCount"))
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
    selector = spec["selector"]
    body: Object = {
        "replicas": replicas,
        "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}},
        "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
    }
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    annotations = copied_annotations(deployment) | {REVISION: str(number)} | sizing(limits)
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "namespace": meta.get("namespace"),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [reference_to(deployment)],
        },
        "spec": body,
    }


def sizing(limits: Bounds) -> dict[str, str]:
    """Annotations that tell for which spec.replicas a ReplicaSet was last sized."""
    return {DESIRED: str(limits.replicas), MAX: str(limits.rolling)}


def refreshed(deployment: Object, new: Object, number: int) -> Object | None:
    """The new ReplicaSet with the Deployment's annotations, revision and minReadySeconds; None if it has them."""
    held = new["metadata"].get("annotations") or {}
    annotations = {**held, **copied_annotations(deployment)}
    if revision(new) < number:
        annotations[REVISION] = str(number)
        if held.get(REVISION):
            past = [text for text in held.get(HISTORY, "").split(",") if text]
            annotations[HISTORY] = ",".join([*past, held[REVISION]])
    least = deployment["spec"].get("minReadySeconds") or 0
    if annotations == held and (new["spec"].get("minReadySeconds") or 0) == least:
        return None
    return {
        **new,
        "metadata": {**new["metadata"], "annotations": annotations},
        "spec": {**new["spec"], "minReadySeconds": least},
    }


def expendable(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old ReplicaSets beyond revisionHistoryLimit, oldest revisions first; never one that still has pods."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None:
        return []
    alive = [rs for rs in old if not rs["metadata"].get("deletionTimestamp")]
    too_many = sorted(alive, key=revision)[: max(0, len(alive) - limit)]
    return [rs for rs in too_many if _idle(rs)]


def _idle(rs: Object) -> bool:
    status = rs.get("status") or {}
    seen = rs["metadata"].get("generation", 0) <= status.get("observedGeneration", 0)
    return seen and not rs["spec"].get("replicas") and not status.get("replicas")
