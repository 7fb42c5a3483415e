"""What is said of a pod that fits nowhere: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) ...` (pure).

Source: pkg/scheduler/framework/types.go FitError. Reasons are counted over nodes and sorted as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


def _histogram(total: int, reasons: Mapping[str, Iterable[str]]) -> str:
    counted = Counter(reason for found in reasons.values() for reason in found)
    text = f"0/{total} nodes are available"
    if counted:
        text += ": " + ", ".join(sorted(f"{number} {reason}" for reason, number in counted.items()))
    return text + "."


def unschedulable(total: int, refusals: Mapping[str, Iterable[str]], preemption: str) -> str:
    """The whole message; `preemption` is what became of making room (`preemption_text`), "" for nothing tried."""
    if not total:
        return "no nodes available to schedule pods"
    text = _histogram(total, refusals)
    return f"{text} no new claims to deallocate, preemption: {preemption}" if preemption else text


def preemption_text(total: int, reasons: Mapping[str, str]) -> str:
    """Why nobody could be evicted, node by node."""
    return _histogram(total, {node: [reason] for node, reason in reasons.items()})
