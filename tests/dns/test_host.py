"""`dns --host` on files in a made-up root: what is chosen, and that undoing leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from switchboard.dns import hostnames

RESOLV = "# made by hand\nsearch example.com\nnameserver 192.0.2.1\n"


def tree(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


def host(root: Path, resolv: str = RESOLV, *folders: str, **files: str) -> Path:
    for folder in ("etc", *folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/resolv.conf").write_text(resolv)
    for path, text in files.items():
        (root / path).write_text(text)
    return root


@pytest.mark.parametrize(
    ("resolv", "folders", "path", "line"),
    [
        ("nameserver 127.0.0.53\n", (), "etc/systemd/resolved.conf.d/switchboard-dev.conf", "Domains=~cluster.local"),
        ("nameserver 127.0.0.1\n", ("etc/dnsmasq.d",), "etc/dnsmasq.d/switchboard-dev.conf", "server=/cluster.local/"),
        (RESOLV, ("etc/dnsmasq.d", "etc/systemd/resolved.conf.d"), "etc/resolv.conf", "nameserver 192.168.49.2"),
        ("nameserver 127.0.0.1\n", (), "etc/resolv.conf", "nameserver 192.168.49.2"),
        ("", (), "etc/resolv.conf", "nameserver 192.168.49.2"),
    ],
)
def test_what_the_host_has_is_used_and_given_back(
    tmp_path: Path, resolv: str, folders: tuple[str, ...], path: str, line: str
) -> None:
    root = host(tmp_path, resolv, *folders)
    before = tree(root)
    change = hostnames.install(root, "dev", "192.168.49.2", "cluster.local")
    assert change.path == root / path and line in change.path.read_text()
    once = tree(root)
    hostnames.install(root, "dev", "192.168.49.2", "cluster.local")
    assert tree(root) == once
    assert [c.path for c in hostnames.undo(root, "dev")] == [root / path]
    assert tree(root) == before
    assert hostnames.undo(root, "dev") == []


@pytest.mark.parametrize("resolv", ["nameserver 127.0.0.53\n", None])
def test_what_was_not_there_before_goes_again(tmp_path: Path, resolv: str | None) -> None:
    root = host(tmp_path, resolv or "", "etc/systemd")
    if resolv is None:
        (root / "etc/resolv.conf").unlink()
    before = set(root.rglob("*"))
    for cluster in ("dev", "two", "dev"):
        hostnames.install(root, cluster, "192.168.49.2", "cluster.local")
    hostnames.undo(root, "dev")
    assert set(root.rglob("*")) != before
    hostnames.undo(root, "two")
    assert set(root.rglob("*")) == before


def test_networkmanagers_dnsmasq(tmp_path: Path) -> None:
    root = host(tmp_path, "nameserver 127.0.0.1\n", "etc/NetworkManager/dnsmasq.d", "etc/dnsmasq.d")
    (root / "etc/NetworkManager/NetworkManager.conf").write_text("[main]\ndns = dnsmasq\n")
    change = hostnames.install(root, "dev", "192.168.49.2", "cluster.local")
    assert change.path.parent == root / "etc/NetworkManager/dnsmasq.d"
    assert change.command == ("systemctl", "reload", "NetworkManager")


def test_ours_is_asked_first_and_a_link_stays_a_link(tmp_path: Path) -> None:
    root = host(tmp_path)
    (root / "real").write_text(RESOLV)
    (root / "etc/resolv.conf").unlink()
    (root / "etc/resolv.conf").symlink_to("../real")
    hostnames.install(root, "dev", "192.168.49.2", "cluster.local")
    hostnames.install(root, "two", "192.168.50.2", "two.local")
    hostnames.undo(root, "two")
    servers = [line for line in (root / "real").read_text().splitlines() if line.startswith("nameserver")]
    assert servers == ["nameserver 192.168.49.2", "nameserver 192.0.2.1"]
    hostnames.undo(root, "dev")
    assert (root / "etc/resolv.conf").is_symlink() and (root / "real").read_text() == RESOLV
