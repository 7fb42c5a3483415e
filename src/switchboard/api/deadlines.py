"""`?timeout=30s`: how long a client gives the server. What is not a Go duration is refused, before anything is done.

Answers are made at once or end with their webhooks' own limits, so no deadline is kept here. Requests that last
(watches, connections, logs) have other parameters. Source: `apiserver/pkg/endpoints/filters/request_deadline.go`.
"""

from __future__ import annotations

from switchboard.api import query
from switchboard.api.paths import LASTING, Target
from switchboard.objects.durations import nanoseconds
from switchboard.objects.errors import BadRequest


def check(text: str, verb: str, target: Target) -> None:
    """Refuse a query whose timeout is no duration (BadRequest)."""
    if verb == "watch" or target.subresource in LASTING:
        return
    value = query.first(query.parse(text), "timeout")
    try:
        nanoseconds(value or "0")
    except ValueError as error:
        raise BadRequest(f"invalid timeout specified in the request URL - {error}") from None
