"""Links in proxied HTML: absolute paths get the proxy's own path in front, so that a browser stays behind the proxy.

Rules and the table of attributes: `apimachinery/pkg/util/proxy/transport.go`.
"""

from __future__ import annotations

import re
import zlib
from urllib.parse import urlsplit, urlunsplit

_ATTRIBUTES = (
    "href|src|action|formaction|cite|codebase|background|longdesc|profile|manifest|usemap|classid|data|icon|poster"
)
_TAG = re.compile(rb"<[a-zA-Z][^<>]*>")
_ATTRIBUTE = re.compile(rb"(?i)(\s(?:" + _ATTRIBUTES.encode() + rb""")\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""")


def rewrite_url(url: str, prefix: str, hosts: tuple[str, ...]) -> str:
    """An absolute path (or a URL of one of `hosts`) under `prefix`; anything else as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc not in hosts) or not parts.path.startswith("/"):
        return url
    if parts.path.startswith(prefix):
        return url
    return urlunsplit(("", "", prefix.rstrip("/") + parts.path, parts.query, parts.fragment))


def rewrite_html(html: bytes, prefix: str, hosts: tuple[str, ...]) -> bytes:
    """Every link attribute of every tag rewritten."""

    def attribute(match: re.Match[bytes]) -> bytes:
        value = match[2]
        quote = value[:1] if value[:1] in (b'"', b"'") else b""
        text = value[1:-1] if quote else value
        return (
            match[1]
            + quote
            + rewrite_url(text.decode(errors="surrogateescape"), prefix, hosts).encode(errors="surrogateescape")
            + quote
        )

    return _TAG.sub(lambda tag: _ATTRIBUTE.sub(attribute, tag[0]), html)


def unpack(body: bytes, encoding: str) -> bytes | None:
    """A body without its content encoding; None for one we do not know or that is broken."""
    if not encoding or encoding == "identity":
        return body
    bits = {"gzip": 31, "deflate": 15}.get(encoding)
    if bits is None:
        return None
    try:
        return zlib.decompress(body, bits)
    except zlib.error:
        return None
