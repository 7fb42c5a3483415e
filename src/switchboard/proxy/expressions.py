"""Rules as the kernel's expressions: every `Op` becomes loads, lookups and statements on registers. Pure.

Registers: four-byte ones, NFT_REG32_00 = 8 and up; a key's fields are loaded side by side, a lookup writes its data
over them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from switchboard.proxy.messages import (
    APPEND,
    CREATE,
    DELRULE,
    NEWCHAIN,
    NEWRULE,
    NFPROTO,
    attr,
    be32,
    message,
    name,
    nest,
)
from switchboard.proxy.rules import MASK, Chain, Family, Key, Op, Rule

R = 8  # the first register
_PRIORITY, _MARK, _IIFNAME, _OIFNAME, _L4PROTO = 2, 3, 6, 7, 16  # enum nft_meta_keys
_DNATED = 0x20  # IPS_DST_NAT
_LO = b"lo".ljust(16, b"\0")
_PART = {"base": MASK, "kind": 0xFFFFFFFF ^ MASK}
_native = struct.Struct("=I")


def _expr(kind: str, *parts: bytes) -> bytes:
    return nest(1, name(1, kind), nest(2, *parts))


def _meta(key: int, register: int = R) -> bytes:
    return _expr("meta", be32(2, key), be32(1, register))


def _set_meta(key: int, register: int = R) -> bytes:
    return _expr("meta", be32(2, key), be32(3, register))


def _bits(mask: int, xor: int, register: int = R) -> bytes:
    """value = (value & mask) ^ xor, in native order as meta fields are."""
    return _expr(
        "bitwise",
        be32(1, register),
        be32(2, register),
        be32(3, 4),
        nest(4, attr(1, _native.pack(mask))),
        nest(5, attr(1, _native.pack(xor))),
    )


def _compare(value: bytes, *, equal: bool = True) -> bytes:
    return _expr("cmp", be32(1, R), be32(2, 0 if equal else 1), nest(3, attr(1, value)))


def _payload(base: int, offset: int, size: int, register: int) -> bytes:
    return _expr("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, size))


def _lookup(set_: str, *, dreg: int | None = None, invert: bool = False) -> bytes:
    parts = [name(1, set_), be32(2, R)]
    if dreg is not None:
        parts.append(be32(3, dreg))
    if invert:
        parts.append(be32(5, 1))
    return _expr("lookup", *parts)


def _verdict(code: int, chain: str = "") -> bytes:
    inner = [be32(1, code)] + ([name(2, chain)] if chain else [])
    return _expr("immediate", be32(1, 0), nest(2, nest(2, *inner)))


def load(key: Key, family: Family, n: int = 0) -> tuple[bytes, int]:
    """Expressions that put a key's fields into registers from R on, and the first register behind it."""
    out, register, wide = [], R, family == 6
    for field in key:
        step = 1
        if field == "saddr" or field == "daddr":
            offset = (8 if wide else 12) + (0 if field == "saddr" else 16 if wide else 4)
            out.append(_payload(1, offset, 16 if wide else 4, register))
            step = 4 if wide else 1
        elif field == "port":
            out.append(_payload(2, 2, 2, register))
        elif field == "protocol":
            out.append(_meta(_L4PROTO, register))
        elif field == "slot":
            out.append(_expr("numgen", be32(1, register), be32(2, n), be32(3, 1), be32(4, 0)))
        else:
            out.append(_meta(_PRIORITY, register))
            if field in _PART:
                out.append(_bits(_PART[field], 0, register))
        register += step
    return b"".join(out), register


def _take(op: Op, family: Family) -> bytes:
    return load(op.key, family, op.value)[0] + _lookup(op.name, dreg=R) + _set_meta(_PRIORITY)


def _dnat(op: Op, family: Family) -> bytes:
    port = R + (1 if family == 4 else 4)
    nat = _expr("nat", be32(1, 1), be32(2, NFPROTO[family]), be32(3, R), be32(4, R), be32(5, port), be32(6, port))
    return load(op.key, family, op.value)[0] + _lookup(op.name, dreg=R) + nat


