"""Control groups of version 2, which a test may not rearrange for real: files that refuse what the kernel refuses."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from switchboard.cluster import cgroups


class Kernel:
    """A hierarchy as a container sees it: no controller for groups below while processes stand in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.group(root)
        (root / "cgroup.controllers").write_text("cpu memory pids\n")
        (root / "cgroup.type").write_text("domain\n")

    def group(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (path / name).touch()

    def write(self, path: Path, text: str) -> None:
        group = path.parent
        self.group(group)
        if path.name == "cgroup.procs":
            if (group / "cgroup.subtree_control").read_text().split():
                raise OSError(errno.EBUSY, "no internal processes")
            for other in self.root.rglob("cgroup.procs"):
                other.write_text("\n".join(pid for pid in other.read_text().split() if pid != text))
            path.write_text(path.read_text().strip() + "\n" + text)
        else:
            if text[0] == "+" and (group / "cgroup.procs").read_text().split():
                raise OSError(errno.EBUSY, "no internal processes")
            words = set(path.read_text().split())
            path.write_text(" ".join(words | {text[1:]} if text[0] == "+" else words - {text[1:]}))

    def procs(self, name: str = ".") -> set[str]:
        return set((self.root / name / "cgroup.procs").read_text().split())

    def controllers(self) -> set[str]:
        return set((self.root / "cgroup.subtree_control").read_text().split())


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "_write", made.write)
    return made


def test_processes_at_the_top_of_a_container_are_moved_aside_and_back(kernel: Kernel) -> None:
    (kernel.root / "cgroup.procs").write_text("1\n17\n")
    cgroups.make_room(kernel.root)
    assert kernel.controllers() == {"cpu", "memory", "pids"}
    assert kernel.procs() == set() and kernel.procs("switchboard-callers") == {"1", "17"}
    cgroups.make_room(kernel.root)  # again: nothing to do
    kernel.group(kernel.root / "switchboard")
    cgroups.give_back(kernel.root)
    assert kernel.procs() == set()  # a cluster is left
    for file in (kernel.root / "switchboard").iterdir():
        file.unlink()
    (kernel.root / "switchboard").rmdir()
    cgroups.give_back(kernel.root)
    assert kernel.procs() == {"1", "17"} and kernel.controllers() == set()


def test_nobody_is_moved_where_nobody_stands_in_the_way(kernel: Kernel) -> None:
    cgroups.make_room(kernel.root)
    assert kernel.controllers() == {"cpu", "memory", "pids"}
    assert not (kernel.root / "switchboard-callers").exists()


def test_the_kernels_own_root_is_left_alone(kernel: Kernel) -> None:
    (kernel.root / "cgroup.type").unlink()
    (kernel.root / "cgroup.procs").write_text("1\n17\n")
    cgroups.make_room(kernel.root)
    cgroups.give_back(kernel.root)
    assert kernel.procs() == {"1", "17"} and kernel.controllers() == set()


def test_controllers_that_others_use_stay(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    (kernel.root / "cgroup.procs").write_text("17\n")
    cgroups.make_room(kernel.root)

    def busy(path: Path, text: str) -> None:
        if text.startswith("-"):
            raise OSError(errno.EBUSY, "a group below has it")
        kernel.write(path, text)

    monkeypatch.setattr(cgroups, "_write", busy)
    cgroups.give_back(kernel.root)
    assert kernel.procs("switchboard-callers") == {"17"}
