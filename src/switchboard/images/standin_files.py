"""The literal files of the stand-in images: path -> (mode, content)."""

from __future__ import annotations

SYSTEM: dict[str, tuple[int, str]] = {
    "etc/passwd": (
        0o644,
        "root:x:0:0:root:/root:/bin/sh\n"
        "www-data:x:33:33:www-data:/var/www:/sbin/nologin\n"
        "nginx:x:101:101:nginx:/var/cache/nginx:/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    ),
    "etc/group": (0o644, "root:x:0:\ntty:x:5:\nwww-data:x:33:\nnginx:x:101:\nnogroup:x:65534:\n"),
    "etc/shadow": (0o640, "root:*::0:::::\n"),
    "etc/nsswitch.conf": (0o644, "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n"),
    "etc/services": (0o644, "domain 53/udp\ndomain 53/tcp\nhttp 80/tcp\nhttps 443/tcp\n"),
    "etc/os-release": (
        0o644,
        'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Switchboard stand-in (Debian 12 packages)"\nVARIANT_ID=stand-in\n',
    ),
    "etc/profile": (0o644, "export PS1='\\w \\$ '\n"),
}

TOOLS: dict[str, tuple[int, str]] = {  # what the busybox of these images' makers has and Debian's has not
    "usr/bin/printenv": (
        0o755,
        """#!/usr/bin/awk -f
BEGIN {
    if (ARGC == 1)
        for (name in ENVIRON) print name "=" ENVIRON[name]
    for (i = 1; i < ARGC; i++)
        if (ARGV[i] in ENVIRON) print ENVIRON[ARGV[i]]; else missing = 1
    exit missing
}
""",
    ),
    "usr/bin/nohup": (
        0o755,
        """#!/bin/sh
[ $# -gt 0 ] || { echo "Usage: nohup PROG [ARGS]" >&2; exit 125; }
trap '' HUP
[ ! -t 1 ] || exec "$@" >>nohup.out 2>&1
exec "$@"
""",
    ),
}

APK: dict[str, tuple[int, str]] = {
    "usr/sbin/apk": (
        0o755,
        """#!/bin/sh
# There is no package manager in this image: it is a stand-in used where no network is.
there="curl wget nslookup bind-tools dnsutils busybox-extras ca-certificates iputils iproute2 tar openssl libcurl"
say() { echo "apk: $*" >&2; }
say "this is Switchboard's stand-in for alpine, made from Debian packages; nothing can be added to it."
case $1 in
    add)
        shift
        for package in "$@"; do
            case $package in
                -*) continue ;;
            esac
            for name in $there; do
                [ "$name" != "${package%%[=<>~]*}" ] || continue 2
            done
            say "$package is not in it; a cluster with a way out (switchboard up --egress) uses the real alpine."
            exit 1
        done
        say "what you asked for is already there (curl, wget, nslookup)."
        echo "OK: stand-in"
        ;;
    update | upgrade) echo "OK: stand-in" ;;
    --version | version) echo "apk-tools stand-in" ;;
    *) exit 1 ;;
esac
""",
    ),
}

NGINX: dict[str, tuple[int, str]] = {
    "docker-entrypoint.sh": (
        0o755,
        """#!/bin/sh
# Like the entry point of the image this stands in for: scripts first, then the command.
set -e
if [ "$1" = nginx ] || [ "$1" = nginx-debug ]; then
    for script in /docker-entrypoint.d/*.sh; do
        [ ! -x "$script" ] || "$script"
    done
fi
exec "$@"
""",
    ),
    "etc/nginx/nginx.conf": (
        0o644,
        """user  nginx;
worker_processes  auto;

error_log  /var/log/nginx/error.log notice;
pid        /run/nginx.pid;

events {
    worker_connections  1024;
}

http {
    include       /etc/nginx/mime.types;
    default_type  application/octet-stream;

    log_format  main  '$remote_addr - $remote_user [$time_local] "$request" '
                      '$status $body_bytes_sent "$http_referer" '
                      '"$http_user_agent" "$http_x_forwarded_for"';

    access_log  /var/log/nginx/access.log  main;
    sendfile        on;
    keepalive_timeout  65;

    include /etc/nginx/conf.d/*.conf;
}
""",
    ),
    "etc/nginx/conf.d/default.conf": (
        0o644,
        """server {
    listen       80;
    server_name  localhost;

    location / {
        root   /usr/share/nginx/html;
        index  index.html index.htm;
    }

    error_page   500 502 503 504  /50x.html;
    location = /50x.html {
        root   /usr/share/nginx/html;
    }
}
""",
    ),
    "usr/share/nginx/html/index.html": (
        0o644,
        """<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
<style>
html { color-scheme: light dark; }
body { width: 35em; margin: 0 auto;
font-family: Tahoma, Verdana, Arial, sans-serif; }
</style>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>If you see this page, the nginx web server is successfully installed and
working. This image is Switchboard's stand-in for the official one.</p>
<p><em>Thank you for using nginx.</em></p>
</body>
</html>
""",
    ),
    "usr/share/nginx/html/50x.html": (
        0o644,
        "<!DOCTYPE html>\n<html>\n<head><title>Error</title></head>\n"
        "<body><h1>An error occurred.</h1></body>\n</html>\n",
    ),
}

FLASK: dict[str, tuple[int, str]] = {
    "app/app.py": (
        0o644,
        '''"""A small backend: says who answers, at / and /data; /health for probes."""

import os
import signal
import socket
import sys

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/")
@app.get("/data")
def data():
    return jsonify(message="Hello from Flask!", pod=socket.gethostname(), path=request.path)


@app.get("/health")
@app.get("/healthz")
def health():
    return jsonify(status="ok")


if __name__ == "__main__":
    # the first process of a container gets no default action for signals
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "5000")), threaded=True)
''',
    ),
}

AGENT: dict[str, tuple[int, str]] = {
    "app/main.py": (
        0o644,
        '''"""A small FastAPI service of tasks: its documentation is at /docs."""

import socket

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

app = FastAPI(title="Agent", description="A small service to expose", version="1.0.0")
tasks: dict[int, str] = {}


class Question(BaseModel):
    text: str


@app.get("/")
def root():
    return {"message": "The agent listens", "pod": socket.gethostname(), "docs": "/docs"}


@app.get("/health")
@app.get("/healthz")
def health():
    return {"status": "ok"}


@app.post("/tasks", status_code=201)
def add(question: Question):
    number = len(tasks) + 1
    tasks[number] = question.text
    return {"id": number, "text": question.text}


@app.get("/tasks/{number}")
def get(number: int):
    if number not in tasks:
        raise HTTPException(404, f"there is no task {number}")
    return {"id": number, "text": tasks[number]}
''',
    ),
}
