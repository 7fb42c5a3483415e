"""Constant load for tests of zero loss: `python load.py URL WORKERS [URL WORKERS ...]`.

Each request is one new connection and is read to its end. Says "going" once every URL has answered, goes on until a
line (or the end) comes on standard input, but at most two minutes, and prints what became of the requests as one JSON
object: {"ok": 1234, "refused": 1}. Uses the standard library alone.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

_LIMIT = 120.0  # seconds
_PAUSE = 0.004


def request(host: str, port: int, path: str) -> str:
    """One request: `ok`, or what went wrong."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as made:
        made.settimeout(5)
        try:
            made.connect((host, port))
            made.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            said = b""
            while piece := made.recv(65536):
                said += piece
        except TimeoutError:
            return "silence"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            return "reset"
        except OSError as error:
            return f"errno {error.errno}"
    head, found, body = said.partition(b"\r\n\r\n")
    size = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), -1)
    return "ok" if found and head.startswith(b"HTTP/1.1 200") and len(body) == size else "short"


def main(words: list[str]) -> None:
    """Load until told to stop."""
    stop, lock, tally = threading.Event(), threading.Lock(), Counter[str]()

    def ask(host: str, port: int, path: str) -> None:
        while not stop.is_set():
            became = request(host, port, path)
            with lock:
                tally[became] += 1
            time.sleep(_PAUSE)

    targets = [urlsplit(url) for url in words[::2]]
    named = [(url.hostname or "", url.port or 80, url.path or "/") for url in targets]
    for one in named:
        assert (became := request(*one)) == "ok", became
    threads = [
        threading.Thread(target=ask, args=one) for one, n in zip(named, words[1::2], strict=True) for _ in range(int(n))
    ]
    for thread in threads:
        thread.start()
    print("going", flush=True)
    timer = threading.Timer(_LIMIT, stop.set)
    timer.daemon = True
    timer.start()
    sys.stdin.readline()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps(tally))


if __name__ == "__main__":
    main(sys.argv[1:])
