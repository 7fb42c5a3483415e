"""Starts a cluster, in an order that fits on a screen (`up`), and repairs whatever an earlier start left half done.

Every step looks whether it is done and does what is missing, so `up` may be run at any time: on nothing, on half a
start, on a cluster whose supervisor died, on one that runs.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from switchboard.compiled import load
from switchboard.images.publish import hosts
from switchboard.images.standins import are_published
from switchboard.pki.ensure import ensure
from switchboard.pki.plan import plan
from switchboard.store.errors import StoreCorrupt

from . import access, cgroups, cni, containerd, locks, mirror, network, processes, running, shutdown, stop, traces
from . import config as configs
from .ask import NoAnswer, ask
from .command import NEEDED, require, require_space
from .config import ClusterConfig
from .errors import ClusterError
from .progress import Progress
from .wishes import Wish, choose

_PATIENCE = 120.0  # a small machine with a slow disk and nothing in its caches needs most of a minute
_TOO_OFTEN = 4  # deaths of one process during a start, after which waiting makes no sense


@dataclass(frozen=True, slots=True)
class Result:
    """How a start went: seconds until containerd answered after its spawn, and until the node was Ready since the
    beginning.
    """

    config: ClusterConfig
    already: bool
    containerd_seconds: float = 0.0
    ready_seconds: float = 0.0


def up(wish: Wish, progress: Progress) -> Result:
    """Start the cluster, or make sure that it runs as wished. Raises ClusterError."""
    if os.geteuid() != 0:
        raise ClusterError(
            "a cluster needs namespaces, mounts and rules, which only root can make",
            f"sudo {configs.command('up', wish.name)}",
        )
    require(NEEDED)
    with locks.cluster(wish.name, lambda: progress.doing(locks.WAITING)):
        if configs.load(wish.name) is None and (left := traces.left(wish.name)):
            progress.doing("stopping what runs of a cluster whose state is gone")
            stop.stop(left)
        config = choose(wish, progress)
        if _runs_as_wished(config, wish):
            return Result(config, already=True)
        began = time.time()
        require_space(config.state)
        config.save()
        _repair(config, progress)
        if not _as_it_runs(config, "server"):
            network.check_port("127.0.0.1", config.api_port)
        before = _as_it_runs(config, "node")
        _compile(progress)
        prepare(config, progress)
        if before and before == _planned(config, "node"):
            began = 0.0  # the node is not started again: what it last said still holds
        spawned = progress.elapsed
        deaths = {name: entry.get("restarts", 0) for name, entry in _known(config).items()}
        _start_or_tell_supervisor(config)
        patience = Patience(config, deaths, time.monotonic() + _PATIENCE)
        with _images(config, wish) as builder:
            containerd_seconds = _wait_containerd(patience, progress, spawned)
            _wait_ready(patience, progress, spawned, began)
            ready = progress.elapsed
            shutdown.register(config)
            _wait_mirror(patience)
            containerd.look_upstream(config)
            if builder:
                _wait_images(builder, progress, configs.command("up", config.name))
        _pull_pause(config)
        return Result(config, False, containerd_seconds, ready)


def _compile(progress: Progress) -> None:
    """Where the sources are not what was last compiled (`git pull`), compile them before anything runs them."""
    if load.state() not in (load.OLD, load.ABSENT):
        return
    since = progress.elapsed
    progress.doing("compiling the server, for a minute or so (once for each change of its sources)")
    argv = [sys.executable, "-I", "-m", "switchboard.compiled.build"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        progress.done("server", "compiled", since)
    elif done.stderr:
        progress.say("  " + done.stderr.splitlines()[-1].removeprefix("switchboard: "))


def prepare(config: ClusterConfig, progress: Progress) -> None:
    """Everything the processes find when they start: certificates, network, files. Raises ClusterError."""
    for folder in (config.state, config.run, config.logs):
        folder.mkdir(parents=True, exist_ok=True)
    since = progress.elapsed
    certificates = plan(
        config.name,
        config.node_name,
        server_addresses=(config.gateway, "127.0.0.1", config.api_service_ip),
        node_addresses=(*config.node_ips, "127.0.0.1"),
        domain=config.domain,
    )
    made = ensure(config.pki, certificates)
    access.write_role_files(config)
    access.write_admin_file(config)
    progress.done("certificates", "made" if made else "there", since)
    since = progress.elapsed
    cni.write(config)  # first, because the node's settings need br_netfilter to be there
    made = network.create(config)
    problems = network.switch(config)
    out = "pods reach the world through this machine" if config.egress else "pods have no way out"
    progress.done("network", f"{config.node_subnet}, {out}", since)
    for problem in problems:
        progress.say(f"                {problem}")
    _make_room(progress)
    containerd.write(config, hosts(config.state / "registry"))
    mirror.write(config)
    processes.write_plan(config)


def _make_room(progress: Progress) -> None:
    root = cgroups.unified_root()
    try:
        if root:
            cgroups.make_room(root)
    except OSError as error:
        progress.say(f"  no controllers for containers in {root}: {error}; they may not start, or know no limits")


def _runs_as_wished(config: ClusterConfig, wish: Wish) -> bool:
    if not running.supervisor(config) or configs.load(config.name) != config or not network.exists(config):
        return False
    if not network.is_switched(config) or (wish.images and not are_published(config.state / "registry")):
        return False
    live = {process.name for process in running.processes(config)}
    if not live.issuperset(process.name for process in processes.table(config)):
        return False
    return _node_ready(config, 0.0)


def _as_it_runs(config: ClusterConfig, name: str) -> Any:
    """The command of a process that runs, None when it does not."""
    live = {process.name for process in running.processes(config)}
    return _known(config).get(name, {}).get("spec") if name in live else None


def _planned(config: ClusterConfig, name: str) -> Any:
    return next(spec for spec in processes.plan(config)["processes"] if spec["name"] == name)


def _node_ready(config: ClusterConfig, since: float) -> bool:
    try:
        status, node = ask(config.api_socket, "GET", f"/api/v1/nodes/{config.node_name}", timeout=2.0)
    except NoAnswer:
        return False
    return status == 200 and running.is_ready(node, since)


def _repair(config: ClusterConfig, progress: Progress) -> None:
    """Clean up when what runs cannot be built on: processes nobody knows or without their network, half a network."""
    if not running.supervisor(config):
        stop.stop_processes(running.strays(config))
    if network.exists(config) or not (config.run.exists() or os.path.lexists(config.netns_path)):
        return
    progress.doing("cleaning up after a start that was not finished")
    stop.stop(config)


def _start_or_tell_supervisor(config: ClusterConfig) -> None:
    from .supervisor import start_supervisor

    pid = running.supervisor(config)
    if pid:
        os.kill(pid, signal.SIGHUP)
    else:
        start_supervisor(config)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a start waits: until `deadline`, or until a process has died too often since the start (`before`:
    deaths then).
    """

    config: ClusterConfig
    before: dict[str, int]
    deadline: float

    def check(self, what: str) -> None:
        """Raise ClusterError with the last lines of the logs when waiting for `what` makes no more sense."""
        known = _known(self.config)
        dying = [n for n, e in known.items() if e.get("restarts", 0) - self.before.get(n, 0) >= _TOO_OFTEN]
        if not dying and time.monotonic() < self.deadline:
            return
        cause = f", but {', '.join(dying)} keeps dying" if dying else f" for {_PATIENCE:.0f} s"
        lines = [f"waited for {what}{cause}"]
        for name in dying or ["node", "server"]:
            path = self.config.logs / f"{name}.log"
            lines += [f"the end of {path}:", *tail(path, 12)]
        again = configs.command("up", self.config.name)
        advice = f"mend what the log says, then run `{again}` again: it repairs"
        if any(StoreCorrupt.__name__ in line for line in lines):
            store, delete = self.config.state / "store.db", configs.command("delete", self.config.name)
            advice = f"put a good copy of {store} (and store.db-wal) there and run `{again}`, or begin anew: `{delete}`"
        raise ClusterError("\n".join(lines), advice)


