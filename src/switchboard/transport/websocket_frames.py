"""WebSocket frames as bytes and back, without I/O (RFC 6455 section 5): fragments, masks, control frames, limits."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_KNOWN: Final = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
NORMAL, GOING_AWAY, PROTOCOL_ERROR, NO_STATUS, ABNORMAL, BAD_DATA, TOO_BIG = 1000, 1001, 1002, 1005, 1006, 1007, 1009


class WebSocketError(Exception):
    """The peer broke the protocol; `code` is the close code to send before the connection is closed."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message (kind TEXT or BINARY) or control frame (CLOSE, PING, PONG) with its payload."""

    kind: int
    data: bytes

    @property
    def close_code(self) -> int:
        """The code of a CLOSE (1005 if it has none)."""
        return struct.unpack(">H", self.data[:2])[0] if len(self.data) >= 2 else NO_STATUS

    @property
    def close_reason(self) -> str:
        """The reason of a CLOSE."""
        return self.data[2:].decode("utf-8", "replace")


def mask(data: bytes, key: bytes) -> bytes:
    """XOR with the key of 4 bytes, over and over: masks, and unmasks again."""
    size = len(data)
    if not size:
        return data
    stretched = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stretched, "little")).to_bytes(size, "little")


def encode_frame(kind: int, data: bytes, *, masked: bool, fin: bool = True) -> bytes:
    """One frame; clients must mask, servers must not."""
    size = len(data)
    first = (0x80 if fin else 0) | kind
    bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    if not masked:
        return head + data
    key = os.urandom(4)
    return head + key + mask(data, key)


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a CLOSE: code and reason, cut to what a control frame holds."""
    if code in (NO_STATUS, ABNORMAL):
        return b""
    return struct.pack(">H", code) + reason.encode()[:123].decode("utf-8", "ignore").encode()


class MessageReader:
    """Bytes of one direction to messages. `masked`: whether the sender is a client and must mask."""

    def __init__(self, *, masked: bool, limit: int) -> None:
        self._masked = masked
        self._limit = limit
        self._buffer = bytearray()
        self._kind = CONTINUATION  # of the message whose fragments are being gathered
        self._pieces: list[bytes] = []
        self._size = 0
        self.error: WebSocketError | None = None  # why nothing more is read

    def feed(self, data: bytes) -> list[Message]:
        """The messages and control frames that `data` completes, in order; afterwards `error` may be set."""
        messages: list[Message] = []
        if self.error is not None:
            return messages
        self._buffer += data
        at = 0
        try:
            while (found := self._frame(at)) is not None:
                at, fin, kind, payload = found
                message = _control(kind, payload) if kind >= 8 else self._data(fin, kind, payload)
                if message is not None:
                    messages.append(message)
        except WebSocketError as error:
            self.error = error
        del self._buffer[:at]
        return messages

    def _frame(self, at: int) -> tuple[int, bool, int, bytes] | None:
        """(next position, fin, kind, payload) of the frame at `at`; None while it is incomplete."""
        buffer = self._buffer
        have = len(buffer) - at
        if have < 2:
            return None
        first, second = buffer[at], buffer[at + 1]
        kind, size, head = first & 0x0F, second & 0x7F, 2
        if first & 0x70 or kind not in _KNOWN:
            raise WebSocketError(PROTOCOL_ERROR, "a reserved bit or opcode is set")
        if bool(second & 0x80) != self._masked:
            raise WebSocketError(PROTOCOL_ERROR, "a frame is wrongly masked or unmasked")
        if kind >= 8 and (size > 125 or not first & 0x80):
            raise WebSocketError(PROTOCOL_ERROR, "a control frame is too long or fragmented")
        if size >= 126:
            form, head = (">H", 4) if size == 126 else (">Q", 10)
            if have < head:
                return None
            (size,) = struct.unpack_from(form, buffer, at + 2)
        if kind < 8 and self._size + size > self._limit:
            raise WebSocketError(TOO_BIG, f"a message is larger than {self._limit} bytes")
        start = at + head + (4 if self._masked else 0)
        if len(buffer) < start + size:
            return None
        payload = bytes(buffer[start : start + size])
        if self._masked:
            payload = mask(payload, bytes(buffer[start - 4 : start]))
        return start + size, bool(first & 0x80), kind, payload

    def _data(self, fin: bool, kind: int, payload: bytes) -> Message | None:
        if (kind == CONTINUATION) == (self._kind == CONTINUATION):
            raise WebSocketError(PROTOCOL_ERROR, "a fragment is out of order")
        if kind != CONTINUATION:
            self._kind = kind
        self._pieces.append(payload)
        self._size += len(payload)
        if not fin:
            return None
        message = Message(self._kind, b"".join(self._pieces))
        self._kind, self._pieces, self._size = CONTINUATION, [], 0
        if message.kind == TEXT:
            try:
                message.data.decode()
            except UnicodeDecodeError as error:
                raise WebSocketError(BAD_DATA, "a text message is not UTF-8") from error
        return message


def _control(kind: int, payload: bytes) -> Message:
    if kind == CLOSE:
        _check_close(payload)
    return Message(kind, payload)


def _check_close(payload: bytes) -> None:
    """RFC 6455 sections 5.5.1 and 7.4: a code that may be sent, and a reason in UTF-8."""
    if not payload:
        return
    if len(payload) == 1:
        raise WebSocketError(PROTOCOL_ERROR, "a close frame has half a code")
    (code,) = struct.unpack(">H", payload[:2])
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise WebSocketError(PROTOCOL_ERROR, f"close code {code} may not be sent")
    try:
        payload[2:].decode()
    except UnicodeDecodeError as error:
        raise WebSocketError(BAD_DATA, "a close reason is not UTF-8") from error
