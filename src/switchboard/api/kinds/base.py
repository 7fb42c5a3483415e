"""The strategy of a kind: how objects are prepared before they are stored. The default fits most kinds.

Upstream has one strategy per resource under `pkg/registry`; the rules that repeat there are class attributes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.objects.errors import FieldError
from switchboard.objects.kinds import Kind
from switchboard.objects.resetfields import reset_metadata

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.api.call import Call
    from switchboard.api.claims import Claims

Object = dict[str, Any]
DeleteOptions = dict[str, Any]


class Strategy:
    """Defaults for every kind; subclasses override what differs. Strategies hold no state (that is the App's)."""

    create_on_update = False  # PUT of an absent object creates it
    unconditional_update = True  # PUT without resourceVersion is allowed
    returns_deleted = False  # DELETE answers with the object instead of a Status
    counts_generation = False  # metadata.generation grows with every change of what `generation_of` gives
    default_propagation = "Background"
    settles = True  # whether preparation can leave the object in a form that is not the final one

    def must_settle(self, kind: Kind) -> bool:
        """Whether the object has to be brought into its final form again after it was prepared."""
        return self.settles or "status" in kind.subresources

    def generation_of(self, obj: Object) -> Any:
        """What a generation counts changes of."""
        return obj.get("spec")

    def prepare_create(self, call: Call, obj: Object) -> None:
        """Before validation of a new object: a client's status does not count."""
        if "status" in call.kind.subresources:
            obj.pop("status", None)
        if self.counts_generation:
            obj["metadata"]["generation"] = 1

    def prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        """Before validation of an update of the main resource: status stays as it was, generation counts."""
        if "status" in call.kind.subresources:
            _restore(obj, old, "status")
        if self.counts_generation and self.generation_of(obj) != self.generation_of(old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def prepare_status(self, call: Call, obj: Object, old: Object) -> None:
        """Before validation of a status write: everything but status and metadata stays as it was."""
        for name in [n for n in obj if n not in ("kind", "apiVersion", "metadata", "status")]:
            if name not in old:
                del obj[name]
        for name in old:
            if name not in ("kind", "apiVersion", "metadata", "status"):
                obj[name] = old[name]
        for name in reset_metadata(call.kind):
            _restore(obj["metadata"], old["metadata"], name)

    def prepare_sub(self, call: Call, obj: Object, old: Object) -> None:
        """As `prepare_update`, for a subresource other than status: by default nothing but metadata may change."""
        for name in list(obj):
            if name not in ("kind", "apiVersion", "metadata"):
                _restore(obj, old, name)

    def check_create(self, call: Call, obj: Object) -> list[FieldError]:
        """Rules beyond `objects.validate` that need the cluster's settings or state."""
        return []

    def check_update(self, call: Call, obj: Object, old: Object) -> list[FieldError]:
        """As `check_create`, for updates."""
        return []

    def claim(self, call: Call, obj: Object, old: Object | None, claims: Claims) -> None:
        """Take addresses, ports ... for a write (`old` is None for a create). May raise StatusError."""

    def grace(self, call: Call, obj: Object, options: DeleteOptions) -> int | None:
        """Seconds of graceful deletion, None for kinds (or states) that are deleted at once."""
        return None

    def default_policy(self, call: Call, options: DeleteOptions) -> str:
        """Propagation policy when the client names none."""
        return self.default_propagation

    def check_delete(self, call: Call, obj: Object) -> None:
        """Raise StatusError where the object may not be deleted."""

    def deleting(self, app: App, obj: Object) -> None:
        """With the object's removal: queue the removal of stored objects that belong to it."""

    def deleted(self, app: App, obj: Object) -> None:
        """After the object is gone: give back what it held."""


def _restore(obj: Object, old: Object, field: str) -> None:
    if field in old:
        obj[field] = old[field]
    else:
        obj.pop(field, None)


class Plain(Strategy):
    """Kinds that preparation leaves alone, but for their metadata."""

    settles = False


class Generational(Strategy):
    """Kinds whose generation counts changes of their spec."""

    counts_generation = True


class Returned(Plain):
    """Kinds whose DELETE answers with the object."""

    returns_deleted = True


class CreatedOnUpdate(Plain):
    """Kinds that a PUT creates."""

    create_on_update = True


class Conditional(Plain):
    """Kinds whose update must name a resourceVersion."""

    unconditional_update = False
