"""Documents that are made once and sent often (discovery, OpenAPI): kept as bytes, with an ETag, gzipped when large."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable

from switchboard.transport.messages import Request, Response

_PACK_ABOVE = 32 * 1024


class Document:
    """One body in one media type. Large ones are kept gzipped and sent so to whoever accepts it."""

    __slots__ = ("body", "content_type", "etag", "packed")

    def __init__(self, pieces: Iterable[bytes], content_type: str = "application/json", *, etag: str = "") -> None:
        # Pieces are packed as they come, so a document of megabytes never stands in memory as a whole.
        packer, digest, first = zlib.compressobj(6, zlib.DEFLATED, 31), hashlib.sha256(), bytearray()
        out: list[bytes] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            digest.update(piece)
            out.append(packer.compress(piece))
            if size <= _PACK_ABOVE:
                first += piece
        self.packed = size > _PACK_ABOVE
        self.body = b"".join([*out, packer.flush()]) if self.packed else bytes(first)
        self.content_type = content_type
        self.etag = etag or digest.hexdigest().upper()

    def plain(self) -> bytes:
        """The body unpacked."""
        return zlib.decompress(self.body, 31) if self.packed else self.body

    def respond(self, request: Request, *, headers: Iterable[tuple[str, str]] = ()) -> Response:
        """200 with the body, or 304 when the client has it."""
        head = [("content-type", self.content_type), ("etag", f'"{self.etag}"'), ("vary", "Accept"), *headers]
        if self.etag in (request.headers.get("if-none-match") or ""):
            return Response(304, head[1:], b"")
        if not self.packed:
            return Response(200, head, self.body)
        if "gzip" in (request.headers.get("accept-encoding") or ""):
            return Response(200, [*head, ("content-encoding", "gzip")], self.body)
        return Response(200, head, self.plain())
