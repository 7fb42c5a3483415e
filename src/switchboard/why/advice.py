"""What the API says at once: HTTP warnings that `kubectl apply` prints below its own line (RFC 7234 section 5.5)."""

from __future__ import annotations

from switchboard.why.check import LATER, NOW, Object
from switchboard.why.verdict import why
from switchboard.why.world import World


def service_warnings(service: Object, old: Object | None, world: World) -> list[str]:
    """Warnings for a Service that was just written over `old`: at most one, and only when the cause is plain."""
    finding = why(service, world.evidence(service))
    if finding is None or finding.weight < (LATER if _lost(service, old, world) else NOW):
        return []
    return [f"Service {service['metadata']['name']} {finding.claim}{finding.scope}: {finding.message}"]


def _lost(service: Object, old: Object | None, world: World) -> bool:
    """Whether another selector is what took the Service's pods away: nobody waits for such a Service's pods."""
    if old is None or old["spec"].get("selector") == service["spec"].get("selector"):
        return False
    return bool(world.selected(old)) and not world.selected(service)