def _remember(op: Op, family: Family) -> bytes:
    keys, after = load(op.key, family)
    update = _expr(
        "dynset", name(1, op.name), be32(3, 1), be32(4, R), be32(5, after), attr(6, struct.pack(">Q", op.value * 1000))
    )
    return keys + _meta(_PRIORITY, after) + update


def _forget(op: Op, family: Family) -> bytes:
    keys, after = load(op.key, family)
    return keys + _meta(_PRIORITY, after) + _expr("dynset", name(1, op.name), be32(3, 2), be32(4, R), be32(5, after))


def _loopback(op: Op, _: Family) -> bytes:
    return _payload(1, 12 if op.name == "saddr" else 16, 1, R) + _compare(b"\x7f")


_ENCODE: dict[str, Callable[[Op, Family], bytes]] = {
    "take": _take,
    "dnat": _dnat,
    "remember": _remember,
    "forget": _forget,
    "loopback": _loopback,
    "dispatch": lambda op, family: load(op.key, family)[0] + _lookup(op.name, dreg=0),
    "member": lambda op, family: load(op.key, family)[0] + _lookup(op.name, invert=bool(op.value)),
    "goto": lambda op, _: _verdict(-4, op.name),
    "jump": lambda op, _: _verdict(-3, op.name),
    "return": lambda _, __: _verdict(-5),
    "drop": lambda _, __: _verdict(0),
    "reset": lambda _, __: _expr("reject", be32(1, 1)),
    "unreachable": lambda _, family: _expr("reject", be32(1, 0), attr(2, b"\3" if family == 4 else b"\4")),
    "masquerade": lambda _, __: _expr("masq", be32(1, 0x10)),
    "mark": lambda op, _: _meta(_MARK) + _bits(0xFFFFFFFF ^ op.value, op.value) + _set_meta(_MARK),
    "unmark": lambda op, _: _meta(_MARK) + _bits(0xFFFFFFFF ^ op.value, 0) + _set_meta(_MARK),
    "marked": lambda op, _: _meta(_MARK) + _bits(op.value, 0) + _compare(bytes(4), equal=False),
    "base": lambda _, __: _meta(_PRIORITY) + _bits(MASK, 0) + _set_meta(_PRIORITY),
    "clear": lambda _, __: _expr("immediate", be32(1, R), nest(2, attr(1, bytes(4)))) + _set_meta(_PRIORITY),
    "translated": lambda _, __: (
        _expr("ct", be32(2, 2), be32(1, R)) + _bits(_DNATED, 0) + _compare(bytes(4), equal=False)
    ),
    "local": lambda _, __: _expr("fib", be32(1, R), be32(2, 3), be32(3, 2)) + _compare(_native.pack(2)),
    "protocol": lambda op, _: _meta(_L4PROTO) + _compare(bytes([op.value])),
    "not_from_lo": lambda _, __: _meta(_IIFNAME) + _compare(_LO, equal=False),
    "to_lo": lambda _, __: _meta(_OIFNAME) + _compare(_LO),
}


def rule(one: Rule, family: Family) -> bytes:
    """NFTA_RULE_EXPRESSIONS of a rule."""
    return nest(4, *(_ENCODE[op.do](op, family) for op in one))


def chain_message(table: str, chain: Chain, family: Family) -> bytes:
    """NEWCHAIN; making one that is there already changes nothing."""
    out = [name(1, table), name(3, chain.name)]
    if chain.hook is not None:
        out += [nest(4, be32(1, chain.hook[0]), be32(2, chain.hook[1])), be32(5, 1), name(7, "nat")]
    return message(NEWCHAIN, family, CREATE, *out)


def rule_messages(table: str, chain: Chain, family: Family, *, flush: bool) -> list[bytes]:
    """The rules of a chain, after taking out (when `flush`) whatever it has."""
    at = name(1, table) + name(2, chain.name)
    out = [message(DELRULE, family, 0, at)] if flush else []
    return out + [message(NEWRULE, family, CREATE | APPEND, at, rule(one, family)) for one in chain.rules]
