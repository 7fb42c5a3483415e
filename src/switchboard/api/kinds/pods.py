"""Pods: status at creation, graceful deletion, and the subresources that change a running pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.api.kinds.base import DeleteOptions, Object, Strategy
from switchboard.api.metadata import now
from switchboard.objects.podresources import qos_class

if TYPE_CHECKING:
    from switchboard.api.call import Call

_DEFAULT_GRACE = 30


class PodStrategy(Strategy):
    """Strategy of Pods (`pkg/registry/core/pod/strategy.go`)."""

    returns_deleted = True
    counts_generation = True

    def prepare_create(self, call: Call, obj: Object) -> None:
        """Pending, with its QoS class, and gated pods say so."""
        obj["metadata"]["generation"] = 1
        spec = obj.get("spec") or {}
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            obj["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": now(),
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]

    def prepare_status(self, call: Call, obj: Object, old: Object) -> None:
        """Only the status, labels and annotations; owners, deletion marks and QoS stay."""
        super().prepare_status(call, obj, old)
        status = obj.setdefault("status", {})
        if not status.get("qosClass"):
            status["qosClass"] = (old.get("status") or {}).get("qosClass") or qos_class(obj.get("spec") or {})

    def prepare_sub(self, call: Call, obj: Object, old: Object) -> None:
        """`ephemeralcontainers` and `resize` change their part of the spec, nothing else."""
        wanted = obj.get("spec") or {}
        obj["spec"] = dict(old.get("spec") or {})
        obj["status"] = old.get("status") or {}
        if call.sub == "ephemeralcontainers":
            if wanted.get("ephemeralContainers"):
                obj["spec"]["ephemeralContainers"] = wanted["ephemeralContainers"]
            else:
                obj["spec"].pop("ephemeralContainers", None)
        elif call.sub == "resize":
            if "resources" in wanted:
                obj["spec"]["resources"] = wanted["resources"]
            else:
                obj["spec"].pop("resources", None)
            for name in ("containers", "initContainers"):
                before, after = obj["spec"].get(name) or (), wanted.get(name) or ()
                if [c.get("name") for c in before] != [c.get("name") for c in after]:
                    obj["spec"] = wanted  # validation says what is wrong with it
                    break
                if before:
                    obj["spec"][name] = _resized(before, after)
        if obj["spec"] != old.get("spec"):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def grace(self, call: Call, obj: Object, options: DeleteOptions) -> int | None:
        """The client's seconds, else the pod's; none for pods that run nowhere or have ended."""
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        seconds = options.get("gracePeriodSeconds")
        if seconds is None:
            seconds = spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
        if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
            seconds = 0
        if seconds < 0:
            seconds = 1
        return int(seconds)


def _resized(containers: list[Object], wanted: Any) -> list[Object]:
    by_name = {c.get("name"): c for c in wanted}
    out = []
    for container in containers:
        new = by_name.get(container.get("name"))
        changed = dict(container)
        if new is not None:
            for field in ("resources", "resizePolicy"):
                if field in new:
                    changed[field] = new[field]
        out.append(changed)
    return out
