"""Sockets of containerd's shims that died: a shim removes its own when it ends in order, and nobody does otherwise.

They lie in a folder that all containerds of a machine share, so each is taken away by its name, and only when nobody
listens. Source: containerd, runtime/v2/shim/util_unix.go SocketAddress.
"""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

FOLDER = Path("/run/containerd/s")
_NAMESPACE = "k8s.io"


def socket_path(containerd: str, sandbox: str) -> Path:
    """Where the shim of a sandbox listens; `containerd` is the path of containerd's own socket."""
    return FOLDER / hashlib.sha256(f"{os.path.normpath(containerd)}/{_NAMESPACE}/{sandbox}".encode()).hexdigest()


def forget(containerd: str, sandbox: str) -> None:
    """Remove the socket that a sandbox's shim has left, if it did."""
    path = socket_path(containerd, sandbox)
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            pass  # it is there, and busy
