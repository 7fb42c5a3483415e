"""Amounts of resources (`500m`, `1Gi`, `12e6`): parse, canonical text, arithmetic.

Facts from apimachinery/pkg/api/resource/quantity.go: three notations, precision down to 1e-9 (rounded away from
zero), amounts in powers of two capped at 2**63-1, text in order kept as it is. A value is an exact integer number of
nano units, so nothing here rounds twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from switchboard.objects.memo import memo

NANO = 10**9
MAX = (2**63 - 1) * NANO
PATTERN = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
FORMAT_WRONG = f"quantities must match the regular expression '{PATTERN}'"
SUFFIX_WRONG = "unable to parse quantity's suffix"
NUMBER_WRONG = "unable to parse numeric part of quantity"

_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)\Z", re.ASCII)
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_NAMES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL_NAMES = {exponent: name for name, exponent in _DECIMAL.items()}
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)\Z", re.ASCII)


class QuantityError(ValueError):
    """The text is not a quantity; the message is upstream's."""


@dataclass(frozen=True, slots=True, order=False)
class Quantity:
    """`nano`: the exact amount in 1e-9 units. `notation`: `BinarySI`, `DecimalSI` or `DecimalExponent`."""

    nano: int
    notation: str = "DecimalSI"

    def __str__(self) -> str:
        return _format(self)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano + other.nano, other.notation if self.nano == 0 else self.notation)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, other.notation if self.nano == 0 else self.notation)

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __le__(self, other: Quantity) -> bool:
        return self.nano <= other.nano

    def __int__(self) -> int:
        """Whole units, rounded away from zero (upstream's Value())."""
        return _up(self.nano, NANO)

    @property
    def milli(self) -> int:
        """Thousandths, rounded away from zero (upstream's MilliValue())."""
        return _up(self.nano, 10**6)


def _up(number: int, unit: int) -> int:
    quotient, rest = divmod(abs(number), unit)
    quotient += rest > 0
    return -quotient if number < 0 else quotient


def _scale(suffix: str) -> tuple[int, int, str]:
    """A suffix -> (numerator, denominator of nanos per unit, notation)."""
    if suffix in _BINARY:
        return 1024 ** _BINARY[suffix] * NANO, 1, "BinarySI"
    exponent = _DECIMAL.get(suffix)
    notation = "DecimalSI"
    if exponent is None:
        match = _EXPONENT.match(suffix)
        if match is None:
            raise QuantityError(SUFFIX_WRONG)
        exponent, notation = int(match[1]), "DecimalExponent"
    exponent = max(-400, min(400, exponent + 9))  # far outside what is representable, and keeps the integers small
    return (10**exponent, 1, notation) if exponent >= 0 else (1, 10**-exponent, notation)


@memo(1024)
def parse(text: str) -> Quantity:
    """Text -> Quantity; QuantityError when it is none."""
    match = _SHAPE.match(text)
    if match is None or not (match[2] or match[3] is not None):
        raise QuantityError(FORMAT_WRONG)
    sign, whole, part, suffix = match.groups()
    numerator, denominator, notation = _scale(suffix)
    digits = part or ""
    if len(whole) + len(digits) > 4000:  # int() refuses more, and no such amount exists
        raise QuantityError(NUMBER_WRONG)
    amount = int((whole + digits) or "0") * numerator
    nano = _up(amount, denominator * 10 ** len(digits))
    if notation == "BinarySI":
        nano = min(MAX, nano)
    if notation == "BinarySI" and 0 < nano < NANO:
        notation = "DecimalSI"
    return Quantity(-nano if sign == "-" else nano, notation)


@lru_cache(maxsize=8192)
def _format(q: Quantity) -> str:
    if q.nano == 0:
        return "0"
    notation = q.notation
    sign, amount = ("-", -q.nano) if q.nano < 0 else ("", q.nano)
    if notation == "BinarySI" and amount >= 1024 * NANO and amount % NANO == 0:
        number, power = amount // NANO, 0
        while power < 6 and number % 1024 == 0:
            number, power = number // 1024, power + 1
        return f"{sign}{number}{_BINARY_NAMES[power]}"
    exponent = -9
    while amount % 1000 == 0 and exponent < 18:
        amount, exponent = amount // 1000, exponent + 3
    if notation == "DecimalExponent":
        return f"{sign}{amount}e{exponent}" if exponent else f"{sign}{amount}"
    return f"{sign}{amount}{_DECIMAL_NAMES[exponent]}"


@memo(1024)
def canonical(text: str) -> str:
    """The text a real server gives back: `0.5` -> `500m`, `1024Mi` -> `1Gi`; QuantityError when it is no quantity."""
    quantity = parse(text)
    return text if _in_order(text) else _format(quantity)


def _in_order(text: str) -> bool:
    """Whether upstream's short way of reading takes the text for canonical (`+5k` and `1E3` are, too)."""
    match = _SHAPE.match(text)
    assert match is not None
    number, part, suffix = match[2].lstrip("0") or "0", match[3] or "", match[4]
    if suffix in _BINARY:
        power = _BINARY[suffix] * 10
        short = not part and 14 - len(number) - power * 3 // 10 >= 0
        return short and int(number) << power < 2**63 and int(number) % 8 != 0
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    digits, scale = number + part, exponent - len(part)
    return len(digits) <= 18 and scale >= -9 and scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


def from_json(value: object) -> str:
    """A JSON value (string or number) -> canonical text; QuantityError for anything else."""
    if isinstance(value, str):
        return canonical(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise QuantityError(FORMAT_WRONG)
    return canonical(repr(value))


def of(value: object) -> Quantity:
    """A JSON value (string or number) -> Quantity."""
    return parse(from_json(value))


def total(values: list[Quantity]) -> Quantity:
    """The sum, in the notation of the first that is not zero."""
    result = Quantity(0)
    for value in values:
        result = result + value
    return result
