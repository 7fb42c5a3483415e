"""Which part gets what: settings of every part from the cluster's description, and the list of what runs inside the
server.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import network, resolvers
from .config import ClusterConfig
from .errors import ClusterError
from .pages import give_back

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.api.settings import Settings
    from switchboard.client.cache import Cache
    from switchboard.client.verbs import Client
    from switchboard.proxy.sync import Proxy
    from switchboard.store.store import Store

# seconds until the kernel follows; on a machine that is very busy, controllers have a say only after some of them
_CLOSING_LIMIT, _KEPT_LIMIT = 10.0, 1.0
_LISTEN_LIMIT = 1.0  # seconds that a container with neither startup nor readiness probe has to listen
_TALK_LIMIT = 5.0  # seconds that open connections get
_STARTED = 1.2  # seconds after which nobody waits for the start any more, and nobody has come to rest (`resting`)
_RESOLVERS_EVERY = 5.0  # seconds between looks at whom the host asks about names

_log = logging.getLogger("switchboard.cluster")

ClientAs = Callable[[str], "Client"]


def make_app(store: Store, settings: Settings, config: ClusterConfig) -> App:
    """The API over its store."""
    from switchboard.api.app import App
    from switchboard.api.kubelets import Kubelets, kubelet_context

    pki = config.pki
    context = kubelet_context(*(str(pki / file) for file in ("kubelet-client.crt", "kubelet-client.key", "ca.crt")))
    return App(store, settings, kubelet=Kubelets(store, context))


def server_jobs(client_as: ClientAs, app: App, config: ClusterConfig) -> list[tuple[str, Coroutine[Any, Any, None]]]:
    """Everything that watches and acts inside the server, by name, in the order it is started.

    All of it decides from the same copies: each object is decoded and held once, whoever looks at it.
    """
    from switchboard.client import Cache

    client = client_as("system:kube-controller-manager")
    copies = Cache(client)
    return [
        ("copies", copies.run()),
        ("controllers", _controllers(client, config, copies)),
        ("scheduler", _scheduler(client_as("system:kube-scheduler"), copies)),
        ("advice", _advice(client_as("system:switchboard:advice"), app, copies)),
        ("documents", _documents(app)),
    ]


async def run_node(client: Client, proxy_client: Client, config: ClusterConfig) -> None:
    """Pods through the cluster's containerd, and Services as rules, for the namespace this runs in."""
    from switchboard.node.agent import Agent
    from switchboard.node.settings import NodeSettings
    from switchboard.proxy.settings import ProxySettings
    from switchboard.proxy.sync import Proxy

    proxy_settings = ProxySettings(
        node_name=config.node_name,
        node_ips=config.node_ips,
        pod_cidrs=config.node_pod_cidrs,
        cluster_cidrs=config.pod_cidrs,
        service_cidrs=config.service_cidrs,
        faithful=config.faithful,
    )
    node_settings = NodeSettings(
        name=config.node_name,
        ip=config.node_ip,
        more_ips=config.node_ips[1:],
        cri_socket=config.containerd_socket,
        root_dir=config.state / "kubelet",
        log_dir=config.state / "pod-logs",
        cluster_dns=(config.dns_ip,),
        cluster_domain=config.domain,
        pod_cidr=config.node_pod_cidr,
        more_pod_cidrs=config.node_pod_cidrs[1:],
        certificate=config.pki / "kubelet.crt",
        key=config.pki / "kubelet.key",
        client_ca=config.pki / "ca.crt",
        resolv_conf=write_resolv_conf(config),
        cgroup_parent=f"/{config.cgroup}/pods",
        drain_seconds=0.0,
        listen_seconds=0.0 if config.faithful else _LISTEN_LIMIT,
    )
    proxy = Proxy(proxy_client, proxy_settings)
    # faithful: a deleted pod is told to end at once, while its endpoints are still being taken away, as kubelet does
    agent = Agent(client, node_settings, drain=None if config.faithful else drain_of(proxy))
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(), name="node")
        group.create_task(proxy.run(), name="proxy")


