"""Memory is given back when a process is at rest, and nothing that it holds is lost with it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from switchboard.cluster import pages
from switchboard.cluster.resting import Quiet, processor_time

SIZE = 8 << 20
READER = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    kept = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
def summed():
    return sum(kept[i] for i in range(0, len(kept), 4096))
print(summed(), flush=True)
sys.stdin.readline()
print(summed(), flush=True)
"""


def resident(pid: int | str, path: Path) -> int:
    """kB of a file that are in a process's memory."""
    found, here = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            here = line.endswith(str(path))
        elif here and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    return path


def test_pages_of_files_go_and_come_back(file: Path) -> None:
    with open(file, "rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
    before = mapped[:]
    assert resident("self", file) == SIZE // 1024
    pages.give_back()
    assert resident("self", file) == 0
    assert mapped[:] == before


def test_what_was_written_stays(file: Path) -> None:
    with open(file, "rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    mapped[5000:5005] = b"hello"
    pages.give_back()
    assert mapped[5000:5005] == b"hello"
    assert all(path != str(file) for _, _, path in pages.of_files("self"))


def test_relocated_parts_of_libraries_are_never_among_them() -> None:
    dirty = set()
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            start = int(line.split("-")[0], 16)
        elif line.startswith("Anonymous:") and line.split()[1] != "0":
            dirty.add(start)
    found = {start for start, _, _ in pages.of_files("self")}
    assert found
    assert dirty
    assert not found & dirty


def test_of_another_process(file: Path) -> None:
    reader = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", READER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout
    assert reader.stdin
    try:
        before = reader.stdout.readline()
        assert resident(reader.pid, file) == SIZE // 1024
        pages.page_out(reader.pid)
        assert resident(reader.pid, file) < SIZE // 1024 // 8
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == before
    finally:
        reader.kill()
        reader.communicate()
    with pytest.raises(OSError):
        pages.page_out(reader.pid)


def test_quiet_after_work_once() -> None:
    acted: list[float] = []
    quiet = Quiet(lambda: acted.append(1))
    steps = [(0.5, False), (1.0, False), (1.01, True), (1.02, False), (1.1, False), (1.11, False), (1.2, False)]
    steps += [(1.21, True), (1.21, False)]
    assert [(used, quiet.look(used)) for used, _ in steps] == steps
    assert len(acted) == 2


def test_who_has_a_little_to_do_again_and_again_counts_as_quiet_in_the_end() -> None:
    acted: list[int] = []
    quiet = Quiet(lambda: acted.append(look))
    used = 0.0
    for look in range(100):
        used += 1.0 if look in (0, 20) else 0.1
        quiet.look(used)
    assert acted == [12, 32, 44, 56, 68, 80, 92]
    for _ in range(100):  # much to do, however long: it would fetch all of that again
        used += 0.5
        assert not quiet.look(used)


def test_what_took_little_to_start_rests_too() -> None:
    acted: list[int] = []
    quiet = Quiet(lambda: acted.append(1), at_once=True)
    steps = [(0.06, False), (0.07, True), (0.08, False), (0.2, False), (0.21, False), (0.23, True)]
    assert [(used, quiet.look(used)) for used, _ in steps] == steps
    assert len(acted) == 2


def test_time_on_processors_counts_up() -> None:
    before = processor_time(os.getpid())
    while processor_time(os.getpid()) == before:
        pass
    assert processor_time(os.getpid()) - before < 1
