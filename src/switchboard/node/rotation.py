"""Container logs that grow: renamed when they are large, compressed when they are old, a few kept.

Source: pkg/kubelet/logs/container_log_manager.go (10Mi, five files).
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from switchboard.node import cri
from switchboard.node.observed import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID
from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.node.settings import NodeSettings

log = logging.getLogger(__name__)

_PERIOD: Final = 10.0


async def rotate_forever(runtime: CriRuntime, settings: NodeSettings) -> None:
    """Look at the logs of all running containers every ten seconds."""
    while True:
        await asyncio.sleep(_PERIOD)
        try:
            await rotate_all(runtime, settings)
        except (RuntimeFailure, OSError) as error:
            log.warning("rotating logs: %s", error)


async def rotate_all(runtime: CriRuntime, settings: NodeSettings) -> None:
    """Rotate every log that has grown too large. Raises RuntimeFailure, OSError."""
    if not settings.log_dir.exists():
        return
    # The runtime is asked only when there is something to do: a look at a few files is cheaper.
    large = [p for p in settings.log_dir.glob("*/*/*.log") if p.stat().st_size >= settings.log_max_size]
    if not large:
        return
    for item in await runtime.list_containers():
        labels = item.get("labels", {})
        if item.get("state", cri.CREATED) != cri.RUNNING or POD_UID not in labels:
            continue
        folder = settings.pod_log_dir(labels[POD_NAMESPACE], labels[POD_NAME], labels[POD_UID])
        path = folder / labels[CONTAINER_NAME] / f"{item.get('metadata', {}).get('attempt', 0)}.log"
        if path in large:
            await _rotate_one(runtime, item["id"], path, settings)


async def _rotate_one(runtime: CriRuntime, ident: str, path: Path, settings: NodeSettings) -> None:
    async def reopen() -> None:
        await runtime.reopen_log(ident)

    await rotate(path, size=settings.log_max_size, files=settings.log_max_files, reopen=reopen)


async def rotate(path: Path, *, size: int, files: int, reopen: Callable[[], Awaitable[None]]) -> bool:
    """Rotate one log if it is larger than `size`; `reopen` has the runtime open it anew. True when it was."""
    try:
        if os.stat(path).st_size < size:
            return False
    except FileNotFoundError:
        return False
    older = sorted(p for p in path.parent.glob(f"{path.name}.*") if not p.name.endswith(".tmp"))
    # The live file, its newest rotated one (perhaps still read by a follower) and the compressed rest.
    for surplus in older[: max(0, len(older) - max(0, files - 2))]:
        surplus.unlink(missing_ok=True)
    for plain in older:
        if plain.exists() and plain.suffix != ".gz":
            _compress(plain)
    stamped = path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%d-%H%M%S}")
    os.rename(path, stamped)
    try:
        await reopen()
    except BaseException:
        os.rename(stamped, path)  # the runtime goes on writing to it
        raise
    return True


def _compress(path: Path) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with open(path, "rb") as source, gzip.open(temporary, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target)
    os.rename(temporary, path.with_name(path.name + ".gz"))
    path.unlink()
