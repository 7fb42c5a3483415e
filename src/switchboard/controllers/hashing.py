"""Short hashes of templates for names and labels: FNV-1a over canonical JSON, written so that it spells no words.

Same scheme as upstream (pkg/controller/controller_utils.go ComputeHash, apimachinery/pkg/util/rand), though not the
same values: upstream hashes a dump of Go structs.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


def fnv1a(data: bytes) -> int:
    """FNV-1a, 32 bits."""
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def safe(number: int) -> str:
    """Decimal digits -> letters and digits without vowels."""
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(number))


def template_hash(template: Any, collisions: int | None = None) -> str:
    """The hash of a pod template; `collisions` (status.collisionCount) makes another one of the same template."""
    data = msgspec.json.encode(template, order="deterministic")
    if collisions is not None:
        data += collisions.to_bytes(8, "little", signed=True)
    return safe(fnv1a(data))
