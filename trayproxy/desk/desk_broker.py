"""The desk's side of the engine: requests that wait for credentials, and the known credentials."""

from asyncio import AbstractEventLoop, Future, ensure_future
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from urllib.parse import urlsplit

from trayproxy.auth.login import LoginError
from trayproxy.auth.scheme import Offer, Verdict, VerdictKind, is_password_unchecked
from trayproxy.desk.broker import Accepted, NoVerdict, Report, SilentUpstream, Unproved
from trayproxy.desk.challenge_reader import (
    ChallengeReader,
    is_offered_again,
    offered_schemes,
    scheme_id,
    tried_login,
)
from trayproxy.desk.credentials import (
    AcceptanceRecord,
    Credentials,
    CredentialsFuture,
    Outcome,
    PendingRequest,
)
from trayproxy.desk.history import History
from trayproxy.desk.machine import events
from trayproxy.desk.machine.queries import Queries
from trayproxy.desk.machine_loop import MachineLoop
from trayproxy.desk.problems import no_common_scheme, refusal, sign_in_disabled
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.domain.signin import Program
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile, SignIn

_log = getLogger(__name__)

MAX_REALM_MISMATCHES = 4
"""The number of 407s of another realm after which a request's login is moved to that realm."""

IdentifyProgram = Callable[[PendingRequest], Awaitable[Program | None]]
"""Identifies the program that sent a request; called only for requests that a prompt names."""

RequestEffect = (
    events.ReleaseRequest
    | events.GrantPermit
    | events.DenyPermit
    | events.SendWithoutLogin
    | events.RefuseRequest
)
"""The effects that complete the future of a request."""


@dataclass(slots=True)
class _Parked:
    """A request that is parked: it waits for credentials."""

    future: CredentialsFuture
    pending: PendingRequest
    profile: Profile
    offers: tuple[Offer, ...]
    changes_realm: bool
    is_identified: bool = False


class CurrentCredentials:
    """The credentials of the current logins; requests with the same login and scheme share them.

    Attributes:
        known: The credentials to send before an upstream asks.
    """

    def __init__(self, queries: Queries) -> None:
        self.known: dict[UpstreamId, Credentials] = {}
        self._queries = queries
        self._credentials: dict[tuple[ProtectionSpace, tuple[str, str]], Credentials] = {}

    def find(self, offer: Offer, login_id: LoginId, offers: tuple[Offer, ...]) -> Credentials:
        """Return the credentials for a login and a scheme.

        Requests with the same login and scheme share the object, and with it the counters of the
        authenticator. `offers` are all offers from which the scheme was chosen.

        Raises:
            LoginError: The scheme cannot use the login.
        """
        method = (scheme_id(offer.scheme), offer.label)
        credentials = self._credentials.get((login_id.space, method))
        if (
            credentials is None
            or credentials.login_id != login_id
            or credentials.scheme is not offer.scheme
        ):
            login = self._queries.login(login_id)
            host = urlsplit(login_id.space.upstream_id.upstream).hostname or ""
            authenticator = offer.scheme.authenticator(offer.challenge, login, host)
            credentials = Credentials(
                login_id,
                login,
                offer.scheme,
                offer.challenge,
                authenticator,
                AcceptanceRecord(),
                offers,
            )
            self._credentials[login_id.space, method] = credentials
        return credentials

    def refresh(self) -> None:
        """Drop the credentials of replaced logins, and determine the known credentials again."""
        for key, credentials in list(self._credentials.items()):
            if not self._queries.is_proved(credentials.login_id):
                credentials.acceptance.is_recent = False
            if not self._queries.is_current(credentials.login_id):
                del self._credentials[key]
        self.known = {}
        for upstream_id, login_id in self._queries.trusted_logins().items():
            key = login_id.space, self._queries.login_scheme(login_id)
            if known := self._credentials.get(key):
                self.known[upstream_id] = known


