"""Whether text names an image at all: what is refused before anybody is asked for it; and of which repository. Pure.

Source: github.com/distribution/reference, `ParseNormalizedNamed`, its grammar and its words.
"""

from __future__ import annotations

import re

_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_PART}(?:\.{_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PIECE = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_NAME = re.compile(rf"{_HOST}/{_PIECE}(?:/{_PIECE})*(?::[A-Za-z0-9_][\w.-]{{0,127}})?(?:@{_DIGEST})?", re.ASCII)
_IDENT = re.compile(r"[a-f0-9]{64}")
_LONGEST = 255  # of host and path together
_PLAIN = "invalid reference format"


def fault(image: str) -> str:
    """Why `image` is no image name; "" when it is one."""
    if _IDENT.fullmatch(image):
        return f"invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
    host, remote = _split(image)
    path = remote.partition("@")[0].partition(":")[0]
    if path != path.lower():
        return f"{_PLAIN}: repository name ({path}) must be lowercase"
    if not _NAME.fullmatch(f"{host}/{remote}"):
        return _PLAIN
    if len(f"{host}/{path}") > _LONGEST:
        return f"repository name must not be more than {_LONGEST} characters"
    return ""


def repository(image: str) -> str:
    """The whole name, with its host, without tag and digest."""
    host, path = _split(image.partition("@")[0])
    name, colon, tag = path.rpartition(":")
    return f"{host}/{name if colon and '/' not in tag else path}"


def _split(image: str) -> tuple[str, str]:
    """Host (with what Docker Hub's own images have before their name) and the rest."""
    first, slash, rest = image.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        first, rest = "docker.io", image
    if first not in ("docker.io", "index.docker.io"):
        return first, rest
    return ("docker.io" if "/" in rest else "docker.io/library"), rest
