"""Packages of images, from whatever mirror the machine's apt knows."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from switchboard.images.debian import Packages, contents

CONTROL = """Package: tiny-thing
Version: 1
Architecture: all
Maintainer: Nobody <nobody@example.com>
Description: nothing much
"""


@pytest.mark.parametrize("method", ["file", "copy"])
def test_a_mirror_on_this_very_disk_is_as_good_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    mirror, root = tmp_path / "mirror+here", tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(CONTROL)
    (root / "hello").write_text("there")
    mirror.mkdir()
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    package = mirror / "tiny-thing_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(package)], check=True, capture_output=True)
    found = f"Filename: ./{package.name}\nSize: {package.stat().st_size}\n"
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    (mirror / "Packages").write_text(f"{CONTROL}{found}SHA256: {digest}\n")
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] {method}:{mirror} ./\n")
    settings = {
        "Dir::Etc::sourcelist": tmp_path / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": tmp_path / "lists",
        "Dir::Cache": tmp_path / "cache",
        "APT::Sandbox::User": "root",
    }
    (tmp_path / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    packages = Packages(tmp_path / "packages")
    packages.download(["tiny-thing"])
    (there,) = packages.closure(["tiny-thing"])
    read = {entry.name: content.read() for entry, content in contents(there) if content}
    assert read == {"./hello": b"there"}
