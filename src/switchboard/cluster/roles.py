"""The roles as processes: each reads the cluster's description, wires its parts, runs until SIGTERM. This is where
parts meet.

A role that is started by the supervisor gets the path of `cluster.json`; `switchboard <role> --kubeconfig FILE` runs
the same functions against any Kubernetes API. Imports are inside the functions, because a process should load one
role only.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import config as configs
from .config import ClusterConfig
from .resting import rest

if TYPE_CHECKING:
    from switchboard.client.verbs import Client

_log = logging.getLogger("switchboard")

# The store's thread, ready with a commit, waits for the loop at most so long (the interpreter's own 5 ms are longer
# than a commit takes).
_SWITCH = 0.0005
# New containers between two looks of the collector. Nearly everything dies by its count; the default of 700 looks
# several times while one request is answered.
_COLLECT = 20_000

_SERVERS_TURN = 0.5  # seconds after which the node, if the server did not, starts a supervisor anew

Run = Callable[[], Coroutine[Any, Any, None]]


def server(arguments: list[str]) -> int:
    """`server <cluster.json>`: API, store, controllers, scheduler, advice."""
    from .serve import serve

    config = read(arguments[0])
    return run(lambda: serve(config))


def node(arguments: list[str]) -> int:
    """`node <cluster.json>`: pods through containerd, and the Service proxy, in one process inside the node's
    namespace.
    """
    config = read(arguments[0])

    async def body() -> None:
        from . import wiring
        from .supervisor import guard_supervisor

        guard_supervisor(config, wait=_SERVERS_TURN)
        client = await _connected(config, "node", "switchboard-node")
        proxy_client = await _connected(config, "proxy", "switchboard-proxy")
        await wiring.run_node(client, proxy_client, config)

    return run(body)


def dns(arguments: list[str]) -> int:
    """`dns <cluster.json>`: the cluster's DNS, inside the node's namespace."""
    config = read(arguments[0])

    async def body() -> None:
        from . import wiring

        await wiring.run_dns(await _connected(config, "dns", "switchboard-dns"), config)

    # datagrams are read by a plain reader of the socket, which any loop has: uvloop would weigh 3 MB for nothing
    return run(body, asyncio.SelectorEventLoop)


def dns_alone(options: argparse.Namespace) -> int:
    """The DNS against any API, without a cluster of ours; in as many processes as asked for."""
    from switchboard.dns import command
    from switchboard.dns.server import DnsServer
    from switchboard.dns.workers import run_workers

    worker = run_workers(options.workers)

    async def body() -> None:
        from switchboard.client.verbs import Client

        client = Client.from_kubeconfig(options.kubeconfig, user_agent="switchboard-dns")
        await DnsServer(client, command.settings(options, worker)).run()

    return run(body)


def proxy_alone(kubeconfig: Path, node_name: str, cidrs: tuple[str, ...] = (), *, faithful: bool = False) -> int:
    """The Service proxy of this network namespace against any API."""

    async def body() -> None:
        from switchboard.client.verbs import Client
        from switchboard.proxy.settings import ProxySettings
        from switchboard.proxy.sync import Proxy

        client = Client.from_kubeconfig(kubeconfig, user_agent="switchboard-proxy")
        settings = ProxySettings(node_name=node_name, cluster_cidrs=cidrs, faithful=faithful)
        await Proxy(client, settings).run()

    return run(body)


def read(path: str) -> ClusterConfig:
    """The cluster whose description this is; the base folders follow from where it lies."""
    folder = Path(path).parent
    os.environ["SWITCHBOARD_STATE_DIR"] = str(folder.parent)
    return configs.load_existing(folder.name)


async def _connected(config: ClusterConfig, role: str, user_agent: str) -> Client:
    """A client on the role's socket, once the API listens there: asking early is cheaper than a failed request."""
    from switchboard.client.http import HttpTransport
    from switchboard.client.kubeconfig import Access
    from switchboard.client.verbs import Client
    from switchboard.transport.http import HttpClient

    path = str(config.role_socket(role))
    await until(lambda: _listens(path))
    access = Access("http://switchboard", None, lambda: "")
    return Client(HttpTransport(access, HttpClient(unix=path)), user_agent=user_agent)


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


async def until(condition: Callable[[], bool], pause: float = 0.005) -> None:
    """Wait for something outside that cannot tell us; asks less and less often, at least five times a second."""
    while not condition():
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, 0.2)


def run(body: Run, make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> int:
    """Run a role until it ends or SIGTERM/SIGINT asks it to, on uvloop's loop or another. Returns the exit status."""
    if make_loop is None:
        from uvloop import new_event_loop as make_loop

    sys.setswitchinterval(_SWITCH)
    gc.set_threshold(_COLLECT, 20, 20)
    logging.basicConfig(
        level=os.environ.get("SWITCHBOARD_LOG", "INFO"),
        stream=sys.stderr,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
    )
    with asyncio.Runner(loop_factory=make_loop) as runner:
        try:
            return runner.run(_until_told(body()))
        except KeyboardInterrupt:
            return 0


async def _until_told(body: Awaitable[None]) -> int:
    loop = asyncio.get_running_loop()
    rest(loop)
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    task = asyncio.ensure_future(body)
    waiter = asyncio.ensure_future(told.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    if not told.is_set():
        waiter.cancel()
        task.result()  # raises what ended it
        _log.error("the role ended by itself")
        return 1
    task.cancel()
    try:
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 4.0)
    except TimeoutError:
        _log.warning("the role did not end within 4 s of being told to")
    return 0
