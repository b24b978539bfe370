"""The desk, as the authentication exchange of a client's request or of a preconnect sees it."""

from asyncio import CancelledError, Future

from trayproxy.desk.broker import NoVerdict
from trayproxy.desk.credentials import Credentials, Outcome
from trayproxy.engine.downstream import Downstream
from trayproxy.engine.net.fd_task import IoWait
from trayproxy.engine.proxy_auth.auth_port import Attempt, AuthOutcome, PendingLogin, RequestBroker
from trayproxy.engine.proxy_auth.challenge_detection import captive_portal_url, report_evidence
from trayproxy.engine.proxy_auth.late_verdicts import UnansweredRequest, UnansweredSocksLogin
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.engine.upstream.connector import TargetRefusedError


class StreamRequestBroker(RequestBroker):
    """The broker of a client's request or of a preconnect."""

    def __init__(self, downstream: Downstream, cached: CachedRequest, lease: UpstreamLease) -> None:
        self._cached = cached
        self._broker = downstream.context.broker
        self._downstream = downstream
        self._lease = lease

    def is_superseded(self, credentials: Credentials) -> bool:
        """Return True if the desk no longer hands out this login; see `RequestBroker`."""
        known = self._broker.known(credentials.upstream_id)
        return known is None or known.login_id != credentials.login_id

    async def request_permit(self, credentials: Credentials) -> tuple[Credentials | None, bool]:
        """Request the desk's permit to carry a login not accepted recently; see `RequestBroker`."""
        target = str(self._cached.request.target.authority)
        future = self._broker.request_permit(credentials, target)
        has_waited = not future.done()
        permitted = await wait_for_desk(self._downstream, self._lease, future)
        return permitted if isinstance(permitted, Credentials) else None, has_waited

    async def await_preconnect(self, credentials: Credentials) -> bool:
        """Demand an authenticated connection, and wait for a preconnect; see `RequestBroker`."""
        return await self._lease.await_preconnect(credentials)

    def report_lost(self, credentials: Credentials) -> None:
        """Report a login that was sent on a lost connection; see `RequestBroker`."""
        self._broker.report(credentials, NoVerdict("the connection was lost"))

    def report_interrupted(self, login: PendingLogin, error: BaseException) -> None:
        """Report the login of an attempt which ends with an exception. If the client has
        disconnected, the response is read later."""
        if isinstance(error, TargetRefusedError):
            return  # The connector has reported the result of the login.
        is_gone = isinstance(error, (ClientGoneError, OSError, GeneratorExit, CancelledError))
        if is_gone and self._hand_over(login):
            return
        # A client closing its connection says nothing about a login which other requests use.
        is_counted = login.was_sent and (login.is_on_trial or not is_gone)
        self._broker.report(login.credentials, NoVerdict(type(error).__name__, was_sent=is_counted))

    def report_outcome(self, attempt: Attempt, outcome: AuthOutcome) -> None:
        """Report the outcome of an attempt to the desk, and a captive portal to the observer."""
        route, request, response = self._lease.route, self._cached.request, outcome.response
        credentials, broker = outcome.credentials, self._broker
        if response is None:
            return
        if credentials is not None and route.authenticates_requests:
            if outcome.login_was_accepted:
                report_evidence(
                    broker, credentials, request, response, on_trial=attempt.is_on_trial
                )
            elif attempt.is_from_desk or credentials.permit:
                broker.report(
                    credentials, NoVerdict("the proxy did not ask for it", was_sent=False)
                )
        url = "" if route.is_direct else captive_portal_url(response, request)
        if url:
            self._lease.report_captive_portal(url)

    def end_attempt(self) -> None:
        """Record that this request is authenticated or has failed; see `RequestBroker`."""
        self._lease.end_authentication()

    def handshake_done(self, credentials: Credentials) -> None:
        """Record that this request needed several messages to authenticate its connection."""
        self._lease.record_handshake(credentials)

    def _hand_over(self, login: PendingLogin) -> bool:
        """Hand over the response to a login, to be read after its client has disconnected. Return
        False if the login was not sent, or if no response can arrive."""
        downstream, lease = self._downstream, self._lease
        if lease.unanswered_stream is not None:
            stream, lease.unanswered_stream = lease.unanswered_stream, None
            target = str(self._cached.request.target.authority)
            socks_login = UnansweredSocksLogin(stream, lease.route, login, target)
            if lease.auth.late_verdicts.read_socks_reply(socks_login):
                return True
            stream.close()
            return False
        connection = downstream.upstream
        is_sent = login.was_sent and lease.route.authenticates_requests
        if not is_sent or connection is None:
            return False
        unanswered = UnansweredRequest(connection, self._cached, lease.route, login)
        if not lease.auth.late_verdicts.read_response(unanswered):
            return False
        downstream.release(connection.stream.descriptor)
        downstream.take_upstream()
        return True


async def wait_for_desk(
    downstream: Downstream, lease: UpstreamLease, future: Future[Outcome]
) -> Outcome:
    """Wait for the desk, and return the outcome for this request.

    The request holds no connection meanwhile, because a person takes longer than a proxy keeps
    an idle connection open.

    Raises:
        ClientGoneError: The client disconnected. The request is withdrawn from the desk.
    """
    if future.done():
        return future.result()
    try:
        lease.release_connection()
        downstream.clear_deadline()
        while not future.done():
            await lease.wait(IoWait({}, future=future), is_parked=True)
    except BaseException:
        # The desk may have answered the request at the same moment.
        downstream.context.broker.withdraw(future)
        raise
    return future.result()
