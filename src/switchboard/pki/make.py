"""Makes keys and certificates: elliptic curve P-256 throughout (RFC 5480), signed with SHA-256, extensions after RFC
5280.

Keys are written with mode 0600 before their first byte; each file is replaced whole, and the stamp comes last, so an
interrupted run is seen as unfinished and done again.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .ensure import STAMP
from .plan import CA, CA_DAYS, CLIENT, LEAF_DAYS, RENEW_BEFORE_DAYS, SERVER, Leaf, Plan

_USAGES = {CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH, SERVER: ExtendedKeyUsageOID.SERVER_AUTH}
_CLOCK_SKEW = dt.timedelta(hours=1)  # a peer whose clock is behind ours must still accept a new certificate


def make_all(folder: Path, plan: Plan, now: float) -> None:
    """Make the authority and signing key when missing or at their end, every leaf anew, and the stamp. Raises
    OSError, ValueError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    authorities = {name: _authority(folder, name, plan.cluster, moment) for name in plan.authorities}
    if not (folder / "sa.key").exists() or not (folder / "sa.pub").exists():
        _signing_key(folder)
    for leaf in plan.leaves:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _leaf(leaf, key, *authorities[leaf.authority], moment)
        write_private(folder / f"{leaf.file}.key", _key_pem(key))
        _write(folder / f"{leaf.file}.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    last = min(certificate.not_valid_after_utc for certificate, _ in authorities.values())
    end = min(moment + dt.timedelta(days=LEAF_DAYS), last)
    renew_after = (end - dt.timedelta(days=RENEW_BEFORE_DAYS)).timestamp()
    _write(folder / STAMP, json.dumps({"plan": plan.fingerprint, "renew_after": renew_after}).encode(), 0o644)


def make_leaf(folder: Path, leaf: Leaf, now: float) -> tuple[bytes, bytes]:
    """One more certificate under the folder's authority: (certificate, key) as PEM. For a node that joins, or a
    test's user.
    """
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    authority, authority_key = load_authority(folder, leaf.authority)
    key = ec.generate_private_key(ec.SECP256R1())
    return _leaf(leaf, key, authority, authority_key, moment).public_bytes(serialization.Encoding.PEM), _key_pem(key)


def _authority(
    folder: Path, file: str, cluster: str, now: dt.datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if (folder / f"{file}.crt").exists() and (folder / f"{file}.key").exists():
        certificate, key = load_authority(folder, file)
        if certificate.not_valid_after_utc > now + dt.timedelta(days=RENEW_BEFORE_DAYS):
            return certificate, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{cluster}-{file}")])
    usage = _key_usage(signs_certificates=True)
    certificate = (
        _builder(name, name, key, now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / f"{file}.key", _key_pem(key))
    _write(folder / f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, key


def load_authority(folder: Path, file: str = CA) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority of a folder: certificate and key. Raises OSError, ValueError."""
    certificate = x509.load_pem_x509_certificate((folder / f"{file}.crt").read_bytes())
    key = serialization.load_pem_private_key((folder / f"{file}.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError(
            f"{file}.key does not belong to {file}.crt; restore the pair, or remove both to make a new authority"
        )
    return certificate, key


def _signing_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(folder / "sa.key", _key_pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(folder / "sa.pub", public, 0o644)


def _leaf(
    leaf: Leaf,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> x509.Certificate:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in leaf.organizations]
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name))
    builder = (
        _builder(x509.Name(attributes), authority.subject, key, now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[usage] for usage in leaf.usages]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in leaf.names]
    names += [x509.IPAddress(ip_address(address)) for address in leaf.addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # SEC 1 ("EC PRIVATE KEY"): what kubeadm writes, and what every TLS library here reads
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def write_private(path: Path, data: bytes) -> None:
    """Replace a file that only its owner may read."""
    _write(path, data, 0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
