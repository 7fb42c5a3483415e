"""`/logs/`: the log files of the machine, to be looked through (pkg/kubelet/server, logs of the node)."""

from __future__ import annotations

import html
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from switchboard.transport.messages import Response

_PIECE = 1 << 16


def answer(root: Path, parts: list[str], *, slash: bool) -> Response:
    """A folder below `root` as a page of links, a file as it is. `slash`: the path that was asked for ends in one."""
    top = os.path.realpath(root)
    path = os.path.realpath(os.path.join(top, *parts)) if all("\0" not in part for part in parts) else "/"
    try:
        if os.path.commonpath([top, path]) != top:
            raise FileNotFoundError
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            if not slash:
                return Response(301, [("Location", f"{quote(parts[-1] if parts else 'logs')}/")])
            return _page(path)
        if not stat.S_ISREG(mode) or not os.access(path, os.R_OK):
            raise FileNotFoundError
    except OSError:
        return Response(404, [("Content-Type", "text/plain; charset=utf-8")], b"404 page not found\n")
    return Response(200, [("Content-Type", "text/plain; charset=utf-8")], stream=_content(path))


def _page(path: str) -> Response:
    names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in os.scandir(path))
    links = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
    return Response(200, [("Content-Type", "text/html; charset=utf-8")], f"<pre>\n{links}</pre>\n".encode())


async def _content(path: str) -> AsyncIterator[bytes]:
    with open(path, "rb") as file:  # only now: who asks for the head alone never comes here
        while piece := file.read(_PIECE):
            yield piece
