from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchboard.compiled import build, load
from switchboard.compiled.modules import MODULES
from switchboard.testing.cluster import PrivateCluster

SOURCES = Path(load.PACKAGE)
COMPILED = {name.replace(".", "/") + ".py" for name in MODULES}


def classes(names: set[str]) -> Iterator[tuple[str, ast.ClassDef]]:
    for name in sorted(names):
        for node in ast.walk(ast.parse((SOURCES / name).read_text())):
            if isinstance(node, ast.ClassDef):
                yield name, node


def bases(node: ast.ClassDef) -> set[str]:
    return {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}


def test_what_is_compiled_is_what_mypyc_takes_as_it_is() -> None:
    assert not [name for name in COMPILED if not (SOURCES / name).is_file() or name.endswith("__init__.py")]
    assert not [(name, node.name) for name, node in classes(COMPILED) if "Struct" in bases(node)]


def test_what_is_compiled_does_not_ask_python_what_it_is() -> None:
    """Compiled objects are no `types.CoroutineType`, and cannot be copied or seen as dicts."""
    for name in sorted(COMPILED):
        tree = ast.parse((SOURCES / name).read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & {"inspect", "copy", "pickle", "weakref"}, name


def test_nothing_interpreted_inherits_from_what_is_compiled() -> None:
    compiled = {node.name for _, node in classes(COMPILED) if "Protocol" not in bases(node)}
    every = {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py")}
    assert not [(name, node.name) for name, node in classes(every - COMPILED) if bases(node) & compiled]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of its own with a place for builds."""
    package = tmp_path / "src" / "switchboard"
    for name in ("api/app.py", "compiled/build.py"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text("x = 1\n")
    monkeypatch.setattr(load, "PACKAGE", str(package))
    monkeypatch.setattr(load, "BUILDS", str(tmp_path / "compiled"))
    monkeypatch.setattr(build, "_PACKAGE", package)
    monkeypatch.setattr(build, "_BUILDS", tmp_path / "compiled")
    monkeypatch.delenv(load.SWITCH, raising=False)
    return tmp_path


def test_a_build_is_made_once_for_each_change(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    said: list[str] = []

    def compiler(directory: Path) -> None:
        directory.mkdir()
        made.append(directory.name)

    monkeypatch.setattr(build, "_build", compiler)
    source = place / "src/switchboard/api/app.py"
    assert build.ensure(said.append) == ""
    assert load.Finder().decide() == load.COMPILED
    assert len(said) == 2
    assert build.ensure(said.append) == "" and len(said) == 2, "it is there"
    for text in ("x = 2\n", "x = 3\n"):
        source.write_text(text)
        assert load.Finder().decide() == load.OLD
        assert build.ensure(said.append) == ""
        assert load.Finder().decide() == load.COMPILED
    assert len(set(made)) == 3
    assert not (place / "compiled" / made[0]).exists(), "who still imports from a build imports from the last but one"
    source.write_text("x = 2\n")  # back, as `git checkout` does it
    assert build.ensure(said.append) == "" and len(made) == 3
    assert load.Finder().decide() == load.COMPILED


def test_a_failure_is_said_once_and_not_tried_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Path] = []
    said: list[str] = []

    def compiler(directory: Path) -> None:
        tries.append(directory)
        raise build.Failed("there is no compiler")

    monkeypatch.setattr(build, "_build", compiler)
    for _ in range(2):
        assert build.ensure(said.append) == "there is no compiler"
        assert load.Finder().decide() == load.ABSENT
    assert len(tries) == 1
    assert [text for text in said if "interpreted" in text] == [
        "the server runs interpreted, which takes it more time: there is no compiler"
    ]
    (place / "src/switchboard/api/app.py").write_text("x = 2\n")
    build.ensure(said.append)
    assert len(tries) == 2


def test_why_there_is_no_build_is_told_to_who_asks(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compiler(directory: Path) -> None:
        raise build.Failed("there is no compiler")

    monkeypatch.setattr(build, "_build", compiler)
    for news in (2, 0):
        assert build.main() == 1
        said = capsys.readouterr()
        assert said.out == "switchboard: the server runs interpreted: there is no compiler\n"
        assert len(said.err.splitlines()) == news


def test_what_a_killed_build_left_is_removed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_build", lambda directory: directory.mkdir())
    (place / "compiled" / "new-x" / "made").mkdir(parents=True)
    assert build.ensure(lambda text: None) == ""
    assert not (place / "compiled" / "new-x").exists()


def test_without_the_tools_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.Failed, match="no C compiler"):
        build._to_c(tmp_path)


@pytest.mark.parametrize("switch", ["", "1"])
def test_the_same_server_runs_with_and_without(switch: str) -> None:
    code = "import switchboard.api.app as app; from switchboard.compiled import load; print(load.state(), app.__file__)"
    environment = {load.SWITCH: switch} if switch else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    state, _, file = done.stdout.strip().rpartition(" ")
    assert file.endswith(".so" if state == load.COMPILED else ".py")
    if switch:
        assert state == load.OFF


def test_the_server_of_a_cluster_runs_what_these_tests_run(cluster: PrivateCluster) -> None:
    (server,) = [each for each in cluster.status()["processes"] if each["name"] == "server"]
    mapped = Path(f"/proc/{server['pid']}/maps").read_text()
    assert ("switchboard__mypyc" in mapped) == (load.state() == load.COMPILED)
