"""What a cluster is: one dataclass whose addresses all follow from a few ranges, kept in `<state>/cluster.json`.

A cluster's name, folders, ranges and ports are chosen at its first start and never change after; the switches
(`egress`, `host_access`, `load_balancer`, `faithful`, the audit log) may change at any start. Nothing here touches the
network: `free_subnet` is given what is taken.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from .errors import ClusterError

DEFAULT_NAME = "switchboard"
# A dual-stack cluster's IPv6 ranges, which only its own node knows; those that kind chooses.
POD_CIDR6, NODE_POD_CIDR6, SERVICE_CIDR6 = "fd00:10:244::/56", "fd00:10:244::/64", "fd00:10:96::/112"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def state_base() -> Path:
    """Where clusters keep what survives a reboot; `SWITCHBOARD_STATE_DIR` moves it."""
    return Path(os.environ.get("SWITCHBOARD_STATE_DIR", "/var/lib/switchboard"))


def run_base() -> Path:
    """Where clusters keep what ends with them; `SWITCHBOARD_RUN_DIR` moves it."""
    return Path(os.environ.get("SWITCHBOARD_RUN_DIR", "/run/switchboard"))


def images_base() -> Path:
    """Where stand-in images are kept once built, for all clusters; `SWITCHBOARD_IMAGES_DIR` moves it."""
    return Path(os.environ.get("SWITCHBOARD_IMAGES_DIR", "/var/cache/switchboard/images"))


def default_name() -> str:
    """The cluster meant when none is named."""
    return os.environ.get("SWITCHBOARD_CLUSTER", DEFAULT_NAME)


def called() -> str:
    """How the person called us, `./switchboard` say, so that what we tell them to type can be typed."""
    return shlex.quote(os.environ.get("SWITCHBOARD_CALLED") or "switchboard")


def command(words: str, name: str) -> str:
    """What to type for a verb of the cluster of that name: for advice. Named also where the environment names it: it
    may do so for one command only."""
    return f"{called()} {words}" + ("" if name == DEFAULT_NAME else f" --name {name}")


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Everything that distinguishes one cluster from another."""

    name: str
    state: Path
    run: Path
    images: Path
    node_subnet: str = "192.168.49.0/24"
    pod_cidr: str = "10.244.0.0/16"
    node_pod_cidr: str = "10.244.0.0/24"
    service_cidr: str = "10.96.0.0/16"
    domain: str = "cluster.local"
    api_port: int = 6443
    registry_port: int = 5000
    dual_stack: bool = False
    egress: bool = True
    host_access: bool = False
    load_balancer: bool = True  # the built-in provider of LoadBalancer addresses
    faithful: bool = False  # upstream's choice where ours is kinder: drops, and pods that end before their endpoints
    audit_policy: str = ""  # files of the audit log's policy and of the log itself; without both there is none
    audit_log: str = ""
    audit_max_size: int = 0  # megabytes; 100 when 0
    audit_max_backups: int = 0  # how many full ones are kept, and for how many days; all, and for ever, when 0
    audit_max_age: int = 0

    @property
    def subnet(self) -> IPv4Network:
        """The node subnet: host .1, node .2, upper half for LoadBalancer addresses."""
        return IPv4Network(self.node_subnet)

    @property
    def gateway(self) -> str:
        """The host's end of the link: where the API and the image mirror listen."""
        return str(self.subnet[1])

    @property
    def node_ip(self) -> str:
        """The node's address, as `switchboard ip` prints it."""
        return str(self.subnet[2])

    @property
    def prefix_length(self) -> int:
        """Bits of the node subnet's mask."""
        return self.subnet.prefixlen

    @property
    def load_balancer_cidr(self) -> str:
        """The pool of LoadBalancer addresses: the upper half of the node subnet, routed to the node."""
        return str(list(self.subnet.subnets(prefixlen_diff=1))[1])

    @property
    def node_subnet6(self) -> IPv6Network:
        """The IPv6 range beside the node subnet, of which it carries the number: no two clusters share one."""
        return IPv6Network(((0xFD00 << 112) + (int(self.subnet.network_address) << 80), 64))

    @property
    def gateways(self) -> tuple[str, ...]:
        """The host's end of the link in every family of the cluster."""
        return (self.gateway, str(self.node_subnet6[1])) if self.dual_stack else (self.gateway,)

    @property
    def node_ips(self) -> tuple[str, ...]:
        """The node's addresses, the IPv4 one first."""
        return (self.node_ip, str(self.node_subnet6[2])) if self.dual_stack else (self.node_ip,)

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """Ranges of all pods."""
        return (self.pod_cidr, POD_CIDR6) if self.dual_stack else (self.pod_cidr,)

    @property
    def node_pod_cidrs(self) -> tuple[str, ...]:
        """Ranges of the node's pods."""
        return (self.node_pod_cidr, NODE_POD_CIDR6) if self.dual_stack else (self.node_pod_cidr,)

    @property
    def service_cidrs(self) -> tuple[str, ...]:
        """Ranges of ClusterIPs; the first is the default family."""
        return (self.service_cidr, SERVICE_CIDR6) if self.dual_stack else (self.service_cidr,)

    @property
    def load_balancer_cidrs(self) -> tuple[str, ...]:
        """Pools of LoadBalancer addresses in every family."""
        upper = list(self.node_subnet6.subnets(prefixlen_diff=1))[1]
        return (self.load_balancer_cidr, str(upper)) if self.dual_stack else (self.load_balancer_cidr,)

    @property
    def api_service_ip(self) -> str:
        """ClusterIP of Service `kubernetes`: the first of the range."""
        return str(IPv4Network(self.service_cidr)[1])

    @property
    def dns_ip(self) -> str:
        """ClusterIP of the cluster DNS: the tenth of the range, as kubeadm chooses it."""
        return str(IPv4Network(self.service_cidr)[10])

    @property
    def node_name(self) -> str:
        """The one node has the cluster's name, as minikube's has."""
        return self.name

    @property
    def netns(self) -> str:
        """Name of the node's network namespace in /run/netns."""
        return self.name

    @property
    def netns_path(self) -> str:
        """The file that holds the node's network namespace."""
        return f"/run/netns/{self.netns}"

    @property
    def host_link(self) -> str:
        """Name of the host's end of the link; the kernel allows 15 bytes, so long names become a checksum."""
        plain = f"sb-{self.name}"
        return plain if len(plain) <= 15 else f"sb-{zlib.crc32(self.name.encode()):08x}"

    @property
    def table(self) -> str:
        """Name of our own nftables table on the host."""
        return "switchboard-" + self.name

    @property
    def api_url(self) -> str:
        """The API as this machine's clients reach it."""
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def node_api_url(self) -> str:
        """The API as the node's roles reach it over the link."""
        return f"https://{self.gateway}:{self.api_port}"

    @property
    def pki(self) -> Path:
        """Folder of keys and certificates."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """Folder of the roles' logs."""
        return self.state / "logs"

    @property
    def api_socket(self) -> Path:
        """A socket only root can open, on which the API takes every caller for the cluster's administrator."""
        return self.run / "api.sock"

    def role_socket(self, role: str) -> Path:
        """A socket only root can open, on which the API takes every caller for that role."""
        return self.run / f"{role}.sock"

    @property
    def containerd_socket(self) -> Path:
        """The private containerd's socket."""
        return self.run / "containerd.sock"

    @property
    def mirror(self) -> str:
        """The local image mirror's host and port."""
        return f"{self.gateway}:{self.registry_port}"

    @property
    def cgroup(self) -> str:
        """Path of the cluster's control group below each hierarchy's root."""
        return f"switchboard/{self.name}"

    def save(self) -> None:
        """Write `cluster.json`, whole or not at all. Raises ClusterError."""
        text = json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}, indent=1)
        try:
            self.state.mkdir(parents=True, exist_ok=True, mode=0o755)
            write_file(self.state / "cluster.json", text)
        except OSError as error:
            elsewhere = "see that the folder can be written, or give another one in $SWITCHBOARD_STATE_DIR"
            advice = "run as root" if os.geteuid() else elsewhere
            raise ClusterError(f"could not write {self.state}/cluster.json: {error}", advice) from error


