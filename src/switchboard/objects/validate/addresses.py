"""Rules for addresses and ports that several kinds share (pkg/apis/core/validation: ValidateEndpointIP and others)."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from switchboard.objects import names
from switchboard.objects.memo import memo
from switchboard.objects.validate.fields import Errors

_MULTICAST = IPv4Network("224.0.0.0/24")


def ip(path: str, value: str, errs: Errors) -> None:
    """A valid, unambiguous address."""
    errs.check(path, value, names.ip)


def cidr(path: str, value: str, errs: Errors) -> None:
    """A valid, unambiguous network."""
    errs.check(path, value, names.cidr)


def not_special(path: str, value: str, errs: Errors) -> None:
    """An address that packets may be sent to: not unspecified, loopback, link-local or link-local multicast."""
    for message in _special(value):
        errs.invalid(path, value, message)


@memo(1024)
def _special(value: str) -> tuple[str, ...]:
    address = names.parse_ip(value)
    if address is None:
        return ("must be a valid IP address",)
    out = []
    if address.is_unspecified:
        out.append(f"may not be unspecified ({value})")
    if address.is_loopback:
        out.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        out.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    link_local_multicast = address in _MULTICAST if address.version == 4 else value.lower().startswith("ff02:")
    if link_local_multicast:
        out.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return tuple(out)


def port_or_name(path: str, value: Any, errs: Errors) -> None:
    """An IntOrString that names a port."""
    if isinstance(value, str):
        errs.check(path, value, names.port_name)
    else:
        errs.port(path, value or 0)


def percent(value: Any) -> int | None:
    """`25%` -> 25; None when the value is a number or no percentage."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isascii() and value[:-1].isdigit():
        return int(value[:-1])
    return None


def int_or_percent(path: str, value: Any, errs: Errors) -> None:
    """Zero or more, or a percentage."""
    if isinstance(value, str):
        if percent(value) is None:
            errs.invalid(
                path,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')",
            )
    elif value is not None:
        errs.not_negative(path, value)


def at_most_100_percent(path: str, value: Any, errs: Errors) -> None:
    """A percentage, if it is one, of at most 100."""
    found = percent(value)
    if found is not None and found > 100:
        errs.invalid(path, value, "must not be greater than 100%")
