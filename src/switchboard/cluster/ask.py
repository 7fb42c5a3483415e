"""Asks the API on its root-only socket with nothing but a socket: for the verbs, whose start would otherwise be
mostly imports.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class NoAnswer(Exception):
    """The API does not listen, or broke off."""


def ask(path: Path, method: str, target: str, body: Any = None, *, timeout: float = 5.0) -> tuple[int, dict[str, Any]]:
    """One request: (status, decoded JSON object). Raises NoAnswer, PermissionError."""
    data = json.dumps(body).encode() if body is not None else b""
    head = [
        f"{method} {target} HTTP/1.1",
        "host: switchboard",
        "accept: application/json",
        "content-type: application/json",
        "user-agent: switchboard-cli",
        "connection: close",
        f"content-length: {len(data)}",
    ]
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + data)
            answer = bytearray()
            while piece := connection.recv(1 << 16):
                answer += piece
    except PermissionError as error:  # no silence of the API's: the caller is not root
        raise PermissionError(error.errno, error.strerror, str(path)) from error
    except OSError as error:
        raise NoAnswer(f"{path}: {error}") from error
    return _parse(bytes(answer))


def _parse(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        raise NoAnswer("the API broke off its answer")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().replace(" ", "").split(":", 1) for line in lines[1:] if ":" in line)
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    try:
        # health checks answer in plain text
        value = json.loads(body) if body and headers.get("content-type", "").startswith("application/json") else {}
        return int(lines[0].split()[1]), value if isinstance(value, dict) else {}
    except (ValueError, IndexError) as error:
        raise NoAnswer(f"the API answered something else than JSON: {error}") from error


def _unchunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        if not length:
            break
        parts.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(parts)
