"""The one error root of the API: each class is a reason somebody catches; `api` turns it into a `Status` at the
border.

Reasons and codes follow `apimachinery/pkg/api/errors/errors.go`; field error types and their words follow
`apimachinery/pkg/util/validation/field/errors.go`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """One cause of an `Invalid` answer: `reason` is the upstream type (FieldValueRequired, FieldValueInvalid ...),
    `field` the JSON path (`spec.ports[0].port`), `message` the full text that stands in the cause."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class StatusError(Exception):
    """An answer other than success: HTTP `code`, machine `reason`, human `message`, optional `details` (meta/v1
    StatusDetails)."""

    code = 500
    reason = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        code: int | None = None,
        reason: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.headers = headers or {}
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    def status(self) -> dict[str, Any]:
        """The error as a `meta/v1 Status` object."""
        out: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:  # errors that upstream has no reason for come without one
            out["reason"] = self.reason
        if self.details is not None:
            out["details"] = self.details
        out["code"] = self.code
        return out


def _qualified(resource: str, group: str) -> str:
    """`deployments.apps`, or `pods` for the core group, as upstream's GroupResource prints it."""
    return f"{resource}.{group}" if group else resource


def _details(resource: str, group: str, name: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if resource:
        details["kind"] = resource
    return details | more


class BadRequest(StatusError):
    """400: the request could not be understood."""

    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    """401: the caller could not be identified."""

    code, reason = 401, "Unauthorized"


class Forbidden(StatusError):
    """403: the caller may not, or admission refused."""

    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    """404: no such object."""

    code, reason = 404, "NotFound"

    @classmethod
    def of(cls, resource: str, group: str, name: str) -> NotFound:
        """`pods "x" not found` with its details."""
        return cls(f'{_qualified(resource, group)} "{name}" not found', details=_details(resource, group, name))


class MethodNotAllowed(StatusError):
    """405: the resource does not have this verb."""

    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(StatusError):
    """406: none of the media types asked for can be produced."""

    code, reason = 406, "NotAcceptable"


class AlreadyExists(StatusError):
    """409: create of a name that is taken."""

    code, reason = 409, "AlreadyExists"

    @classmethod
    def of(cls, resource: str, group: str, name: str) -> AlreadyExists:
        """`pods "x" already exists` with its details."""
        return cls(f'{_qualified(resource, group)} "{name}" already exists', details=_details(resource, group, name))


class Conflict(StatusError):
    """409: the object changed since it was read, a precondition failed, or field managers conflict."""

    code, reason = 409, "Conflict"

    @classmethod
    def of(cls, resource: str, group: str, name: str, why: str) -> Conflict:
        """`Operation cannot be fulfilled on pods "x": <why>` with its details."""
        return cls(
            f'Operation cannot be fulfilled on {_qualified(resource, group)} "{name}": {why}',
            details=_details(resource, group, name),
        )


class Gone(StatusError):
    """410: the resourceVersion or continue token is too old (reason `Expired`)."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(StatusError):
    """413: the body is larger than 3 MiB."""

    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    """415: the body's content type is not one we decode."""

    code, reason = 415, "UnsupportedMediaType"


class Invalid(StatusError):
    """422: the object is well formed but not valid; carries every cause."""

    code, reason = 422, "Invalid"

    @classmethod
    def of(cls, kind: str, group: str, name: str, errors: list[FieldError]) -> Invalid:
        """`Service "x" is invalid: [a, b]` with one cause per field error."""
        kind_name = f"{kind}.{group}" if group else kind
        texts = list(dict.fromkeys(str(e) for e in errors))  # upstream's aggregate prints equal errors once
        joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
        causes = [{"reason": e.reason, "message": e.message, "field": e.field} for e in errors]
        return cls(
            f'{kind_name} "{name}" is invalid: {joined}',
            details=_details(kind, group, name, causes=causes),
        )


class TooManyRequests(StatusError):
    """429: try again after `seconds`."""

    code, reason = 429, "TooManyRequests"

    @classmethod
    def after(cls, message: str, seconds: int) -> TooManyRequests:
        """With `Retry-After` both in the header and in the details."""
        return cls(message, details={"retryAfterSeconds": seconds}, headers={"retry-after": str(seconds)})


class InternalError(StatusError):
    """500: our own fault; the message says what was tried."""

    code, reason = 500, "InternalError"


class ServiceUnavailable(StatusError):
    """503: a backend that is needed does not answer."""

    code, reason = 503, "ServiceUnavailable"


class Timeout(StatusError):
    """504: the request could not be finished in time."""

    code, reason = 504, "Timeout"
