"""ReplicaSets, ReplicationControllers, Jobs: what they have besides a generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchboard.api.kinds.base import DeleteOptions, Generational, Object, Returned

if TYPE_CHECKING:
    from switchboard.api.call import Call

_JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)


_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


class DaemonStrategy(Generational):
    """DaemonSets count the generations of their template in an annotation, for clients of old."""

    def prepare_create(self, call: Call, obj: Object) -> None:
        """The first template."""
        super().prepare_create(call, obj)
        meta = obj["metadata"]
        meta["annotations"] = {**(meta.get("annotations") or {}), _TEMPLATE_GENERATION: "1"}

    def prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        """One more when the template changed."""
        super().prepare_update(call, obj, old)
        before = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "1")
        count = int(before) if before.isdigit() else 1
        if (obj.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template"):
            count += 1
        meta = obj["metadata"]
        meta["annotations"] = {**(meta.get("annotations") or {}), _TEMPLATE_GENERATION: str(count)}


class ControllerStrategy(Generational):
    """ReplicationControllers orphan their pods by default, as they did before there were policies."""

    default_propagation = "Orphan"


class PodTemplateStrategy(Returned):
    """PodTemplates count generations of their template."""

    counts_generation = True

    def generation_of(self, obj: Object) -> object:
        """The template."""
        return obj.get("template")


class JobStrategy(Generational):
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
        if not meta.get("labels"):
            meta["labels"] = dict(labels)
