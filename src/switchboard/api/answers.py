"""Responses: JSON, YAML or protobuf, pretty, gzip, Warning headers, Status objects.

gzip as upstream (`endpoints/handlers/responsewriters/writers.go`): only when asked for and above 128 KiB, level 1.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec

from switchboard.api.negotiate import JSON, PLAIN, PROTOBUF, YAML, Accepted, accept, refuse_protobuf
from switchboard.objects import protobuf
from switchboard.objects.errors import NotAcceptable, StatusError
from switchboard.transport.messages import Request, Response

_GZIP_ABOVE = 128 * 1024
_WARNINGS_MAX, _WARNING_CUT = 4096, 256  # characters
_JSON_HEADERS = [("content-type", "application/json")]
_NEWLINE = b"\n"
_SECONDS_OF_CACHE = ("cache-control", "no-cache, private")


def json_headers() -> list[tuple[str, str]]:
    """A fresh header list of a JSON answer."""
    return [("content-type", "application/json"), _SECONDS_OF_CACHE]


def plain(value: bytes) -> Response:
    """Stored bytes as a 200 answer: the fast path of GET."""
    return Response(200, json_headers(), [value, _NEWLINE])


def text(body: str | bytes, code: int = 200, content_type: str = "text/plain; charset=utf-8") -> Response:
    """A plain text answer."""
    data = body.encode() if isinstance(body, str) else body
    return Response(code, [("content-type", content_type), _SECONDS_OF_CACHE], data)


def encoded(
    request: Request,
    body: list[bytes],
    *,
    code: int = 200,
    accepted: Accepted = PLAIN,
    pretty: bool = False,
    warnings: list[str] | None = None,
) -> Response:
    """An answer whose JSON is already encoded (as pieces), in the media type and shape that the client asked for."""
    headers = json_headers()
    if accepted.media == YAML:
        headers[0] = ("content-type", YAML)
        body = [_to_yaml(b"".join(body))]
    elif accepted.media == PROTOBUF:
        headers[0] = ("content-type", PROTOBUF)
        body = [to_protobuf(b"".join(body))]
    elif pretty or accepted.pretty:
        body = [_prettify(b"".join(body))]
    if warnings:
        headers.extend(("warning", warning_header(w)) for w in _fitting(warnings))
    encoding = request.headers.get("accept-encoding")
    if encoding and "gzip" in encoding and sum(map(len, body)) > _GZIP_ABOVE:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        body = [*(packer.compress(piece) for piece in body), packer.flush()]
        headers += [("content-encoding", "gzip"), ("vary", "Accept-Encoding")]
    return Response(code, headers, body)


def wants_pretty(request: Request, pretty: list[str] | None) -> bool:
    """`pretty` is on when asked for; like upstream, also for curl and Wget unless refused."""
    if pretty:
        return pretty[0].lower() not in ("false", "0")
    agent = request.headers.get("user-agent", "")
    return agent.startswith(("curl", "Wget", "Mozilla/5.0"))


def _prettify(data: bytes) -> bytes:
    return json.dumps(msgspec.json.decode(data), indent=2, ensure_ascii=False).encode() + _NEWLINE


def to_protobuf(data: bytes) -> bytes:
    """The JSON of an object or a list as protobuf; NotAcceptable when its kind has no message."""
    obj = msgspec.json.decode(data)
    if protobuf.message_of(obj["apiVersion"], obj["kind"]) is None:
        raise refuse_protobuf()
    return protobuf.encode_unknown(obj)


def _to_yaml(data: bytes) -> bytes:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    out: bytes = yaml.dump(
        msgspec.json.decode(data), Dumper=dumper, default_flow_style=False, allow_unicode=True, encoding="utf-8"
    )
    return out


def _fitting(warnings: list[str]) -> list[str]:
    """Warnings as they fit the headers: past 4 KiB of text each is cut, and what comes after that much is dropped."""
    if sum(map(len, warnings)) <= _WARNINGS_MAX:
        return warnings
    cut, written, total = [], 0, 0
    for text in warnings:
        total += len(text)
        if written >= _WARNINGS_MAX and total > _WARNINGS_MAX:
            break
        cut.append(text[:_WARNING_CUT])
        written += len(cut[-1])
    return cut


def warning_header(message: str) -> str:
    """The value of a Warning header (RFC 9111 section 5.5 of old: code 299, agent "-", quoted text)."""
    clean = "".join(c if c.isprintable() else " " for c in message)
    escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'


def failure(error: StatusError, *, warnings: list[str] | None = None, accept_header: str | None = None) -> Response:
    """An error as a Status answer, in a media type that the client takes, else in JSON."""
    try:
        media = accept(accept_header).media
    except NotAcceptable:
        media = JSON
    headers = json_headers()
    headers.extend(error.headers.items())
    if warnings:
        headers.extend(("warning", warning_header(w)) for w in _fitting(warnings))
    body = msgspec.json.encode(status_of(error)) + _NEWLINE
    if media != JSON:
        headers[0] = ("content-type", media)
        body = _to_yaml(body) if media == YAML else to_protobuf(body)
    return Response(error.code, headers, body)


def status_of(error: StatusError) -> dict[str, Any]:
    """The Status object; an empty reason is left out, as Go's omitempty does."""
    status = error.status()
    if not status.get("reason"):
        status.pop("reason", None)
    return status


def success(kind: str, group: str, name: str, uid: str) -> dict[str, Any]:
    """The Status that answers a finished DELETE."""
    details: dict[str, Any] = {"name": name}
    if group:
        details["group"] = group
    details |= {"kind": kind, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
