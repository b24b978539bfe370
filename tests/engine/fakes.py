"""Fakes for the engine: a desk without a user, and routes without rules."""

import asyncio
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from time import monotonic

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
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, SignIn, Upstream

LOGIN = Login("user", "pass")
REFUSAL = Refusal(Problem("TP-301", "Sign-in was cancelled", "Sign in."), 5, "declined")
COSTLY = (VerdictKind.REJECTED, VerdictKind.EXPIRED, VerdictKind.LOCKED)
NOTHING_USABLE = Refusal(Problem("TP-303", "No common way to sign in", "None."), None, "none")


@dataclass
class Turn:
    """A request waiting at the desk."""

    future: "asyncio.Future[Credentials | Refusal | None]"
    space: UpstreamId
    challenges: tuple[Challenge, ...]
    waiter: PendingRequest
    tried: Credentials | None
    verdict: Verdict | None

    @property
    def waits(self) -> bool:
        return not self.future.done()


class FakeBroker:
    """A `CredentialBroker` that answers without a user.

    With a login, it answers every challenge supported by one of its schemes; without a login,
    requests wait for `answer_all` or `refuse_all`. A rejected login is refused; a login with an
    unusable scheme is tried with the next scheme.

    Attributes:
        login: The login to answer with; None for none.
        signs_in_itself: True if it answers with its own sign-in, without a login.
        doubts_all: True if it wants a report of every acceptance.
        schemes: The supported schemes, the strongest first.
        turns: All requests sent to the desk.
        acceptances: All credentials reported as accepted.
        doubts: All credentials reported without a verdict.
        open: The targets of responses which proved nothing about a login on trial, and whether each
            response was doubtful.
        spent: For each report without a verdict, whether it may have cost a log-on.
        spaces: The upstreams of all requests.
        overdues: All credentials of requests sent while the next hop answered no request.
        waited: The numbers of requests waiting together with each request.
        was_unanswered: True if a request with a login got no response: the login is then not handed
            out to waiting requests.
        departures: The number of requests about to carry a login not proved recently.
        network_changes: The number of network changes reported.
        is_calm: True if connections may be authenticated ahead with an accepted login.
    """

    def __init__(
        self,
        login: Login | None = None,
        *,
        knows_it: bool = False,
        schemes: Sequence[Scheme] = (),
    ) -> None:
        self.login = login
        self.signs_in_itself = False
        self.doubts_all = False
        self.schemes = (SocksPassword(), *(schemes or (ntlm_scheme(), Digest(os.urandom), Basic())))
        self.turns: list[Turn] = []
        self.acceptances: list[Credentials] = []
        self.doubts: list[Credentials] = []
        self.open: list[tuple[str, bool]] = []
        self.spent: list[bool] = []
        self.spaces: list[UpstreamId] = []
        self.network_changes = 0
        self.is_calm = False
        self._accepted: dict[UpstreamId, Credentials] = {}
        self._made: dict[UpstreamId, Credentials] = {}
        self._generation = 0
        self._waiting: list[tuple[asyncio.Future[Credentials | Refusal | None], Credentials]] = []
        self.is_under_way = False
        self.was_unanswered = False
        self.overdues: list[Credentials] = []
        self.waited: list[int] = []
        self.departures = 0
        self._knows_it = knows_it
        self._changed = threading.Condition()

    def known(self, space: UpstreamId) -> Credentials | None:
        answer = self._accepted.get(space)
        if answer is None and self._knows_it and self.login is not None:
            by_socks = space.upstream.startswith("socks5:")
            scheme = self.schemes[0 if by_socks else -1]
            return self.answer_with(space, Offer(scheme, Challenge(scheme.name)), self.login)
        return answer

    def may_preconnect(self, answer: Credentials) -> bool:
        known = self.known(answer.upstream_id)
        is_known = known is not None and known.login_id == answer.login_id
        return self.is_calm and answer.is_recently_accepted and is_known

    def challenged(
        self,
        space: UpstreamId,
        profile: Profile,
        challenges: Sequence[Challenge],
        waiter: PendingRequest,
        tried: Credentials | None,
        verdict: Verdict | None = None,
    ) -> "asyncio.Future[Credentials | Refusal | None]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Credentials | Refusal | None] = loop.create_future()
        self.spaces.append(space)
        if tried is not None:
            self._landed()
        schemes: Sequence[Scheme] = self.schemes
        is_unused = verdict is not None and verdict.kind not in COSTLY
        if tried is not None and is_unused:
            schemes = [one for one in schemes if one is not tried.scheme]
        offer = choose(challenges, schemes)
        if offer is None:
            future.set_result(NOTHING_USABLE)
        elif self.was_unanswered or (tried is not None and not is_unused):
            future.set_result(REFUSAL)
        elif self.login is not None or self.signs_in_itself:
            future.set_result(self.answer_with(space, offer, self.login))
        with self._changed:
            self.turns.append(Turn(future, space, tuple(challenges), waiter, tried, verdict))
            self._changed.notify_all()
        return future

    def request_permit(
        self, answer: Credentials, target: str
    ) -> "asyncio.Future[Credentials | Refusal | None]":
        """Permit one request to carry a login; others wait for its outcome."""
        future: asyncio.Future[Credentials | Refusal | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting.append((future, answer))
        self._let_go()
        with self._changed:
            self.departures += 1
            self._changed.notify_all()
        return future

    def _let_go(self) -> None:
        for future, answer in list(self._waiting):
            if future.done():
                self._waiting.remove((future, answer))
            elif self.known(answer.upstream_id) is not answer:
                future.set_result(None)
            elif answer.is_recently_accepted:
                future.set_result(answer)
            elif not self.is_under_way:
                self.is_under_way = True
                future.set_result(replace(answer, permit=1))

    def _landed(self) -> None:
        self.is_under_way = False
        asyncio.get_running_loop().call_soon(self._let_go)

    def let_one_more_go(self) -> None:
        """Permit another request before the outcome of the first; to be called in the loop."""
        self.is_under_way = False
        self._let_go()

    def withdraw(self, future: "asyncio.Future[Credentials | Refusal | None]") -> None:
        if future.cancel() or future.cancelled():
            return
        if isinstance(answer := future.result(), Credentials):
            self.report(answer, NoVerdict("the request was withdrawn", was_sent=False))

    def report(self, answer: Credentials, report: Report) -> None:
        if not isinstance(report, SilentUpstream):
            self._landed()
        with self._changed:
            match report:
                case Accepted():
                    self.acceptances.append(answer)
                    answer.acceptance.is_recent = not self.doubts_all
                    self._accepted[answer.upstream_id] = self._made.get(answer.upstream_id, answer)
                case Unproved(target, is_doubtful):
                    self.open.append((target, is_doubtful))
                case NoVerdict(_, was_sent):
                    self.was_unanswered = self.was_unanswered or was_sent
                    self.doubts.append(answer)
                    self.spent.append(was_sent)
                case SilentUpstream(waiting):
                    self.overdues.append(answer)
                    self.waited.append(waiting)
            self._changed.notify_all()

    def network_changed(self) -> None:
        self.network_changes += 1

    def begin(self, login: Login | None, *, signs_in_itself: bool = False) -> None:
        """Reset the desk with this login; to be called in the loop."""
        self.login, self.signs_in_itself = login, signs_in_itself
        self._accepted.clear()
        self._made.clear()
        self.turns.clear()
        self.acceptances.clear()
        self.doubts.clear()
        self.open.clear()
        self.spent.clear()

    def forget_login(self) -> None:
        """Remove the login; to be called in the loop."""
        self.login = None
        self._accepted.clear()

    def answer_all(self, login: Login = LOGIN, *, flight: int = 0) -> None:
        """Answer all waiting requests with the login; to be called in the loop."""
        for turn in self.turns:
            if turn.waits:
                offer = choose(turn.challenges, self.schemes)
                assert offer is not None
                answer = self.answer_with(turn.space, offer, login)
                turn.future.set_result(replace(answer, permit=flight))

    def refuse_all(self) -> None:
        """Refuse all waiting requests; to be called in the loop."""
        for turn in self.turns:
            if turn.waits:
                turn.future.set_result(REFUSAL)

    def wait_for_turns(self, count: int) -> None:
        """Wait in the test's thread until this number of requests was sent to the desk."""
        deadline = monotonic() + PATIENCE
        with self._changed:
            while len(self.turns) < count:
                left = deadline - monotonic()
                assert left > 0, f"{len(self.turns)} requests came to the desk, not {count}"
                self._changed.wait(left)

    def wait_for_departures(self, count: int) -> None:
        """Wait in the test's thread until this number of requests was about to carry a login."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.departures >= count, PATIENCE)

    def answer_with(self, space: UpstreamId, offer: Offer, login: Login | None) -> Credentials:
        made = self._made.get(space)
        if made is not None and made.login == login and made.scheme is offer.scheme:
            return made
        self._generation += 1
        scheme, challenge = offer.scheme, offer.challenge
        answer = Credentials(
            LoginId(ProtectionSpace(space, challenge.realm, scheme.family), self._generation),
            login,
            scheme,
            challenge,
            scheme.authenticator(challenge, login, ""),
            AcceptanceRecord(),
        )
        self._made[space] = answer
        return answer


@dataclass
class Signs:
    """Where requests go: through an upstream, but to some hosts directly.

    Attributes:
        profile: The active one, None for none.
        direct: Hosts that are reached directly; with an asterisk all are.
    """

    profile: Profile | None
    direct: set[str] = field(default_factory=set)
    _ways: dict[tuple[str, bool], Route] = field(default_factory=dict)

    def __call__(self, target: Authority) -> Route | None:
        profile = self.profile
        if profile is None:
            return None
        is_direct = not self.direct.isdisjoint({target.host, "*"})
        key = (profile.id, is_direct)
        way = self._ways.get(key)
        if way is None or way.profile is not profile:
            # One object per route and profile: the engine compares routes by identity.
            way = Route.direct(profile) if is_direct else Route.via_profile(profile)
            self._ways[key] = way
        return way


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

    def reached(self, way: Route) -> None:
        self.reaches += 1

    def failed(self, way: Route, page: ErrorPage) -> None:
        self.failures.append(page)

    def captive_portal_found(self, way: Route, url: str) -> None:
        self.pages.append(url)

    def sign_in_not_set(self, way: Route, page: ErrorPage) -> None:
        self.demands.append(page)
