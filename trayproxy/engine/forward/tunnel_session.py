"""The connection of a client that asks for one tunnel without HTTP: SOCKS5, or a fixed forward.

The tunnel is requested as a CONNECT request, so its route, its sign-in and its limits are those of
every other tunnel.
"""

import logging
from collections.abc import Callable

from trayproxy.engine.downstream import ClientDownstream
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.forward.client_password import VerifyLogin
from trayproxy.engine.forward.forwarder import Forwarder
from trayproxy.engine.forward.request_loop import received_request
from trayproxy.engine.net.fd_task import FdTask, IoWait
from trayproxy.engine.net.socks5_server import (
    SocksRefusedError,
    SocksReply,
    read_target,
    write_reply,
)
from trayproxy.engine.net.socks_client import SocksConnectionLostError, run_dialogue
from trayproxy.engine.proxy_auth.auth_context import AuthContext
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.http.target import Authority, raw_authority

logger = logging.getLogger(__name__)

_REPLIES = {
    "connection_refused": SocksReply.CONNECTION_REFUSED,
    "connection_timeout": SocksReply.HOST_UNREACHABLE,
    "destination_ip_unroutable": SocksReply.HOST_UNREACHABLE,
    "destination_unavailable": SocksReply.HOST_UNREACHABLE,
    "dns_error": SocksReply.HOST_UNREACHABLE,
    "http_response_timeout": SocksReply.HOST_UNREACHABLE,
    "destination_ip_prohibited": SocksReply.NOT_ALLOWED,
    "http_request_denied": SocksReply.NOT_ALLOWED,
    "proxy_loop_detected": SocksReply.NOT_ALLOWED,
}
"""The SOCKS reply for each Proxy-Status error type of an error page; others are general failures.
"""


class SocksReplies:
    """The replies to a SOCKS5 client."""

    established = write_reply(SocksReply.SUCCEEDED)

    def refused(self, page: ErrorPage) -> bytes:
        """Return the SOCKS reply for an error page, which is logged: the client cannot show it."""
        reply = _REPLIES.get(page.error, SocksReply.GENERAL_FAILURE)
        logger.info("a SOCKS5 client got reply %d: %s", reply, _summary(page))
        return write_reply(reply)


class ForwardReplies:
    """The replies to a client of a fixed forward: none."""

    established = b""

    def refused(self, page: ErrorPage) -> bytes:
        """Log an error page, and return no octets."""
        logger.info("a connection of a fixed forward was closed: %s", _summary(page))
        return b""


def _summary(page: ErrorPage) -> str:
    return f"{page.title} ({page.code})" if page.code else page.title


class TunnelSession:
    """Opens the tunnel of a client without HTTP.

    Attributes:
        tunnel: The tunnel the connection has become; None if it has not become a tunnel.
        is_idle: False: the connection serves no further request.
        is_between_requests: True until the client's request is read.
    """

    is_idle = False

    def __init__(
        self,
        downstream: ClientDownstream,
        auth: AuthContext,
        resume: Callable[[int], None],
        target: Authority | None,
        verify: VerifyLogin | None = None,
    ) -> None:
        """Prepare the session.

        Args:
            resume: Called when the wait of `task` has ended without an event; see `FdTask`.
            target: The target of a fixed forward; None for a SOCKS5 client.
            verify: See `trayproxy.engine.net.socks5_server.read_target`.
        """
        downstream.tunnel_replies = SocksReplies() if target is None else ForwardReplies()
        self._downstream = downstream
        self._auth = auth
        self._target = target
        self._verify = verify
        self.tunnel: Tunnel | None = None
        self.is_between_requests = True
        self.task = FdTask(self._run(), downstream.context.loop, resume)

    async def _run(self) -> None:
        try:
            target = self._target or await self._read_target()
            if target is not None:
                self.tunnel = await self._open_tunnel(target)
        except (ClientGoneError, OSError):
            # The client has left or is too slow. TimeoutError is an OSError.
            pass

    async def _read_target(self) -> Authority | None:
        """Return the target that a SOCKS5 client asks for; None if it is not served."""
        downstream = self._downstream
        downstream.set_deadline(downstream.context.limits.head_s)
        reason = "it sent no complete request in time"
        try:
            return await run_dialogue(
                read_target(self._verify), downstream.client, _wait, before_login=lambda: None
            )
        except SocksRefusedError as error:
            logger.info("a SOCKS5 client was refused: %s (TP-112)", error)
            if error.is_wrong_login:
                await IoWait({}, timeout=downstream.context.limits.wrong_password_s)
            await downstream.refuse_tunnel(error.reply)
            return None
        except SocksConnectionLostError:
            reason = "it disconnected in the middle of its request"
        except TimeoutError:
            pass
        logger.info("a SOCKS5 client was not served: %s (TP-112)", reason)
        return None

    async def _open_tunnel(self, target: Authority) -> Tunnel | None:
        downstream, authority = self._downstream, raw_authority(target)
        downstream.clear_deadline()
        self.is_between_requests = False
        head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)
        request = received_request(downstream.context, head)
        if request.page is not None:
            await downstream.send_page(request.page, request.request, keep_alive=False)
            return None
        result = await Forwarder(downstream, self._auth, request).forward()
        return result if isinstance(result, Tunnel) else None


async def _wait(events: dict[int, int]) -> None:
    await IoWait(events)
