"""Opaque values that Kubernetes adds (`apiserver/pkg/cel/library`): url, quantity, ip, cidr, semver, format."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import parse_qs, urlsplit

from switchboard.objects import names, quantity
from switchboard.objects.cel.standard import Table, function, method
from switchboard.objects.cel.types import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    list_of,
    map_of,
    opaque,
    optional,
)
from switchboard.objects.cel.values import NONE, CelError, Optional

URL, QUANTITY, IP, CIDR, SEMVER, FORMAT = (
    opaque(n)
    for n in (
        "kubernetes.URL", "kubernetes.Quantity", "net.IP", "net.CIDR", "kubernetes.Semver", "kubernetes.NamedFormat",
    )
)  # fmt: skip


class Opaque:
    """A value that only functions look into."""

    __slots__ = ("cel_type", "value")

    def __init__(self, cel_type: str, value: Any) -> None:
        self.cel_type, self.value = cel_type, value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(self.value)


def _parses(parse: Any) -> Any:
    def run(*args: Any) -> bool:
        try:
            parse(*args)
        except CelError:
            return False
        return True

    return run


def _url(text: str) -> Opaque:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as e:
        raise CelError(f'URL parse error during conversion from string: parse "{text}": {e}') from None
    if not text or not (parts.scheme or text.startswith("/")) or " " in parts.netloc or any(ord(c) < 32 for c in text):
        raise CelError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    return Opaque("kubernetes.URL", parts)


def _host(parts: Any) -> str:
    return str(parts.netloc.rpartition("@")[2])


def _urls(table: Table) -> None:
    function(table, "url", (STRING,), URL, _url, cost="traverse")
    function(table, "isURL", (STRING,), BOOL, _parses(_url), cost="traverse")
    method(table, "getScheme", (URL,), STRING, lambda u: u.value.scheme)
    method(table, "getHost", (URL,), STRING, lambda u: _host(u.value))
    method(
        table,
        "getHostname",
        (URL,),
        STRING,
        lambda u: (
            _host(u.value).rpartition(":")[0].strip("[]") if u.value.port is not None else _host(u.value).strip("[]")
        ),
    )
    method(table, "getPort", (URL,), STRING, lambda u: "" if u.value.port is None else str(u.value.port))
    method(table, "getEscapedPath", (URL,), STRING, lambda u: u.value.path)
    method(
        table,
        "getQuery",
        (URL,),
        map_of(STRING, list_of(STRING)),
        lambda u: parse_qs(u.value.query, keep_blank_values=True),
    )


def _quantity(text: str) -> Opaque:
    try:
        return Opaque("kubernetes.Quantity", quantity.parse(text))
    except ValueError as e:
        raise CelError(str(e)) from None


def _as_quantity(value: Any) -> Any:
    return value.value if isinstance(value, Opaque) else quantity.Quantity(value * quantity.NANO)


def _exact(value: Any) -> int:
    whole, rest = divmod(value.value.nano, quantity.NANO)
    if rest or not -(1 << 63) <= whole < 1 << 63:
        raise CelError("cannot convert value to integer")
    return int(whole)


def _compared(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


def _quantities(table: Table) -> None:
    function(table, "quantity", (STRING,), QUANTITY, _quantity, cost="traverse")
    function(table, "isQuantity", (STRING,), BOOL, _parses(_quantity), cost="traverse")
    method(table, "sign", (QUANTITY,), INT, lambda a: _compared(a.value.nano, 0))
    method(table, "asInteger", (QUANTITY,), INT, _exact)
    method(table, "isInteger", (QUANTITY,), BOOL, _parses(_exact))
    method(table, "asApproximateFloat", (QUANTITY,), DOUBLE, lambda a: a.value.nano / quantity.NANO)
    method(table, "isGreaterThan", (QUANTITY, QUANTITY), BOOL, lambda a, b: a.value.nano > b.value.nano)
    method(table, "isLessThan", (QUANTITY, QUANTITY), BOOL, lambda a, b: a.value.nano < b.value.nano)
    method(table, "compareTo", (QUANTITY, QUANTITY), INT, lambda a, b: _compared(a.value.nano, b.value.nano))
    for other in (QUANTITY, INT):
        method(
            table,
            "add",
            (QUANTITY, other),
            QUANTITY,
            lambda a, b: Opaque("kubernetes.Quantity", a.value + _as_quantity(b)),
        )
        method(
            table,
            "sub",
            (QUANTITY, other),
            QUANTITY,
            lambda a, b: Opaque("kubernetes.Quantity", a.value - _as_quantity(b)),
        )


def _ip(text: str) -> Opaque:
    try:
        found = ip_address(text)
    except ValueError:
        raise CelError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): unable to parse IP'
        ) from None
    if isinstance(found, IPv6Address) and (found.ipv4_mapped is not None or found.scope_id):
        raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Opaque("net.IP", found)


def _cidr(text: str) -> Opaque:
    try:
        if "/" not in text:
            raise ValueError(text)
        address, _, bits = text.partition("/")
        if not bits.isdigit() or (len(bits) > 1 and bits[0] == "0"):
            raise ValueError(text)
        return Opaque("net.CIDR", (_ip(address).value, ip_network(text, strict=False)))
    except (ValueError, CelError):
        raise CelError(
            f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): no valid prefix'
        ) from None


def _contains(cidr: Any, other: Any) -> bool:
    net: IPv4Network | IPv6Network = cidr.value[1]
    address: IPv4Address | IPv6Address = (_ip(other) if isinstance(other, str) else other).value
    return address in net


def _contains_net(cidr: Any, other: Any) -> bool:
    inner = (_cidr(other) if isinstance(other, str) else other).value[1]
    outer = cidr.value[1]
    return bool(inner.version == outer.version and inner.subnet_of(outer))


def _networks(table: Table) -> None:
    function(table, "ip", (STRING,), IP, _ip, cost="traverse")
    function(table, "isIP", (STRING,), BOOL, _parses(_ip), cost="traverse")
    function(table, "ip.isCanonical", (STRING,), BOOL, lambda a: str(_ip(a).value) == a, cost="twice")
    method(table, "family", (IP,), INT, lambda a: a.value.version)
    method(table, "isUnspecified", (IP,), BOOL, lambda a: a.value.is_unspecified)
    method(table, "isLoopback", (IP,), BOOL, lambda a: a.value.is_loopback)
    method(
        table,
        "isLinkLocalMulticast",
        (IP,),
        BOOL,
        lambda a: a.value in (ip_network("224.0.0.0/24") if a.value.version == 4 else ip_network("ff02::/16")),
    )
    method(table, "isLinkLocalUnicast", (IP,), BOOL, lambda a: a.value.is_link_local)
    method(
        table,
        "isGlobalUnicast",
        (IP,),
        BOOL,
        lambda a: (
            not (
                a.value.is_unspecified
                or a.value.is_loopback
                or a.value.is_multicast
                or a.value.is_link_local
                or str(a.value) == "255.255.255.255"
            )
        ),
    )
    function(table, "string", (IP,), STRING, lambda a: str(a.value))
    function(table, "cidr", (STRING,), CIDR, _cidr, cost="traverse")
    function(table, "isCIDR", (STRING,), BOOL, _parses(_cidr), cost="traverse")
    for other in (IP, STRING):
        method(table, "containsIP", (CIDR, other), BOOL, _contains)
    for other in (CIDR, STRING):
        method(table, "containsCIDR", (CIDR, other), BOOL, _contains_net)
    method(table, "ip", (CIDR,), IP, lambda a: Opaque("net.IP", a.value[0]))
    method(table, "masked", (CIDR,), CIDR, lambda a: Opaque("net.CIDR", (a.value[1].network_address, a.value[1])))
    method(table, "prefixLength", (CIDR,), INT, lambda a: a.value[1].prefixlen)
    function(table, "string", (CIDR,), STRING, lambda a: f"{a.value[0]}/{a.value[1].prefixlen}")


_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?\Z"
)


def _semver(text: str, normalize: bool = False) -> Opaque:
    if normalize:
        core, dash, rest = text.removeprefix("v").partition("-")
        parts = [p.lstrip("0") or "0" for p in core.split(".")]
        text = ".".join(parts + ["0"] * (3 - len(parts))) + dash + rest
    found = _SEMVER.match(text)
    if found is None:
        raise CelError("No Major.Minor.Patch elements found")
    before = found[4].split(".") if found[4] else []
    ranks = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in before)
    numbers = tuple(int(found[i]) for i in (1, 2, 3))
    return Opaque("kubernetes.Semver", (*numbers, 0 if before else 1, ranks))


def _semvers(table: Table) -> None:
    for more in ((), (BOOL,)):
        function(table, "semver", (STRING, *more), SEMVER, _semver, cost="traverse")
        function(table, "isSemver", (STRING, *more), BOOL, _parses(_semver), cost="traverse")
    for i, name in enumerate(("major", "minor", "patch")):
        method(table, name, (SEMVER,), INT, lambda a, i=i: a.value[i])
    method(table, "compareTo", (SEMVER, SEMVER), INT, lambda a, b: _compared(a.value, b.value))
    method(table, "isGreaterThan", (SEMVER, SEMVER), BOOL, lambda a, b: a.value > b.value)
    method(table, "isLessThan", (SEMVER, SEMVER), BOOL, lambda a, b: a.value < b.value)


def _timed(text: str) -> list[str]:
    from switchboard.objects.cel.values import timestamp

    try:
        timestamp(text)
    except CelError:
        return ["invalid datetime"]
    return []


_FORMATS: dict[str, Any] = {
    "dns1123Label": names.dns_label,
    "dns1123Subdomain": names.dns_subdomain,
    "dns1035Label": names.dns_1035_label,
    "datetime": _timed,
}


def _named(text: str) -> Optional:
    return Optional(True, Opaque("kubernetes.NamedFormat", text)) if text in _FORMATS else NONE


def _checked(form: Any, text: str) -> Optional:
    problems = list(_FORMATS[form.value](text))
    return Optional(True, problems) if problems else NONE


def _formats(table: Table) -> None:
    function(table, "format.named", (STRING,), optional(FORMAT), _named)
    for name in _FORMATS:
        function(table, f"format.{name}", (), FORMAT, lambda name=name: Opaque("kubernetes.NamedFormat", name))
    method(table, "validate", (FORMAT, STRING), optional(list_of(STRING)), _checked)


def add_opaques(table: Table) -> None:
    """Add the types that only functions look into."""
    for part in (_urls, _quantities, _networks, _semvers, _formats):
        part(table)
