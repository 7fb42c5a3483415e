import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.objects import quantity
from switchboard.objects.quantity import Quantity, QuantityError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.1Ki", "102400m"),
        ("1023", "1023"),
        ("1000Ki", "1000Ki"),
        ("100000", "100k"),
        ("1e3", "1e3"),
        ("12E6", "12E6"),
        ("12000E6", "12e9"),
        ("1E", "1E"),
        (".5", "500m"),
        ("5.", "5."),
        ("05.000", "5"),
        ("+3", "+3"),
        ("+3000", "3k"),
        ("12E", "12E"),
        ("007M", "007M"),
        ("8Gi", "8Gi"),
        ("-1500m", "-1500m"),
        ("0", "0"),
        ("0Gi", "0"),
        ("0.0000000001", "1n"),
        ("9" * 30, "9" * 30),
        ("9" * 30 + "Ki", "9223372036854775807"),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1.2.3", "+", "1 ", "1kk", "1Kii", "--1", "1e", "٣"])
def test_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        quantity.canonical(text)


@pytest.mark.parametrize("value", [True, None, [], {}, "1x", float("nan"), float("inf")])
def test_json_values_that_are_none(value: object) -> None:
    with pytest.raises(QuantityError):
        quantity.from_json(value)


def test_json_numbers() -> None:
    assert quantity.from_json(2) == "2"
    assert quantity.from_json(0.5) == "500m"
    assert quantity.from_json(" 1Gi ") == "1Gi"


def test_rounding_is_away_from_zero() -> None:
    assert int(quantity.parse("1500m")) == 2
    assert int(quantity.parse("-1500m")) == -2
    assert quantity.parse("1100u").milli == 2


@given(st.integers(-(10**30), 10**30), st.sampled_from(["BinarySI", "DecimalSI", "DecimalExponent"]))
def test_text_of_an_amount_is_that_amount(nano: int, notation: str) -> None:
    if abs(nano) > quantity.MAX:
        return
    assert quantity.parse(str(Quantity(nano, notation))).nano == nano


@given(st.integers(-(10**12), 10**12), st.sampled_from(["", "n", "u", "m", "k", "Ki", "Mi", "Gi", "M", "e3", "E-2"]))
def test_canonical_is_a_fixed_point(number: int, suffix: str) -> None:
    once = quantity.canonical(f"{number}{suffix}")
    assert quantity.canonical(once) == once
    assert quantity.parse(once).nano == quantity.parse(f"{number}{suffix}").nano


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        quantity.canonical(text)
    except QuantityError:
        pass


@given(st.lists(st.integers(-(10**9), 10**9), max_size=6))
def test_total_is_the_sum(numbers: list[int]) -> None:
    assert quantity.total([quantity.parse(f"{n}m") for n in numbers]).nano == sum(numbers) * 10**6