def drain_of(proxy: Proxy, least: float = 0.0) -> Callable[[dict[str, Any]], Coroutine[Any, Any, None]]:
    """A pod is told to end only when no new connection is sent to it any more and those that are open had time to end:
    no request is lost in a rolling update, whatever the pod does when it is told.

    Node and proxy live in one process, so this is known rather than guessed. It takes some milliseconds, or as long as
    controllers need when the machine is busy; then, while connections are in use, at most `_TALK_LIMIT`. A connection
    that is silent for two seconds is not waited for. `least`: seconds that proxies of other nodes are given.
    """
    from switchboard.proxy.sync import Way

    async def drain(pod: dict[str, Any]) -> None:
        addresses = [one["ip"] for one in (pod.get("status") or {}).get("podIPs") or ()]
        began, namespace = time.monotonic(), pod["metadata"]["namespace"]
        for address in addresses:
            while (way := proxy.way_to(namespace, address)) is not Way.NONE:
                if time.monotonic() - began > (_KEPT_LIMIT if way is Way.KEPT else _CLOSING_LIMIT):
                    break
                await asyncio.sleep(0.002)  # for some milliseconds: cheaper than telling of every slice
        await asyncio.sleep(began + least - time.monotonic())
        if pod["spec"].get("hostNetwork"):
            return  # connections to the node's address are not the pod's alone
        deadline, pause = time.monotonic() + _TALK_LIMIT, 0.002
        while time.monotonic() < deadline and any(proxy.talks_to(address) for address in addresses):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    return drain


async def run_dns(client: Client, config: ClusterConfig) -> None:
    """The cluster's DNS on the node's address; Service kube-system/kube-dns leads to it."""
    from switchboard.dns.server import DnsServer, DnsSettings

    settings = DnsSettings(
        listen=(config.node_ip,),
        domain=config.domain,
        networks=(*config.service_cidrs, *config.pod_cidrs),
        resolv_conf=write_resolv_conf(config),
        status_port=9153,  # where CoreDNS has its metrics
        announce_ip=config.dns_ip,
        node_name=config.node_name,
    )
    server = DnsServer(client, settings)
    async with asyncio.TaskGroup() as group:
        group.create_task(_follow_resolvers(config, server.reload))
        await server.run()


async def _follow_resolvers(config: ClusterConfig, reload: Callable[[], None]) -> None:
    """The host's resolvers change when it meets another network: so do the node's."""
    known = resolvers.files()
    while True:
        await asyncio.sleep(_RESOLVERS_EVERY)
        now = resolvers.files()
        if now != known:
            known = now
            write_resolv_conf(config)
            reload()
            try:
                await asyncio.to_thread(network.tell_resolvers, config)
            except ClusterError as error:
                _log.warning("%s", error)


def write_resolv_conf(config: ClusterConfig) -> Path:
    """The node's resolv.conf, for pods that ask for the node's resolver: no servers without a way out."""
    path = config.run / "resolv.conf"
    lines = [f"nameserver {server}" for server in resolvers.servers(config)]
    text = "\n".join(lines or ["# this cluster has no way out, so there is nobody to ask"]) + "\n"
    try:
        if path.read_text() == text:
            return path
    except OSError:
        pass
    path.write_text(text)
    return path


async def _controllers(client: Client, config: ClusterConfig, copies: Cache) -> None:
    from switchboard.controllers.run import ControllerSettings, run_controllers

    settings = ControllerSettings(
        root_ca=(config.pki / "ca.crt").read_text(),
        load_balancer_pools=config.load_balancer_cidrs if config.load_balancer else (),
        host_path=str(config.state / "volumes"),
        signer=partial(_sign, config.pki),
    )
    await run_controllers(client, settings, cache=copies)


def _sign(pki: Path, request: bytes, usages: list[str], seconds: float) -> bytes:
    from switchboard.pki.signing import sign_request  # with the first request: most clusters see none

    return sign_request(pki, request, usages, seconds, time.time())


async def _scheduler(client: Client, copies: Cache) -> None:
    from switchboard.scheduler.run import run_scheduler

    await run_scheduler(client, cache=copies)


async def _documents(app: App) -> None:
    await asyncio.sleep(_STARTED)
    await app.nonresource.build_ahead()
    gc.collect()
    give_back()  # building takes some megabytes, for a tenth of a second


async def _advice(client: Client, app: App, copies: Cache) -> None:
    """Warnings of `kubectl apply` and Events, when a Service's selector matches nothing."""
    from switchboard.client import EventRecorder
    from switchboard.client import resources as r
    from switchboard.why.advice import service_warnings
    from switchboard.why.loop import Watcher
    from switchboard.why.world import World

    workloads = [copies.informer(res) for res in (r.DEPLOYMENTS, r.STATEFULSETS, r.DAEMONSETS, r.REPLICASETS)]
    world = World(copies.informer(r.SERVICES), copies.informer(r.PODS), copies.informer(r.ENDPOINTSLICES), workloads)
    app.advisers.append(lambda service, old: service_warnings(service, old, world))
    await Watcher(client, world, EventRecorder(client, "switchboard-advice")).run()
