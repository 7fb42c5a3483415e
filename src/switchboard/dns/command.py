"""The options of `switchboard dns`, and the settings that they make."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from switchboard.dns import hostnames
from switchboard.dns.server import DnsSettings
from switchboard.dns.upstream import Address
from switchboard.dns.zone import Pods


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the role, beside `--kubeconfig`."""
    add = parser.add_argument
    add("--listen", action="append", metavar="ADDRESS", help="default 127.0.0.1; may be given more than once")
    add("--port", type=int, default=53, help="default 53")
    add("--domain", default="cluster.local", help="the cluster's zone (default cluster.local)")
    add("--network", action="append", default=[], metavar="CIDR", help="reverse names of this range are ours alone")
    whom = "whom to ask about other names: 1.2.3.4, 1.2.3.4:5353, tls://1.2.3.4#name (default: as --resolv-conf says)"
    add("--upstream", action="append", default=[], type=_address, metavar="ADDRESS", help=whom)
    add("--resolv-conf", type=Path, default=Path("/etc/resolv.conf"), metavar="FILE", help="default /etc/resolv.conf")
    add("--stub", action="append", default=[], type=_stub, metavar="DOMAIN=ADDRESS", help="whom to ask about a domain")
    add("--hosts", type=Path, metavar="FILE", help="more names, in the format of /etc/hosts")
    add("--workers", type=int, default=1, metavar="N", help="processes that share the addresses (default 1)")
    add(
        "--status-port", type=int, default=0, help="/health, /ready, /metrics there (worker n: n further); default none"
    )
    add("--no-autopath", action="store_true", help="do not walk search paths for pods")
    which = (
        "names like 10-244-0-7.default.pod: of pods only (verified), of any address (insecure, the default), or none"
    )
    add("--pods", type=Pods, choices=list(Pods), default=Pods.INSECURE, help=which)
    add("--log-queries", action="store_true", help="a line for each query; SIGUSR1 switches it")
    kept = "keep Service kube-system/kube-dns at this cluster address, with this server behind it"
    add("--announce", default="", metavar="ADDRESS", help=kept)
    add("--no-announce", dest="announce", action="store_const", const="", help="do not (the default)")


def settings(options: argparse.Namespace, worker: int = 0) -> DnsSettings:
    """What the options say, for one of the workers."""
    stubs: dict[str, list[Address]] = {}
    for domain, address in options.stub:
        stubs.setdefault(domain, []).append(address)
    return DnsSettings(
        listen=options.listen or ["127.0.0.1"],
        port=options.port,
        domain=options.domain,
        networks=options.network,
        upstreams=options.upstream,
        resolv_conf=options.resolv_conf,
        stubs=stubs,
        hosts=options.hosts,
        pods=options.pods,
        autopath=not options.no_autopath,
        query_log=options.log_queries,
        status_port=options.status_port + worker if options.status_port else 0,
        announce_ip="" if worker else options.announce,
    )


def change_host(undo: bool, cluster: str, server: str, domain: str, root: Path = Path("/")) -> int:
    """`--host`, `--host-undo`: change the host's resolver or change it back, and say what was done. Exit status."""
    try:
        changes = hostnames.undo(root, cluster) if undo else [hostnames.install(root, cluster, server, domain)]
    except OSError as why:
        print(f"switchboard dns: {why}", file=sys.stderr)
        return 1
    if not changes:
        print("nothing to undo")
    for change in changes:
        print(f"{'changed back' if undo else 'changed'}: {change.path}")
        if change.command and root == Path("/") and subprocess.run(change.command, check=False).returncode:
            print(f"switchboard dns: this failed, please run it: {' '.join(change.command)}", file=sys.stderr)
            return 1
    return 0


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(str(why)) from None


def _stub(text: str) -> tuple[str, Address]:
    domain, equals, address = text.partition("=")
    if not equals or not domain:
        raise argparse.ArgumentTypeError(f"{text!r} is not DOMAIN=ADDRESS")
    return domain, _address(address)
