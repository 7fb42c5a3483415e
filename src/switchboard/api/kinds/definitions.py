"""CustomResourceDefinitions: the status that the server gives them, at once, and the finalizer that empties them.

Upstream's controllers (`apiextensions-apiserver/pkg/controller/{status,establish,apiapproval}`) write the same
conditions a moment later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.api.crd import FINALIZER, PREFIX, condition, set_condition
from switchboard.api.keyspace import decode
from switchboard.api.kinds.base import Object, Strategy
from switchboard.objects.errors import FieldError

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.api.call import Call

_APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_NAMES = ("plural", "singular", "kind", "listKind")


class DefinitionStrategy(Strategy):
    """Strategy of CustomResourceDefinitions."""

    counts_generation = True
    unconditional_update = False

    def prepare_create(self, call: Call, obj: Object) -> None:
        """Status from nothing; the finalizer that makes deletion take the objects along."""
        super().prepare_create(call, obj)
        obj["status"] = {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
        self._observe(call.app, obj)
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)

    def prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        """A new spec may have other names and another storage version."""
        super().prepare_update(call, obj, old)
        if obj.get("spec") != old.get("spec"):
            obj["status"] = dict(obj.get("status") or {})
            self._observe(call.app, obj)

    def prepare_status(self, call: Call, obj: Object, old: Object) -> None:
        """What the server decides is looked at again."""
        super().prepare_status(call, obj, old)
        self._observe(call.app, obj)

    def check_create(self, call: Call, obj: Object) -> list[FieldError]:
        """Groups of the Kubernetes project need their approval."""
        group = (obj.get("spec") or {}).get("group") or ""
        protected = any(group == p or group.endswith(f".{p}") for p in _PROTECTED)
        if not protected or (obj["metadata"].get("annotations") or {}).get(_APPROVAL):
            return []
        text = (
            f'Required value: protected groups must have approval annotation "{_APPROVAL}", see '
            "https://github.com/kubernetes/enhancements/pull/1111"
        )
        return [FieldError("FieldValueRequired", f"metadata.annotations[{_APPROVAL}]", text)]

    def _observe(self, app: App, obj: Object) -> None:
        """Names, conditions and stored versions, from the spec and the other definitions of the group."""
        spec, status = obj.get("spec") or {}, obj.setdefault("status", {})
        storage = [v.get("name") for v in spec.get("versions") or () if v.get("storage")]
        stored = status.get("storedVersions") or []
        status["storedVersions"] = stored + [name for name in storage if name not in stored]
        wanted = spec.get("names") or {}
        conflict = _conflict(app, obj["metadata"].get("name", ""), spec.get("group", ""), wanted)
        if conflict is None:
            status["acceptedNames"] = dict(wanted)
            set_condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
            set_condition(status, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
        else:
            status.setdefault("acceptedNames", {"plural": "", "kind": ""})
            set_condition(status, "NamesAccepted", "False", *conflict)
            if condition(obj, "Established").get("status") != "True":
                set_condition(status, "Established", "False", "NotAccepted", "not all names are accepted")
        approval = (obj["metadata"].get("annotations") or {}).get(_APPROVAL)
        if approval and any(spec.get("group", "").endswith(p) for p in _PROTECTED):
            approved = not approval.startswith("unapproved")
            set_condition(
                status,
                "KubernetesAPIApprovalPolicyConformant",
                "True" if approved else "False",
                "ApprovedAnnotation" if approved else "UnapprovedAnnotation",
                f"{'approved in' if approved else 'not approved:'} {approval}",
            )


def _taken(names: dict[str, Any]) -> set[str]:
    return {names.get("plural") or "", names.get("singular") or "", *(names.get("shortNames") or ())} - {""}


def _conflict(app: App, own: str, group: str, wanted: dict[str, Any]) -> tuple[str, str] | None:
    """(reason, message) where another definition of the group, accepted before, has one of the names."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for record in app.store.scan(PREFIX):
        if record.key == PREFIX + own:
            continue
        other = decode(record.value)
        if other["spec"]["group"] == group:
            accepted = (other.get("status") or {}).get("acceptedNames") or {}
            resources |= _taken(accepted)
            kinds |= {accepted.get("kind") or "", accepted.get("listKind") or ""} - {""}
    for name, reason in (("plural", "PluralConflict"), ("singular", "SingularConflict")):
        if wanted.get(name) in resources:
            return reason, f'"{wanted[name]}" is already in use'
    for name in wanted.get("shortNames") or ():
        if name in resources:
            return "ShortNamesConflict", f'"{name}" is already in use'
    for name, reason in (("kind", "KindConflict"), ("listKind", "ListKindConflict")):
        if wanted.get(name) in kinds:
            return reason, f'"{wanted[name]}" is already in use'
    return None
