"""Ending one container: its preStop hook, its signal, its grace period (pkg/kubelet/kuberuntime killContainer)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection
from typing import Any, Final

from switchboard.node import cri
from switchboard.node.actions import act
from switchboard.node.observed import Container
from switchboard.node.runtime import CriRuntime

Object = dict[str, Any]
Say = Callable[[str, str, str], None]  # event type, reason, message

_HOOK_AGENT: Final = "kube-lifecycle/1.36"
LEAST: Final = 2.0  # seconds between the signal and the kill, however long the hook and the others took


async def end(
    runtime: CriRuntime,
    spec: Object,
    container: Container,
    ip: str,
    grace: float,
    say: Say,
    before: Collection[asyncio.Future[None]] = (),
) -> None:
    """Hook, then the signal when all of `before` are over, and after `grace` seconds in all the kill. Raises
    RuntimeFailure. The hook does not wait for `before` (as pkg/kubelet/kuberuntime/kuberuntime_termination_order.go).
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    hook = (spec.get("lifecycle") or {}).get("preStop")
    if hook and container.running and grace > 0:
        outcome = await act(hook, spec, container.id, ip, runtime, grace, _HOOK_AGENT)
        if not outcome.reached:
            say("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.message}")
    left = grace - (clock() - began)
    if before and left > 0:
        await asyncio.wait(before, timeout=left)
    left = max(LEAST, grace - (clock() - began))
    name = (spec.get("lifecycle") or {}).get("stopSignal")
    if name and container.running and grace > 0:
        await runtime.signal(container.id, signal_number(name))
        if await _ended(runtime, container.id, left):
            return
        left = 0.0
    await runtime.stop_container(container.id, left)


def signal_number(name: str) -> int:
    """`SIGUSR1` or `SIGRTMIN+3` as a number; SIGTERM for what is none here."""
    base, _, more = name.replace("-", "+-").partition("+")
    number = getattr(signal, base, signal.SIGTERM)
    return int(number) + (int(more) if more else 0)


async def _ended(runtime: CriRuntime, ident: str, seconds: float) -> bool:
    """Whether a container ends within so many seconds."""
    clock = asyncio.get_running_loop().time
    until, pause = clock() + seconds, 0.01
    while (await runtime.container_status(ident)).get("state", cri.CREATED) == cri.RUNNING:
        left = until - clock()
        if left <= 0:
            return False
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, 0.2)
    return True