def check_name(name: str) -> str:
    """The name, or ClusterError: it becomes a folder, a network namespace, a node's name and a kubeconfig context."""
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f"{name!r} cannot be a cluster's name",
            "use lower-case letters, digits and '-', at most 40, starting and ending with a letter or digit",
        )
    return name


def new(name: str, **chosen: Any) -> ClusterConfig:
    """A cluster as it would be at its first start, in the default folders."""
    check_name(name)
    return ClusterConfig(name, state_base() / name, run_base() / name, images_base(), **chosen)


def load(name: str) -> ClusterConfig | None:
    """The cluster of that name as its first start chose it, or None. Raises ClusterError on a broken file."""
    path = state_base() / check_name(name) / "cluster.json"
    try:
        raw = json.loads(path.read_bytes())
        known = {field.name for field in fields(ClusterConfig)}
        values = {key: value for key, value in raw.items() if key in known}
        paths = {key: Path(values[key]) for key in ("state", "run", "images")}
        return ClusterConfig(**(values | paths))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise ClusterError(f"could not read {path}: {error}", "run as root") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(
            f"{path} is not a cluster's description: {error!r}",
            f"mend it, or forget the cluster: {command('delete', name)}",
        ) from error


def load_existing(name: str) -> ClusterConfig:
    """Like `load`, but a cluster that was never started is an error that says how to start it."""
    config = load(name)
    if config is None:
        raise ClusterError(f"there is no cluster {name!r} here", f"start it: {command('up', name)}")
    return config


