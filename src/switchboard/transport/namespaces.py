"""Sockets that belong to another network namespace: made by a thread that goes there, used from here.

A socket stays in the namespace it was made in (network_namespaces(7)), and a thread that went elsewhere is no use to
anybody else, so it goes once and ends.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from socket import socket

_CLONE_NEWNET = 0x40000000


def made_in(namespace: str, make: Callable[[], socket]) -> socket:
    """What `make` gives inside a network namespace (a file that holds it). Raises OSError, also what `make` raises."""
    made: list[socket] = []
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
            made.append(make())
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
