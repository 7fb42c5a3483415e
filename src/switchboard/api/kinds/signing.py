"""CertificateSigningRequests: the requester is written in by the server; status and approval are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchboard.api.kinds.base import Object, Strategy
from switchboard.api.metadata import now

if TYPE_CHECKING:
    from switchboard.api.call import Call

_DECISIONS = ("Approved", "Denied")


class SigningStrategy(Strategy):
    """Strategy of CertificateSigningRequests (`pkg/registry/certificates/certificates/strategy.go`)."""

    def prepare_create(self, call: Call, obj: Object) -> None:
        """Who asks comes from authentication, never from the body."""
        spec, identity = obj.setdefault("spec", {}), call.identity
        for name in ("uid", "groups", "extra"):
            spec.pop(name, None)
        spec["username"] = identity.user
        if identity.uid:
            spec["uid"] = identity.uid
        if identity.groups:
            spec["groups"] = list(identity.groups)
        if identity.extra:
            spec["extra"] = {key: list(values) for key, values in identity.extra}
        obj["status"] = {}

    def prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        """Neither spec nor status change through the main resource."""
        obj["spec"], obj["status"] = old.get("spec", {}), old.get("status", {})

    def prepare_status(self, call: Call, obj: Object, old: Object) -> None:
        """Decisions stay as they were; adding or removing one here is refused by validation."""
        super().prepare_status(call, obj, old)
        conditions = list((obj.get("status") or {}).get("conditions") or ())
        for type_ in _DECISIONS:
            held = [c for c in (old.get("status") or {}).get("conditions") or () if c.get("type") == type_]
            if len(held) == sum(c.get("type") == type_ for c in conditions):
                kept = iter(held)
                conditions = [next(kept) if c.get("type") == type_ else c for c in conditions]
        self._set_conditions(obj, old, conditions)

    def prepare_sub(self, call: Call, obj: Object, old: Object) -> None:
        """`approval`: only the conditions change."""
        conditions = list((obj.get("status") or {}).get("conditions") or ())
        obj["spec"] = old.get("spec", {})
        obj["status"] = dict(old.get("status") or {})
        self._set_conditions(obj, old, conditions)

    @staticmethod
    def _set_conditions(obj: Object, old: Object, conditions: list[Object]) -> None:
        before = {c.get("type"): c for c in (old.get("status") or {}).get("conditions") or ()}
        for condition in conditions:
            same = before.get(condition.get("type"))
            condition.setdefault("lastUpdateTime", now())
            if not condition.get("lastTransitionTime"):
                changed = same is None or same.get("status") != condition.get("status")
                condition["lastTransitionTime"] = now() if changed else (same or {}).get("lastTransitionTime", now())
        status = obj.setdefault("status", {})
        if conditions:
            status["conditions"] = conditions
        else:
            status.pop("conditions", None)
