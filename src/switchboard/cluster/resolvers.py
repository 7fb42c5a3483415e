"""Whom this machine asks about names of the world: so does the cluster, from inside the node's namespace, where the
host's loopback is out of reach.
"""

from __future__ import annotations

from pathlib import Path

from .config import ClusterConfig

_RESOLV_CONF = Path("/etc/resolv.conf")
# what is behind a resolver of the host's own loopback, in the words of those that run one
_BEHIND_STUBS = (Path("/run/systemd/resolve/resolv.conf"), Path("/run/NetworkManager/no-stub-resolv.conf"))


def servers(config: ClusterConfig) -> list[str]:
    """The servers the cluster's DNS asks about names of the world; none without a way out."""
    if not config.egress:
        return []
    own = [server for server in _nameservers(_RESOLV_CONF) if not server.startswith("127.")]
    return own or (_behind() if _stubs() else [])


def stubs() -> list[tuple[str, str]]:
    """(loopback resolver in /etc/resolv.conf, the first server behind it), where a file tells what is behind it."""
    return [(stub, server) for stub in _stubs() for server in _behind()[:1]]


def _stubs() -> list[str]:
    return [server for server in _nameservers(_RESOLV_CONF) if server.startswith("127.")]


def _behind() -> list[str]:
    found = ([s for s in _nameservers(path) if not s.startswith("127.")] for path in _BEHIND_STUBS)
    return next(filter(None, found), [])


def files() -> list[str]:
    """What `servers` and `stubs` look at: when it changes, so may their answers."""
    return [_text(path) for path in (_RESOLV_CONF, *_BEHIND_STUBS)]


def _nameservers(path: Path) -> list[str]:
    lines = _text(path).splitlines()
    words = [line.split() for line in lines]
    return [w[1] for w in words if len(w) >= 2 and w[0] == "nameserver" and ":" not in w[1]]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
