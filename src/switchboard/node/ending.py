"""Ending one container: its preStop hook, its signal, its grace period (pkg/kubelet/kuberuntime killContainer)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from switchboard.node.actions import act
from switchboard.node.observed import Container
from switchboard.node.runtime import CriRuntime

Object = dict[str, Any]
Say = Callable[[str, str, str], None]  # event type, reason, message

_HOOK_AGENT: Final = "kube-lifecycle/1.36"
_LEAST: Final = 2.0  # seconds between the signal and the kill, however long the hook took


async def end(runtime: CriRuntime, spec: Object, container: Container, ip: str, grace: float, say: Say) -> None:
    """Hook, signal, and after `grace` seconds (the hook's time included) the kill. Raises RuntimeFailure."""
    clock = asyncio.get_running_loop().time
    began = clock()
    hook = (spec.get("lifecycle") or {}).get("preStop")
    if hook and container.running and grace > 0:
        outcome = await act(hook, spec, container.id, ip, runtime, grace, _HOOK_AGENT)
        if not outcome.reached:
            say("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.message}")
        grace = max(_LEAST, grace - (clock() - began))
    await runtime.stop_container(container.id, grace)
