"""Authentication: one visible list of authenticators. Never logs what it is given.

An authenticator returns an Identity, None ("not mine, ask the next"), or raises Unauthorized ("mine, and wrong").
Upstream: `apiserver/pkg/authentication/request`. Impersonation comes after it (`impersonation.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from switchboard.api.identity import ANONYMOUS, AUTHENTICATED, Identity
from switchboard.objects.errors import Unauthorized
from switchboard.transport.messages import Request

Authenticator = Callable[[Request], "Identity | Awaitable[Identity | None] | None"]
_UID = "1.3.6.1.4.1.57683.2"
_CREDENTIAL = "authentication.kubernetes.io/credential-id"


def from_certificate(request: Request) -> Identity | None:
    """A verified client certificate: CN is the user, each O a group, one part may be the UID (RFC 5280 subject as
    `ssl.getpeercert` gives it)."""
    certificate = request.peer_certificate
    if not certificate:
        return None
    user, groups, uids = "", [], []
    for part in cast("tuple[Any, ...]", certificate.get("subject", ())):
        for key, value in part:
            if key == "commonName":
                user = value
            elif key == "organizationName":
                groups.append(value)
            elif key == _UID:
                uids.append(value)
    if len(uids) > 1 or "" in uids:
        raise Unauthorized("Unauthorized")
    if not user:
        return None
    fingerprint = certificate.get("sha256")
    extra = ((_CREDENTIAL, (f"X509SHA256={fingerprint}",)),) if fingerprint else ()
    return Identity(user, (*groups, AUTHENTICATED), "".join(uids), extra)


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
