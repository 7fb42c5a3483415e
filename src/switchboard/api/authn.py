"""Authentication: one visible list of authenticators, then impersonation. Never logs what it is given.

An authenticator returns an Identity, None ("not mine, ask the next"), or raises Unauthorized ("mine, and wrong").
Upstream: `apiserver/pkg/authentication/request`, impersonation in `apiserver/pkg/endpoints/filters/impersonation`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import unquote

from switchboard.api.identity import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, Identity
from switchboard.objects.errors import BadRequest, Unauthorized
from switchboard.transport.messages import Request

Authenticator = Callable[[Request], "Identity | Awaitable[Identity | None] | None"]
_IMPERSONATE = "impersonate-"
_EXTRA = "impersonate-extra-"


def from_certificate(request: Request) -> Identity | None:
    """A verified client certificate: CN is the user, each O a group (RFC 5280 subject as `ssl.getpeercert` gives
    it)."""
    certificate = request.peer_certificate
    if not certificate:
        return None
    user, groups = "", []
    for part in cast("tuple[Any, ...]", certificate.get("subject", ())):
        for key, value in part:
            if key == "commonName":
                user = value
            elif key == "organizationName":
                groups.append(value)
    return Identity(user, (*groups, AUTHENTICATED)) if user else None


def bearer_of(request: Request) -> str | None:
    """The bearer token of a request: from the Authorization header, or a WebSocket subprotocol (browsers cannot set
    headers)."""
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None
    protocols = request.headers.get("sec-websocket-protocol")
    if protocols and "base64url.bearer.authorization.k8s.io." in protocols:
        return _token_in_protocols(protocols)
    return None


def _token_in_protocols(protocols: str) -> str | None:
    import base64
    import binascii

    prefix = "base64url.bearer.authorization.k8s.io."
    for protocol in (p.strip() for p in protocols.split(",")):
        if protocol.startswith(prefix):
            text = protocol[len(prefix) :]
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise Unauthorized("Unauthorized") from None
    return None


def static_tokens(tokens: dict[str, Identity]) -> Authenticator:
    """Tokens handed out at start."""

    def check(request: Request) -> Identity | None:
        token = bearer_of(request)
        return tokens.get(token) if token else None

    return check


def refuse_unknown_token(request: Request) -> Identity | None:
    """Last of those that read tokens: a token nobody knew is a wrong one."""
    if bearer_of(request) is not None:
        raise Unauthorized("Unauthorized")
    return None


def anonymous(request: Request) -> Identity | None:
    """Everybody else, where the settings allow it."""
    return ANONYMOUS


class Authentication:
    """The list of authenticators, asked in order."""

    def __init__(self, authenticators: list[Authenticator]) -> None:
        self.authenticators = authenticators

    def identify(self, request: Request) -> Identity | Awaitable[Identity]:
        """The caller's identity: at once where no authenticator has to wait. Raises Unauthorized."""
        for position, authenticator in enumerate(self.authenticators):
            found = authenticator(request)
            if isinstance(found, Identity):
                return found
            if found is not None:
                return self._continue(found, request, position + 1)
        raise Unauthorized("Unauthorized")

    async def _continue(self, waiting: Awaitable[Identity | None], request: Request, position: int) -> Identity:
        found = await waiting
        if found is not None:
            return found
        for authenticator in self.authenticators[position:]:
            result = authenticator(request)
            if result is not None and not isinstance(result, Identity):
                result = await result
            if result is not None:
                return result
        raise Unauthorized("Unauthorized")


def wants_impersonation(request: Request) -> bool:
    """Whether the request carries any Impersonate-* header."""
    return any(name.startswith(_IMPERSONATE) for name in request.headers)


def impersonation_of(request: Request) -> tuple[Identity, list[tuple[str, str, str, str, str]]]:
    """The identity asked for, and what the caller must be allowed to `impersonate`:
    (group, resource, subresource, namespace, name) each. Raises BadRequest for groups or extras without a user."""
    headers = request.headers
    user = headers.get("impersonate-user", "")
    groups = [g.strip() for g in headers.get("impersonate-group", "").split(",") if g.strip()]
    uid = headers.get("impersonate-uid", "")
    extra = {
        unquote(name[len(_EXTRA) :]): tuple(v.strip() for v in value.split(","))
        for name, value in headers.items()
        if name.startswith(_EXTRA)
    }
    if not user:
        raise BadRequest("requested impersonation without impersonating a user")
    parts = user.split(":")
    service_account = user.startswith("system:serviceaccount:") and len(parts) == 4
    checks = [("", "serviceaccounts", "", parts[2], parts[3]) if service_account else ("", "users", "", "", user)]
    checks += [("", "groups", "", "", group) for group in groups]
    if uid:
        checks.append(("authentication.k8s.io", "uids", "", "", uid))
    for key, values in extra.items():
        checks += [("authentication.k8s.io", "userextras", key, "", value) for value in values]
    if service_account and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
    if user == ANONYMOUS.user:
        if UNAUTHENTICATED not in groups:
            groups.append(UNAUTHENTICATED)
    elif AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups.append(AUTHENTICATED)
    return Identity(user, tuple(groups), uid, tuple(sorted(extra.items()))), checks
