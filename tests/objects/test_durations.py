from __future__ import annotations

import pytest

from switchboard.objects.durations import nanoseconds


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("0", 0),
        ("-0", 0),
        ("1h30m", 5_400_000_000_000),
        ("+1.5s", 1_500_000_000),
        ("-.5ms", -500_000),
        ("1.s2us3µs4μs5ns", 1_000_009_005),
        ("0" * 5000 + "1s", 10**9),
        ("0." + "3" * 5000 + "s", 333_333_333),
        ("9223372036854775807ns", (1 << 63) - 1),
        ("-9223372036854775808ns", -(1 << 63)),
    ],
)
def test_durations(text: str, want: int) -> None:
    assert nanoseconds(text) == want


@pytest.mark.parametrize(
    "text", ["", "+", "1", ".s", "s", "1x", "1 s", "--1s", "1s2", "١s", "9223372036854775808ns", "9" * 5000 + "s"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^time: invalid duration"):
        nanoseconds(text)
