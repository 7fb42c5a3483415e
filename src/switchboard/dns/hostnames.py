"""The cluster's names on the host: one small, marked change to whatever resolves names there, and its undoing.

Chosen by what the host has, under `root` ("/" but for tests):

    systemd-resolved   etc/systemd/resolved.conf.d/switchboard-<cluster>.conf   only the zone comes to us
    dnsmasq            etc/dnsmasq.d/..., or NetworkManager's dnsmasq.d          only the zone comes to us
    neither            a block at the top of etc/resolv.conf                    every question comes to us first

Nothing is restarted here: `Change.command` says what makes the change count.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_BEGIN, _END = "# begin switchboard {}: names of the cluster", "# end switchboard {}"
_RESOLVED = Path("etc/systemd/resolved.conf.d")
_NETWORK_MANAGER = Path("etc/NetworkManager/dnsmasq.d")
_DNSMASQ = Path("etc/dnsmasq.d")
_RESOLV_CONF = Path("etc/resolv.conf")
_MADE = "# {} was made for this"  # what was not there before goes again
_RESTART = {
    _RESOLVED: ("systemctl", "restart", "systemd-resolved"),
    _NETWORK_MANAGER: ("systemctl", "reload", "NetworkManager"),
    _DNSMASQ: ("systemctl", "restart", "dnsmasq"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A file that was written, changed or removed, and the command that makes it count (none for resolv.conf)."""

    path: Path
    command: tuple[str, ...] = ()


def install(root: Path, cluster: str, server: str, domain: str) -> Change:
    """Have the host ask `server` (port 53) about `domain`; doing it again changes nothing more. OSError if refused."""
    place = _place(root)
    if place == _RESOLV_CONF:
        path = root / _RESOLV_CONF
        text = _read(path)
        ours = not path.exists() or _ours(text, "file")
        made = _MADE.format("file") + "\n" if ours else ""
        block = f"{_BEGIN.format(cluster)}\n{made}nameserver {server}\n{_END.format(cluster)}\n"
        _write(path, block + _without_block(text, cluster))
        return Change(path)
    path = root / place / f"switchboard-{cluster}.conf"
    others = path.parent.glob("switchboard-*.conf")  # of any cluster: the last one to go takes the folder along
    ours = not path.parent.exists() or any(_ours(_read(other), "folder") for other in others)
    made = _MADE.format("folder") + "\n" if ours else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    if place == _RESOLVED:
        text = f"[Resolve]\nDNS={server}\nDomains=~{domain}\n"
    else:  # answers with private addresses are what we want of this server
        text = f"server=/{domain}/{server}\nrebind-domain-ok=/{domain}/\n"
    _write(
        path, f"# made by switchboard for the cluster {cluster}; `switchboard dns --host-undo` removes it\n{made}{text}"
    )
    return Change(path, _RESTART[place])


def undo(root: Path, cluster: str) -> list[Change]:
    """Take back what `install` did, wherever it did it; a resolv.conf gets its old text byte for byte."""
    changes: list[Change] = []
    for place, command in _RESTART.items():
        path = root / place / f"switchboard-{cluster}.conf"
        if path.exists():
            ours = _ours(_read(path), "folder")
            path.unlink()
            if ours and not any(path.parent.iterdir()):
                path.parent.rmdir()
            changes.append(Change(path, command))
    path = root / _RESOLV_CONF
    text = _read(path)
    rest = _without_block(text, cluster)
    if rest != text:
        if not rest and _ours(text, "file"):
            path.resolve().unlink()
        else:
            _write(path, rest)
        changes.append(Change(path))
    return changes


def _ours(text: str, what: str) -> bool:
    return _MADE.format(what) in text.splitlines()


def _place(root: Path) -> Path:
    """What resolves names on this host: told by whom resolv.conf names, not by what is merely installed."""
    servers = [
        w[1] for w in map(str.split, _read(root / _RESOLV_CONF).splitlines()) if w[:1] == ["nameserver"] and w[1:]
    ]
    if "127.0.0.53" in servers or "127.0.0.54" in servers:
        return _RESOLVED
    if any(server.startswith("127.") or server == "::1" for server in servers):
        if (root / _NETWORK_MANAGER).is_dir() and _network_manager_runs_dnsmasq(root):
            return _NETWORK_MANAGER
        if (root / _DNSMASQ).is_dir():
            return _DNSMASQ
    return _RESOLV_CONF


def _network_manager_runs_dnsmasq(root: Path) -> bool:
    folder = root / "etc/NetworkManager"
    files = [folder / "NetworkManager.conf", *sorted((folder / "conf.d").glob("*.conf"))]
    lines = [line.replace(" ", "") for path in files for line in _read(path).splitlines()]
    return "dns=dnsmasq" in lines


def _without_block(text: str, cluster: str) -> str:
    begin, end = _BEGIN.format(cluster) + "\n", _END.format(cluster) + "\n"
    before, found, behind = text.partition(begin)
    _, closed, after = behind.partition(end)
    return before + after if found and closed else text


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """In place: a resolv.conf may be a link or a mount, and must stay one."""
    with open(path, "w") as file:
        file.write(text)