def load_all() -> list[ClusterConfig]:
    """Every cluster this machine knows, readable ones only."""
    found = []
    try:
        names = sorted(os.listdir(state_base()))
    except OSError:
        return []
    for name in names:
        try:
            config = load(name) if _NAME.fullmatch(name) else None
        except ClusterError:
            continue
        if config is not None:
            found.append(config)
    return found


def check_ranges(config: ClusterConfig) -> None:
    """Raise ClusterError unless the port is one, and the ranges are IPv4 networks of a usable size that do not
    overlap.
    """
    if not 0 < config.api_port < 65536:
        raise ClusterError(f"--api-port {config.api_port} is not a port", "give a number from 1 to 65535")
    named: dict[str, IPv4Network] = {}
    for option in ("node_subnet", "pod_cidr", "service_cidr"):
        text = getattr(config, option)
        try:
            network = IPv4Network(text)
        except ValueError as error:
            raise ClusterError(
                f"--{option.replace('_', '-')} {text}: {error}", "give an IPv4 range like 10.1.0.0/16"
            ) from error
        if network.prefixlen > 28 or network.prefixlen < 8:
            raise ClusterError(f"--{option.replace('_', '-')} {text} has no usable size", "give a range from /8 to /28")
        for other, taken in named.items():
            if network.overlaps(taken):
                raise ClusterError(f"{option} {network} overlaps {other} {taken}", "give ranges that do not overlap")
        named[option] = network
    node_pods = IPv4Network(config.node_pod_cidr)
    if not node_pods.subnet_of(named["pod_cidr"]):
        raise ClusterError(f"node_pod_cidr {node_pods} is not inside pod_cidr {config.pod_cidr}", "give one inside it")


def first_node_range(pod_cidr: str) -> str:
    """The pod range of the first node: the first /24 (or everything, when the pod range is smaller)."""
    network = IPv4Network(pod_cidr, strict=False)
    return str(network if network.prefixlen >= 24 else next(network.subnets(new_prefix=24)))


def free_subnet(taken: Iterable[IPv4Network]) -> str:
    """The first of 192.168.49.0/24 to 192.168.99.0/24 that overlaps nothing `taken`. Raises ClusterError."""
    busy = [network for network in taken if network.prefixlen > 0]
    for third in range(49, 100):
        candidate = IPv4Network((int(IPv4Address("192.168.0.0")) + (third << 8), 24))
        if not any(candidate.overlaps(network) for network in busy):
            return str(candidate)
    raise ClusterError("every network from 192.168.49.0/24 to 192.168.99.0/24 is in use here", "give --node-subnet")


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file as a whole; a reader sees the old one or the new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    os.replace(temporary, path)
