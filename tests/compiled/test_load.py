from __future__ import annotations

import os
from pathlib import Path

import pytest

from switchboard.compiled import load


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two sources with a build of one of them."""
    package, builds = tmp_path / "switchboard", tmp_path / "compiled"
    (package / "api").mkdir(parents=True)
    builds.mkdir()
    for name in ("app", "call"):
        (package / "api" / f"{name}.py").write_text("x = 1\n")
    monkeypatch.setattr(load, "PACKAGE", str(package))
    monkeypatch.setattr(load, "BUILDS", str(builds))
    monkeypatch.delenv(load.SWITCH, raising=False)
    lines = load.describe(["api/app.py", "api/call.py"])
    (builds / load.MANIFEST).write_text("\n".join(["abc", "switchboard.api.app switchboard__mypyc", *lines]) + "\n")
    return tmp_path


def found(name: str, finder: load.Finder | None = None) -> str | None:
    spec = (finder or load.Finder()).find_spec(name)
    return spec.origin if spec is not None else None


def test_a_build_of_these_sources_is_imported(place: Path) -> None:
    finder = load.Finder()
    assert found("switchboard__mypyc", finder) is None and finder.state == ""  # nobody has asked for one of ours
    assert found("switchboard.api.app", finder) == str(place / "compiled/abc/switchboard.api.app.so")
    assert finder.state == load.COMPILED
    assert found("switchboard__mypyc", finder) == str(place / "compiled/abc/switchboard__mypyc.so")
    assert found("switchboard.api.call", finder) is None


@pytest.mark.parametrize("name", ["app", "call"])  # compiled itself, or only seen by what is compiled
@pytest.mark.parametrize("how", ["longer", "touched", "gone"])
def test_a_changed_source_is_never_hidden_by_a_build(place: Path, name: str, how: str) -> None:
    source = place / "switchboard" / "api" / f"{name}.py"
    if how == "longer":
        source.write_text("x = 12\n")
    elif how == "touched":
        os.utime(source, ns=(1, 1))
    else:
        source.unlink()
    finder = load.Finder()
    assert found("switchboard.api.app", finder) is None
    assert finder.decide() == load.OLD


@pytest.mark.parametrize("text", [None, "", "abc", "abc\nm\nnot a line"])
def test_without_a_whole_manifest_sources_run(place: Path, text: str | None) -> None:
    manifest = place / "compiled" / load.MANIFEST
    manifest.unlink() if text is None else manifest.write_text(text)
    finder = load.Finder()
    assert found("switchboard.api.app", finder) is None
    assert finder.decide() in (load.ABSENT, load.OLD)


def test_it_can_be_switched_off(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(load.SWITCH, "1")
    finder = load.Finder()
    assert found("switchboard.api.app", finder) is None
    assert finder.decide() == load.OFF
