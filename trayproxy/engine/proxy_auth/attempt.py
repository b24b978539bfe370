"""One attempt to send a request with credentials, and the report of its outcome to the desk."""

from asyncio import CancelledError
from dataclasses import dataclass

from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.desk.broker import CredentialBroker
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.proxy_auth.auth_exchange import (
    AuthChallenge,
    AuthExchange,
    AuthOutcome,
)
from trayproxy.engine.proxy_auth.challenge_detection import Evidence, captive_portal_url, evidence
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.engine.upstream.connector import AuthRequiredError
from trayproxy.http.request import Request
from trayproxy.http.response import Response


@dataclass(frozen=True, slots=True)
class Attempt:
    """The parameters of the next attempt to send a request.

    Attributes:
        credentials: The credentials to send; None for none.
        is_on_trial: True if the login was never accepted.
        is_from_desk: True if the desk gave the credentials to this request and expects an outcome.
        needs_new_connection: True if the attempt must not reuse a connection.
        withheld: The known credentials which are not sent because the site is exempt.
    """

    credentials: Credentials | None
    is_on_trial: bool = False
    is_from_desk: bool = False
    needs_new_connection: bool = False
    withheld: Credentials | None = None


def report_evidence(
    desk: CredentialBroker,
    credentials: Credentials,
    request: Request,
    response: Response,
    *,
    on_trial: bool,
) -> None:
    """Report to the desk the evidence of a response about the login of its request.

    An accepted login stays accepted, whatever the response is. But a response which a proxy may
    also give to a wrong login does not confirm the login.

    Args:
        desk: The desk.
        credentials: The login of the request.
        request: The request.
        response: The final response, not a 407.
        on_trial: True if the desk gave the login to this request alone.
    """
    if credentials.is_recently_accepted:
        return
    response_evidence, target = evidence(response, request), str(request.target.authority)
    if response_evidence is Evidence.PROOF or (
        response_evidence is Evidence.FROM_SITE and not on_trial
    ):
        desk.accepted(credentials, target)
    elif on_trial or credentials.permit:
        desk.unproved(credentials, target, is_doubtful=response_evidence is Evidence.NONE)


async def send_with_login(
    exchange: AuthExchange, lease: UpstreamLease, request: Request, attempt: Attempt
) -> AuthOutcome:
    """Send a request with credentials, and report the outcome to the desk.

    Args:
        exchange: The authentication exchange of the request.
        lease: The upstream connections of the request, and its route.
        request: The request.
        attempt: The parameters of the attempt.

    Raises:
        UnreachableError: The next hop cannot be reached.
        LoginSupersededError: Another request has proved the login wrong in the meantime.
        RequestRefusedError: There is no response; the client gets an error page.
    """
    credentials, route, desk = attempt.credentials, lease.route, lease.desk
    try:
        if route.is_direct and request.method == b"CONNECT":
            await exchange.connect(credentials, on_trial=attempt.is_on_trial)
            return AuthOutcome(credentials=exchange.permitted or credentials)
        result = await exchange.attempt(
            credentials,
            withheld=attempt.withheld,
            on_trial=attempt.is_on_trial,
            fresh=attempt.needs_new_connection,
        )
    except AuthRequiredError as wanted:
        rejected = Verdict(VerdictKind.REJECTED) if credentials is not None else None
        return _outcome(exchange, credentials, AuthChallenge(wanted.challenges, rejected))
    except (ClientGoneError, OSError, GeneratorExit, CancelledError) as error:
        carried = exchange.permitted or (credentials if attempt.is_from_desk else None)
        if carried is not None and not exchange.hand_over_response(carried):
            # A client closing its connection says nothing about a login which other requests use.
            is_counted = exchange.was_login_sent and attempt.is_on_trial
            desk.no_response(carried, type(error).__name__, sent=is_counted)
        raise
    except BaseException as error:
        carried = exchange.permitted or (credentials if attempt.is_from_desk else None)
        if carried is not None:
            desk.no_response(carried, type(error).__name__, sent=exchange.was_login_sent)
        raise
    outcome = _outcome(exchange, credentials, result)
    carried, response = outcome.credentials, outcome.response
    if carried is not None and route.authenticates_requests and response is not None:
        if outcome.login_was_accepted:
            report_evidence(desk, carried, request, response, on_trial=attempt.is_on_trial)
        elif attempt.is_from_desk or carried.permit:
            desk.no_response(carried, "the proxy did not ask for it", sent=False)
    if response is not None and not route.is_direct:
        url = captive_portal_url(response, request)
        if url:
            lease.report_captive_portal(url)
    return outcome


def _outcome(
    exchange: AuthExchange, credentials: Credentials | None, result: Response | AuthChallenge
) -> AuthOutcome:
    """Return the outcome of an attempt with these credentials."""
    return AuthOutcome(
        result if isinstance(result, Response) else None,
        result if isinstance(result, AuthChallenge) else None,
        exchange.permitted or credentials,
        exchange.was_login_sent,
        exchange.is_proved,
    )
