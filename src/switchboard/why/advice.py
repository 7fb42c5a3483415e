"""What the API says at once: HTTP warnings that `kubectl apply` prints below its own line (RFC 7234 section 5.5)."""

from __future__ import annotations

from switchboard.why.check import NOW, Object
from switchboard.why.verdict import why
from switchboard.why.world import World


def service_warnings(service: Object, world: World) -> list[str]:
    """Warnings for a Service that was just written: at most one, and only when the cause is plain."""
    finding = why(service, world.evidence(service))
    if finding is None or finding.weight < NOW:
        return []
    return [f"Service {service['metadata']['name']} has no endpoints{finding.scope}: {finding.message}"]
