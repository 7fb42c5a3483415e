"""JSON Web Tokens (RFC 7519) with the cluster's signing key, and the key as a JSON Web Key (RFC 7517).

ES256 for P-256 keys and RS256 for RSA keys (RFC 7518). `cryptography` is imported with the first key: 8 MB and 40 ms
that a server which signs nothing does not pay.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Claims = dict[str, Any]
_encode = msgspec.json.Encoder(order="sorted").encode
_COORDINATE = 32  # bytes of one P-256 number


class InvalidToken(Exception):
    """Not a token that this key signed; says why (for logs of tests, never for clients)."""


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The reverse of `b64`; InvalidToken for anything else."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidToken("not base64url") from None


def _object(text: str) -> Claims:
    try:
        found = msgspec.json.decode(unb64(text))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise InvalidToken("not JSON") from None
    if not isinstance(found, dict):
        raise InvalidToken("not an object")
    return found


def unverified_claims(token: str) -> Claims:
    """What a token claims, before anybody checked its signature."""
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidToken("a token has three parts")
    return _object(parts[1])


class SigningKey:
    """A private key that signs tokens and checks its own signatures."""

    def __init__(self, pem: str = "") -> None:
        """From a PEM private key (P-256 or RSA); without one a key is made that lives as long as the process.
        ValueError for other keys."""
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

        key = load_pem_private_key(pem.encode(), None) if pem else ec.generate_private_key(ec.SECP256R1())
        self._elliptic: EllipticCurvePrivateKey | None = None
        self._rsa: RSAPrivateKey | None = None
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            self._elliptic, self.algorithm = key, "ES256"
        elif isinstance(key, rsa.RSAPrivateKey):
            self._rsa, self.algorithm = key, "RS256"
        else:
            raise ValueError("the service account key must be an elliptic curve P-256 or an RSA key")
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key_id = b64(hashlib.sha256(spki).digest())
        self._head = b64(_encode({"alg": self.algorithm, "kid": self.key_id}))

    def sign(self, claims: Claims) -> str:
        """A compact token of these claims."""
        payload = f"{self._head}.{b64(_encode(claims))}"
        return f"{payload}.{b64(self._signature(payload.encode()))}"

    def verify(self, token: str) -> Claims:
        """The claims of a token that this key signed; InvalidToken otherwise. Times and audiences are the caller's."""
        parts = token.split(".")
        if len(parts) != 3:
            raise InvalidToken("a token has three parts")
        head, payload, signature = parts
        fields = _object(head)
        if fields.get("alg") != self.algorithm or "crit" in fields:
            raise InvalidToken("another algorithm")
        if fields.get("kid") not in (None, "", self.key_id):
            raise InvalidToken("another key")
        self._check(unb64(signature), f"{head}.{payload}".encode())
        return _object(payload)

    def _signature(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        if self._rsa is not None:
            return self._rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())
        assert self._elliptic is not None
        r, s = decode_dss_signature(self._elliptic.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")

    def _check(self, signature: bytes, data: bytes) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        try:
            if self._rsa is not None:
                self._rsa.public_key().verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
                return
            assert self._elliptic is not None
            if len(signature) != 2 * _COORDINATE:
                raise InvalidToken("wrong signature")
            r, s = (int.from_bytes(half, "big") for half in (signature[:_COORDINATE], signature[_COORDINATE:]))
            self._elliptic.public_key().verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise InvalidToken("wrong signature") from None

    def jwk(self) -> dict[str, str]:
        """The public key as a JSON Web Key."""
        base = {"use": "sig", "kid": self.key_id, "alg": self.algorithm}
        if self._rsa is not None:
            public = self._rsa.public_key().public_numbers()
            exponent = public.e.to_bytes((public.e.bit_length() + 7) // 8, "big")
            return (
                base
                | {"kty": "RSA", "n": b64(public.n.to_bytes((public.n.bit_length() + 7) // 8, "big"))}
                | {"e": b64(exponent)}
            )
        assert self._elliptic is not None
        point = self._elliptic.public_key().public_numbers()
        x, y = (b64(n.to_bytes(_COORDINATE, "big")) for n in (point.x, point.y))
        return base | {"kty": "EC", "crv": "P-256", "x": x, "y": y}
