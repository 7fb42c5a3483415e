"""Which libraries of packages are loaded: read from real programs, followed through links."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from switchboard.images.libraries import Libraries, needed

_FOLDER = "usr/lib/x86_64-linux-gnu"


@pytest.mark.parametrize("program", ["/bin/ls", "/bin/tar", sys.executable])
def test_the_loader_finds_what_is_read(program: str) -> None:
    loaded = subprocess.run(["ldd", os.path.realpath(program)], capture_output=True, text=True, check=True).stdout
    found = needed(Path(program).read_bytes())
    assert "libc.so.6" in found
    assert all(name in loaded for name in found)


def test_what_is_no_program_needs_nothing() -> None:
    whole = Path("/bin/ls").read_bytes()
    for content in (
        b"",
        b"#!/bin/sh\n",
        whole[:4],
        whole[:64],
        whole[: len(whole) // 2],
        b"\x7fELF\x01\x01" + whole[6:],
    ):
        assert needed(content) == []


def test_libraries_are_followed_through_links_and_libraries() -> None:
    program = Path("/bin/ls").read_bytes()  # needs libselinux and libc, as Debian builds it
    assert set(needed(program)) == {"libselinux.so.1", "libc.so.6"}
    libraries = Libraries()
    libraries.add("usr/bin/ls", "", program, keep=False)
    libraries.add(f"{_FOLDER}/libselinux.so.1", "libselinux.so.1.0", b"", keep=False)
    libraries.add(f"{_FOLDER}/libselinux.so.1.0", "", b"", keep=False)
    libraries.add(f"{_FOLDER}/libc.so.6", "", b"", keep=False)
    libraries.add(f"{_FOLDER}/libmvec.so.1", "", program, keep=False)
    libraries.add(f"{_FOLDER}/libz.so.1", "libz.so.1.2", b"", keep=True)
    libraries.add(f"{_FOLDER}/libz.so.1.2", "", b"", keep=False)
    libraries.add(f"{_FOLDER}/libgcc_s.so.1", "", b"", keep=False)
    libraries.add(f"{_FOLDER}/modules/plugin.so", "", b"", keep=False)
    assert libraries.unneeded() == {f"{_FOLDER}/libmvec.so.1"}
