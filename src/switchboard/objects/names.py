"""Forms of names, keys and addresses, with upstream's words for what is wrong. Each check gives a list of
messages; empty is fine.

Facts from apimachinery/pkg/util/validation (validation.go, ip.go) and pkg/api/validate/content. Results for short
texts are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET, inet_ntoa, inet_pton

from switchboard.objects.memo import memo

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_UNDERSCORE = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*"
_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_NAME})?"
_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_PATH_PREFIX = r"(/[^/]+)*/?"

EMPTY = "must be non-empty"
BAD_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")  # an integer as it is written without need for more
CEL_RESERVED = frozenset(  # no identifiers of expressions
    "true false null in as break const continue else for function if import let loop package namespace return var "
    "void while".split()
)
Check = Callable[[str], list[str]]


def too_long(limit: int) -> str:
    """`must be no more than 63 characters`."""
    return f"must be no more than {limit} characters"


def too_long_bytes(limit: int) -> str:
    """`must be no more than 63 bytes`."""
    return f"must be no more than {limit} bytes"


def _form(message: str, pattern: str, *examples: str) -> str:
    said = "".join(f"'{example}', {' or ' if i + 1 < len(examples) else ''}" for i, example in enumerate(examples))
    return f"{message} (e.g. {said}regex used for validation is '{pattern}')"


LABEL_1123_TEXT = _form(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)
SUBDOMAIN_TEXT = _form(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
UNDERSCORE_TEXT = _form(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
    "and must start and end with an alphanumeric character",
    _UNDERSCORE,
    "example.com",
)
LABEL_1035_TEXT = _form(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_NAME_FORM = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
QUALIFIED_TEXT = _form(_NAME_FORM, _NAME, "MyName", "my.name", "123-abc")
VALUE_TEXT = _form(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _VALUE,
    "MyValue",
    "my_value",
    "12345",
)
CONFIG_KEY_TEXT = _form(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)
HEADER_TEXT = _form("a valid HTTP header must consist of alphanumeric characters or '-'", _HEADER, "X-Header-Name")
C_IDENTIFIER_TEXT = _form(
    "a valid C identifier must start with alphabetic character or '_', "
    "followed by a string of alphanumeric characters or '_'",
    _C_IDENTIFIER,
    "my_name",
    "MY_NAME",
    "MyName",
)
ENV_NAME_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"
WILDCARD_TEXT = _form(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
    "which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
    r"\*\." + _SUBDOMAIN,
    "*.example.com",
)


def _full(pattern: str) -> Callable[[str], object]:
    return re.compile(f"(?:{pattern})\\Z", re.ASCII).match


_label, _label_1035, _subdomain, _underscore = _full(_LABEL), _full(_LABEL_1035), _full(_SUBDOMAIN), _full(_UNDERSCORE)
_name, _config, _header, _c_identifier = _full(_NAME), _full(_KEY), _full(_HEADER), _full(_C_IDENTIFIER)
_path_prefix = _full(_PATH_PREFIX)


@memo(1024)
def _dns_label(text: str) -> tuple[str, ...]:
    out = []
    if len(text) > 63:
        out.append(too_long(63))
    if not _label(text):
        out.append(LABEL_1123_TEXT if not _subdomain(text) else "must not contain dots")
    return tuple(out)


def dns_label(text: str) -> list[str]:
    """RFC 1123 label, at most 63 characters: Service, Namespace, container and port names."""
    return list(_dns_label(text))


@memo(1024)
def _dns_subdomain(text: str) -> tuple[str, ...]:
    out = []
    if len(text) > 253:
        out.append(too_long(253))
    if not _subdomain(text):
        out.append(SUBDOMAIN_TEXT)
    return tuple(out)


def dns_subdomain(text: str) -> list[str]:
    """RFC 1123 subdomain, at most 253 characters: most object names."""
    return list(_dns_subdomain(text))


def dns_subdomain_underscore(text: str) -> list[str]:
    """A subdomain whose labels may hold underscores: DNS search domains."""
    out = [too_long(253)] if len(text) > 253 else []
    return out if _underscore(text) else [*out, UNDERSCORE_TEXT]


def dns_1035_label(text: str) -> list[str]:
    """RFC 1035 label, at most 63 characters, begins with a letter: CRD names."""
    out = [too_long(63)] if len(text) > 63 else []
    return out if _label_1035(text) else [*out, LABEL_1035_TEXT]


def wildcard_subdomain(text: str) -> list[str]:
    """`*.example.com`: Ingress hosts."""
    out = [too_long(253)] if len(text) > 253 else []
    return out if text.startswith("*.") and _subdomain(text[2:]) else [*out, WILDCARD_TEXT]


@memo(1024)
def _qualified(text: str) -> tuple[str, ...]:
    out: list[str] = []
    parts = text.split("/")
    name = parts[-1]
    if len(parts) == 2:
        if not parts[0]:
            out.append("prefix part " + EMPTY)
        else:
            out += ["prefix part " + message for message in dns_subdomain(parts[0])]
    elif len(parts) > 2:
        return (
            f"a valid label key {QUALIFIED_TEXT} "
            "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    if not name:
        out.append("name part " + EMPTY)
    elif len(name) > 63:
        out.append("name part " + too_long_bytes(63))
    if not _name(name):
        out.append("name part " + QUALIFIED_TEXT)
    return tuple(out)


def qualified_name(text: str) -> list[str]:
    """`example.com/name` or `name`: label and annotation keys, resource names, load balancer classes."""
    return list(_qualified(text))


@memo(1024)
def _label_value(text: str) -> tuple[str, ...]:
    out = []
    if len(text) > 63:
        out.append(too_long_bytes(63))
    if text and not _name(text):
        out.append(VALUE_TEXT)
    return tuple(out)


def label_value(text: str) -> list[str]:
    """The value of a label: empty, or at most 63 bytes of the usual form."""
    return list(_label_value(text))


def domain_prefixed_path(text: str) -> list[str]:
    """`example.com/some/path`: controller names."""
    head, slash, tail = text.partition("/")
    if not text or not slash or not head or not tail:
        return ['must be a domain-prefixed path (such as "acme.io/foo")']
    out = dns_subdomain(head)
    if re.match(r"[a-zA-Z0-9/\-._~%!$&'()*+,;=:]+\Z", tail) is None:
        out.append(f"Invalid path (e.g. regex used for validation is '{_PATH_PREFIX}')")
    return out


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    out = [too_long(253)] if len(text) > 253 else []
    if not _config(text):
        out.append(CONFIG_KEY_TEXT)
    return [*out, *_no_dots(text)]


def _no_dots(text: str) -> list[str]:
    if text == ".":
        return ["must not be '.'"]
    if text == "..":
        return ["must not be '..'"]
    return ["must not start with '..'"] if text.startswith("..") else []


def env_name(text: str) -> list[str]:
    """The name of an environment variable (relaxed rule: printable ASCII without `=`)."""
    if text and all(" " <= c <= "~" and c != "=" for c in text):
        return []
    return [ENV_NAME_TEXT]


def c_identifier(text: str) -> list[str]:
    """A C identifier."""
    return [] if _c_identifier(text) else [C_IDENTIFIER_TEXT]


def http_header(text: str) -> list[str]:
    """The name of an HTTP header."""
    return [] if _header(text) else [HEADER_TEXT]


def port_name(text: str) -> list[str]:
    """An IANA service name: container port names and named target ports."""
    out = []
    if len(text) > 15:
        out.append(too_long(15))
    if not re.match(r"[-a-z0-9]+\Z", text):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", text):
        out.append("must contain at least one letter (a-z)")
    if "--" in text:
        out.append("must not contain consecutive hyphens")
    if text[:1] == "-" or text[-1:] == "-":
        out.append("must not begin or end with a hyphen")
    return out


def port_number(number: int) -> list[str]:
    """1 to 65535."""
    return [] if 1 <= number <= 65535 else ["must be between 1 and 65535, inclusive"]


@memo(1024)
def _parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    if "%" in text:
        return None
    try:
        packed = inet_pton(AF_INET, text)  # most are this, and new ones are met all the time
        if inet_ntoa(packed) == text:
            return IPv4Address(int.from_bytes(packed, "big"))
    except (OSError, ValueError):
        pass
    try:
        return ip_address(text)
    except ValueError:
        pass
    if re.match(r"[0-9.]+\Z", text):  # the old lenient parser took leading zeros
        parts = text.split(".")
        if len(parts) == 4 and all(p and len(p) <= 4 and int(p) < 256 for p in parts):
            return IPv4Address(".".join(str(int(p)) for p in parts))
    return None


def parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """An address as Go's lenient parser reads it (leading zeros are ignored), or None."""
    return _parse_ip(text)


