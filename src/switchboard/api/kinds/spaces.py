"""Namespaces: phase, the name label, finalizers in the spec, and the finalize subresource."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchboard.api.kinds.base import Object, Strategy

if TYPE_CHECKING:
    from switchboard.api.call import Call


class NamespaceStrategy(Strategy):
    """Strategy of Namespaces (`pkg/registry/core/namespace/strategy.go`)."""

    returns_deleted = True

    def prepare_create(self, call: Call, obj: Object) -> None:
        """Active, with the `kubernetes` finalizer."""
        spec = obj.setdefault("spec", {})
        finalizers = list(spec.get("finalizers") or ())
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
        spec["finalizers"] = finalizers
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        """Finalizers and status change through their subresources only."""
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers")}
        if not obj["spec"]["finalizers"]:
            del obj["spec"]["finalizers"]
        obj["status"] = old.get("status") or {}

    def prepare_sub(self, call: Call, obj: Object, old: Object) -> None:
        """`finalize`: only the finalizers of the spec change."""
        obj["status"] = old.get("status") or {}
