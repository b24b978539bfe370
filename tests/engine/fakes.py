"""Fakes for the engine: a desk without a user, and routes without rules."""

import asyncio
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from time import monotonic

from tests.engine.schemes import ntlm_like_scheme
from tests.support.process_output import PATIENCE
from trayproxy.auth.basic import Basic
from trayproxy.auth.digest import Digest
from trayproxy.auth.login import Login
from trayproxy.auth.ntlm import ntlm_scheme
from trayproxy.auth.scheme import Offer, Scheme, Verdict, VerdictKind, choose
from trayproxy.auth.socks import SocksPassword
from trayproxy.desk.broker import Accepted, NoVerdict, Report, SilentUpstream, Unproved
from trayproxy.desk.credentials import AcceptanceRecord, Credentials, PendingRequest, Refusal
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.desktop.users import User
from trayproxy.domain.problem import Problem
from trayproxy.engine.error_pages import NO_PROFILE, ErrorPage
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.upstream.route import Route, RouteChoice, RouteClient
from trayproxy.http.challenges import Challenge
from trayproxy.http.target import Authority, Target
from trayproxy.profiles.profile import Profile, SignIn, Upstream

LOGIN = Login("user", "pass")
REFUSAL = Refusal(Problem("TP-301", "Sign-in was cancelled", "Sign in."), 5, "declined")
COSTLY = (VerdictKind.REJECTED, VerdictKind.EXPIRED, VerdictKind.LOCKED)
NOTHING_USABLE = Refusal(Problem("TP-303", "No common way to sign in", "None."), None, "none")


@dataclass
class ChallengedRequest:
    """A request waiting at the desk."""

    future: "asyncio.Future[Credentials | Refusal | None]"
    upstream_id: UpstreamId
    challenges: tuple[Challenge, ...]
    pending: PendingRequest
    refused: Credentials | None
    verdict: Verdict | None

    @property
    def is_waiting(self) -> bool:
        return not self.future.done()


