"""The proxy subresource."""

from __future__ import annotations

from switchboard.api.call import Call
from switchboard.objects.errors import ServiceUnavailable
from switchboard.transport.messages import Response


def handle(call: Call) -> Response:
    """Pass the request on to a pod, a Service's endpoint or a node."""
    raise ServiceUnavailable(f'no endpoints available for service "{call.name}"')
