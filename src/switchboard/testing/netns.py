"""A node, three pods and two outside hosts as network namespaces, with echo servers in the pods: the world that packets
are sent in.

One thread lives in each namespace; sockets it opens stay there. Nothing has a default route, nothing leaves these
namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
PREFIX = f"sbt-proxy-{os.getpid()}"
NODE4, OUT4, FAR4 = "192.168.77.2", "192.168.77.1", "192.168.77.3"
NODE6, OUT6 = "fd00:77::2", "fd00:77::1"
PODS = {name: (f"10.244.0.1{at}", f"fd00:244::1{at}") for at, name in enumerate("abc", 1)}
PORT = 8080
_libc = ctypes.CDLL(None, use_errno=True)


class Space:
    """A network namespace and a thread in it."""

    def __init__(self, name: str) -> None:
        self.name = f"{PREFIX}-{name}"
        ip("netns", "add", self.name)
        self._thread = ThreadPoolExecutor(1)
        self._closing = threading.Event()
        self.run(self._enter)
        self.ip("link", "set", "lo", "up")

    def _enter(self) -> None:
        with open(f"/run/netns/{self.name}") as file:
            if _libc.setns(file.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def run(self, fn: Callable[[], T]) -> T:
        """Call it in the namespace."""
        return self._thread.submit(fn).result(timeout=60)

    def start(self, fn: Callable[[], None]) -> threading.Thread:
        """A thread of its own in this namespace."""

        def body() -> None:
            self._enter()
            fn()

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        return thread

    def ip(self, *words: str) -> None:
        """`ip WORDS` there."""
        ip("-n", self.name, *words)

    def sysctl(self, name: str, value: str) -> None:
        """Write below /proc/sys there."""

        def write() -> None:
            with open(f"/proc/sys/{name}", "w") as file:
                file.write(value)

        self.run(write)

    def nft(self, *words: str) -> str:
        """`nft WORDS` there."""
        command = ["ip", "netns", "exec", self.name, "nft", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def close(self) -> None:
        """Take the namespace away."""
        self._closing.set()
        self._thread.shutdown()
        ip("netns", "del", self.name)

    # What a server does

    def serve(self, name: str, port: int, address: str = "") -> Callable[[], None]:
        """Answer `name client` over TCP and UDP; returns what stops it."""
        family = socket.AF_INET6 if ":" in address or not address else socket.AF_INET

        def listen() -> list[socket.socket]:
            out = []
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                s = socket.socket(family, kind)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    s.listen(1024)
                out.append(s)
            return out

        sockets = self.run(listen)
        stop = threading.Event()
        thread = threading.Thread(target=self._answer, args=(sockets, name, stop), daemon=True)
        thread.start()

        def end() -> None:
            stop.set()
            thread.join()
            for s in sockets:
                s.close()

        return end

    def _answer(self, sockets: list[socket.socket], name: str, stop: threading.Event) -> None:
        while not stop.is_set() and not self._closing.is_set():
            ready, _, _ = select.select(sockets, [], [], 0.05)
            for s in ready:
                with contextlib.suppress(OSError):
                    if s.type == socket.SOCK_STREAM:
                        peer, address = s.accept()
                        peer.sendall(f"{name} {plain(address[0])}".encode())
                        peer.close()
                    else:
                        _, address = s.recvfrom(100)
                        s.sendto(f"{name} {plain(address[0])}".encode(), address)

    # What a client sees

    def tcp(self, address: str, port: int, *, source: str = "", timeout: float = 2.0) -> str:
        """`pod client-address` of whoever answered, `refused`, `silent`, or the error's name."""

        def ask() -> str:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as s:
                s.settimeout(timeout)
                s.bind((source, 0))
                return _outcome(lambda: _talk(s, address, port, b""))

        return self.run(ask)

    def udp(self, address: str, port: int, *, source: str = "", source_port: int = 0, timeout: float = 2.0) -> str:
        """The same over UDP."""

        def ask() -> str:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                s.settimeout(timeout)
                s.bind((source, source_port))
                return _outcome(lambda: _talk(s, address, port, b"?"))

        return self.run(ask)


def _talk(s: socket.socket, address: str, port: int, words: bytes) -> str:
    s.connect((address, port))
    if words:
        s.send(words)
    return s.recv(100).decode()


def _outcome(fn: Callable[[], str]) -> str:
    try:
        return fn()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return os.strerror(error.errno or 0)


def ip(*words: str) -> None:
    """Run `ip`, which must succeed."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class World:
    """The namespaces by name."""

    def __init__(self) -> None:
        self.node, self.out = Space("node"), Space("out")
        self.pods = {name: Space(name) for name in PODS}
        self._wire()
        for name, space in self.pods.items():
            space.serve(name, PORT)

    def _wire(self) -> None:
        node, out = self.node, self.out
        for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            node.sysctl(name, "1")
        for name in ("net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"):  # tests ask more often than clients should
            node.sysctl(name, "0")
        for space in (node, out, *self.pods.values()):
            space.sysctl("net/ipv6/conf/default/accept_dad", "0")
        node.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", out.name)
        node.ip("link", "add", "cni0", "type", "bridge")
        for space, link, cidrs in (
            (node, "eth0", (f"{NODE4}/24", f"{NODE6}/64")),
            (out, "eth0", (f"{OUT4}/24", f"{FAR4}/24", f"{OUT6}/64")),
            (node, "cni0", ("10.244.0.1/24", "fd00:244::1/64")),
        ):
            for cidr in cidrs:
                space.ip("addr", "add", cidr, "dev", link, *(("nodad",) if ":" in cidr else ()))
            space.ip("link", "set", link, "up")
        node.ip("route", "add", "192.168.78.0/24", "dev", "eth0")  # load balancers' addresses are of the link
        for net in ("10.96.0.0/16", "192.168.78.0/24", "203.0.113.0/24"):
            out.ip("route", "add", net, "via", NODE4)
        out.ip("-6", "route", "add", "fd00:96::/112", "via", NODE6)
        for name, space in self.pods.items():
            v4, v6 = PODS[name]
            node.ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", space.name)
            node.ip("link", "set", f"v{name}", "master", "cni0", "up")
            node.ip("link", "set", f"v{name}", "type", "bridge_slave", "hairpin", "on")
            space.ip("addr", "add", f"{v4}/24", "dev", "eth0")
            space.ip("addr", "add", f"{v6}/64", "dev", "eth0", "nodad")
            space.ip("link", "set", "eth0", "up")
            for net in ("10.96.0.0/16", "192.168.77.0/24", "192.168.78.0/24", "203.0.113.0/24"):
                space.ip("route", "add", net, "via", "10.244.0.1")
            for net in ("fd00:96::/112", "fd00:77::/64"):
                space.ip("-6", "route", "add", net, "via", "fd00:244::1")

    def close(self) -> None:
        """Take everything away."""
        for space in (*self.pods.values(), self.out, self.node):
            space.close()


def plain(address: str) -> str:
    """An IPv4 address as IPv4 even on a dual-stack socket."""
    return address.removeprefix("::ffff:")
