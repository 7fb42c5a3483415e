"""CertificateSigningRequests: node agents' own are approved, approved ones signed, old ones removed.

Sources: pkg/controller/certificates/{approver,signer,cleaner}, the shapes of node certificates from
pkg/apis/certificates/helpers.go. What reads certificates is loaded with the first request.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Final

from switchboard.client.resources import CERTIFICATESIGNINGREQUESTS, SUBJECTACCESSREVIEWS
from switchboard.controllers import conditions
from switchboard.controllers.base import Controller
from switchboard.controllers.times import seconds, stamp
from switchboard.objects.errors import Conflict, NotFound

if TYPE_CHECKING:
    from cryptography.x509 import CertificateSigningRequest

Object = dict[str, Any]

CLIENT: Final = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING: Final = "kubernetes.io/kubelet-serving"
LEGACY: Final = "kubernetes.io/legacy-unknown"
_SIGNERS: Final = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY)

_LONGEST: Final = 365 * 86400.0
_SHORTEST: Final = 600.0
_DECIDED_KEPT: Final = 3600.0
_PENDING_KEPT: Final = 86400.0
_OPTIONAL: Final = {"digital signature", "key encipherment"}
_APPROVERS: Final = (  # (the request is for its sender, what the sender must be allowed to create, the reason given)
    (True, "selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    (False, "nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
)


def parse(request: Object) -> CertificateSigningRequest:
    """The PKCS #10 request in an object. Raises ValueError."""
    from cryptography import x509

    return x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))


def refusal(request: Object, asked: CertificateSigningRequest) -> str:
    """Why its signer would not sign this; "" when it would."""
    signer, usages = request["spec"]["signerName"], set(request["spec"].get("usages") or ())
    if signer == CLIENT:
        return _client_refusal(usages)
    if signer in (KUBELET_CLIENT, KUBELET_SERVING):
        return _node_refusal(asked, usages, serving=signer == KUBELET_SERVING)
    return ""


def _client_refusal(usages: set[str]) -> str:
    for usage in sorted(usages - _OPTIONAL - {"client auth"}):
        return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


def _node_refusal(asked: CertificateSigningRequest, usages: set[str], *, serving: bool) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    if [a.value for a in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] != ["system:nodes"]:
        return "subject organization is not system:nodes"
    try:
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    kinds = ((x509.DNSName, "DNS"), (x509.RFC822Name, "Email"), (x509.IPAddress, "IP"))
    held = [word for kind, word in (*kinds, (x509.UniformResourceIdentifier, "URI")) if names.get_values_for_type(kind)]
    if serving and not {"DNS", "IP"} & set(held):
        return "DNS or IP subjectAltName is required"
    for word in held:
        if not serving or word in ("Email", "URI"):
            return f"{word} subjectAltNames are not allowed"
    required = {"digital signature", "server auth" if serving else "client auth"}
    if usages not in (required, required | {"key encipherment"}):
        return f"usages did not match [{' '.join(sorted(required | {'key encipherment'}))}]"
    if not common_name(asked).startswith("system:node:"):
        return "subject common name does not begin with system:node:"
    return ""


def common_name(asked: CertificateSigningRequest) -> str:
    """The CN of a request, "" without one."""
    from cryptography.x509.oid import NameOID

    return next((str(a.value) for a in asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)), "")


def lifetime(request: Object) -> float:
    """Seconds that its certificate is valid."""
    wanted = request["spec"].get("expirationSeconds")
    return _LONGEST if wanted is None else min(max(float(wanted), _SHORTEST), _LONGEST)


def goes_in(request: Object, now: float) -> float:
    """Seconds until a request is removed: a day without an answer, an hour after one, at once when it expired."""
    status = request.get("status") or {}
    held = status.get("conditions") or ()
    issued = status.get("certificate")
    left = [_PENDING_KEPT + seconds(request["metadata"]["creationTimestamp"]) - now] if not held else []
    for condition in held:
        over = condition.get("type") in ("Denied", "Failed") or (condition.get("type") == "Approved" and issued)
        if over and condition.get("lastUpdateTime"):
            left.append(_DECIDED_KEPT + seconds(condition["lastUpdateTime"]) - now)
    if issued and conditions.find(held, "Approved"):
        left.append(_expires(issued) - now)
    return min(left, default=_DECIDED_KEPT)


def _expires(encoded: str) -> float:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(base64.b64decode(encoded)).not_valid_after_utc.timestamp()
    except ValueError:
        return float("inf")  # somebody else's signer, and none of ours to judge


class CertificateController(Controller):
    """Keys are CertificateSigningRequests."""

    name = "certificates"
    component = "certificate-controller"
    main = CERTIFICATESIGNINGREQUESTS

    async def reconcile(self, key: str) -> float | None:
        """One request: approve, sign, or remove it."""
        request = self.of(self.main).get_key(key)
        if request is None or request["metadata"].get("deletionTimestamp"):
            return None
        left = goes_in(request, self.clock())
        try:
            if left <= 0:
                await self._remove(request)
                return None
            await self._advance(request)
        except (NotFound, Conflict):
            return None  # its next state comes by the watch
        return min(left, _DECIDED_KEPT) + 1

    async def _remove(self, request: Object) -> None:
        meta = request["metadata"]
        await self.cache.delete(self.main, meta["name"], options={"preconditions": {"uid": meta["uid"]}})

    async def _advance(self, request: Object) -> None:
        spec, status = request["spec"], request.get("status") or {}
        held = status.get("conditions") or ()
        if status.get("certificate") or conditions.find(held, "Denied") or conditions.is_true(held, "Failed"):
            return
        if not conditions.find(held, "Approved"):
            if spec["signerName"] == KUBELET_CLIENT:
                await self._consider(request)
        elif spec["signerName"] in _SIGNERS and self.settings.signer is not None:
            await self._sign(request)

    async def _consider(self, request: Object) -> None:
        """Approve what a node agent asks for itself, when its sender may have that."""
        asked = parse(request)
        if refusal(request, asked):
            return
        for own, subresource, message in _APPROVERS:
            if own and request["spec"].get("username") != common_name(asked):
                continue
            if await self._may(request["spec"], subresource):
                condition = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message}
                await self._write(request, "approval", condition)
                return

    async def _may(self, sender: Object, subresource: str) -> bool:
        group, resource = "certificates.k8s.io", "certificatesigningrequests"
        wanted = {"group": group, "resource": resource, "subresource": subresource, "verb": "create"}
        spec = {"user": sender.get("username", ""), "resourceAttributes": wanted}
        spec |= {name: sender[name] for name in ("groups", "uid", "extra") if sender.get(name)}
        answer = await self.cache.client.create(SUBJECTACCESSREVIEWS, {"spec": spec})
        return bool(answer["status"].get("allowed"))

    async def _sign(self, request: Object) -> None:
        asked, signer = parse(request), self.settings.signer
        assert signer is not None
        why = refusal(request, asked)
        if why:
            condition = {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why}
            await self._write(request, "status", {**condition, "lastUpdateTime": stamp(self.clock())})
            return
        usages, pem = list(request["spec"]["usages"]), base64.b64decode(request["spec"]["request"])
        certificate = await asyncio.to_thread(signer, pem, usages, lifetime(request))
        await self._write(request, "status", None, certificate=base64.b64encode(certificate).decode())

    async def _write(self, request: Object, subresource: str, condition: Object | None, **more: str) -> None:
        status = dict(request.get("status") or {}) | more
        if condition is not None:
            status["conditions"] = [*(status.get("conditions") or ()), condition]
        await self.cache.client.update(self.main, request | {"status": status}, subresource=subresource)
