"""Certificates: a client and a server that hold them can talk, strangers cannot, and a second start makes nothing."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from switchboard.pki.ensure import PkiError, ensure, file_names, is_fresh
from switchboard.pki.make import make_leaf
from switchboard.pki.plan import LEAF_DAYS, Plan, node_client, plan

DAY = 86400.0


def make_plan(*, gateway: str = "192.168.49.1") -> Plan:
    return plan(
        "switchboard",
        "node-a",
        server_addresses=[gateway, "127.0.0.1", "10.96.0.1"],
        node_addresses=["192.168.49.2"],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pki")
    assert ensure(path, make_plan())
    return path


def load(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


def handshake(
    folder: Path, server: str, client: str, host: str, client_folder: Path | None = None
) -> dict[str, object] | None:
    """A TLS handshake in memory with mutual verification: what the server sees of the client."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / f"{server}.crt", folder / f"{server}.key")
    server_context.load_verify_locations(folder / "ca.crt")
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    client_context.load_cert_chain(*((client_folder or folder) / f"{client}.{end}" for end in ("crt", "key")))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    there = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return there.getpeercert()


@pytest.mark.parametrize(
    "host", ["kubernetes", "kubernetes.default.svc", "localhost", "127.0.0.1", "10.96.0.1", "192.168.49.1"]
)
def test_the_api_is_trusted_under_every_name_it_is_reached_by(folder: Path, host: str) -> None:
    assert handshake(folder, "server", "admin", host) is not None


def test_the_api_is_not_trusted_under_another_name(folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, "server", "admin", "example.com")


def test_a_client_of_another_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    ensure(tmp_path, make_plan())
    with pytest.raises(ssl.SSLError):
        handshake(folder, "server", "admin", "kubernetes", tmp_path)


def test_a_serving_certificate_is_no_client_certificate(folder: Path) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(folder, "server", "kubelet", "kubernetes")


@pytest.mark.parametrize(
    ("file", "user", "groups"),
    [
        ("admin", "kubernetes-admin", ["system:masters"]),
        ("node", "system:node:node-a", ["system:nodes"]),
        ("kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"]),
        ("proxy", "system:kube-proxy", []),
        ("dns", "system:dns", ["system:dns"]),
    ],
)
def test_identities_are_those_the_default_roles_are_bound_to(
    folder: Path, file: str, user: str, groups: list[str]
) -> None:
    subject = load(folder, file).subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == groups


def test_keys_are_private_and_belong_to_their_certificates(folder: Path) -> None:
    for leaf in make_plan().leaves:
        path = folder / f"{leaf.file}.key"
        assert path.stat().st_mode & 0o777 == 0o600
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert key.public_key() == load(folder, leaf.file).public_key()


def test_openssl_accepts_the_chain(folder: Path) -> None:
    for leaf in make_plan().leaves:
        command = [
            "openssl",
            "verify",
            "-x509_strict",
            "-CAfile",
            str(folder / f"{leaf.authority}.crt"),
            str(folder / f"{leaf.file}.crt"),
        ]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_second_start_makes_nothing_and_imports_no_cryptography(folder: Path) -> None:
    before = {name: (folder / name).stat().st_mtime_ns for name in file_names(make_plan())}
    code = f"""
import sys
from pathlib import Path
from switchboard.pki.ensure import ensure
from switchboard.pki.plan import plan
wanted = plan("switchboard", "node-a", server_addresses=["192.168.49.1", "127.0.0.1", "10.96.0.1"],
              node_addresses=["192.168.49.2"])
made = ensure(Path({str(folder)!r}), wanted)
print(made, "cryptography" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == [
        "False",
        "False",
    ]
    assert before == {name: (folder / name).stat().st_mtime_ns for name in file_names(make_plan())}


def test_certificates_are_renewed_near_their_end_but_the_authority_and_tokens_stay(tmp_path: Path) -> None:
    start = time.time()
    ensure(tmp_path, make_plan(), now=start)
    kept = {name: (tmp_path / name).read_bytes() for name in ("ca.crt", "ca.key", "sa.key", "sa.pub")}
    old = load(tmp_path, "server")
    assert is_fresh(tmp_path, make_plan(), start + (LEAF_DAYS - 31) * DAY)
    assert ensure(tmp_path, make_plan(), now=start + (LEAF_DAYS - 29) * DAY)
    assert load(tmp_path, "server").not_valid_after_utc > old.not_valid_after_utc
    assert kept == {name: (tmp_path / name).read_bytes() for name in kept}


def test_another_address_makes_new_certificates_under_the_same_authority(tmp_path: Path) -> None:
    ensure(tmp_path, make_plan())
    authority = (tmp_path / "ca.crt").read_bytes()
    assert ensure(tmp_path, make_plan(gateway="192.168.50.1"))
    assert authority == (tmp_path / "ca.crt").read_bytes()
    assert handshake(tmp_path, "server", "admin", "192.168.50.1") is not None


@pytest.mark.parametrize("missing", ["stamp.json", "node.key", "sa.pub"])
def test_what_is_missing_is_made_again(tmp_path: Path, missing: str) -> None:
    ensure(tmp_path, make_plan())
    (tmp_path / missing).unlink()
    assert ensure(tmp_path, make_plan())
    assert handshake(tmp_path, "server", "node", "kubernetes") is not None


def test_a_key_that_is_not_the_authoritys_is_refused_in_words(tmp_path: Path) -> None:
    ensure(tmp_path, make_plan())
    os.replace(tmp_path / "admin.key", tmp_path / "ca.key")
    with pytest.raises(PkiError, match=r"ca\.key does not belong to ca\.crt"):
        ensure(tmp_path, make_plan())


def test_one_more_node_gets_a_certificate(folder: Path, tmp_path: Path) -> None:
    certificate, key = make_leaf(folder, node_client("node-b"), time.time())
    (tmp_path / "node.crt").write_bytes(certificate)
    (tmp_path / "node.key").write_bytes(key)
    assert handshake(folder, "server", "node", "kubernetes", tmp_path) is not None
