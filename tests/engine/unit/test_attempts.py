"""Tests for trayproxy.engine.forward.attempts: the next attempt after each answer of the desk."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.fakes import LOGIN, REFUSAL, FakeBroker
from tests.engine.schemes import ntlm_like_scheme
from tests.engine.wire import get
from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Offer, Scheme
from trayproxy.desk.credentials import Outcome, PendingRequest
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.error_pages import RequestRefusedError
from trayproxy.engine.forward.attempts import Attempts
from trayproxy.engine.proxy_auth.auth_port import Attempt, AuthChallenge
from trayproxy.engine.proxy_auth.exempt_sites import ExemptSites
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.heads import find_head
from trayproxy.http.request import parse_request
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

OFFICE = Profile("office", "Office", Upstream("proxy.test", 3128))
SOCKS = Upstream("socks.test", 1080, ProxyScheme.SOCKS5)
BASIC = Challenge("basic", params=(("realm", "corp"),))
OFFER = Offer(Basic(), BASIC)
URL = b"http://origin.test/"
CHUNKED = b"Transfer-Encoding: chunked"


class AnsweringBroker(FakeBroker):
    """A desk with a known login, which answers each challenge at once.

    Attributes:
        outcome: The answer.
        pending: The request of each challenge.
    """

    outcome: Outcome = None

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.pending: list[PendingRequest] = []

    def challenged(self, *arguments: Any, **keywords: Any) -> "asyncio.Future[Outcome]":
        self.pending.append(arguments[3])
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        future.set_result(self.outcome)
        return future


class Choice:
    """The attempts of one request, with everything around them.

    Attributes:
        broker: The desk.
        attempts: The attempts.
        known: The login known to the desk.
    """

    def __init__(self, octets: bytes = b"", profile: Profile = OFFICE) -> None:
        end = find_head(octets or get(URL))
        assert end is not None
        request = parse_request((octets or get(URL))[:end])
        self.broker = AnsweringBroker(LOGIN, schemes=(Basic(),), is_known=True)
        self._sites = ExemptSites()
        self._route, self._site = Route.via_profile(profile), request.target.authority
        client = SimpleNamespace(
            getsockname=lambda: ("::1", 3128, 0, 0), getpeername=lambda: ("::1", 50000, 0, 0)
        )
        downstream: Any = SimpleNamespace(
            context=SimpleNamespace(broker=self.broker),
            client=SimpleNamespace(socket=client),
            clear_deadline=lambda: None,
        )
        auth = SimpleNamespace(exempt_sites=self._sites)
        lease: Any = SimpleNamespace(route=self._route, auth=auth)
        self.attempts = Attempts(downstream, request, lease)
        assert self._route.upstream_id is not None
        self.known = self.broker.known(self._route.upstream_id)

    def exempt_site(self) -> None:
        """Record that the upstream serves the site without a login."""
        assert self._route.upstream_id is not None
        assert self._site is not None
        self._sites.note_served(self._route.upstream_id, self._site)

    def after(self, outcome: Outcome) -> Attempt:
        """Return the attempt after a challenge that the desk answers with this outcome."""
        self.broker.outcome = outcome

        async def choose() -> Attempt:
            return await self.attempts.after_challenge(AuthChallenge((BASIC,)), None)

        return asyncio.run(choose())


def test_the_first_attempt_carries_the_known_login() -> None:
    choice = Choice()
    assert choice.attempts.unchallenged() == Attempt(choice.known)


def test_the_first_attempt_for_an_exempt_site_withholds_the_login_r_086() -> None:
    choice = Choice()
    choice.exempt_site()
    assert choice.attempts.unchallenged() == Attempt(None, withheld=choice.known)


@pytest.mark.parametrize(
    ("scheme", "method", "is_shared"),
    [
        (None, b"GET", False),
        (Basic(), b"CONNECT", True),
        (ntlm_like_scheme(), b"GET", True),
        (ntlm_like_scheme(), b"CONNECT", False),
    ],
)
def test_a_tunnel_without_a_login_does_not_use_up_an_authenticated_connection(
    scheme: Scheme | None, method: bytes, is_shared: bool
) -> None:
    withheld = None
    if scheme is not None:
        offer, upstream_id = Offer(scheme, BASIC), UpstreamId("office", "http://proxy.test:3128")
        withheld = FakeBroker().answer_with(upstream_id, offer, LOGIN)
    shared = Attempt(None, withheld=withheld).shared_login(method)
    assert shared is (withheld if is_shared else None)


@pytest.mark.parametrize(
    ("framing", "withholds"),
    [
        (b"Content-Length: %d" % MAX_IN_MEMORY, True),
        (b"Content-Length: %d" % (MAX_IN_MEMORY + 1), False),
        (CHUNKED, False),
    ],
)
def test_unrepeatable_content_carries_the_login_to_an_exempt_site_too_r_086(
    framing: bytes, withholds: bool
) -> None:
    choice = Choice(b"POST %b HTTP/1.1\r\nHost: origin.test\r\n%b\r\n\r\n" % (URL, framing))
    choice.exempt_site()
    withheld = Attempt(None, withheld=choice.known)
    assert choice.attempts.unchallenged() == (withheld if withholds else Attempt(choice.known))


def test_the_login_of_a_socks_server_is_never_withheld() -> None:
    """It is sent before the request, so the site does not matter."""
    choice = Choice(profile=replace(OFFICE, upstream=SOCKS))
    choice.exempt_site()
    assert choice.known is not None
    assert choice.attempts.unchallenged() == Attempt(choice.known)


def test_a_profile_without_sign_in_uses_no_known_login() -> None:
    choice = Choice(profile=replace(OFFICE, sign_in=SignIn.NONE))
    assert choice.known is not None
    assert choice.attempts.unchallenged() == Attempt(None)


def test_all_challenges_of_a_request_are_one_pending_request() -> None:
    choice = Choice()
    for _ in range(2):
        choice.after(choice.known)
    first, second = choice.broker.pending
    assert first is second
    assert first.connection == (("::1", 3128), ("::1", 50000))


def test_a_request_is_sent_without_a_login_on_a_new_connection_if_the_desk_has_none() -> None:
    # The connection of the challenge may be within a handshake.
    assert Choice().after(None) == Attempt(None, needs_new_connection=True)


def test_a_refusal_of_the_desk_ends_the_attempts() -> None:
    with pytest.raises(RequestRefusedError) as refused:
        Choice().after(REFUSAL)
    page = refused.value.page
    assert (page.status, page.title) == (503, REFUSAL.problem.title)


def test_only_a_login_unknown_to_other_requests_is_on_trial() -> None:
    choice = Choice()
    known = choice.known
    assert known is not None
    assert choice.after(known) == Attempt(known, is_from_desk=True)
    other = choice.broker.answer_with(known.upstream_id, OFFER, Login("user", "typed"))
    assert choice.after(other) == Attempt(other, is_on_trial=True, is_from_desk=True)
