"""Documents whose commands are executed: ```console blocks, commands behind `$ `, below each what it prints.

What differs from run to run (addresses, ages, suffixes, seconds) is compared by kind, not by value; a line `...` stands
for any number of lines. A command goes on over lines that end in a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_KINDS = (
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), "<ip>"),
    (re.compile(r"(?<=-)[0-9a-f]{8,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b"), "<pod>"),
    (re.compile(r"(?<=-)[bcdfghjklmnpqrstvwxz2456789]{8,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b"), "<pod>"),
    (re.compile(r"(?<=[-=])[0-9a-f]{8,10}\b"), "<hash>"),
    (re.compile(r"(?<=[-=])[bcdfghjklmnpqrstvwxz2456789]{8,10}\b"), "<hash>"),
    (re.compile(r"(?<=-service-)[bcdfghjklmnpqrstvwxz2456789]{5}\b"), "<suffix>"),
    (re.compile(r"\b(?:\d+[smhd]){1,2}\b"), "<age>"),
    (re.compile(r"\b\d+\.\d+ ?s\b"), "<seconds>"),
    (re.compile(r"\b(?:3[0-2]\d{3})\b"), "<port>"),
    (re.compile(r"\b\w{3}, \d\d \w{3} \d{4} [\d:]{8} \w+\b"), "<date>"),
)


@dataclass(slots=True)
class Step:
    """One command of a document and the lines that it is said to print."""

    command: str
    line: int
    output: list[str] = field(default_factory=list)


def steps(document: str) -> Iterator[Step]:
    """The commands of a document's console blocks, in order."""
    inside, step = False, None
    for number, line in enumerate(document.splitlines(), 1):
        if line.startswith("```"):
            if step is not None:
                yield step
            inside, step = line == "```console", None
        elif inside and line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(line[2:], number)
        elif inside and step is not None:
            if step.command.endswith("\\") and not step.output:
                step.command = step.command[:-1] + line.strip()
            else:
                step.output.append(line)


def kinds(line: str) -> str:
    """A line with everything that differs from run to run named by its kind, and white space folded."""
    for pattern, kind in _KINDS:
        line = pattern.sub(kind, line)
    return " ".join(line.split())


def difference(said: list[str], printed: str) -> str | None:
    """None when the output has the document's shape, else a sentence with the first line that has not."""
    got = [kinds(line) for line in printed.splitlines() if line.strip()]
    want = [kinds(line) for line in said if line.strip()]
    at = 0
    for index, line in enumerate(want):
        if line == "...":
            after = want[index + 1] if index + 1 < len(want) else None
            if after is None:
                return None
            while at < len(got) and got[at] != after:
                at += 1
            continue
        if at >= len(got):
            return f"the document says {line!r}, the output ended"
        if got[at] != line:
            return f"the document says {line!r}, the output {got[at]!r}"
        at += 1
    return None if at == len(got) else f"the output goes on with {got[at]!r}"
