"""CertificateSigningRequests: what may be asked for, and which of its parts may change where.

Source: pkg/apis/certificates/validation/validation.go. Requests and certificates are really parsed; the library for
that is loaded with the first of them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

from switchboard.objects import names
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]

LEGACY = "kubernetes.io/legacy-unknown"
USAGES = frozenset(
    (
        "signing",
        "digital signature",
        "content commitment",
        "key encipherment",
        "key agreement",
        "data encipherment",
        "cert sign",
        "crl sign",
        "encipher only",
        "decipher only",
        "any",
        "server auth",
        "client auth",
        "code signing",
        "email protection",
        "s/mime",
        "ipsec end system",
        "ipsec tunnel",
        "ipsec user",
        "timestamping",
        "ocsp signing",
        "microsoft sgc",
        "netscape sgc",
    )
)
_DECISIONS = ("Approved", "Denied")
_ONLY_TRUE = (*_DECISIONS, "Failed")
_DOMAIN_MAX = 253
_MIN_SECONDS = 600
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)


def request(obj: Object, errs: Errors) -> None:
    """A new CertificateSigningRequest."""
    spec = obj.get("spec") or {}
    problem = _request_problem(spec.get("request") or "")
    if problem:
        errs.invalid("spec.request", spec.get("request"), problem)
    usages = spec.get("usages") or ()
    if not usages:
        errs.required("spec.usages")
    for i, usage in enumerate(usages):
        if usage not in USAGES:
            errs.unsupported(f"spec.usages[{i}]", usage, sorted(USAGES))
    for i, usage in enumerate(usages):
        if usage in usages[:i]:
            errs.duplicate(f"spec.usages[{i}]", usage)
    _signer(spec.get("signerName") or "", errs)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _MIN_SECONDS:
        errs.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 600 seconds (10 minutes)")


def main_update(obj: Object, old: Object, errs: Errors) -> None:
    """A write of the object itself: spec and status were put back already, so nothing can have changed."""


def status_update(obj: Object, old: Object, errs: Errors) -> None:
    """A write of `status`: a certificate, once, and conditions other than the decision."""
    _conditions(obj, old, errs)
    new, before = (o.get("status", {}).get("certificate") for o in (obj, old))
    if new != before:
        problem = _certificate_problem(new or "")
        if problem and not (before and _certificate_problem(before)):
            errs.invalid("status.certificate", "<certificate data>", problem)
    for type_ in _DECISIONS:
        if len(_of(obj, type_)) > len(_of(old, type_)):
            errs.forbidden("status.conditions", f'updates may not add a condition of type "{type_}"')
    if new != before and before:
        errs.forbidden("status.certificate", "updates may not modify existing certificate content")


def approval_update(obj: Object, old: Object, errs: Errors) -> None:
    """A write of `approval`: conditions only."""
    _conditions(obj, old, errs)


def _conditions(obj: Object, old: Object, errs: Errors) -> None:
    seen: set[str] = set()
    both = all(_of(old, t) for t in _DECISIONS)
    twice = len({c.get("type") for c in _all(old)}) < len(_all(old))
    for i, condition in enumerate(_all(obj)):
        path, type_, status = f"status.conditions[{i}]", condition.get("type") or "", condition.get("status") or ""
        if not type_ and not _of(old, ""):
            errs.required(f"{path}.type")
        errs.one_of(f"{path}.status", status, ("True",) if type_ in _ONLY_TRUE else ("False", "True", "Unknown"))
        other = {"Approved": "Denied", "Denied": "Approved"}.get(type_)
        if other in seen and not both:
            errs.invalid(f"{path}.type", type_, "Approved and Denied conditions are mutually exclusive")
        if type_ in seen and not twice:
            errs.duplicate(f"{path}.type", type_)
        seen.add(type_)
    for type_ in _ONLY_TRUE:
        if len(_of(obj, type_)) < len(_of(old, type_)):
            errs.forbidden("status.conditions", f'updates may not remove a condition of type "{type_}"')


def _all(obj: Object) -> list[Object]:
    return list((obj.get("status") or {}).get("conditions") or ())


def _of(obj: Object, type_: str) -> list[Object]:
    return [c for c in _all(obj) if (c.get("type") or "") == type_]


def _signer(name: str, errs: Errors) -> None:
    path = "spec.signerName"
    if name == LEGACY:
        return errs.invalid(path, name, "the legacy signerName is not allowed via this API version")
    if not name:
        return errs.required(path)
    if name.count("/") != 1:
        shape = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return errs.invalid(path, name, shape)
    domain, _, rest = name.partition("/")
    if len(domain) > _DOMAIN_MAX:
        errs.too_long(path, _DOMAIN_MAX)
    labels = domain.split(".")
    _labels(path, domain, labels, names.dns_label, errs)
    if len(labels) < 2:
        errs.invalid(path, domain, "should be a domain with at least two segments separated by dots")
    _labels(path, rest, rest.split("."), names.dns_subdomain, errs)
    return None


def _labels(path: str, text: str, labels: Iterable[str], check: names.Check, errs: Errors) -> None:
    for label in labels:
        for message in check(label):
            errs.invalid(path, text, f'validating label "{label}": {message}')


def _request_problem(encoded: str) -> str:
    """Why this is no request whose signature holds; "" when it is one."""
    text = _unb64(encoded)
    found = _BLOCK.search(text)
    if found is None or found[1] != b"CERTIFICATE REQUEST":
        return "PEM block type must be CERTIFICATE REQUEST"
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        parsed = x509.load_pem_x509_csr(found[0] + b"\n")
        return "" if parsed.is_signature_valid else "x509: signature of the request does not verify"
    except (ValueError, UnsupportedAlgorithm) as error:
        return f"x509: {error}"


def _certificate_problem(encoded: str) -> str:
    """Why this is not one PEM certificate or several; "" when it is, or is empty."""
    text = _unb64(encoded)
    if not text:
        return ""
    blocks = list(_BLOCK.finditer(text))
    if not blocks:
        return "must contain at least one CERTIFICATE PEM block"
    from cryptography import x509

    for block in blocks:
        if block[1] != b"CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{block[1].decode()}"'
        if b":" in block[2]:
            return "no PEM block headers are permitted"
        try:
            x509.load_pem_x509_certificate(block[0] + b"\n")
        except ValueError as error:
            return f"x509: {error}"
    return ""


def _unb64(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        return b""
