"""Reading logs: any choice of lines is the same choice that a list of lines would give."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.node.logs import BadLogOptions, LineFilter, LogOptions, options_of, read, tail_offset, tail_text
from switchboard.node.rotation import rotate

STAMP = "2026-01-02T03:04:05.000000006Z"
characters = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp"))
line = st.text(characters, max_size=30)
# A message is one or more pieces: all but the last are parts of a long line.
message = st.lists(line, min_size=1, max_size=4)


def written(messages: list[list[str]]) -> bytes:
    """The file of these messages."""
    lines = []
    for pieces in messages:
        lines += [f"{STAMP} stdout P {piece}" for piece in pieces[:-1]]
        lines.append(f"{STAMP} stdout F {pieces[-1]}")
    return "".join(f"{one}\n" for one in lines).encode()


@given(st.lists(message, max_size=12), st.integers(0, 14))
@settings(max_examples=200, deadline=None)
def test_the_tail_is_the_last_lines(messages: list[list[str]], count: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "0.log"
        path.write_bytes(written(messages))
        file = os.open(path, os.O_RDONLY)
        try:
            offset = tail_offset(file, count)
        finally:
            os.close(file)
        assert path.read_bytes()[offset:] == written(messages[max(0, len(messages) - count) :])


@pytest.mark.parametrize("lines", [1, 7, 1000])
def test_the_tail_of_a_file_of_many_blocks(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(written([[f"line {i} " + "x" * (i % 300)] for i in range(2000)]))
    found = tail_text(path, lines, 10**9).splitlines()
    assert [one.split()[1] for one in found] == [str(i) for i in range(2000 - lines, 2000)]


@given(st.lists(message, max_size=6), st.integers(1, 60))
@settings(deadline=None)
def test_a_limit_cuts_and_parts_are_joined(messages: list[list[str]], limit: int) -> None:
    whole = "".join("".join(pieces) + "\n" for pieces in messages).encode()
    for options, wanted in ((LogOptions(), whole), (LogOptions(limit=limit), whole[:limit])):
        take = LineFilter(options)
        assert b"".join(take.take(one) for one in written(messages).splitlines(keepends=True)) == wanted


def test_times_and_streams() -> None:
    lines = [b"2026-01-01T00:00:01.5Z stdout F a\n", b"2026-01-01T00:00:02Z stderr F b\n", b"garbage\n"]

    def taken(**options: object) -> bytes:
        take = LineFilter(LogOptions(**options))  # type: ignore[arg-type]
        return b"".join(take.take(one) for one in lines)

    assert taken(timestamps=True) == b"2026-01-01T00:00:01.5Z a\n2026-01-01T00:00:02Z b\n"
    assert taken(since=1767225601.5) == b"a\nb\n"
    assert taken(since=1767225601.6) == b"b\n"
    assert taken(stream="Stderr") == b"b\n"


def test_queries() -> None:
    assert options_of({}, 0.0) == LogOptions()
    full = {"follow": "true", "tailLines": "3", "sinceSeconds": "10", "limitBytes": "5", "timestamps": "1"}
    assert options_of(full, 100.0) == LogOptions(follow=True, tail=3, since=90.0, limit=5, timestamps=True)
    for bad in ({"tailLines": "x"}, {"limitBytes": "0"}, {"sinceTime": "noon"}, {"sinceSeconds": "-1"}):
        with pytest.raises(BadLogOptions):
            options_of(bad, 0.0)


async def test_a_follower_goes_on_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(written([["old"]]))
    alive = True
    pieces = read(path, LogOptions(follow=True), lambda: alive)
    assert await anext(pieces) == b"old\n"

    async def reopen() -> None:
        path.write_bytes(written([["new"]]))

    assert await rotate(path, size=1, files=3, reopen=reopen)
    assert await anext(pieces) == b"new\n"
    with path.open("ab") as file:
        file.write(written([["last"]]))
    alive = False
    assert [piece async for piece in pieces] == [b"last\n"]


async def test_rotation_keeps_a_few_compressed(tmp_path: Path) -> None:
    path = tmp_path / "0.log"

    async def reopen() -> None:
        path.touch()

    for turn in range(6):
        path.write_bytes(written([[f"turn {turn}"]]) * 10)
        assert await rotate(path, size=100, files=4, reopen=reopen)
        for stamped in tmp_path.glob("0.log.*"):  # rotations within one second need names of their own here
            if stamped.suffix != ".gz":
                stamped.rename(stamped.with_name(f"0.log.2026010{turn}"))
    assert not await rotate(path, size=100, files=4, reopen=reopen)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["0.log", "0.log.20260103.gz", "0.log.20260104.gz", "0.log.20260105"]
