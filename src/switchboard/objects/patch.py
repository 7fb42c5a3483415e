"""Patches on decoded objects: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch (`strategic.py`).

None of them changes its arguments; what they return may share parts with them. Where the RFCs leave room, or Kubernetes
does not follow them, the answer is that of its library (gopkg.in/evanphx/json-patch.v4): `replace` of a missing key
adds it, negative indexes count from the end, and every operation that does not apply is one and the same 422.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from switchboard.objects.errors import BadRequest, Invalid, RequestEntityTooLarge, StatusError
from switchboard.objects.strategic import strategic_merge

__all__ = ["json_patch", "merge_patch", "strategic_merge"]

MAX_OPERATIONS = 10_000
MAX_COPIES = 3 * 1024 * 1024  # bytes that `copy` operations may add, roughly; upstream's own bound

_MISSING: Any = object()


class _DoesNotApply(Exception):
    """An operation that cannot be done; the client is not told which one (upstream does not either)."""


def _rejected() -> StatusError:
    """422 as `NewGenericServerResponse` words it: the reason stays on the server."""
    return Invalid("the server rejected our request due to an error in our request", details={})


def merge_patch(doc: Any, patch: Any) -> dict[str, Any]:
    """RFC 7386: null deletes, objects merge, anything else replaces. Raises BadRequest when either is no object."""
    if not isinstance(doc, dict) or not isinstance(patch, dict):
        raise BadRequest("the merge patch is not a JSON object")
    return _merge(doc, patch)


def _merge(doc: Any, patch: dict[str, Any]) -> dict[str, Any]:
    out = dict(doc) if isinstance(doc, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict):
            out[key] = _merge(out.get(key), value)
        else:
            out[key] = value if isinstance(out.get(key), dict) else _pruned(value)
    return out


def _pruned(value: Any) -> Any:
    """A list without the nulls of its objects: evanphx/json-patch 4 drops them, unless the list takes an object's
    place."""
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    return [_pruned(item) for item in value] if isinstance(value, list) else value


def json_patch(doc: Any, operations: Any) -> Any:
    """RFC 6902. Raises BadRequest for a document that is no list of operations, 413 for more than 10,000 of them,
    422 for an operation that does not apply (a failed test, a path that is not there, an unknown `op`), RecursionError
    for what comes to be nested more deeply than any document that is read."""
    if not isinstance(operations, list) or not all(isinstance(op, dict) for op in operations):
        raise BadRequest("json: cannot unmarshal the patch into a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, "
            f"got {len(operations)}"
        )
    work = _Document(_copy(doc))
    try:
        for op in operations:
            work.apply(op)
    except _DoesNotApply as error:
        raise _rejected() from error
    msgspec.json.encode(work.root)  # RecursionError where operations have put deep things into deep ones
    return work.root


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _weight(value: Any) -> int:
    """Roughly how many bytes a value has as JSON."""
    if isinstance(value, dict):
        return 2 + sum(len(key) + 4 + _weight(item) for key, item in value.items())
    if isinstance(value, list):
        return 2 + sum(1 + _weight(item) for item in value)
    return len(value) + 2 if isinstance(value, str) else 5


def equal(left: Any, right: Any) -> bool:
    """Equality of JSON: true is not 1."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _tokens(pointer: Any) -> list[str]:
    """RFC 6901: `/a~1b/0` -> ["a/b", "0"]; the whole document is []."""
    if not isinstance(pointer, str):
        raise _DoesNotApply("missing or malformed path")
    if not pointer:
        return []
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _index(token: str, size: int) -> int:
    """A position below `size`; negative ones count from the end."""
    try:
        position = int(token)
    except ValueError as error:
        raise _DoesNotApply(f"{token} is not an index") from error
    if not -size <= position < size:
        raise _DoesNotApply(f"index {token} is out of bounds")
    return position + size if position < 0 else position


def _get(container: Any, token: str) -> Any:
    if isinstance(container, dict):
        return container.get(token, _MISSING)
    if isinstance(container, list):
        return container[_index(token, len(container))]
    raise _DoesNotApply("path leads through a scalar")


class TestFailed(_DoesNotApply):
    """A `test` operation found another value."""


class _Document:
    """The document under work: `root` is replaced when an operation names the whole of it."""

    def __init__(self, root: Any) -> None:
        self.root, self._copied = root, 0
        self._operations: dict[Any, Callable[[dict[str, Any]], None]] = {
            "add": lambda op: self._add(op.get("path"), op.get("value")),
            "remove": lambda op: self._remove(op.get("path")),
            "replace": self._replace,
            "test": self._test,
            "move": self._move,
            "copy": self._copy,
        }

    def apply(self, op: dict[str, Any]) -> None:
        name = op.get("op")
        operation = self._operations.get(name) if isinstance(name, str) else None
        if operation is None:
            raise _DoesNotApply(f"unexpected kind: {name}")
        operation(op)

    def _parent(self, pointer: Any) -> tuple[Any, str]:
        tokens = _tokens(pointer)
        if not tokens:
            raise _DoesNotApply("the whole document cannot be the target")
        container = self.root
        for token in tokens[:-1]:
            container = _get(container, token) if isinstance(container, dict | list) else None
        if not isinstance(container, dict | list):
            raise _DoesNotApply("missing path")
        return container, tokens[-1]

    def _read(self, pointer: Any) -> Any:
        if pointer == "":
            return self.root
        return _get(*self._parent(pointer))

    def _add(self, pointer: Any, value: Any) -> None:
        container, token = self._parent(pointer)
        if isinstance(container, dict):
            container[token] = value
        elif token == "-":
            container.append(value)
        else:
            container.insert(_index(token, len(container) + 1), value)

    def _remove(self, pointer: Any) -> None:
        container, token = self._parent(pointer)
        if isinstance(container, list):
            del container[_index(token, len(container))]
        elif container.pop(token, _MISSING) is _MISSING:
            raise _DoesNotApply(f"unable to remove nonexistent key: {token}")

    def _replace(self, op: dict[str, Any]) -> None:
        value = op.get("value")
        if op.get("path") == "":
            if isinstance(value, dict | list):  # anything else changes nothing, and is no error
                self.root = value
            return
        container, token = self._parent(op.get("path"))
        if isinstance(container, list):
            container[_index(token, len(container))] = value
        else:
            container[token] = value

    def _test(self, op: dict[str, Any]) -> None:
        found = self._read(op.get("path"))
        wanted = op.get("value")
        if found is _MISSING or found is None:
            if wanted is not None:
                raise TestFailed("test failed")
        elif not equal(found, wanted):
            raise TestFailed("test failed")

    def _move(self, op: dict[str, Any]) -> None:
        value = self._read(op.get("from"))
        if value is _MISSING:
            raise _DoesNotApply("missing source")
        self._remove(op.get("from"))
        self._add(op.get("path"), value)

    def _copy(self, op: dict[str, Any]) -> None:
        container, token = self._parent(op.get("from"))
        value = _get(container, token)
        if value is _MISSING:
            if isinstance(container, list):
                raise _DoesNotApply("missing source")
            value = None  # as upstream: what an object does not have is null
        self._copied += _weight(value)
        if self._copied > MAX_COPIES:
            raise _DoesNotApply("copied too much")
        self._add(op.get("path"), _copy(value))
