"""TLS with the target of a tunnel, for requests of TrayProxy's own."""

import asyncio
import socket
import ssl
from typing import cast

from trayproxy.engine.net.fd_task import READ, WRITE, IoWait, wait_in_task
from trayproxy.engine.net.handshake_error import HandshakeError
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.net.tls import TlsStream


class _TunnelSocket:
    """The methods of a non-blocking socket that `TlsStream` uses, on a stream.

    With an https upstream, the stream is a TLS connection itself.
    """

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self.gettimeout = stream.socket.gettimeout
        self.setsockopt = stream.socket.setsockopt
        self.getsockopt = stream.socket.getsockopt
        self.fileno = stream.socket.fileno
        self.close = stream.close

    def recv(self, limit: int) -> bytes:
        data = self._stream.take_inbox() or self._stream.receive(limit)
        if data is None:
            raise BlockingIOError
        return data

    def send(self, data: bytes) -> int:
        sent = self._stream.send(data)
        if not sent:
            raise BlockingIOError
        return sent

    def shutdown(self, how: int) -> None:
        self._stream.shutdown_write()


async def start_tls(
    tunnel: SocketStream, context: ssl.SSLContext, host: str, limit_s: float
) -> TlsStream:
    """Return a TLS stream with the host at the end of a tunnel.

    The tunnel belongs to the stream, and is closed if the handshake fails.

    Args:
        tunnel: The connection, without octets of the host.
        context: The SSL context, which has the trusted authorities.
        host: The host expected in the certificate, an IP literal without brackets.
        limit_s: The time limit of the handshake, in seconds.

    Raises:
        HandshakeError: The handshake failed, or took too long.
    """
    try:
        connection = cast(socket.SocketType, _TunnelSocket(tunnel))
        stream = TlsStream.start(connection, context, host)
        async with asyncio.timeout(limit_s):
            while not stream.do_handshake():
                is_blocked = stream.is_blocked or (
                    isinstance(tunnel, TlsStream) and tunnel.is_blocked
                )
                events = {tunnel.descriptor: READ | (WRITE if is_blocked else 0)}
                await wait_in_task(IoWait(events))
    except BaseException as error:
        tunnel.close()
        if isinstance(error, TimeoutError):
            reason = f"It did not finish the handshake within {limit_s:g} seconds."
            raise HandshakeError(reason, is_gone=True) from None
        raise
    return stream


async def send_all(stream: SocketStream, octets: bytes) -> None:
    """Send octets, and wait until the kernel has accepted all of them.

    Raises:
        OSError: The connection is closed or was reset.
    """
    rest = memoryview(octets)
    while rest:
        rest = rest[stream.send(rest) :]
        if rest:
            await wait_in_task(IoWait({stream.descriptor: WRITE}))
