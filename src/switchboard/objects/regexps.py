"""Regular expressions as Go has them: RE2's syntax, linear time, and the words of Go's errors."""

from __future__ import annotations

import re
from typing import Any

from switchboard.objects.memo import memo

# What RE2 says is wrong -> what Go's regexp/syntax says.
_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LARGEST = 64 << 20  # bytes that a pattern and its matching may take; Go allows for about as much


class PatternError(ValueError):
    """What is wrong with a pattern."""


@memo(1024)
def compiled(pattern: str) -> Any:
    """A pattern whose `search` takes time in proportion to the text. Raises PatternError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _LARGEST
    try:
        found = re2.compile(pattern, options)
    except re2.error as e:
        text = e.args[0] if e.args else ""
        raise PatternError(_as_go(text.decode(errors="replace") if isinstance(text, bytes) else str(text))) from None
    if "C" in _ESCAPED.findall(pattern):  # any byte to RE2; Go does not have it
        raise PatternError("error parsing regexp: invalid escape sequence: `\\C`")
    return found


def matches(pattern: str, text: str) -> bool:
    """Whether there is a match anywhere in the text; of what is no pattern there is none."""
    try:
        return compiled(pattern).search(text) is not None
    except PatternError:
        return False


def _as_go(text: str) -> str:
    what, _, where = text.partition(": ")
    words = _WORDS.get(what, what)
    return f"error parsing regexp: {words}: `{where}`"
