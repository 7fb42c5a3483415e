"""CertificateSigningRequests: who may approve and sign for a signer, and what subjects are never signed.

Sources: `plugin/pkg/admission/certificates/{approval,signing,subjectrestriction}`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.admission.pods import refuse
from switchboard.api.authz import Attributes, Authorizer, Decision

Object = dict[str, Any]
_GROUP = "certificates.k8s.io"
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


class Certificates(Neutral):
    """Checks signers and subjects."""

    resources = frozenset(("certificatesigningrequests",))

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def validate(self, op: Operation) -> None:
        """Refuse what the caller or the subject may not."""
        if op.plural != "certificatesigningrequests" or op.group != _GROUP or op.obj is None:
            return
        if op.verb == "CREATE" and not op.sub:
            self._subject(op, op.obj["spec"])
        elif op.verb == "UPDATE" and op.sub == "approval":
            self._signer(op, "approve", "approve")
        elif op.verb == "UPDATE" and op.sub == "status":
            before = ((op.old or {}).get("status") or {}).get("certificate")
            if (op.obj.get("status") or {}).get("certificate") != before:
                self._signer(op, "sign", "sign")

    def _signer(self, op: Operation, verb: str, word: str) -> None:
        name = ((op.old or {}).get("spec") or {}).get("signerName", "")
        domain = name.partition("/")[0] + "/*"
        for wanted in (name, domain):
            attributes = Attributes(op.call.identity, verb, _GROUP, "*", "signers", "", "", wanted)
            if op.call.identity.is_master or self._authorizer.authorize(attributes)[0] is Decision.ALLOW:
                return
        raise refuse(op, f'user not permitted to {word} requests with signerName "{name}"')

    @staticmethod
    def _subject(op: Operation, spec: Object) -> None:
        if spec.get("signerName") != _CLIENT_SIGNER:
            return
        found = subject_of(spec)
        if found is not None and "system:masters" in found[1]:
            raise refuse(op, f"use of {_CLIENT_SIGNER} signer with system:masters group is not allowed")


def subject_of(spec: Object) -> tuple[list[Any], list[Any]] | None:
    """Common names and organizations of whom a certificate is asked for; None where that cannot be read, which
    validation tells."""
    from cryptography import x509  # only for the few who ask for certificates
    from cryptography.x509.oid import NameOID

    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or ""))
    except (binascii.Error, ValueError):
        return None
    name, group = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME
    names, groups = ([a.value for a in request.subject.get_attributes_for_oid(oid)] for oid in (name, group))
    return names, groups
