"""`serviceaccounts/token`: handed to the issuer that the app was given."""

from __future__ import annotations

from switchboard.api.call import Call
from switchboard.objects.errors import ServiceUnavailable
from switchboard.transport.messages import Response


async def create(call: Call) -> Response:
    """Issue a token for a service account (TokenRequest)."""
    issuer = call.app.token_issuer
    if issuer is None:
        raise ServiceUnavailable("this server has no key to sign service account tokens with")
    response: Response = await issuer.create(call)
    return response
