"""How a container of an image runs by default. Apart, so that the table of stand-ins is read without loading what
builds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Image:
    """How a container of the image runs by default (image-spec config.md)."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    ports: tuple[int, ...] = ()
    folder: str = "/"
    user: str = ""
    stop_signal: str = ""
    labels: dict[str, str] = field(default_factory=dict)
