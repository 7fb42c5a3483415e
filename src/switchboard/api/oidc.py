"""OIDC discovery for service-account tokens: who issues them and with which key (OpenID Connect Discovery 1.0).

Source: `pkg/routes/openidmetadata.go`.
"""

from __future__ import annotations

from switchboard.api.keyspace import encode_any
from switchboard.api.settings import Settings
from switchboard.api.tokens import Tokens
from switchboard.transport.messages import Request, Response

CONFIGURATION = "/.well-known/openid-configuration"
KEYS = "/openid/v1/jwks"
_CACHE = ("cache-control", "public, max-age=3600")


class Oidc:
    """The two documents."""

    def __init__(self, tokens: Tokens, settings: Settings) -> None:
        self._tokens, self._settings = tokens, settings

    def configuration(self, request: Request) -> Response:
        """Issuer, where its keys are, and how it signs."""
        host = self._settings.advertise_address or "127.0.0.1"
        host = f"[{host}]" if ":" in host else host
        document = {
            "issuer": self._tokens.issuer,
            "jwks_uri": f"https://{host}:{self._settings.advertise_port}{KEYS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self._tokens.key.algorithm],
        }
        return Response(200, [("content-type", "application/json"), _CACHE], encode_any(document))

    def keys(self, request: Request) -> Response:
        """The key set."""
        body = encode_any({"keys": [self._tokens.key.jwk()]})
        return Response(200, [("content-type", "application/jwk-set+json"), _CACHE], body)
