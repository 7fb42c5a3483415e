"""Certificates made once, and pairs of connected streams."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from switchboard.transport.raw import RawConnection


@dataclass
class Certificates:
    folder: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        context.load_verify_locations(self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client(self, *, certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if certificate:
            context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        return context


def issue(folder: Path, name: str, subject: x509.Name, issuer=None):
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.issuer_name(issuer[0].subject if issuer else subject).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(1))
    if issuer is None:
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("tunnel.example")]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    named = lambda *pairs: x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])  # noqa: E731
    ca = issue(folder, "ca", named((NameOID.COMMON_NAME, "test-ca")))
    issue(folder, "server", named((NameOID.COMMON_NAME, "server")), ca)
    people = (NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.ORGANIZATION_NAME, "others")
    issue(folder, "client", named((NameOID.COMMON_NAME, "jane"), *people), ca)
    return Certificates(folder)


@pytest.fixture
async def pair():
    """Makes two connections that are each other's peer."""
    made: list[RawConnection] = []

    async def connect() -> tuple[RawConnection, RawConnection]:
        loop = asyncio.get_running_loop()
        for end in socket.socketpair():
            end.setblocking(False)
            made.append((await loop.create_connection(RawConnection, sock=end))[1])
        return made[-2], made[-1]

    yield connect
    for connection in made:
        connection.close()


def pytest_asyncio_loop_factories(config, item):
    """Everything runs on both loops: they differ in half-closes, in TLS, and in when writes leave."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
