"""Scalar values of the API on their way in: type and range checks, canonical forms of times and base64 text.

Facts from apimachinery meta/v1/time.go, micro_time.go, util/intstr, and Go's encoding/json error texts.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime
from typing import Any

from switchboard.objects.memo import memo

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)


class WrongType(Exception):
    """A value cannot become what its field holds; `path` collects field names from the inside out."""

    def __init__(self, found: str, wanted: str, message: str = "") -> None:
        super().__init__(message)
        self.found, self.wanted, self.message = found, wanted, message
        self.struct = ""
        self.path: list[str] = []

    def at(self, key: str, struct: str) -> None:
        """Called by each object on the way out."""
        self.path.append(key)
        self.struct = self.struct or struct

    def text(self) -> str:
        """As Go says it: `json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type
        int32`."""
        if self.message:
            return self.message
        if not self.path:
            return f"json: cannot unmarshal {self.found} into Go value of type {self.wanted}"
        path = ".".join(reversed(self.path))
        wanted = {"str": "string", "dict": "map[string]interface {}"}.get(self.wanted, self.wanted)
        return f"json: cannot unmarshal {self.found} into Go struct field {self.struct}.{path} of type {wanted}"


def word(value: Any) -> str:
    """A JSON value's type in the decoder's words."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "number"
    return "array" if isinstance(value, list) else "object" if isinstance(value, dict) else "null"


def go_type(cls: type) -> str:
    """The Go name of an element type, near enough for a message."""
    return {"str": "string", "int": "int32", "dict": "interface {}"}.get(cls.__name__, cls.__name__)


def _integer(value: Any, bits: int) -> int:
    if value.__class__ is not int:
        found = word(value)
        raise WrongType(f"number {value!r}" if isinstance(value, float) else found, f"int{bits}")
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise WrongType(f"number {value}", f"int{bits}")
    return value


def int32(value: Any, unknown: list[str]) -> Any:
    """An integer of 32 bits."""
    if value.__class__ is int and -2147483648 <= value <= 2147483647:
        return value
    return _integer(value, 32)


def int64(value: Any, unknown: list[str]) -> Any:
    """An integer of 64 bits."""
    return _integer(value, 64)


def number(value: Any, unknown: list[str]) -> Any:
    """Any JSON number."""
    if value.__class__ is int or value.__class__ is float:
        return value
    raise WrongType(word(value), "float64")


def int_or_string(value: Any, unknown: list[str]) -> Any:
    """A port or a percentage: integer of 32 bits, or text."""
    if value.__class__ is str:
        return value
    return int32(value, unknown)


@memo(1024)
def _parse(text: str) -> datetime | None:
    match = _TIME.match(text)
    if match is None:
        return None
    whole, part, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{whole}.{(part or '0')[:6].ljust(6, '0')}{'+00:00' if zone == 'Z' else zone}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_time(text: str) -> datetime:
    """RFC 3339 text -> aware UTC datetime; ValueError otherwise."""
    moment = _parse(text)
    if moment is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')
    return moment


def format_time(moment: datetime) -> str:
    """Seconds and `Z`, as `metadata.creationTimestamp` has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def format_micro(moment: datetime) -> str:
    """Six decimals and `Z`, as Event and Lease times have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def _moment(value: Any) -> datetime:
    if value.__class__ is not str:
        raise WrongType(word(value), "string")
    try:
        return parse_time(value)
    except ValueError as wrong:
        raise WrongType("", "", str(wrong)) from None


def time(value: Any, unknown: list[str]) -> Any:
    """A `meta/v1 Time`: whole seconds in UTC."""
    return _seconds(value) if value.__class__ is str else format_time(_moment(value))


@memo(1024)
def _seconds(text: str) -> str:
    """The same few times stand in an object again and again."""
    return format_time(_moment(text))


def micro_time(value: Any, unknown: list[str]) -> Any:
    """A `meta/v1 MicroTime`: microseconds in UTC."""
    return format_micro(_moment(value))


def base64_text(value: Any, unknown: list[str]) -> Any:
    """Standard base64; line ends inside are dropped as Go's decoder drops them."""
    if value.__class__ is not str:
        raise WrongType(word(value), "[]uint8")
    text = value.replace("\n", "").replace("\r", "") if "\n" in value or "\r" in value else value
    try:
        return binascii.b2a_base64(binascii.a2b_base64(text, strict_mode=True), newline=False).decode()
    except ValueError:
        raise WrongType("", "", f"illegal base64 data at input byte {_illegal(value)}") from None


def _illegal(text: str) -> int:
    match = re.match(r"[A-Za-z0-9+/\r\n]*", text)
    at = match.end() if match else 0
    return at if at < len(text) else len(text) // 4 * 4
