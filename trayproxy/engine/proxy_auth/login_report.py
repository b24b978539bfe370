"""Reports to the desk the evidence of responses about the logins of their requests."""

from trayproxy.desk.broker import CredentialBroker
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.proxy_auth.auth_port import Attempt, AuthOutcome
from trayproxy.engine.proxy_auth.challenge_detection import Evidence, evidence
from trayproxy.http.request import Request
from trayproxy.http.response import Response


def report_response(
    desk: CredentialBroker, attempt: Attempt, outcome: AuthOutcome, request: Request
) -> None:
    """Report to the desk the response to an attempt with a login.

    Args:
        desk: The desk.
        attempt: The attempt, on a route where requests carry logins.
        outcome: The outcome of the attempt.
        request: The request.
    """
    credentials, response = outcome.credentials, outcome.response
    if credentials is None or response is None:
        return
    if outcome.login_was_accepted:
        report_evidence(desk, credentials, request, response, on_trial=attempt.is_on_trial)
    elif attempt.is_from_desk or credentials.permit:
        desk.no_response(credentials, "the proxy did not ask for it", sent=False)


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
