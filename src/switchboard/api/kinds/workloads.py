"""ReplicaSets, ReplicationControllers, Jobs: what they have besides a generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchboard.api.kinds.base import DeleteOptions, Object, Returned, Workload

if TYPE_CHECKING:
    from switchboard.api.call import Call

_JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)


class ReplicaStrategy(Workload):
    """ReplicaSets."""


class ControllerStrategy(Workload):
    """ReplicationControllers orphan their pods by default, as they did before there were policies."""

    default_propagation = "Orphan"


class PodTemplateStrategy(Returned):
    """PodTemplates count generations of their template."""

    counts_generation = True

    def generation_of(self, obj: Object) -> object:
        """The template."""
        return obj.get("template")


class JobStrategy(Workload):
    """Jobs label their pods with their own uid, unless the client chose a selector."""

    def default_policy(self, call: Call, options: DeleteOptions) -> str:
        """Orphan, with the warning that says so."""
        call.warn(_JOB_WARNING)
        return "Orphan"

    def prepare_create(self, call: Call, obj: Object) -> None:
        """Generated selector and labels (`pkg/registry/batch/job/strategy.go` generateSelector)."""
        super().prepare_create(call, obj)
        spec, meta = obj.setdefault("spec", {}), obj["metadata"]
        if spec.get("manualSelector"):
            return
        template = spec.setdefault("template", {}).setdefault("metadata", {})
        labels = template.setdefault("labels", {})
        name, uid = meta.get("name", ""), meta["uid"]
        for key, value in (
            ("batch.kubernetes.io/controller-uid", uid),
            ("batch.kubernetes.io/job-name", name),
            ("controller-uid", uid),
            ("job-name", name),
        ):
            labels.setdefault(key, value)
        if spec.get("selector") is None:
            spec["selector"] = {}
        spec["selector"].setdefault("matchLabels", {}).setdefault("batch.kubernetes.io/controller-uid", uid)
