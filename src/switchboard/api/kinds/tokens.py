"""TokenRequest (`serviceaccounts/token`) and TokenReview: tokens asked for, and tokens asked about."""

from __future__ import annotations

from typing import Any

from switchboard.api import bodies, query, representing
from switchboard.api.call import Call
from switchboard.api.identity import Identity
from switchboard.objects.errors import BadRequest, Unauthorized
from switchboard.transport.messages import Request, Response

_UNKNOWN = "[invalid bearer token, unknown]"


async def create(call: Call) -> Response:
    """Issue a token for a service account (TokenRequest)."""
    return await call.app.tokens.create(call)


async def review(call: Call) -> Response:
    """TokenReview: whose token it is, if anybody's (`pkg/registry/authentication/tokenreview/storage.go`)."""
    call.options = query.write_options(call.params, "CreateOptions")
    obj = bodies.decode(call, call.kind)
    obj.setdefault("metadata", {})
    spec = obj.get("spec") or {}
    token = spec.get("token") or ""
    if not token:
        raise BadRequest("token is required for TokenReview in authentication")
    audiences = tuple(spec.get("audiences") or ()) or (call.app.tokens.issuer,)
    status: dict[str, Any] = {"user": {}}
    try:
        found = await _identify(call, token, audiences)
        if found is None:
            status["error"] = _UNKNOWN
        else:
            identity, shared = found
            status = {"authenticated": True, "user": identity.user_info(), "audiences": list(shared)}
    except Unauthorized:
        status["error"] = _UNKNOWN
    obj["status"] = status
    return representing.shown_object(call, obj, 201)


async def _identify(call: Call, token: str, audiences: tuple[str, ...]) -> tuple[Identity, tuple[str, ...]] | None:
    """Service-account tokens say for whom they are; all others are for this server alone."""
    app = call.app
    found = app.tokens.know(token, audiences)
    if found is not None:
        return found
    shared = tuple(a for a in audiences if a == app.tokens.issuer)
    if not shared:
        return None
    probe = Request("GET", "/", "", {"authorization": f"Bearer {token}"}, b"")
    known = app.authentication.identify(probe)
    return (known if isinstance(known, Identity) else await known), shared