class FakeBroker:
    """A `CredentialBroker` that answers without a user.

    With a login, it answers every challenge supported by one of its schemes; without a login,
    requests wait for `release_all` or `refuse_all`. A rejected login is refused; a login with an
    unusable scheme is tried with the next scheme.

    Attributes:
        login: The login to answer with; None for none.
        uses_own_sign_in: True if it answers with its own sign-in, without a login.
        wants_all_reports: True if it wants a report of every acceptance.
        schemes: The supported schemes, the strongest first.
        challenged_requests: All requests sent to the desk.
        accepted: All credentials reported as accepted.
        without_verdict: All credentials reported without a verdict.
        unproved: The targets of responses which proved nothing about a login on trial, and whether
            each response was doubtful.
        login_was_sent: For each report without a verdict, whether it may have cost a log-on.
        upstream_ids: The upstreams of all requests.
        silent: All credentials of requests sent while the next hop answered no request.
        silent_counts: The numbers of requests waiting together with each request.
        has_unanswered_login: True if a request with a login got no response: the login is then not
            handed out to waiting requests.
        permit_count: The number of requests about to carry a login not proved recently.
        network_changes: The number of network changes reported.
        allows_preconnects: True if connections may be authenticated ahead with an accepted login.
    """

    def __init__(
        self, login: Login | None = None, *, is_known: bool = False, schemes: Sequence[Scheme] = ()
    ) -> None:
        self.login = login
        self.uses_own_sign_in = False
        self.wants_all_reports = False
        self.schemes = (SocksPassword(), *(schemes or (ntlm_scheme(), Digest(os.urandom), Basic())))
        self.challenged_requests: list[ChallengedRequest] = []
        self.accepted: list[Credentials] = []
        self.without_verdict: list[Credentials] = []
        self.unproved: list[tuple[str, bool]] = []
        self.login_was_sent: list[bool] = []
        self.upstream_ids: list[UpstreamId] = []
        self.network_changes = 0
        self.allows_preconnects = False
        self._accepted: dict[UpstreamId, Credentials] = {}
        self._credentials: dict[UpstreamId, Credentials] = {}
        self._generation = 0
        self._waiting: list[tuple[asyncio.Future[Credentials | Refusal | None], Credentials]] = []
        self.is_permit_used = False
        self.has_unanswered_login = False
        self.silent: list[Credentials] = []
        self.silent_counts: list[int] = []
        self.permit_count = 0
        self._is_known = is_known
        self._changed = threading.Condition()

    @property
    def verdicts(self) -> list[VerdictKind | None]:
        """The kind of the verdict of each request sent to the desk; None without a verdict."""
        return [one.verdict.kind if one.verdict else None for one in self.challenged_requests]

    def known(self, upstream_id: UpstreamId) -> Credentials | None:
        credentials = self._accepted.get(upstream_id)
        if credentials is None and self._is_known and self.login is not None:
            by_socks = upstream_id.upstream.startswith("socks5:")
            scheme = self.schemes[0 if by_socks else -1]
            return self.answer_with(upstream_id, Offer(scheme, Challenge(scheme.name)), self.login)
        return credentials

    def may_preconnect(self, credentials: Credentials) -> bool:
        known = self.known(credentials.upstream_id)
        is_known = known is not None and known.login_id == credentials.login_id
        return self.allows_preconnects and credentials.is_recently_accepted and is_known

    def challenged(
        self,
        upstream_id: UpstreamId,
        profile: Profile,
        challenges: Sequence[Challenge],
        pending: PendingRequest,
        refused: Credentials | None,
        verdict: Verdict | None = None,
    ) -> "asyncio.Future[Credentials | Refusal | None]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Credentials | Refusal | None] = loop.create_future()
        self.upstream_ids.append(upstream_id)
        if refused is not None:
            self._end_permit()
        schemes: Sequence[Scheme] = self.schemes
        is_unused = verdict is not None and verdict.kind not in COSTLY
        if refused is not None and is_unused:
            schemes = [one for one in schemes if one is not refused.scheme]
        offer = choose(challenges, schemes)
        if offer is None:
            future.set_result(NOTHING_USABLE)
        elif self.has_unanswered_login or (refused is not None and not is_unused):
            future.set_result(REFUSAL)
        elif self.login is not None or self.uses_own_sign_in:
            future.set_result(self.answer_with(upstream_id, offer, self.login))
        with self._changed:
            self.challenged_requests.append(
                ChallengedRequest(future, upstream_id, tuple(challenges), pending, refused, verdict)
            )
            self._changed.notify_all()
        return future

    def request_permit(
        self, credentials: Credentials, target: str
    ) -> "asyncio.Future[Credentials | Refusal | None]":
        """Permit one request to carry a login; others wait for its outcome."""
        future: asyncio.Future[Credentials | Refusal | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting.append((future, credentials))
        self._grant_permits()
        with self._changed:
            self.permit_count += 1
            self._changed.notify_all()
        return future

    def _grant_permits(self) -> None:
        for future, credentials in list(self._waiting):
            if future.done():
                self._waiting.remove((future, credentials))
            elif self.known(credentials.upstream_id) is not credentials:
                future.set_result(None)
            elif credentials.is_recently_accepted:
                future.set_result(credentials)
            elif not self.is_permit_used:
                self.is_permit_used = True
                future.set_result(replace(credentials, permit=1))

    def _end_permit(self) -> None:
        self.is_permit_used = False
        asyncio.get_running_loop().call_soon(self._grant_permits)

    def grant_one_more(self) -> None:
        """Permit another request before the outcome of the first; to be called in the loop."""
        self.is_permit_used = False
        self._grant_permits()

    def withdraw(self, future: "asyncio.Future[Credentials | Refusal | None]") -> None:
        if future.cancel() or future.cancelled():
            return
        if isinstance(credentials := future.result(), Credentials):
            self.report(credentials, NoVerdict("the request was withdrawn", was_sent=False))

    def report(self, credentials: Credentials, report: Report) -> None:
        if not isinstance(report, SilentUpstream):
            self._end_permit()
        with self._changed:
            match report:
                case Accepted():
                    self.accepted.append(credentials)
                    credentials.acceptance.is_recent = not self.wants_all_reports
                    self._accepted[credentials.upstream_id] = self._credentials.get(
                        credentials.upstream_id, credentials
                    )
                case Unproved(target, is_doubtful):
                    self.unproved.append((target, is_doubtful))
                case NoVerdict(_, was_sent):
                    self.has_unanswered_login = self.has_unanswered_login or was_sent
                    self.without_verdict.append(credentials)
                    self.login_was_sent.append(was_sent)
                case SilentUpstream(waiting):
                    self.silent.append(credentials)
                    self.silent_counts.append(waiting)
            self._changed.notify_all()

    def network_changed(self) -> None:
        self.network_changes += 1

    def begin(self, login: Login | None, *, uses_own_sign_in: bool = False) -> None:
        """Reset the desk with this login; to be called in the loop."""
        self.login, self.uses_own_sign_in = login, uses_own_sign_in
        self._accepted.clear()
        self._credentials.clear()
        self.challenged_requests.clear()
        self.accepted.clear()
        self.without_verdict.clear()
        self.unproved.clear()
        self.login_was_sent.clear()

    def forget_login(self) -> None:
        """Remove the login; to be called in the loop."""
        self.login = None
        self._accepted.clear()

    def release_all(self, login: Login = LOGIN, *, flight: int = 0) -> None:
        """Answer all waiting requests with the login; to be called in the loop."""
        for request in self.challenged_requests:
            if request.is_waiting:
                offer = choose(request.challenges, self.schemes)
                assert offer is not None
                credentials = self.answer_with(request.upstream_id, offer, login)
                request.future.set_result(replace(credentials, permit=flight))

    def refuse_all(self) -> None:
        """Refuse all waiting requests; to be called in the loop."""
        for request in self.challenged_requests:
            if request.is_waiting:
                request.future.set_result(REFUSAL)

    def wait_for_challenged(self, count: int) -> None:
        """Wait in the test's thread until this number of requests was sent to the desk."""
        deadline = monotonic() + PATIENCE
        with self._changed:
            while len(self.challenged_requests) < count:
                left = deadline - monotonic()
                assert left > 0, (
                    f"{len(self.challenged_requests)} requests came to the desk, not {count}"
                )
                self._changed.wait(left)

    def wait_for_permits(self, count: int) -> None:
        """Wait in the test's thread until this number of requests was about to carry a login."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.permit_count >= count, PATIENCE)

    def answer_with(
        self, upstream_id: UpstreamId, offer: Offer, login: Login | None
    ) -> Credentials:
        made = self._credentials.get(upstream_id)
        if made is not None and made.login == login and made.scheme is offer.scheme:
            return made
        self._generation += 1
        scheme, challenge = offer.scheme, offer.challenge
        credentials = Credentials(
            LoginId(ProtectionSpace(upstream_id, challenge.realm, scheme.family), self._generation),
            login,
            scheme,
            challenge,
            scheme.authenticator(challenge, login, ""),
            AcceptanceRecord(),
        )
        self._credentials[upstream_id] = credentials
        return credentials


def desk_for(*schemes: Scheme, is_known: bool = False) -> FakeBroker:
    """Return a desk with a login and these schemes, by default with a scheme like NTLM."""
    return FakeBroker(LOGIN, schemes=schemes or (ntlm_like_scheme(),), is_known=is_known)


@dataclass
class FakeRoutes:
    """Where requests go: through an upstream, but to some hosts directly.

    Attributes:
        profile: The active profile; None without a profile.
        direct: The hosts with a direct route; ``*`` for all hosts.
        depend_on_network: True if the routes are like those of a PAC script.
        asked: The hosts whose routes were chosen outside the fast path.
    """

    profile: Profile | None
    direct: set[str] = field(default_factory=set)
    depend_on_network: bool = False
    asked: list[str] = field(default_factory=list)
    _routes: dict[tuple[str, bool], Route] = field(default_factory=dict)

    def choose(self, target: Target, client: RouteClient) -> RouteChoice:
        assert target.authority is not None
        self.asked.append(target.authority.host)
        return self.known(target, client) or NO_PROFILE

    def known(self, target: Target, client: RouteClient) -> Route | None:
        return None if target.authority is None else self.to(target.authority)

    def to(self, authority: Authority) -> Route | None:
        """Return the route to a target; None without a profile."""
        profile = self.profile
        if profile is None:
            return None
        is_direct = not self.direct.isdisjoint({authority.host, "*"})
        key = (profile.id, is_direct)
        route = self._routes.get(key)
        if route is None or route.profile is not profile:
            # One object per route and profile: the engine compares routes by identity.
            route = Route.direct(profile) if is_direct else Route.via_profile(profile)
            route = replace(route, depends_on_network=self.depend_on_network)
            self._routes[key] = route
        return route


def office(port: int, *, host: str = "127.0.0.1", sign_in: SignIn = SignIn.PASSWORD) -> Profile:
    """Return a profile with this upstream."""
    return Profile(f"office-{port}", "Office", Upstream(host, port), sign_in)


def scaled_limits(factor: float) -> EngineLimits:
    """Return the default limits with every time multiplied by a factor."""
    limits = EngineLimits()
    times = {field.name for field in fields(limits) if field.name.endswith("_s")}
    return replace(limits, **{name: getattr(limits, name) * factor for name in times})


class RefusalRecorder:
    """Records the users of refused connections."""

    def __init__(self) -> None:
        self.users: list[User | None] = []

    def __call__(self, connection: socket.SocketType, user: User | None) -> None:
        assert connection.fileno() >= 0
        self.users.append(user)


class Observer:
    """Records all notifications of the engine."""

    def __init__(self) -> None:
        self.reaches = 0
        self.failures: list[ErrorPage] = []
        self.pages: list[str] = []
        self.demands: list[ErrorPage] = []

    def reached(self, route: Route) -> None:
        self.reaches += 1

    def failed(self, route: Route, page: ErrorPage) -> None:
        self.failures.append(page)

    def captive_portal_found(self, route: Route, url: str) -> None:
        self.pages.append(url)

    def sign_in_not_set(self, route: Route, page: ErrorPage) -> None:
        self.demands.append(page)
