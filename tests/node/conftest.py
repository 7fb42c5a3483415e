"""One machine with a running containerd for all tests of the node, and a fresh node on it for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from switchboard.api.settings import Settings
from switchboard.client.resources import CONFIGMAPS, SERVICEACCOUNTS
from switchboard.cluster import policy
from switchboard.node.cleanup import remove_everything
from switchboard.node.settings import NodeSettings
from switchboard.testing.apiserver import ApiServer
from switchboard.testing.certificates import Authority
from switchboard.testing.node import NODE_IP, Machine, Node, inside, runtime_host, signing_key


@pytest.fixture(scope="session")
def machine(stand_in_images: Path) -> Iterator[Machine]:
    """A namespace with a running containerd that has the pause and busybox images."""
    with runtime_host(stand_in_images) as made:
        yield made


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@pytest.fixture
async def node(machine: Machine, tmp_path: Path) -> AsyncIterator[Node]:
    """A fresh API and an agent on the machine; nothing of its pods is left afterwards."""
    host, config = machine.host, machine.config
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\nsearch example.org\n")
    authority = Authority(tmp_path)
    certificate, key = authority.issue(
        "node", x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")]), server=True
    )
    settings = NodeSettings(
        name="one",
        ip=NODE_IP,
        cri_socket=config.containerd_socket,
        root_dir=config.state / "kubelet",
        log_dir=config.state / "logs",
        cluster_dns=("10.96.0.10",),
        pod_cidr="10.244.0.0/24",
        port=0,
        certificate=certificate,
        key=key,
        client_ca=authority.certificate,
        resolv_conf=tmp_path / "resolv.conf",
        cgroup_parent=f"/{config.cgroup}/pods",
    )
    with inside(host.path):
        async with ApiServer(settings=Settings(service_account_key=signing_key(), root_ca="CA")) as api:
            made = Node(api, settings, authority)
            await made.client.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
            root = {"metadata": {"name": "kube-root-ca.crt", "namespace": "default"}, "data": {"ca.crt": "CA"}}
            await made.client.create(CONFIGMAPS, root)
            await policy.ensure(made.client)
            made.start()
            try:
                yield made
            finally:
                await made.stop()
                made.runtime.close()
                await remove_everything(settings, grace=0)
