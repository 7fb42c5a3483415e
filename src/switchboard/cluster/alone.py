"""A node of somebody else's cluster: `switchboard node --kubeconfig FILE`, as kubelet and kube-proxy are run by hand.

The container runtime and its CNI configuration are the machine's own; pods and Services are this process's work.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from pathlib import Path

from . import roles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What a node has to be told."""
    add = parser.add_argument
    add("--node-name", default=socket.gethostname().lower(), help="name of the Node object (the host's name)")
    add("--node-ip", required=True, help="the address other nodes and the API reach this one at")
    add("--containerd", type=Path, default=Path("/run/containerd/containerd.sock"), metavar="SOCKET", help="CRI socket")
    add("--root", type=Path, default=Path("/var/lib/kubelet"), help="pods' volumes (/var/lib/kubelet)")
    add("--logs", type=Path, default=Path("/var/log/pods"), help="containers' logs (/var/log/pods)")
    add("--cluster-dns", action="append", metavar="IP", help="the cluster's DNS Service (10.96.0.10)")
    add("--cluster-domain", default="cluster.local")
    add("--pod-cidr", default="", help="this node's pod range, when the API does not give one")
    add("--tls-cert", type=Path, metavar="FILE", help="serving certificate; without one no logs and no exec")
    add("--tls-key", type=Path, metavar="FILE", help="its key")
    add("--client-ca", type=Path, metavar="FILE", help="authority of those who may ask for logs and exec")
    add("--no-proxy", action="store_true", help="pods only: another proxy serves Services here")


def node(options: argparse.Namespace) -> int:
    """Run until SIGTERM; pods go on without us."""

    async def body() -> None:
        from switchboard.client.verbs import Client
        from switchboard.node.agent import Agent
        from switchboard.node.settings import NodeSettings
        from switchboard.proxy.settings import ProxySettings
        from switchboard.proxy.sync import Proxy

        from .wiring import drain_of

        settings = NodeSettings(
            name=options.node_name,
            ip=options.node_ip,
            cri_socket=options.containerd,
            root_dir=options.root,
            log_dir=options.logs,
            cluster_dns=tuple(options.cluster_dns or ("10.96.0.10",)),
            cluster_domain=options.cluster_domain,
            pod_cidr=options.pod_cidr,
            certificate=options.tls_cert,
            key=options.tls_key,
            client_ca=options.client_ca,
        )
        client = Client.from_kubeconfig(options.kubeconfig, user_agent="switchboard-node")
        if options.no_proxy:
            await Agent(client, settings).run()
            return
        proxy = Proxy(client, ProxySettings(node_name=options.node_name))
        agent = Agent(client, settings, drain=drain_of(proxy, settings.drain_seconds))
        await asyncio.gather(agent.run(), proxy.run())

    return roles.run(body)
