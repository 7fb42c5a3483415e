"""Sockets that belong to another network namespace: made by a thread that goes there, used from here.

A socket stays in the namespace it was made in (network_namespaces(7)), so the server can listen on the node's own
loopback without being there: `https://127.0.0.1:6443` is the API for whoever is on the host or on the node.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading

_CLONE_NEWNET = 0x40000000


def listening_socket(namespace: str, host: str, port: int) -> socket.socket:
    """A TCP socket that listens on `host:port` inside the namespace (a file under /run/netns). Raises OSError."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def there() -> None:
        try:
            descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(descriptor, _CLONE_NEWNET):  # the calling thread only
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)
            finally:
                os.close(descriptor)
            made.append(socket.create_server((host, port), backlog=1024))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    made[0].setblocking(False)
    return made[0]
