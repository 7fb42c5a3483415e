"""SPDY/3.1 frames as bytes and back, without I/O: what remote commands and port forwards of Kubernetes are framed in.

Source: SPDY protocol, draft 3.1 (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/). Header blocks of
one direction share one zlib stream that starts from a fixed dictionary, so frames must be read and written in order.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

_VERSION: Final = 3
_MAX_CONTROL: Final = 1 << 20  # bytes of a control frame; the wire allows 16 MB
_MAX_HEADERS: Final = 1 << 20  # bytes of a header block once inflated
_FIN: Final = 0x01
_UNIDIRECTIONAL: Final = 0x02
_SYN_STREAM, _SYN_REPLY, _RESET, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW = 1, 2, 3, 4, 6, 7, 8, 9
_U32: Final = struct.Struct(">I")
_TWO: Final = struct.Struct(">II")

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5  # status of a reset

_METHODS_AND_HEADERS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_WORDS = _METHODS_AND_HEADERS.split()
_WORDS += ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
# The dictionary of section 2.6.10.1: length-prefixed words, then text. Peers know it by its Adler-32, e3c6a7c2.
DICTIONARY: Final = b"".join(_U32.pack(len(word)) + word.encode() for word in _WORDS) + _TEXT.encode()


class SpdyError(Exception):
    """The peer's bytes are not SPDY/3.1; the session cannot go on."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """Opens a stream. `priority` 0 (first) to 7; `unidirectional`: its opener alone sends."""

    stream: int
    headers: dict[str, str] = field(default_factory=dict)
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    """Accepts a stream."""

    stream: int
    headers: dict[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Headers:
    """More headers of an open stream."""

    stream: int
    headers: dict[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream."""

    stream: int
    data: bytes = b""
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Ends a stream at once in both directions."""

    stream: int
    status: int = CANCEL


@dataclass(frozen=True, slots=True)
class Ping:
    """Sent back by the receiver if the id's parity is the sender's."""

    id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """No more streams will be accepted on this session."""

    last: int = 0
    status: int = 0


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """More bytes may be sent (ignored by everyone Kubernetes talks to)."""

    stream: int
    delta: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by id."""

    values: dict[int, int] = field(default_factory=dict)


Frame = SynStream | SynReply | Headers | Data | Reset | Ping | GoAway | WindowUpdate | Settings


class FrameWriter:
    """Frames of one direction to bytes, in the order in which they are sent."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        """The frame on the wire."""
        match frame:
            case Data(stream, data, fin):
                return _TWO.pack(stream, (_FIN << 24 if fin else 0) | len(data)) + data
            case SynStream():
                flags = (_FIN if frame.fin else 0) | (_UNIDIRECTIONAL if frame.unidirectional else 0)
                fixed = struct.pack(">IIBB", frame.stream, frame.associated, frame.priority << 5, 0)
                return _control(_SYN_STREAM, flags, fixed + self._block(frame.headers))
            case SynReply(stream, headers, fin):
                return _control(_SYN_REPLY, _FIN if fin else 0, _U32.pack(stream) + self._block(headers))
            case Headers(stream, headers, fin):
                return _control(_HEADERS, _FIN if fin else 0, _U32.pack(stream) + self._block(headers))
            case Reset(stream, status):
                return _control(_RESET, 0, _TWO.pack(stream, status))
            case Ping(id_):
                return _control(_PING, 0, _U32.pack(id_))
            case GoAway(last, status):
                return _control(_GOAWAY, 0, _TWO.pack(last, status))
            case WindowUpdate(stream, delta):
                return _control(_WINDOW, 0, _TWO.pack(stream, delta))
            case Settings(values):
                pairs = b"".join(_TWO.pack(key, value) for key, value in values.items())
                return _control(_SETTINGS, 0, _U32.pack(len(values)) + pairs)

    def _block(self, headers: dict[str, str]) -> bytes:
        parts = [_U32.pack(len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += (_U32.pack(len(text)), text)
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | _VERSION, kind, flags << 24 | len(body)) + body


class FrameReader:
    """Bytes of one direction to frames; control frames nobody knows are passed over, as the draft says."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes; raises SpdyError."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        at = 0
        while len(buffer) - at >= 8:
            first, second = _TWO.unpack_from(buffer, at)
            size = second & 0xFFFFFF
            if first & 0x80000000:
                _check_control(first, size)
            if len(buffer) - at - 8 < size:
                break
            body = bytes(buffer[at + 8 : at + 8 + size])
            at += 8 + size
            frame = self._frame(first, second >> 24, body)
            if frame is not None:
                frames.append(frame)
        del buffer[:at]
        return frames

    def _frame(self, first: int, flags: int, body: bytes) -> Frame | None:
        fin = bool(flags & _FIN)
        if not first & 0x80000000:
            if first == 0:
                raise SpdyError("data of stream 0")
            return Data(first, body, fin)
        try:
            return self._control_frame(first & 0xFFFF, flags, fin, body)
        except struct.error as error:
            raise SpdyError("a control frame is too short") from error

    def _control_frame(self, kind: int, flags: int, fin: bool, body: bytes) -> Frame | None:
        if kind == _SYN_STREAM:
            stream, associated, priority, _ = struct.unpack_from(">IIBB", body)
            headers = self._headers(body[10:])
            one_way = bool(flags & _UNIDIRECTIONAL)
            return SynStream(_stream(stream), headers, fin, one_way, associated & 0x7FFFFFFF, priority >> 5)
        if kind == _SYN_REPLY:
            return SynReply(_stream(_U32.unpack_from(body)[0]), self._headers(body[4:]), fin)
        if kind == _HEADERS:
            return Headers(_stream(_U32.unpack_from(body)[0]), self._headers(body[4:]), fin)
        if kind == _PING:
            return Ping(_U32.unpack_from(body)[0])
        if kind == _SETTINGS:
            (count,) = _U32.unpack_from(body)
            if len(body) != 4 + 8 * count:
                raise SpdyError("settings of a wrong length")
            return Settings({key & 0xFFFFFF: value for key, value in struct.iter_unpack(">II", body[4:])})
        if kind in (_RESET, _GOAWAY, _WINDOW):
            stream, value = _TWO.unpack_from(body)
            made = {_RESET: Reset, _GOAWAY: GoAway, _WINDOW: WindowUpdate}[kind](stream & 0x7FFFFFFF, value)
            assert isinstance(made, Reset | GoAway | WindowUpdate)
            return made
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, _MAX_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"headers cannot be inflated: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError("headers are too large")
        (count,) = _U32.unpack_from(text)
        at = 4
        headers: dict[str, str] = {}
        for _ in range(count):
            name, at = _text(text, at)
            value, at = _text(text, at)
            if not name or name in headers:
                raise SpdyError("an empty or repeated header name")
            headers[name] = value.replace("\0", ", ")
        return headers


def _check_control(first: int, size: int) -> None:
    if first >> 16 & 0x7FFF != _VERSION:
        raise SpdyError(f"version {first >> 16 & 0x7FFF} of SPDY")
    if size > _MAX_CONTROL:
        raise SpdyError("a control frame is too large")


def _stream(number: int) -> int:
    if not number & 0x7FFFFFFF:
        raise SpdyError("stream 0")
    return number & 0x7FFFFFFF


def _text(block: bytes, at: int) -> tuple[str, int]:
    (size,) = _U32.unpack_from(block, at)
    end = at + 4 + size
    if end > len(block):
        raise SpdyError("a header is cut short")
    return block[at + 4 : end].decode("utf-8", "replace"), end
