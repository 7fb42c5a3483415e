"""AdmissionReviews: what is sent to a webhook about an operation, and what its answer means.

Source: `apiserver/pkg/admission/plugin/webhook/{request/admissionreview.go,errors/statuserror.go}`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from switchboard.api.admission.chain import Operation
from switchboard.api.keyspace import decode
from switchboard.api.metadata import new_uid
from switchboard.objects.errors import StatusError
from switchboard.objects.kinds import Kind

Object = dict[str, Any]
_VERSIONS = ("v1", "v1beta1")
_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class BadAnswer(Exception):
    """A webhook's answer breaks the rules of AdmissionReview; says how."""


@dataclass(slots=True)
class Verdict:
    """A webhook's answer: `status` is what it said when it refused, `patch` a JSON patch or None."""

    allowed: bool
    status: Object = field(default_factory=dict)
    patch: list[Object] | None = None
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)  # for the audit log


def _typed(kind: Kind, sub: str) -> tuple[dict[str, str], dict[str, str]]:
    """(kind, resource) of a resource or subresource as reviews name them."""
    found = kind.subresources.get(sub)
    group, version, name = (found.group, found.version, found.kind) if found else (kind.group, kind.version, kind.kind)
    resource = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    return {"group": group, "version": version, "kind": name}, resource


def review(op: Operation, webhook: Object, kind: Kind, obj: Object | None, old: Object | None) -> Object:
    """The review of an operation; `kind`, `obj` and `old` are in the version that the webhook's rules name."""
    version = next((v for v in webhook.get("admissionReviewVersions") or () if v in _VERSIONS), "v1")
    shown, resource = _typed(kind, op.sub)
    asked, asked_resource = _typed(op.call.kind, op.sub)
    request: Object = {"uid": new_uid(), "kind": shown, "resource": resource}
    if op.sub:
        request["subResource"] = op.sub
    request |= {"requestKind": asked, "requestResource": asked_resource}
    if op.sub:
        request["requestSubResource"] = op.sub
    name = op.name or ((obj or {}).get("metadata") or {}).get("name") or ""
    if name:
        request["name"] = name
    if op.namespace:
        request["namespace"] = op.namespace
    elif (kind.group, kind.plural) == ("", "namespaces") and name:
        request["namespace"] = name
    request |= {
        "operation": op.verb,
        "userInfo": op.call.identity.user_info(),
        "object": obj,
        "oldObject": old,
        "dryRun": op.call.dry_run,
        "options": _options(op),
    }
    return {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request}


def _options(op: Operation) -> Object | None:
    kind = _OPTIONS.get(op.verb)
    if kind is None:
        return None
    if op.call.verb == "patch" and op.verb == "UPDATE":
        kind = "PatchOptions"
    given = op.call.options
    found: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1", **op.options}
    if op.call.dry_run:
        found["dryRun"] = ["All"]
    if kind != "DeleteOptions":
        found["fieldManager"] = op.call.manager
        if given.field_validation:
            found["fieldValidation"] = given.field_validation
    return found


def verdict(answer: Any, asked: Object) -> Verdict:
    """The verdict in an answer. Raises BadAnswer."""
    response = answer.get("response") if isinstance(answer, dict) else None
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if answer.get("apiVersion") != asked["apiVersion"] or answer.get("kind") != "AdmissionReview":
        got = f"{answer.get('apiVersion')}, Kind={answer.get('kind')}"
        raise BadAnswer(f"expected webhook response of {asked['apiVersion']}, Kind=AdmissionReview, got {got}")
    wanted = asked["request"]["uid"]
    if response.get("uid") != wanted:
        raise BadAnswer(f'expected response.uid="{wanted}", got "{response.get("uid", "")}"')
    status = response.get("status") if isinstance(response.get("status"), dict) else {}
    warnings = [w for w in response.get("warnings") or () if isinstance(w, str)]
    given = response.get("auditAnnotations")
    annotations = {k: v for k, v in given.items() if isinstance(v, str)} if isinstance(given, dict) else {}
    return Verdict(bool(response.get("allowed")), status or {}, _patch(response), warnings, annotations)


def _patch(response: Object) -> list[Object] | None:
    text = response.get("patch")
    if not text:
        if response.get("patchType"):
            raise BadAnswer("webhook returned response.patchType but not response.patch")
        return None
    if response.get("patchType") != "JSONPatch":
        raise BadAnswer(f'webhook returned invalid response.patchType of "{response.get("patchType", "")}"')
    try:
        found: Any = decode(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError) as e:
        raise BadAnswer(f"the patch cannot be decoded: {e}") from None
    if not isinstance(found, list):
        raise BadAnswer("the patch is not a list of operations")
    return found


def denial(name: str, status: Object) -> StatusError:
    """The error that a refusal becomes: the webhook's code, reason and details, our words before its own."""
    code = status.get("code")
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    start = f'admission webhook "{name}" denied the request'
    text = status.get("message") or status.get("reason")
    details = status.get("details")
    return StatusError(
        f"{start}: {text}" if text else f"{start} without explanation",
        details=details if isinstance(details, dict) else None,
        code=code,
        reason=str(status.get("reason") or ""),
    )
