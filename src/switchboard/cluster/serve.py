"""The server role: store, API on its addresses, controllers and scheduler over the in-process client, and the guard
of the supervisor.

Started in this visible order: store, API objects, listeners (clients may come), then everything that watches.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path

from switchboard.api import audit
from switchboard.api.app import App
from switchboard.api.auditlog import Rotation
from switchboard.api.identity import AUTHENTICATED, MASTERS, Identity
from switchboard.api.keyspace import index
from switchboard.api.settings import Settings
from switchboard.client.verbs import Client
from switchboard.store.store import Store
from switchboard.transport.namespaces import made_in
from switchboard.transport.server import Server

from . import policy, wiring
from .config import ClusterConfig
from .loopback import Loopback
from .resting import rest_others
from .supervisor import guard_supervisor

_log = logging.getLogger("switchboard.server")


async def serve(config: ClusterConfig) -> None:
    """Run the server until cancelled; everything is closed in the opposite order."""
    store = Store.open(config.state / "store.db", index=index)
    app = wiring.make_app(store, _settings(config), config)
    https = Server(app.handle, _tls(config), id_header=audit.HEADER)
    local = [(path, _local(app, identity)) for path, identity in _local_identities(config)]
    try:
        await app.start()
        await policy.ensure(client_as(app, "system:apiserver"))
        await https.listen(config.gateway, config.api_port)
        await https.listen("127.0.0.1", config.api_port)
        # for the node's side too: kubectl with the same kubeconfig, and pods that share the node's network
        await https.listen("127.0.0.1", sock=_listening_on_node(config))
        for path, server in local:
            await server.listen_unix(path)
        _log.info("serving on %s:%d and 127.0.0.1:%d", config.gateway, config.api_port, config.api_port)
        guard_supervisor(config)
        rest_others(asyncio.get_running_loop(), config.run / "processes.json", ("registry",))
        async with asyncio.TaskGroup() as group:
            for name, job in wiring.server_jobs(lambda user: client_as(app, user), app, config):
                group.create_task(job, name=name)
    finally:
        await asyncio.gather(https.close(1.0), *(server.close(0.5) for _, server in local))
        await app.stop()
        await store.close()


def _local_identities(config: ClusterConfig) -> list[tuple[Path, Identity]]:
    """Sockets only root can open, and whom their callers are taken for: our own command line, and the roles on this
    machine.

    The roles could come over TLS with their certificates, as they do from elsewhere; this way each saves 5 MB and a
    handshake.
    """
    return [
        (config.api_socket, Identity("kubernetes-admin", (MASTERS, AUTHENTICATED))),
        (config.role_socket("node"), Identity(f"system:node:{config.node_name}", ("system:nodes", AUTHENTICATED))),
        (config.role_socket("proxy"), Identity("system:kube-proxy", (AUTHENTICATED,))),
        (config.role_socket("dns"), Identity("system:dns", ("system:dns", AUTHENTICATED))),
    ]


def _local(app: App, identity: Identity) -> Server:
    return Server(lambda request: app.handle_as(identity, request), id_header=audit.HEADER)


def client_as(app: App, user: str, groups: tuple[str, ...] = (MASTERS, AUTHENTICATED)) -> Client:
    """An in-process client of that user."""
    loopback = Loopback(app, Identity(user, groups))
    return Client(loopback, user_agent=user.rpartition(":")[2], finder=loopback.finder)


def _settings(config: ClusterConfig) -> Settings:
    return Settings(
        service_cidrs=config.service_cidrs,
        advertise_address=config.gateway,
        advertise_port=config.api_port,
        cluster_domain=config.domain,
        service_account_key=(config.pki / "sa.key").read_text(),
        root_ca=(config.pki / "ca.crt").read_text(),
        proxy_client=(str(config.pki / "front-proxy-client.crt"), str(config.pki / "front-proxy-client.key")),
        proxy_ca=(config.pki / "front-proxy-ca.crt").read_text(),
        audit_policy=config.audit_policy,
        audit_log=config.audit_log,
        audit_rotation=Rotation(config.audit_max_size, config.audit_max_backups, config.audit_max_age),
    )


def _tls(config: ClusterConfig) -> ssl.SSLContext:
    """Serving certificate, and client certificates asked for but not required: tokens and anonymous callers come
    too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.pki / "server.crt", config.pki / "server.key")
    context.load_verify_locations(config.pki / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _listening_on_node(config: ClusterConfig) -> socket.socket:
    """The API's port on the node's own loopback, without being there: the same URL as on the host."""
    made = made_in(config.netns_path, lambda: socket.create_server(("127.0.0.1", config.api_port), backlog=1024))
    made.setblocking(False)
    return made
