"""Sets of completion indexes as Jobs write them: `1,3-5,7` (pure)."""

from __future__ import annotations

from collections.abc import Iterable


def parse(text: str | None) -> set[int]:
    """`1,3-5,7` -> {1, 3, 4, 5, 7}; what is no number is passed over."""
    out: set[int] = set()
    for part in (text or "").split(","):
        low, dash, high = part.partition("-")
        if low.isdigit() and (not dash or high.isdigit()):
            out.update(range(int(low), int(high if dash else low) + 1))
    return out


def text(indexes: Iterable[int]) -> str:
    """{1, 3, 4, 5, 7} -> `1,3-5,7`; a dash stands for three and more in a row."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), -1]:
        if run and index != run[-1] + 1:
            if len(run) > 2:
                parts.append(f"{run[0]}-{run[-1]}")
            else:
                parts += map(str, run)
            run = []
        run.append(index)
    return ",".join(parts)
