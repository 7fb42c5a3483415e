"""Which commit a file is of, read from the files of git: there need be no git where this runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

_INSTALLED = ("site-packages", "dist-packages")


def checkout(file: Path) -> tuple[str, datetime]:
    """The commit of the git checkout that a file is in ("" if in none) and when it came to be there."""
    for folder in file.parents:
        if folder.name in _INSTALLED:
            break  # an environment may lie in anybody's checkout
        git = folder / ".git"
        try:
            if git.is_file():  # a worktree or submodule
                git = folder / git.read_text().removeprefix("gitdir:").strip()
            head = (git / "HEAD").read_text().strip()
            common = git / "commondir"
            base = git / common.read_text().strip() if common.is_file() else git
            commit = _resolved(git, base, head.removeprefix("ref: ")) if head.startswith("ref: ") else head
            return commit, _time_of((git / "HEAD", git / "logs" / "HEAD"))
        except OSError:
            continue
    return "", _time_of((file,))


def _resolved(git: Path, base: Path, ref: str) -> str:
    for place in (git, base):
        if (place / ref).is_file():
            return (place / ref).read_text().strip()
    for line in (base / "packed-refs").read_text().splitlines():
        if line.endswith(f" {ref}"):
            return line.split()[0]
    return ""


def _time_of(files: tuple[Path, ...]) -> datetime:
    return datetime.fromtimestamp(max(f.stat().st_mtime for f in files if f.exists()), UTC)
