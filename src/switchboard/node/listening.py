"""Whether a container listens on the TCP ports it declares, asked of the kernel: no connection is made.

Kubernetes takes a container without readiness probe for ready as soon as its process is there, so a rolling update
sends requests to programs that are still on their way to their sockets. Where a container says which ports it serves,
readiness waits for them (a moment only: a declaration binds nobody).

Sockets are listed by sock_diag(7) from a netlink socket in the container's network namespace; one made there stays
there, so a thread goes and comes no more.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from typing import Any

from switchboard.transport.namespaces import made_in

Object = dict[str, Any]

_SOCK_DIAG, _BY_FAMILY, _DONE, _ERROR = 4, 20, 3, 2
_LISTEN = 1 << 10  # TCP_LISTEN, as one of idiag_states
_header = struct.Struct("=IHHII")


def declared(spec: Object) -> frozenset[int]:
    """The TCP ports that a container says it serves."""
    ports = spec.get("ports") or ()
    return frozenset(port["containerPort"] for port in ports if (port.get("protocol") or "TCP") == "TCP")


async def until_listening(pid: int, ports: frozenset[int], seconds: float) -> None:
    """Wait until somebody in the network namespace of a process listens on all of these, `seconds` at most; no wait
    where the kernel does not tell.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + seconds, 0.002
    try:
        diag = await asyncio.to_thread(_socket_of, f"/proc/{pid}/ns/net")
    except OSError:
        return
    with diag:
        try:
            while not ports <= _listening(diag) and loop.time() < deadline:
                await asyncio.sleep(pause)
                pause = min(pause * 1.3, 0.05)
        except OSError:
            return


def _socket_of(namespace: str) -> socket.socket:
    """A sock_diag socket in a network namespace. Raises OSError."""
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    return made_in(namespace, lambda: socket.socket(socket.AF_NETLINK, kind, _SOCK_DIAG))


def _listening(diag: socket.socket) -> set[int]:
    """Ports that TCP sockets of the namespace listen on. Raises OSError."""
    found: set[int] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        # struct inet_diag_req_v2: family, protocol, extensions, padding, states, and a socket id that is not looked at
        request = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, _LISTEN)
        diag.send(_header.pack(16 + len(request), _BY_FAMILY, 0x301, 1, 0) + request)
        done = False
        while not done:
            reply, at = diag.recv(1 << 16), 0
            while at + 16 <= len(reply):
                size, kind, _, _, _ = _header.unpack_from(reply, at)
                if kind == _ERROR and (code := -struct.unpack_from("=i", reply, at + 16)[0]):
                    if code == errno.ENOENT:  # no such family here
                        done = True
                        break
                    raise OSError(code, os.strerror(code))
                if kind in (_ERROR, _DONE):
                    done = True
                    break
                found.add(int.from_bytes(reply[at + 20 : at + 22], "big"))  # inet_diag_msg: four bytes, then the port
                at += size + 3 & ~3
    return found