def _known(config: ClusterConfig) -> dict[str, Any]:
    known: dict[str, Any] = running.record(config).get("processes", {})
    return known


def _wait_containerd(patience: Patience, progress: Progress, since: float) -> float:
    progress.doing("starting containerd")
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(patience.config.containerd_socket)) == 0:
                break
        patience.check("containerd to answer")
        time.sleep(0.003)
    took = progress.elapsed - since
    progress.done("containerd", "answers", since)
    return took


def _wait_mirror(patience: Patience) -> None:
    """The first pod is to find the mirror: a failed pull would be tried again only after a pause."""
    config = patience.config
    while True:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((config.gateway, config.registry_port)) == 0:
                return
        patience.check("the image mirror to answer")
        time.sleep(0.005)


def _wait_ready(patience: Patience, progress: Progress, since: float, began: float) -> None:
    config = patience.config
    progress.doing("waiting for the API")
    planned = _planned(config, "server")
    while _as_it_runs(config, "server") != planned:  # one that is about to be replaced still answers
        patience.check("the server to be started")
        time.sleep(0.003)
    while True:
        try:
            if ask(config.api_socket, "GET", "/readyz", timeout=2.0)[0] == 200:
                break
        except NoAnswer:
            pass
        patience.check("the API to answer")
        time.sleep(0.005)
    progress.done("API", f"answers at {config.api_url}", since)
    progress.doing(f"waiting for node {config.node_name} to be Ready")
    while not _node_ready(config, began):
        patience.check(f"node {config.node_name} to be Ready")
        time.sleep(0.005)
    progress.done("node", f"{config.node_name} ({config.node_ip}) is Ready", since)


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log, all of them when `count` is negative; none when there is no such file. Raises
    PermissionError.
    """
    try:
        with open(path, "rb") as file:
            if count >= 0:
                file.seek(max(0, os.fstat(file.fileno()).st_size - max(65536, count * 256)))
            lines = file.read().decode(errors="replace").splitlines()
            return lines if count < 0 else lines[max(0, len(lines) - count) :]
    except PermissionError:
        raise
    except OSError:
        return []


@contextmanager
def _images(config: ClusterConfig, wish: Wish) -> Iterator[subprocess.Popen[str] | None]:
    """Build the stand-in images beside everything else, unless the mirror has them or nobody wants them; who is
    interrupted interrupts that too.
    """
    builder = _start_images(config) if wish.images and not are_published(config.state / "registry") else None
    try:
        yield builder
    except BaseException:
        if builder:
            builder.terminate()
            builder.wait()
        raise


def _start_images(config: ClusterConfig) -> subprocess.Popen[str]:
    storage = config.state / "registry"
    argv = [*processes.python("switchboard.images.job", "main"), str(config.images), str(storage)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _wait_images(builder: subprocess.Popen[str], progress: Progress, again: str) -> None:
    since = progress.elapsed
    failed = ""
    assert builder.stdout
    for line in _lines(builder.stdout, progress):
        if line.startswith("error: "):
            failed = line.removeprefix("error: ")
        else:
            progress.doing(line)
    if builder.wait() or failed:
        progress.say(f"  images        the stand-in images could not be made: {failed or 'no reason given'}")
        progress.say(f"                the cluster runs; `{again}` tries again")
        return
    progress.done("images", "the mirror has the stand-in images", since)


def _lines(stream: IO[str], progress: Progress) -> Iterator[str]:
    """Lines as they come; when none comes for a while, say that it still goes on."""
    poll = select.poll()
    poll.register(stream, select.POLLIN | select.POLLHUP)
    while True:
        if not poll.poll(10_000):
            progress.doing(f"still at it after {progress.elapsed:.0f} s")
            continue
        line = stream.readline()
        if not line:
            return
        yield line.strip()


def _pull_pause(config: ClusterConfig) -> None:
    """Have the sandbox image in the node before the first pod asks for it. A failure is no failure: the first pod
    pulls it.
    """
    stamp = config.state / "containerd" / ".pause"
    if stamp.exists():
        return
    argv = ["nsenter", f"--net={config.netns_path}", "--", "ctr", "-a", str(config.containerd_socket), "-n", "k8s.io"]
    argv += ["images", "pull", "--hosts-dir", str(config.run / "certs.d"), containerd.PAUSE_IMAGE]
    if subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        stamp.touch()