def ip(text: str) -> list[str]:
    """A valid, unambiguous IP address."""
    return _ip(text)


@memo(1024)
def _ip(text: str) -> list[str]:
    address = _parse_ip(text)
    if address is None:
        return [BAD_IP]
    if isinstance(address, IPv6Address):
        return ["must not be an IPv4-mapped IPv6 address"] if address.ipv4_mapped is not None else []
    return ["must not have leading 0s"] if str(address) != text else []


_PREFIX_LENGTH = re.compile(r"0*(\d{1,3})", re.ASCII)


def parse_cidr(text: str) -> IPv4Network | IPv6Network | None:
    """A network as Go's lenient parser reads it (host bits and leading zeros are ignored), or None."""
    start, _, bits = text.partition("/")
    address, length = _parse_ip(start), _PREFIX_LENGTH.fullmatch(bits)
    if address is None or length is None or int(length[1]) > address.max_prefixlen:
        return None
    return ip_network((address.packed, int(length[1])), strict=False)


def cidr(text: str) -> list[str]:
    """A valid, unambiguous CIDR: no host bits, no leading zeros."""
    network = parse_cidr(text)
    if network is None:
        return [BAD_CIDR]
    start, _, bits = text.partition("/")
    address = _parse_ip(start)
    if isinstance(address, IPv4Address) and str(address) != start:
        return ["must not have leading 0s in IP"]
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return ["must not have an IPv4-mapped IPv6 address"]
    if bits != str(network.prefixlen):
        return ["must not have leading 0s in prefix length"]
    if address != network.network_address:
        return ["must not have bits set beyond the prefix length"]
    return []


def canonical_ip(text: str) -> list[str]:
    """An address in the one form that newer fields take."""
    return ip(text) or _canonical(text, str(parse_ip(text)))


def canonical_cidr(text: str) -> list[str]:
    """A CIDR in the one form that newer fields take."""
    return cidr(text) or _canonical(text, str(parse_cidr(text)))


def _canonical(text: str, form: str) -> list[str]:
    return [] if form == text else [f'must be in canonical form ("{form}")']