class DeskBroker:
    """Implements `trayproxy.desk.broker.CredentialBroker` with the machine.

    Attributes:
        addresses_of: Returns the addresses of an upstream's URL, as far as they are known.
        identify_program: Identifies the program of a waiting request; None if this is not possible.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        machine_loop: MachineLoop,
        reader: ChallengeReader,
        history: History,
        proof_ttl: float,
    ) -> None:
        """Create a broker; the history receives the addresses of upstreams, and an acceptance
        proves a login for `proof_ttl` seconds."""
        self.addresses_of: Callable[[str], tuple[str, ...]] = lambda upstream: ()
        self.identify_program: IdentifyProgram | None = None
        self._loop = loop
        self._machine = machine_loop.machine
        self._handle = machine_loop.handle
        self._reader = reader
        self._history = history
        self._proof_ttl = proof_ttl
        self._credentials = CurrentCredentials(self._machine)
        self._parked: dict[int, _Parked] = {}
        self._permit_requests: dict[int, tuple[CredentialsFuture, Credentials]] = {}
        self._lookups: set[Future[Program | None]] = set()
        self._last_number = 0

    def known(self, upstream_id: UpstreamId) -> Credentials | None:
        """Return the credentials to send before this upstream asks, None if there are none."""
        return self._credentials.known.get(upstream_id)

    def may_preconnect(self, credentials: Credentials) -> bool:
        """Return whether these credentials may be sent without a client's request."""
        known = self.known(credentials.upstream_id)
        return (
            credentials.is_recently_accepted
            and known is not None
            and (known.login_id, known.scheme) == (credentials.login_id, credentials.scheme)
            and self._machine.is_settled(credentials.upstream_id)
        )

    def challenged(
        self,
        upstream_id: UpstreamId,
        profile: Profile,
        challenges: Sequence[Challenge],
        pending: PendingRequest,
        refused: Credentials | None,
        verdict: Verdict | None = None,
    ) -> Future[Outcome]:
        """Park a request after a 407; see `CredentialBroker.challenged`."""
        number, future = self._new_future()
        profile = self._machine.profile(profile)
        offers = self._reader.read_offers(challenges, upstream_id, profile)
        if not offers and refused:
            if refused.upstream_id == upstream_id and is_offered_again(refused, challenges):
                # A response with a verdict may contain nothing else (a 401, the last leg of a
                # handshake): the offers are those of the credentials then.
                offers = () if verdict and is_password_unchecked(verdict) else refused.offers
            else:
                reason = "the proxy offers no usable scheme"
                self.report(refused, NoVerdict(reason, was_sent=False))
                refused = None
        if profile.sign_in is SignIn.NONE:
            future.set_result(sign_in_disabled(profile))
        elif not offers and not refused:
            usable = self._reader.usable_schemes(upstream_id, profile)
            refusal_to_send = no_common_scheme(challenges, usable)
            self._handle(events.NoCommonScheme(upstream_id, refusal_to_send.problem))
            future.set_result(refusal_to_send)
        else:
            space = self._reader.protection_space(challenges, upstream_id, profile, refused)
            changes_realm = refused is not None and _record_refusal(
                pending, refused, space, verdict, challenges
            )
            self._parked[number] = _Parked(future, pending, profile, offers, changes_realm)
            self._handle(
                events.RequestChallenged(
                    number,
                    space,
                    profile,
                    offered_schemes(offers, upstream_id),
                    pending.target,
                    tried_login(refused, verdict, challenges) if refused else None,
                    pending.program,
                    pending.is_own,
                    pending.refused_with,
                    self._addresses(upstream_id, profile),
                )
            )
        return future

    def request_permit(self, credentials: Credentials, target: str) -> Future[Outcome]:
        """Request a send permit for a login that is not proved; see `CredentialBroker`."""
        number, future = self._new_future()
        self._permit_requests[number] = (future, credentials)
        self._handle(events.PermitRequested(number, credentials.login_id, target))
        return future

    def withdraw(self, future: Future[Outcome]) -> None:
        """Withdraw a waiting request, for example because its client has left."""
        if future.cancel() or future.cancelled():
            return
        if isinstance(credentials := future.result(), Credentials):
            self.report(credentials, NoVerdict("the request was withdrawn", was_sent=False))

    def report(self, credentials: Credentials, report: Report) -> None:
        """Record the result of a request with credentials; see `CredentialBroker.report`."""
        login_id, permit = credentials.login_id, credentials.permit
        match report:
            case Accepted(target):
                name = scheme_id(credentials.scheme)
                self._handle(
                    events.LoginAccepted(login_id, name, credentials.label, target, permit)
                )
                if self._machine.is_proved(login_id):
                    credentials.acceptance.refresh(self._loop, self._proof_ttl)
            case Unproved(target, is_doubtful):
                if not credentials.is_recently_accepted:
                    _log.info(
                        "profile %s: a sign-in could not be checked yet",
                        login_id.space.upstream_id.profile_id,
                    )
                    self._handle(events.LoginUnproved(login_id, target, is_doubtful, permit))
            case NoVerdict(reason, was_sent):
                if was_sent or not credentials.is_recently_accepted:
                    _log.info(
                        "profile %s: a sign-in was not checked: %s",
                        login_id.space.upstream_id.profile_id,
                        reason,
                    )
                    self._handle(events.NoResponse(login_id, was_sent, permit))
            case SilentUpstream(waiting):
                if credentials.login is not None and not permit:
                    self._handle(events.UpstreamSilent(login_id, waiting))

    # --- For the desk ------------------------------------------------------------------------

    def carry_out(self, effect: RequestEffect) -> None:
        """Complete the future of a request."""
        match effect:
            case events.ReleaseRequest(number, login_id, scheme):
                self._release(number, login_id, scheme)
            case events.GrantPermit(number, permit):
                future, credentials = self._permit_requests.pop(number)
                future.set_result(replace(credentials, permit=permit) if permit else credentials)
            case events.DenyPermit(number):
                self._permit_requests.pop(number)[0].set_result(None)
            case events.SendWithoutLogin(number):
                self._parked.pop(number).future.set_result(None)
            case events.RefuseRequest(number, reason, text):
                parked = self._parked.pop(number)
                parked.future.set_result(refusal(reason, parked.profile, text))

    def refresh_known(self) -> None:
        """Determine the known credentials again, after the machine has handled an event."""
        self._credentials.refresh()

    def identify_programs(self, number: int) -> None:
        """Look up the unknown programs named in a prompt; the machine learns of each program."""
        for request_id in self._machine.unidentified_requests(number):
            parked = self._parked[request_id]
            if self.identify_program is None or parked.is_identified or parked.pending.program:
                continue
            parked.is_identified = True
            lookup = ensure_future(self.identify_program(parked.pending), loop=self._loop)
            self._lookups.add(lookup)
            lookup.add_done_callback(partial(self._program_identified, request_id))

    def close(self) -> None:
        """Cancel the look-ups of programs."""
        for lookup in self._lookups:
            lookup.cancel()

    # --- Programs of waiting requests --------------------------------------------------------

    def _program_identified(self, request_id: int, lookup: Future[Program | None]) -> None:
        self._lookups.discard(lookup)
        if lookup.cancelled():
            return
        if error := lookup.exception():
            _log.debug("cannot identify the waiting program: %s", type(error).__name__)
        elif program := lookup.result():
            if parked := self._parked.get(request_id):
                parked.pending.program = program
            self._handle(events.ProgramIdentified(request_id, program))

    # --- Requests ----------------------------------------------------------------------------

    def _new_future(self) -> tuple[int, CredentialsFuture]:
        """Return a future for a request, and the request's number."""
        self._last_number += 1
        number = self._last_number
        return number, CredentialsFuture(self._loop, partial(self._client_left, number))

    def _addresses(self, upstream_id: UpstreamId, profile: Profile) -> tuple[str, ...]:
        """Return the addresses of an upstream, after storing them in the history.

        With a login for several upstreams, they are those of the upstream of the request.
        """
        own = profile.upstream
        is_own = own is not None and profile.login_key(own) == upstream_id.upstream
        addresses = self.addresses_of(str(own) if is_own else upstream_id.upstream)
        if addresses:
            self._history.set_addresses(upstream_id, addresses)
        return addresses

    def _release(self, number: int, login_id: LoginId, scheme: str) -> None:
        """Release a request with credentials, or report an error of the scheme."""
        parked = self._parked[number]
        found = next(offer for offer in parked.offers if scheme_id(offer.scheme) == scheme)
        offer = self._reader.with_current_scheme(self._machine.profile(parked.profile), found)
        try:
            credentials = self._credentials.find(offer, login_id, parked.offers)
        except LoginError as error:
            self._loop.call_soon(self._scheme_failed, number, login_id, offer, str(error))
            return
        del self._parked[number]
        if not self._machine.is_trusted(login_id):
            credentials = replace(credentials, permit=number)
        parked.future.set_result(
            replace(credentials, has_changed_realm=True) if parked.changes_realm else credentials
        )

    def _scheme_failed(self, number: int, login_id: LoginId, offer: Offer, reason: str) -> None:
        parked = self._parked.get(number)
        verdict = Verdict(VerdictKind.UNUSABLE, reason)
        if parked is None:
            self._handle(events.NoResponse(login_id, was_sent=False, permit=number))
            return
        self._handle(
            events.RequestChallenged(
                number,
                login_id.space,
                parked.profile,
                offered_schemes(parked.offers, login_id.space.upstream_id),
                parked.pending.target,
                events.TriedLogin(login_id, scheme_id(offer.scheme), verdict, permit=number),
                parked.pending.program,
                parked.pending.is_own,
                parked.pending.refused_with,
            )
        )

    def _client_left(self, number: int) -> None:
        if self._parked.pop(number, None) or self._permit_requests.pop(number, None):
            self._handle(events.ClientLeft(number))


def _record_refusal(
    pending: PendingRequest,
    refused: Credentials,
    space: ProtectionSpace,
    verdict: Verdict | None,
    challenges: Sequence[Challenge],
) -> bool:
    """Record in a request that its credentials were refused.

    Returns:
        True if the login is moved to the protection space of the refusal.
    """
    is_unchecked, is_other_realm = is_password_unchecked(verdict), refused.login_id.space != space
    pending.realm_mismatches += is_other_realm
    # A scheme that failed before it sent a login may be tried again, unless the upstream now wants
    # another scheme instead.
    if not is_unchecked or not (is_offered_again(refused, challenges) or is_other_realm):
        method = f"{scheme_id(refused.scheme)} {refused.label}"
        pending.refused_with |= {(refused.login_id, method)}
    # The login is moved to the other realm at once if the attempt may have cost a log-on.
    # Otherwise several attempts may be needed: behind a load balancer, a connection may lead to
    # another proxy than the one that sent the challenge.
    return is_other_realm and (not is_unchecked or pending.realm_mismatches >= MAX_REALM_MISMATCHES)
