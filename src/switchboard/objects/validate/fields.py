"""The list that validation fills: one method for each upstream field error type, with its words.

Source: apimachinery/pkg/util/validation/field/errors.go and apimachinery/pkg/api/validation/generic.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from switchboard.objects.errors import FieldError
from switchboard.objects.names import Check

NOT_NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"


def shown(value: Any) -> str:
    """A value as the messages quote it: compact JSON, maps in key order."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def go_struct(fields: dict[str, Any]) -> Raw:
    """A value that keeps its order of fields in the message, as Go prints its internal structs."""
    return Raw(json.dumps(fields, separators=(",", ":"), ensure_ascii=False))


class Raw(str):
    """Text that stands in the message as it is."""


class Errors(list[FieldError]):
    """Field errors in the order they were found."""

    def _add(self, reason: str, path: str, words: str, detail: str) -> None:
        self.append(FieldError(reason, path, f"{words}: {detail}" if detail else words))

    def required(self, path: str, detail: str = "") -> None:
        """A value that must be given is missing or empty."""
        self._add("FieldValueRequired", path, "Required value", detail)

    def invalid(self, path: str, value: Any, detail: str) -> None:
        """A value that may not be."""
        text = value if isinstance(value, Raw) else shown(value)
        self._add("FieldValueInvalid", path, f"Invalid value: {text}", detail)

    def wrong(self, path: str, detail: str) -> None:
        """A value that may not be, and is not quoted."""
        self._add("FieldValueInvalid", path, "Invalid value", detail)

    def wrong_type(self, path: str, actual: str, detail: str) -> None:
        """A value of another JSON type than the schema's; `actual` names its type."""
        self._add("FieldValueTypeInvalid", path, f"Invalid value: {shown(actual)}", detail)

    def unsupported(self, path: str, value: Any, supported: Iterable[str]) -> None:
        """A value outside of an enumeration (given in the order it is to be told)."""
        text = value if isinstance(value, Raw) else shown(value)
        listed = ", ".join(shown(each) for each in supported)
        self._add(
            "FieldValueNotSupported",
            path,
            f"Unsupported value: {text}",
            f"supported values: {listed}" if listed else "",
        )

    def forbidden(self, path: str, detail: str = "") -> None:
        """A field that may not be set, or not changed, in these circumstances."""
        self._add("FieldValueForbidden", path, "Forbidden", detail)

    def duplicate(self, path: str, value: Any) -> None:
        """A value that must be unique and is not."""
        text = value if isinstance(value, Raw) else shown(value)
        self._add("FieldValueDuplicate", path, f"Duplicate value: {text}", "")

    def not_found(self, path: str, value: Any) -> None:
        """A reference to something that is not there."""
        self._add("FieldValueNotFound", path, f"Not found: {shown(value)}", "")

    def too_long(self, path: str, limit: int) -> None:
        """A text or the sum of texts above `limit` bytes."""
        plural = "s" if limit != 1 else ""
        self._add("FieldValueTooLong", path, "Too long", f"may not be more than {limit} byte{plural}")

    def too_many(self, path: str, actual: int, limit: int) -> None:
        """A list with more than `limit` items."""
        plural = "s" if limit != 1 else ""
        self._add("FieldValueTooMany", path, f"Too many: {actual}", f"must have at most {limit} item{plural}")

    def check(self, path: str, value: str, check: Check) -> None:
        """Every message of one of the checks in `names`."""
        for message in check(value):
            self.invalid(path, value, message)

    def not_negative(self, path: str, value: Any) -> None:
        """A number that may be absent but not below zero."""
        if value is not None and value < 0:
            self.invalid(path, value, NOT_NEGATIVE)

    def positive(self, path: str, value: Any) -> None:
        """A number that may be absent but not below one."""
        if value is not None and value <= 0:
            self.invalid(path, value, "must be greater than zero")

    def port(self, path: str, value: int) -> None:
        """A port number, 1 to 65535."""
        if not 1 <= value <= 65535:
            self.invalid(path, value, "must be between 1 and 65535, inclusive")

    def one_of(self, path: str, value: Any, supported: tuple[str, ...], *, empty: bool = False) -> None:
        """An enumeration; a missing value is Required unless `empty` is allowed."""
        if not value:
            if not empty:
                self.required(path)
        elif value not in supported:
            self.unsupported(path, value, supported)

    def immutable(self, path: str, new: Any, old: Any) -> None:
        """A field that an update may not change."""
        if new != old:
            self.invalid(path, new, IMMUTABLE)
