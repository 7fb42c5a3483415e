"""get and list: from the store's memory, at once.

Rules for resourceVersion, resourceVersionMatch, limit and continue: KEP-1904, KEP-365 and
`apiserver/pkg/registry/generic/registry`, `apiserver/pkg/storage/continue.go`.
"""

from __future__ import annotations

import base64
import bisect
import posixpath
import re
from operator import attrgetter
from typing import Any

import msgspec

from switchboard.api import query, representing
from switchboard.api.call import Call
from switchboard.api.keyspace import key_of, prefix_of
from switchboard.api.query import ListOptions
from switchboard.api.selection import Selection
from switchboard.objects.errors import BadRequest, Gone, NotFound, StatusError, Timeout
from switchboard.store.errors import Compacted
from switchboard.store.record import Record, values
from switchboard.transport.messages import Response

_EXPIRED_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_INCONSISTENT = -1


class ContinueExpired(Gone):
    """410 with a token that goes on inconsistently in the Status' metadata."""

    def __init__(self, token: str) -> None:
        super().__init__(_EXPIRED_TOKEN)
        self.token = token

    def status(self) -> dict[str, Any]:
        """The Status, with `metadata.continue`."""
        status = super().status()
        status["metadata"] = {"continue": self.token}
        return status


def get(call: Call) -> Response:
    """One object."""
    kind = call.kind
    version = query.first(call.params, "resourceVersion") if call.params else ""
    if version:
        refuse_future(call, revision_of(version, code=500))
    record = call.app.store.get(key_of(kind, call.namespace, call.name))
    if record is None:
        raise NotFound.of(kind.plural, kind.group, call.name)
    return representing.one(call, record.value)


def revision_of(text: str, *, code: int = 400) -> int:
    """A resourceVersion as a number."""
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        message = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        if code == 500:
            raise StatusError(f"resourceVersion: {message}", code=500, reason="")
        raise BadRequest(f"resourceVersion: {message}")
    return int(text)


def refuse_future(call: Call, revision: int) -> None:
    """A version from the future cannot be served: 504 with the cause that client-go looks for."""
    current = call.app.store.revision
    if revision > current:
        details = {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }
        raise Timeout(f"Too large resource version: {revision}, current: {current}", details=details)


def listing(call: Call) -> Response:
    """A list, or one page of it."""
    options = call.list_options()
    selection = Selection(call.kind, options.label_selector, options.field_selector)
    prefix = prefix_of(call.kind, call.namespace)
    if options.token:
        records, revision = _continued(call, options, prefix)
    else:
        records, revision = _from_start(call, options, prefix, selection)
    selected = selection.select(records)
    token, remaining = "", None
    if options.limit and len(selected) > options.limit:
        if selection.match is None:
            remaining = len(selected) - options.limit
        selected = selected[: options.limit]
        token = _token(revision, selected[-1].key, prefix)
    return representing.many(call, values(selected), revision, token, remaining)


def _from_start(call: Call, options: ListOptions, prefix: str, selection: Selection) -> tuple[list[Record], int]:
    store = call.app.store
    version, match = options.resource_version, options.resource_version_match
    wanted = revision_of(version) if version else 0
    if wanted:
        refuse_future(call, wanted)
    # Without a match rule, a limit makes a version exact (KEP-1904's legacy behaviour).
    if wanted and (match == "Exact" or (not match and options.limit)):
        return _snapshot(call, prefix, wanted), wanted
    if selection.name is not None and (call.namespace or not call.kind.namespaced):
        record = store.get(key_of(call.kind, call.namespace, selection.name))
        return [record] if record is not None else [], store.revision
    return store.scan(prefix), store.revision


def _snapshot(call: Call, prefix: str, revision: int) -> list[Record]:
    try:
        return _as_of(call, prefix, revision)
    except Compacted:
        raise Gone(f"The resourceVersion for the provided list is too old: {revision}") from None


def _as_of(call: Call, prefix: str, revision: int) -> list[Record]:
    """The state at a revision. Compacted when it is older than the store's history, or than tokens are good for."""
    if revision < call.app.oldest_snapshot:
        raise Compacted(revision, call.app.oldest_snapshot)
    return call.app.store.scan_at(prefix, revision)


def _continued(call: Call, options: ListOptions, prefix: str) -> tuple[list[Record], int]:
    if options.resource_version not in ("", "0"):
        raise BadRequest("specifying resource version is not allowed when using continue")
    revision, start = _parse_token(options.token, prefix)
    store = call.app.store
    if revision == _INCONSISTENT:
        return store.scan(prefix, start), store.revision
    try:
        records = _as_of(call, prefix, revision)
    except Compacted:
        raise ContinueExpired(_token(_INCONSISTENT, start, prefix)) from None
    return records[bisect.bisect_right(records, start, key=attrgetter("key")) :], revision


def _token(revision: int, key: str, prefix: str) -> str:
    body = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": revision, "start": key[len(prefix) :] + "\0"})
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


_NOT_BASE64 = re.compile(r"[^A-Za-z0-9_-]")
_JSON_TYPES: tuple[tuple[type, str], ...] = ((bool, "bool"), (str, "string"), (list, "array"), (object, "number"))


def _decoded_token(token: str) -> dict[str, Any]:
    """The JSON in a token. ValueError in the words of Go's decoders."""
    wrong = _NOT_BASE64.search(token)
    if wrong is not None or len(token) % 4 == 1:
        raise ValueError(f"illegal base64 data at input byte {wrong.start() if wrong else len(token) - 1}")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    try:
        body = msgspec.json.decode(raw)
    except ValueError:
        text = raw.decode("utf-8", "replace").lstrip()
        if not text or text[0] == "{":
            raise ValueError("unexpected end of JSON input") from None
        raise ValueError(f"invalid character '{text[0]}' looking for beginning of value") from None
    if body is not None and not isinstance(body, dict):
        name = next(word for type_, word in _JSON_TYPES if isinstance(body, type_))
        raise ValueError(f"json: cannot unmarshal {name} into Go value of type storage.continueToken")
    return body or {}


def _parse_token(token: str, prefix: str) -> tuple[int, str]:
    """(revision, key after which to go on). BadRequest in upstream's words."""
    start = "invalid continue token: continue key is not valid: "
    try:
        body = _decoded_token(token)
    except ValueError as e:
        raise BadRequest(f"{start}{e}") from None
    version = body.get("v") or ""
    if version != "meta.k8s.io/v1":
        raise BadRequest(f"{start}server does not recognize this encoded version {version}")
    revision, key = body.get("rv"), body.get("start")
    if not isinstance(revision, int) or not revision:
        raise BadRequest(f"{start}incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not isinstance(key, str) or not key:
        raise BadRequest(f"{start}encoded start key empty (version meta.k8s.io/v1)")
    rooted = key if key.startswith("/") else f"/{key}"
    if posixpath.normpath(rooted) != rooted:
        raise BadRequest(f"{start}{key}")
    return revision, prefix + key.rstrip("\0")
