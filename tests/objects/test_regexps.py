"""Patterns as Go reads them."""

import time

import pytest

from switchboard.objects.regexps import PatternError, compiled, matches


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a[b", "missing closing ]: `[b`"),
        ("(a", "missing closing ): `(a`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(a)\\1", "invalid escape sequence: `\\1`"),
        ("a\\Z", "invalid escape sequence: `\\Z`"),
        ("a\\C", "invalid escape sequence: `\\C`"),
        ("a\\", "trailing backslash at end of expression: ``"),
    ],
)
def test_what_is_no_pattern(pattern: str, why: str) -> None:
    with pytest.raises(PatternError) as caught:
        compiled(pattern)
    assert str(caught.value) == f"error parsing regexp: {why}"
    assert not matches(pattern, "a")


def test_the_end_is_the_end() -> None:
    assert matches("^a$", "a") and not matches("^a$", "a\n")
    assert matches("a\\z", "ba") and matches("(?P<n>\\pL)", "é") and matches("\\\\C", "\\C")


def test_no_pattern_takes_long() -> None:
    start = time.process_time()
    assert not matches("^(a+)+$", "a" * 5000 + "!")
    assert time.process_time() - start < 1
