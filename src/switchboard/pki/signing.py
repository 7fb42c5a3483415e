"""Signs what others ask for: a PKCS #10 request becomes a certificate of the cluster's authority.

As kube-controller-manager's signers do (pkg/controller/certificates/{signer,authority}): subject and alternative names
are the request's, usages and lifetime the caller's, and no other extension is taken over.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID as Extended
from cryptography.x509.oid import ObjectIdentifier

from .make import load_authority

_BACKDATE = dt.timedelta(minutes=5)  # for peers whose clocks are behind
_SHORT = dt.timedelta(hours=8)  # below this, the backdating does not shorten a lifetime
_BITS = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_PURPOSES = {
    "any": Extended.ANY_EXTENDED_KEY_USAGE,
    "server auth": Extended.SERVER_AUTH,
    "client auth": Extended.CLIENT_AUTH,
    "code signing": Extended.CODE_SIGNING,
    "email protection": Extended.EMAIL_PROTECTION,
    "s/mime": Extended.EMAIL_PROTECTION,
    "ipsec end system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": Extended.TIME_STAMPING,
    "ocsp signing": Extended.OCSP_SIGNING,
    "microsoft sgc": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": ObjectIdentifier("2.16.840.1.113730.4.1"),
}
_NAMES = (x509.DNSName, x509.RFC822Name, x509.IPAddress, x509.UniformResourceIdentifier)


def sign_request(folder: Path, request: bytes, usages: Iterable[str], seconds: float, now: float) -> bytes:
    """The certificate (PEM) for a request (PEM), from the authority in `folder`. Raises OSError, ValueError."""
    authority, authority_key = load_authority(folder)
    asked = x509.load_pem_x509_csr(request)
    if not asked.is_signature_valid:
        raise ValueError("the request's signature does not verify")
    moment, lifetime = dt.datetime.fromtimestamp(now, dt.UTC), dt.timedelta(seconds=seconds)
    end = moment + lifetime - (_BACKDATE if lifetime >= _SHORT else dt.timedelta())
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(authority.subject)
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _BACKDATE)
        .not_valid_after(min(end, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    for extension, critical in _usages(set(usages)):
        builder = builder.add_extension(extension, critical)
    names = _alternatives(asked)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(asked.subject))
    return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _usages(usages: set[str]) -> Iterable[tuple[x509.ExtensionType, bool]]:
    bits = {_BITS[u] for u in usages if u in _BITS}
    if bits & {"encipher_only", "decipher_only"}:
        bits.add("key_agreement")  # without it these two have no meaning (RFC 5280 4.2.1.3)
    if bits:
        yield x509.KeyUsage(**{name: name in bits for name in dict.fromkeys(_BITS.values())}), True
    purposes = {_PURPOSES[u] for u in usages if u in _PURPOSES}
    if purposes:
        yield x509.ExtendedKeyUsage(sorted(purposes, key=lambda oid: oid.dotted_string)), False


def _alternatives(asked: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        found = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name for name in found if isinstance(name, _NAMES)]
