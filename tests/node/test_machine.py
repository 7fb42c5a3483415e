"""What a node says of itself: pure builders."""

from __future__ import annotations

from pathlib import Path

from switchboard.node import machine


def test_images_are_listed_with_a_few_of_their_names() -> None:
    tags = [f"registry.example/app:v{number}" for number in range(8)]
    found = [
        {"repo_tags": ["small:1"], "size": 10},
        {"repo_digests": ["registry.example/app@sha256:0"], "repo_tags": tags, "size": 20},
        {"repo_tags": [], "size": 30},
    ]
    big, small = machine.images(found)
    assert big == {"names": ["registry.example/app@sha256:0", *tags[:4]], "sizeBytes": 20}
    assert small == {"names": ["small:1"], "sizeBytes": 10}


def test_swap_is_told_where_there_is_some(tmp_path: Path) -> None:
    info = machine.look(tmp_path, "containerd://1.6").info
    swap = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "SwapTotal" in line)
    assert info.get("swap") == ({"capacity": swap * 1024} if swap else None)
