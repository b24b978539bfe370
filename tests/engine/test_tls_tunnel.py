"""TLS with the target of a tunnel, inside a plain connection or inside TLS."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import TypeVar

import pytest

from tests.engine.test_tls_stream import do_handshake
from tests.support.process_output import PATIENCE
from tests.support.tls import CertificateAuthority
from trayproxy.engine.net.fd_task import READ, IoWait, wait_in_task
from trayproxy.engine.net.handshake_error import HandshakeError
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.net.tls import TlsStream, private_ca_context
from trayproxy.engine.net.tls_tunnel import send_all, start_tls

T = TypeVar("T")

PROXY, HOST = "proxy.test.lan", "origin.test.lan"


def serve_tls(connection: socket.socket, context: ssl.SSLContext, length: int) -> None:
    """Answer this number of octets inside TLS on a connection with ``done``."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    inner = context.wrap_bio(incoming, outgoing, server_side=True)

    def run(step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(1 << 16))
            else:
                connection.sendall(outgoing.read())
                return result

    run(inner.do_handshake)
    while length:
        length -= len(run(lambda: inner.read(1 << 16)))
    run(lambda: inner.write(b"done"))
    connection.recv(1)


@contextmanager
def played(stack: ExitStack, play: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Return a connection to a peer that runs in a thread."""
    near, far = (stack.enter_context(end) for end in socket.socketpair())
    far.settimeout(PATIENCE)

    def run() -> None:
        with far:
            play(far)

    thread = Thread(target=run)
    thread.start()
    yield near
    near.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "inside TLS"])
@pytest.mark.parametrize("length", [5, 1 << 20])
def test_octets_pass_both_ways(
    stack: ExitStack, authority: CertificateAuthority, is_encrypted: bool, length: int
) -> None:
    proxy, site = authority.issue(PROXY).context(), authority.issue(HOST).context()
    trusted = private_ca_context(authority.pem.read_bytes())

    def play(far: socket.socket) -> None:
        if is_encrypted:
            with proxy.wrap_socket(far, server_side=True) as outer:
                serve_tls(outer, site, length)
        else:
            serve_tls(far, site, length)

    async def ask(tunnel: SocketStream) -> bytes:
        stream = await start_tls(tunnel, trusted, HOST, PATIENCE)
        await send_all(stream, b"x" * length)
        while (data := stream.receive()) is None:
            await wait_in_task(IoWait({stream.descriptor: READ}))
        stream.close()
        return data

    with played(stack, play) as near:
        tunnel = TlsStream.start(near, trusted, PROXY) if is_encrypted else SocketStream(near)
        if isinstance(tunnel, TlsStream):
            do_handshake(tunnel)
        assert asyncio.run(ask(tunnel)) == b"done"
        assert near.fileno() < 0


@pytest.mark.parametrize(
    ("peer", "reason", "is_connection_lost"),
    [
        ("silent", "It did not finish the handshake within 0.1 seconds.", True),
        ("closes", "It closed the connection.", True),
        ("another name", "It was issued for another name.", False),
    ],
)
def test_a_failed_handshake_closes_the_tunnel(
    stack: ExitStack,
    authority: CertificateAuthority,
    peer: str,
    reason: str,
    is_connection_lost: bool,
) -> None:
    other = authority.issue(PROXY).context()

    def play(far: socket.socket) -> None:
        if peer == "another name":
            with pytest.raises(ssl.SSLError):
                serve_tls(far, other, 0)
            return
        far.recv(1 << 16)
        if peer == "silent":
            far.recv(1)

    trusted = private_ca_context(authority.pem.read_bytes())
    with played(stack, play) as near:
        limit_s = 0.1 if peer == "silent" else PATIENCE
        with pytest.raises(HandshakeError) as failed:
            asyncio.run(start_tls(SocketStream(near), trusted, HOST, limit_s))
        assert near.fileno() < 0
    assert (failed.value.reason, failed.value.is_connection_lost) == (reason, is_connection_lost)
