"""Recognizes a proxy that inspects TLS, from the certificate at the end of a tunnel.

An inspecting proxy decrypts the connection with the target, and shows programs a certificate that
the company's own certificate authority has issued. Three handshakes tell it from the certificate of
the target, each on a tunnel of its own:

1. Trusting only the public authorities (Mozilla's list, from certifi): if the handshake succeeds,
   the certificate is public, and nothing is inspected. This is the only handshake then.
2. Trusting the authorities of the system: if the handshake succeeds, the authority was added to
   this computer, usually by the company.
3. Trusting every certificate, to read the name of the issuer; nothing is sent on the connection.

A site inside the company may have a certificate of the company, too, without inspection; programs
need the company's authority for it as well. An authority that became public after the release of
the installed certifi looks like the company's. So does, on Windows and macOS, a site that sends no
intermediate certificate: these systems fetch it, and OpenSSL does not.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from trayproxy.desktop.public_authorities import public_authorities
from trayproxy.engine.error_pages import RequestRefusedError, no_response
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.handshake_error import HandshakeError
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.net.tls import TlsStream, private_ca_context, system_context
from trayproxy.engine.net.tls_tunnel import send_all, start_tls
from trayproxy.engine.proxy_auth.own_auth_port import final_head
from trayproxy.engine.transfer.head_cache import NO_KEY
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.http.errors import MessageError
from trayproxy.http.response import Response
from trayproxy.service.own_requests.certificate_finding import CertificateFinding, IssuerKind

OpenTunnel = Callable[[], Awaitable[SocketStream]]
"""Opens a tunnel to the target; its exceptions end the inspection."""


def public_context() -> ssl.SSLContext | None:
    """Return a context that trusts only public authorities; None if there is no list of them."""
    octets = public_authorities()
    return private_ca_context(octets) if octets is not None else None


@dataclass(frozen=True, slots=True)
class TrustedAuthorities:
    """The authorities of the handshakes; each function may read files.

    Attributes:
        public: Returns a context that trusts only public authorities; None if there is no list.
        system: Returns a context that trusts the authorities of the system.
    """

    public: Callable[[], ssl.SSLContext | None] = public_context
    system: Callable[[], ssl.SSLContext] = system_context


async def find_issuer(
    open_tunnel: OpenTunnel, host: str, authorities: TrustedAuthorities, limit_s: float
) -> CertificateFinding:
    """Return who has issued the certificate of a host at the end of a tunnel.

    Args:
        open_tunnel: Opens a tunnel to the host, up to three times.
        host: The host expected in the certificate.
        authorities: The authorities to trust.
        limit_s: The time limit of each handshake, in seconds.

    Raises:
        HandshakeError: A handshake failed for another reason than the certificate.
    """
    loop = asyncio.get_running_loop()
    kind, reason = IssuerKind.TRUSTED, ""
    public = await loop.run_in_executor(None, authorities.public)
    if public is not None:
        try:
            issuer = await _issuer(await open_tunnel(), public, host, limit_s)
            return CertificateFinding(IssuerKind.PUBLIC, issuer)
        except HandshakeError as error:
            if not error.is_certificate_error:
                raise
            kind = IssuerKind.COMPANY
    system = await loop.run_in_executor(None, authorities.system)
    try:
        return CertificateFinding(kind, await _issuer(await open_tunnel(), system, host, limit_s))
    except HandshakeError as error:
        if not error.is_certificate_error:
            raise
        reason = error.reason
    issuer = await _issuer(await open_tunnel(), _unverified_context(), host, limit_s)
    return CertificateFinding(IssuerKind.UNTRUSTED, issuer, reason)


async def _issuer(tunnel: SocketStream, context: ssl.SSLContext, host: str, limit_s: float) -> str:
    stream: TlsStream = await start_tls(tunnel, context, host, limit_s)
    stream.close()
    return stream.issuer


async def fetch_page(
    tunnel: SocketStream, host: str, request: bytes, limits: EngineLimits
) -> Response:
    """Return the head of the response to a GET request for a page of a host at the end of a tunnel,
    which is closed.

    Args:
        tunnel: The tunnel.
        host: The host expected in the certificate, which the system must trust.
        request: The head of the request.
        limits: The time limits.

    Raises:
        HandshakeError: The handshake failed.
        RequestRefusedError: The host sent no valid response.
    """
    context = await asyncio.get_running_loop().run_in_executor(None, system_context)
    stream = await start_tls(tunnel, context, host, limits.handshake_s)
    try:
        async with asyncio.timeout(limits.connect_response_head_s):
            await send_all(stream, request)
            return await final_head(UpstreamConnection(stream, NO_KEY), b"GET")
    except (OSError, EOFError, MessageError):
        limit_s = limits.connect_response_head_s
        page = no_response(host, limit_s, through_upstream=False)
        raise RequestRefusedError(page) from None
    finally:
        stream.close()


def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
