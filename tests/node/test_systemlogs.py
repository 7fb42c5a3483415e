"""What `/logs/` of the node's API shows of a folder, and what it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from switchboard.node.systemlogs import answer
from switchboard.transport.messages import Response


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "log"
    (top / "pods").mkdir(parents=True)
    (top / "sys log").write_text("one\ntwo\n")
    (top / "pods" / "a&b").write_bytes(b"x" * 100_000)
    (tmp_path / "secret").write_text("no")
    (top / "out").symlink_to(tmp_path / "secret")
    (top / "in").symlink_to("pods")
    os.mkfifo(top / "pipe")
    return top


async def body(response: Response) -> bytes:
    if response.stream is None:
        return b"".join([response.body]) if isinstance(response.body, bytes) else b"".join(response.body)
    return b"".join([piece async for piece in response.stream])


async def test_folders_are_pages_and_files_are_themselves(root: Path) -> None:
    page = answer(root, [], slash=True)
    assert page.status == 200
    links = '<a href="in/">in/</a>\n<a href="out">out</a>\n<a href="pipe">pipe</a>\n<a href="pods/">pods/</a>\n'
    assert await body(page) == f'<pre>\n{links}<a href="sys%20log">sys log</a>\n</pre>\n'.encode()
    assert b'<a href="a%26b">a&amp;b</a>' in await body(answer(root, ["in"], slash=True))
    assert await body(answer(root, ["sys log"], slash=False)) == b"one\ntwo\n"
    assert await body(answer(root, ["in", "a&b"], slash=False)) == b"x" * 100_000


@pytest.mark.parametrize(
    "parts", [["none"], ["..", "secret"], ["../secret"], ["out"], ["pipe"], ["/etc/passwd"], ["\0"]]
)
def test_nothing_else_is_to_be_had(root: Path, parts: list[str]) -> None:
    assert answer(root, parts, slash=False).status == 404


def test_a_folder_has_a_slash(root: Path) -> None:
    moved = answer(root, ["pods"], slash=False)
    assert moved.status == 301 and ("Location", "pods/") in list(moved.headers)


def test_an_answer_that_nobody_reads_holds_nothing(root: Path) -> None:
    """As of HEAD, and of clients that are gone before it begins."""
    before = os.listdir("/proc/self/fd")
    made = [answer(root, ["sys log"], slash=False) for _ in range(5)]
    assert {one.status for one in made} == {200} and len(os.listdir("/proc/self/fd")) == len(before)
