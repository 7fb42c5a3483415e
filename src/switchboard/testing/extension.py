"""A small extension API server for tests: HTTPS, one group-version with one resource, and a note of who came.

As a program (`python extension.py PORT CERT KEY`, standard library alone) it runs in a pod.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GROUP, VERSION = "wardle.example.com", "v1alpha1"
ROOT = f"/apis/{GROUP}/{VERSION}"
_RESOURCE = {
    "name": "flunders",
    "singularName": "flunder",
    "namespaced": True,
    "kind": "Flunder",
    "verbs": ["create", "delete", "get", "list"],
    "shortNames": ["fl"],
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ExtensionServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        self.server.seen.append((f"{self.command} {self.path}", self.headers.items()))
        path = self.path.partition("?")[0].rstrip("/")
        api_version = f"{GROUP}/{VERSION}"
        if path == ROOT and self.server.healthy:
            listing = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version}
            self._answer(200, {**listing, "resources": [_RESOURCE]})
        elif path == "/openapi/v3":
            self._answer(200, {"paths": {ROOT[1:]: {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}}})
        elif path == f"/openapi/v3{ROOT}":
            self._answer(200, {"openapi": "3.0.0", "info": {"title": "wardle", "version": "1"}, "paths": {}})
        elif path.startswith(f"{ROOT}/namespaces/") and "/flunders" in path and self.server.healthy:
            self._objects(path, body)
        else:
            self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    def _objects(self, path: str, body: bytes) -> None:
        held, name = self.server.objects, path.partition("/flunders")[2].strip("/")
        kind = {"kind": "Flunder", "apiVersion": f"{GROUP}/{VERSION}"}
        if self.command == "POST":
            obj = json.loads(body)
            held[obj["metadata"]["name"]] = obj
            self._answer(201, obj)
        elif not name:
            metadata = {"resourceVersion": "1"}
            self._answer(200, {**kind, "kind": "FlunderList", "metadata": metadata, "items": list(held.values())})
        elif name in held:
            self._answer(200, held.pop(name) if self.command == "DELETE" else held[name])
        else:
            self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    do_GET = do_POST = do_DELETE = _serve


class ExtensionServer(ThreadingHTTPServer):
    """Serves in a thread from `begin` to `end`; `seen` has requests and their headers, `healthy` may be turned off."""

    daemon_threads = True

    def __init__(self, port: int, certificate: str, key: str, client_ca: str | None = None) -> None:
        super().__init__(("0.0.0.0" if client_ca is None else "127.0.0.1", port), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.objects: dict[str, Any] = {}
        self.seen: list[tuple[str, list[tuple[str, str]]]] = []
        self.healthy = True

    def begin(self) -> int:
        """Start; returns the port."""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return int(self.server_address[1])

    def end(self) -> None:
        """Stop and close."""
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    ExtensionServer(int(sys.argv[1]), sys.argv[2], sys.argv[3]).serve_forever()
