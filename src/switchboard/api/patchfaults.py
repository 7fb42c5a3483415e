"""What is wrong with a patch: what strict decoding finds in it, and the answer to one whose result does not decode.

Facts from apiserver/pkg/endpoints/handlers/patch.go and apimachinery/pkg/runtime/converter.go.
"""

from __future__ import annotations

import re
from typing import Any

from switchboard.api.keyspace import encode_any
from switchboard.objects.duplicates import duplicate_fields
from switchboard.objects.errors import BadRequest, FieldError, Invalid
from switchboard.objects.gotext import go_text

_MEMBERS = frozenset(("op", "path", "from", "value"))
_WRONG_TYPE = re.compile(
    r"json: cannot unmarshal (\w+)(?: (\S+))? into Go (?:struct field|value).* of type (.+)\Z", re.DOTALL
)
_KINDS = {"array": "slice", "object": "map"}  # Go's words for what JSON calls so
_NUMBERS = ("int32", "int64", "float64")


def strict_faults(raw: bytes, body: Any) -> list[str]:
    """Keys that stand twice in a patch and, in a list of operations, members that no operation has."""
    doubles = duplicate_fields(raw, body)
    if not isinstance(body, list):
        return [f'duplicate field "{path}"' for path in doubles]
    found = [
        (position, f'json patch unknown field "[{position}].{member}"')
        for position, operation in enumerate(body)
        if isinstance(operation, dict)
        for member in operation
        if member not in _MEMBERS
    ]
    found += [(int(path[1:].partition("]")[0]), f'json patch duplicate field "{path}"') for path in doubles]
    return [text for _, text in sorted(found, key=lambda fault: fault[0])]


def undecodable(error: BadRequest, patched: Any, merged: dict[str, Any] | None) -> Invalid:
    """422 for a patch whose result does not decode, with the result quoted; of a strategic merge, with the patch
    (`merged`), whose result is converted and not decoded."""
    _, found, after = error.message.partition("cannot be handled as a ")
    why = after.partition(": ")[2] if found else error.message
    if merged is None:
        shown = encode_any(patched).decode(errors="replace")
    else:
        shown, why = go_text(merged), _as_converted(why)
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return Invalid.of("", "", "", [FieldError("FieldValueInvalid", "patch", f'Invalid value: "{quoted}": {why}')])


def _as_converted(text: str) -> str:
    """The decoder's words for a wrong type, as the converter says it."""
    match = _WRONG_TYPE.match(text)
    if match is None:
        return text
    source, literal, wanted = match.groups()
    if source == "number":
        source = "float64" if literal and re.search("[.eE]", literal) else "int64"
    source = _KINDS.get(source, source)
    if wanted.startswith("[]"):
        return f"cannot restore slice from {source}"
    if wanted.startswith("map["):
        return f"cannot restore map from {source}"
    if wanted.startswith("v1."):
        return f"cannot restore struct from: {source}"
    if (source == "int64" and wanted == "string") or (source == "float64" and wanted in _NUMBERS):
        return f"cannot convert {source} to {wanted}"
    return f"unrecognized type: {wanted}"
