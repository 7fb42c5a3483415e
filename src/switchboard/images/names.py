"""Image names: what people write, and the full name behind it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import ImageError

# distribution/reference: path components, tag, digest; hosts as in its domain rule
_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Name:
    """A full image name: `host/path:tag`, or with a digest in place of the tag."""

    host: str
    path: str
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.host}/{self.path}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    @property
    def repository(self) -> str:
        """Where the mirror keeps it: each host's images under the host's name."""
        return f"{kept_as(self.host)}/{self.path}"


def kept_as(host: str) -> str:
    """An image host as the first part of a repository's name, which knows neither ports nor capitals."""
    return host.lower().replace(":", "__")


def host_of(first: str) -> str:
    """The image host that is kept under that name; no host's name has a `_`."""
    return first.replace("__", ":")


def parse(text: str) -> Name:
    """`nginx` is docker.io/library/nginx:latest: the rules of distribution/reference `ParseNormalizedNamed`. Raises
    ImageError.
    """
    rest, _, digest = text.partition("@")
    first, slash, remainder = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        host, path = first, remainder
    else:
        host, path = "docker.io", rest
    if host == "index.docker.io":
        host = "docker.io"
    path, colon, tag = path.partition(":")
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    good = (
        _HOST.fullmatch(host)
        and _PATH.fullmatch(path)
        and (_TAG.fullmatch(tag) if colon else True)
        and (not digest or _DIGEST.fullmatch(digest))
        and "@" not in digest
    )
    if not good or (text.endswith("@") and not digest):
        raise ImageError(f"{text!r} is not an image name", "write it like name:tag or host/path/name:tag")
    return Name(host, path, tag or "latest", digest)
