"""The stand-in images as one literal table: which layers they have, what those are made of, how a container of them
runs.

They exist so that a cluster without a network can pull what tutorials use. They behave like the images they stand in
for where a tutorial looks, and say what they are where it would matter (`apk`). With a network the real images are
pulled instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from . import standin_files as files
from .spec import Image

_MAKERS = ("build.py", "debian.py", "layer.py", "libraries.py", "oci.py")
STAMP = ".stand-ins"  # in a mirror's storage folder: the table its images were made from

_DESCRIPTION = {"org.opencontainers.image.description": "Switchboard's stand-in, made from Debian packages"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one layer is made of: Debian packages, PyPI packages, literal files, symbolic links; `applets` links
    busybox's, but for `no_applets`, of which a layer above has a better one.
    """

    packages: tuple[str, ...] = ()
    pypi: tuple[str, ...] = ()
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    applets: bool = False
    no_applets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StandIn:
    """One image: its names (`repository` with each of `tags`), its layers from the bottom, how it runs."""

    repository: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]
    image: Image


LAYERS: dict[str, Recipe] = {
    "pause": Recipe(packages=("catatonit",)),
    "base": Recipe(
        packages=("busybox", "zlib1g", "libssl3"),
        files={**files.SYSTEM, **files.TOOLS},
        links={
            "bin": "usr/bin",
            "sbin": "usr/sbin",
            "lib": "usr/lib",
            "lib64": "usr/lib64",
            "var/run": "/run",
            "etc/mtab": "/proc/mounts",
        },
        folders={
            "tmp": 0o1777,
            "var/tmp": 0o1777,
            "root": 0o700,
            "proc": 0o555,
            "sys": 0o555,
            "dev": 0o755,
            "run": 0o755,
        },
        applets=True,
        no_applets=("wget",),
    ),
    # wget, as Debian builds busybox's without time-outs, and `-T` makes it crash
    "tools": Recipe(packages=("curl", "wget", "ca-certificates"), files=files.APK),
    "nginx": Recipe(
        packages=("nginx-light",),
        files=files.NGINX,
        links={"var/log/nginx/access.log": "/dev/stdout", "var/log/nginx/error.log": "/dev/stderr"},
        folders={"docker-entrypoint.d": 0o755, "var/lib/nginx": 0o755, "etc/nginx/conf.d": 0o755},
    ),
    "python": Recipe(packages=("python3-minimal", "python3"), links={"usr/local/bin/python": "/usr/bin/python3"}),
    "flask": Recipe(packages=("python3-flask",), files=files.FLASK),
    "agent": Recipe(pypi=("fastapi", "uvicorn"), files=files.AGENT),
}

_TOOLS = ("base", "tools")  # of much the same size: one is unpacked while the other is fetched
_PYTHON_ENV = (*Image().env, "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")

STAND_INS: tuple[StandIn, ...] = (
    StandIn(
        "registry.k8s.io/pause", ("3.10", "3.9", "3.6"), ("pause",), Image(entrypoint=("/usr/bin/catatonit", "-P"))
    ),
    StandIn(
        "docker.io/library/alpine",
        ("latest", "3", "3.18", "3.19", "3.20", "3.21", "3.22"),
        _TOOLS,
        Image(command=("/bin/sh",), labels=_DESCRIPTION),
    ),
    StandIn(
        "docker.io/library/busybox",
        ("latest", "stable", "1", "1.28", "1.35", "1.36", "1.37", "musl", "glibc"),
        _TOOLS,
        Image(command=("sh",), labels=_DESCRIPTION),
    ),
    StandIn(
        "docker.io/library/nginx",
        (
            *("latest", "alpine", "stable", "stable-alpine", "mainline", "mainline-alpine", "1", "1-alpine"),
            *("1.14.2", "1.16.1", "1.19", "1.20", "1.21", "1.21-alpine", "1.22", "1.23", "1.24", "1.24-alpine"),
            *("1.25", "1.25-alpine", "1.26", "1.26-alpine", "1.27", "1.27-alpine", "1.28", "1.28-alpine", "1.29"),
        ),
        (*_TOOLS, "nginx"),
        Image(
            entrypoint=("/docker-entrypoint.sh",),
            command=("nginx", "-g", "daemon off;"),
            ports=(80,),
            stop_signal="SIGQUIT",
            labels=_DESCRIPTION,
        ),
    ),
    StandIn(
        "docker.io/library/python",
        ("latest", "slim", "3", "3-slim", "3.11", "3.11-slim", "alpine", "3-alpine", "3.11-alpine"),
        (*_TOOLS, "python"),
        Image(command=("python3",), env=_PYTHON_ENV, labels=_DESCRIPTION),
    ),
    StandIn(
        "docker.io/library/flask",
        ("latest",),
        (*_TOOLS, "python", "flask"),
        Image(command=("python3", "/app/app.py"), env=_PYTHON_ENV, ports=(5000,), folder="/app", labels=_DESCRIPTION),
    ),
    StandIn(
        "docker.io/library/agent",
        ("latest",),
        (*_TOOLS, "python", "agent"),
        Image(
            command=("python3", "-m", "uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8000"),
            env=(*_PYTHON_ENV, "PYTHONPATH=/opt/packages"),
            ports=(8000,),
            folder="/app",
            labels=_DESCRIPTION,
        ),
    ),
)


@cache
def fingerprint() -> str:
    """A hash of what the images are made from: the whole table, and the code that makes layers of it."""
    here = Path(__file__).parent
    code = [(here / name).read_bytes() for name in _MAKERS]
    return hashlib.sha256(b"".join([repr((LAYERS, STAND_INS)).encode(), *code])).hexdigest()[:16]


def are_published(storage: Path) -> bool:
    """Whether a mirror's storage folder has today's stand-ins."""
    try:
        return (storage / STAMP).read_text() == fingerprint()
    except OSError:
        return False
