"""/version: what this server says it is made of."""

from pathlib import Path

from switchboard.api.checkout import checkout
from switchboard.testing.apiserver import ApiServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    file = tmp_path / "src" / "package" / "module.py"
    file.parent.mkdir(parents=True)
    file.touch()
    assert checkout(file)[0] == ""  # a package without its checkout
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text(f"{COMMIT}\n")
    assert checkout(file)[0] == COMMIT
    (git / "refs" / "heads" / "main").unlink()
    (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    assert checkout(file)[0] == COMMIT
    (git / "HEAD").write_text(f"{COMMIT}\n")
    assert checkout(file)[0] == COMMIT
    installed = tmp_path / ".venv" / "lib" / "site-packages" / "package" / "module.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert checkout(installed)[0] == ""  # the environment of another project


def test_the_commit_of_a_worktree(tmp_path: Path) -> None:
    git = tmp_path / "main" / ".git"
    (git / "worktrees" / "w").mkdir(parents=True)
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "w").write_text(f"{COMMIT}\n")
    (git / "worktrees" / "w" / "HEAD").write_text("ref: refs/heads/w\n")
    (git / "worktrees" / "w" / "commondir").write_text("../..\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / ".git").write_text(f"gitdir: {git}/worktrees/w\n")
    (tmp_path / "w" / "file").touch()
    assert checkout(tmp_path / "w" / "file")[0] == COMMIT


async def test_version(api: ApiServer) -> None:
    status, said = await api.call("GET", "/version")
    assert status == 200 and said["gitVersion"].startswith("v1.36.") and said["minor"] == "36"
    assert said["gitCommit"] == checkout(Path(__file__))[0] and said["buildDate"].endswith("Z")
