"""A program for test pods: answers on several ports, and says who it is, who asked and what was asked.

Sent into a pod as text (`source()`), so it uses the standard library alone. Words: `http:8080`, `https:8443:/folder`
(with tls.crt and tls.key), `udp:8081`, `slow:8090` (an answer takes a second), and `http6`, `udp6`, `slow6` on IPv6.
HTTP answers are one line, `name client method path`, but `/page` is a small HTML document with a link. SIGTERM ends it
at once, whoever waits for an answer.
"""

from __future__ import annotations

import http.server
import os
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from pathlib import Path

NAME = os.environ.get("NAME") or socket.gethostname()
PAGE = b'<html><head></head><body><a href="/rewriteme">there</a></body></html>'


class Answer(http.server.BaseHTTPRequestHandler):
    """Any method, any path."""

    protocol_version = "HTTP/1.1"
    pause = 0.0

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        """One line, or the page."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(self.pause)
        kind, text = "text/plain", f"{NAME} {self.client_address[0]} {self.command} {self.path}".encode() + b" " + body
        if self.path.startswith("/page"):
            kind, text = "text/html", PAGE
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("X-Method", self.command)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


class Slow(Answer):
    """A second for an answer."""

    pause = 1.0


class Datagrams(socketserver.BaseRequestHandler):
    """`name client`, whatever was said."""

    def handle(self) -> None:
        """Answer one."""
        self.request[1].sendto(f"{NAME} {self.client_address[0]}".encode(), self.client_address)


class Http(http.server.ThreadingHTTPServer):
    """Without the look-up of its own name."""

    daemon_threads = True
    request_queue_size = 256

    def server_bind(self) -> None:
        """As TCPServer's."""
        socketserver.TCPServer.server_bind(self)


class Http6(Http):
    """On IPv6 alone, so that it may stand beside the other."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """As TCPServer's."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


class Udp(socketserver.ThreadingUDPServer):
    """A thread a datagram."""

    daemon_threads = True


class Udp6(Udp):
    """On IPv6 alone."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """As UDPServer's."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


def serve(word: str) -> None:
    """Serve one word of the command line."""
    kind, port, *folder = word.split(":")
    where = ("", int(port))
    server: socketserver.BaseServer
    if kind in ("udp", "udp6"):
        server = (Udp6 if kind == "udp6" else Udp)(where, Datagrams)
    else:
        server = (Http6 if kind.endswith("6") else Http)(where, Slow if kind.startswith("slow") else Answer)
        if kind == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{folder[0]}/tls.crt", f"{folder[0]}/tls.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def source() -> str:
    """This file."""
    return Path(__file__).read_text()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for given in sys.argv[1:]:
        serve(given)
    signal.pause()
