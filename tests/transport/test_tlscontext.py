"""TLS objects that skip a layer of Python do what the others do."""

import ssl

import pytest

from switchboard.transport.tlscontext import prepare


@pytest.mark.parametrize("prepared", [True, False])
def test_both_ends_over_memory(certificates, prepared):
    server, client = certificates.server(), certificates.client()
    if prepared:
        prepare(server)
        prepare(client)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    assert not waiting
    one, other = ends
    assert (one.read.__self__ is one) is not prepared
    with pytest.raises(ssl.SSLWantReadError):
        other.read(10)
    assert one.write(b"hello, you there") == 16
    assert other.read(5) == b"hello"
    assert other.pending() == 11
    room = bytearray(20)
    assert other.read(20, room) == 11 and room[:11] == b", you there"
    assert other.getpeercert() is None and one.getpeercert()["subject"]
