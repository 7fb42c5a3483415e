"""How a request reaches an API: the protocol that the HTTP transport and the in-process one both fulfil.

Rules: `request` returns every answer, also failures; `stream` raises a StatusError when the answer is not 200;
both raise Disconnected when there is no usable answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from switchboard.objects import errors


class Disconnected(Exception):
    """No answer: the API could not be reached, or the connection broke; a write may or may not have happened."""


@dataclass(slots=True)
class Reply:
    """A whole answer; header names in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Transport(Protocol):
    """Carries requests to one API server."""

    async def request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """One exchange; `target` is path and query, percent-encoded."""
        ...

    def stream(
        self, method: str, target: str, headers: dict[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A watch: each item is one or more whole lines, as soon as they have arrived."""
        ...

    async def close(self) -> None:
        """Give back what is kept open."""
        ...


def _classes() -> tuple[dict[str, type[errors.StatusError]], dict[int, type[errors.StatusError]]]:
    by_reason: dict[str, type[errors.StatusError]] = {}
    by_code: dict[int, type[errors.StatusError]] = {}
    for cls in errors.StatusError.__subclasses__():
        by_reason[cls.reason] = cls
        by_code.setdefault(cls.code, cls)
    by_code[409] = errors.Conflict
    by_reason["Gone"] = errors.Gone
    return by_reason, by_code


_BY_REASON, _BY_CODE = _classes()


def error_of(status: dict[str, Any], headers: dict[str, str] | None = None) -> errors.StatusError:
    """A `Status` object -> the StatusError that somebody raised; by reason, else by code."""
    code = status.get("code") or 500
    reason = status.get("reason") or ""
    cls = _BY_REASON.get(reason) or _BY_CODE.get(code, errors.StatusError)
    message = status.get("message") or f"the server answered {code} {reason}".rstrip()
    return cls(message, details=status.get("details"), code=code, reason=reason or cls.reason, headers=headers)


def error_of_reply(reply: Reply) -> errors.StatusError:
    """A failed answer -> its StatusError, also when its body is no Status (a proxy's HTML page)."""
    try:
        status = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = reply.body[:300].decode("utf-8", "replace").strip()
        status = {"code": reply.status, "message": f"the server answered {reply.status}: {text}".rstrip(": ")}
    status.setdefault("code", reply.status)
    return error_of(status, reply.headers)


def namespace_ends(error: errors.StatusError) -> bool:
    """Whether a create was refused because its namespace is being deleted: nothing to report, nothing to retry."""
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
