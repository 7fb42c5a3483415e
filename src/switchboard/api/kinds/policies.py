"""Small strategies that fit nowhere else: Endpoints and their slices, Leases, webhook configurations, PriorityClasses,
custom kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.api.kinds.base import Object, Strategy
from switchboard.objects.errors import MethodNotAllowed

if TYPE_CHECKING:
    from switchboard.api.call import Call


class EndpointsStrategy(Strategy):
    """Endpoints: created by a PUT."""

    create_on_update = True


class EndpointSliceStrategy(Strategy):
    """EndpointSlices have no spec: their generation counts changes of everything but metadata."""

    counts_generation = True
    settles = False

    def generation_of(self, obj: Object) -> Any:
        """Everything but identity and metadata, plus labels (upstream compares those too)."""
        body = {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata", "status")}
        return body, obj["metadata"].get("labels")

    def prepare_create(self, call: Call, obj: Object) -> None:
        """What only an older version of the API could write is passed over in silence."""
        super().prepare_create(call, obj)
        _drop_topology(obj, None)

    def prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        """Likewise, unless it stands there."""
        super().prepare_update(call, obj, old)
        _drop_topology(obj, old)


def _drop_topology(obj: Object, old: Object | None) -> None:
    """`deprecatedTopology` of v1beta1 cannot be written through v1."""
    endpoints = obj.get("endpoints")
    if not endpoints or (old is not None and endpoints == old.get("endpoints")):
        return
    if any("deprecatedTopology" in endpoint for endpoint in endpoints):
        obj["endpoints"] = [{k: v for k, v in e.items() if k != "deprecatedTopology"} for e in endpoints]


class LeaseStrategy(Strategy):
    """Leases: a PUT creates; without a version it is refused."""

    create_on_update = True
    unconditional_update = False


class WebhookStrategy(Strategy):
    """Webhook configurations count generations of their webhooks."""

    counts_generation = True

    def generation_of(self, obj: Object) -> Any:
        """The list of webhooks."""
        return obj.get("webhooks")


class PriorityClassStrategy(Strategy):
    """PriorityClasses have a generation that starts at 1."""

    counts_generation = True

    def generation_of(self, obj: Object) -> Any:
        """Everything but metadata."""
        return {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata")}


class CustomStrategy(Strategy):
    """Custom kinds: a version is required for updates, the generation counts everything but metadata and status."""

    counts_generation = True
    unconditional_update = False

    def prepare_create(self, call: Call, obj: Object) -> None:
        """Nothing new where the definition is going."""
        if call.app.definitions.terminating(call.kind):
            raise MethodNotAllowed("create not allowed while custom resource definition is terminating", details={})
        super().prepare_create(call, obj)

    def generation_of(self, obj: Object) -> Any:
        """Everything but identity, metadata and (where it is a subresource) status."""
        return {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata", "status")}

    def prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        """Without a status subresource, a change of status counts as well."""
        if "status" in call.kind.subresources:
            super().prepare_update(call, obj, old)
            return
        ignored = ("kind", "apiVersion", "metadata")
        before = {k: v for k, v in old.items() if k not in ignored}
        if {k: v for k, v in obj.items() if k not in ignored} != before:
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def prepare_status(self, call: Call, obj: Object, old: Object) -> None:
        """A status write changes status alone; of the metadata only managedFields."""
        managed = obj["metadata"].get("managedFields")
        status = obj.get("status")
        version = obj["metadata"].get("resourceVersion")
        obj.clear()
        obj.update(old)
        obj["metadata"] = dict(old["metadata"])
        if version is not None:
            obj["metadata"]["resourceVersion"] = version
        if managed is not None:
            obj["metadata"]["managedFields"] = managed
        if status is None:
            obj.pop("status", None)
        else:
            obj["status"] = status
