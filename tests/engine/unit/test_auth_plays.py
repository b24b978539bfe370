"""Plays of the authentication exchange: legs, authenticated connections, and failures (F07)."""

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import pytest

from tests.engine.fakes import LOGIN, FakeBroker, desk_for
from tests.engine.play import (
    ClosingResponse,
    ConnectionClosedError,
    Play,
    PlayUpstream,
    Received,
    by_connection,
    in_turn,
)
from tests.engine.schemes import (
    NO_TICKET,
    REJECTED,
    TYPE_1,
    UNUSABLE,
    ScriptedScheme,
    TicketScheme,
    ntlm_like_scheme,
)
from tests.engine.wire import connect, get, post
from tests.support.scripted_upstream import ESTABLISHED, OK, challenge, closing, digest_challenge
from trayproxy.auth.basic import Basic, basic_credentials
from trayproxy.auth.digest import Digest
from trayproxy.auth.scheme import Leg, Scheme, Verdict, VerdictKind
from trayproxy.desk.credentials import Credentials, PendingRequest, Refusal
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.proxy_auth.handshake_legs import MAX_LEGS
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile, Upstream

URL = b"http://origin.test/"
GET = get(URL)
CONNECT = connect(b"origin.test:443")
POST = post(URL, b"content")
BASIC = challenge('Basic realm="corp"')
NTLM = challenge("NTLM")
TYPE_2 = challenge("NTLM dHdv")
MESSAGES = {b"": "none", b"NTLM b25l": "type 1", b"NTLM dGhyZWU=": "type 3"}


def success(message: Received) -> bytes:
    """Return the response to an accepted request."""
    return ESTABLISHED if message.method == b"CONNECT" else OK


@dataclass(kw_only=True)
class NtlmPlay:
    """An upstream that authenticates connections with NTLM-like handshakes, as strictly as Squid.

    Attributes:
        rejects_all: True to reject every type 3.
        needs_no_login: Returns True if this message is served without a login.
        authenticated_requests: The number of requests served on an authenticated connection.
        closes_after: A message after which the connection is closed without a response.
        type_2_field: A field line of responses to type 1.
        minor: The minor HTTP version of refusals.
    """

    rejects_all: bool = False
    needs_no_login: Callable[[Received], bool] = lambda message: False
    authenticated_requests: int = 1 << 30
    closes_after: str = ""
    type_2_field: bytes = b""
    minor: int = 1
    _left: dict[int, int] = field(default_factory=dict)
    _is_begun: dict[int, bool] = field(default_factory=dict)

    def __call__(self, message: Received) -> bytes:
        """Return the response to a message."""
        kind, number = message_of(message), message.connection
        if kind == self.closes_after:
            raise ConnectionClosedError
        was_begun = self._is_begun.get(number, False)
        self._is_begun[number] = kind == "type 1"
        if kind == "type 3" and was_begun and not self.rejects_all:
            self._left[number] = self.authenticated_requests
        if self._left.get(number, 0) > 0 or self.needs_no_login(message):
            self._left[number] = self._left.get(number, 0) - 1
            return success(message)
        self._left[number] = 0
        refusal = NTLM
        if kind == "type 1" and not was_begun:
            refusal = TYPE_2.replace(b"\r\n\r\n", b"\r\n" + self.type_2_field + b"\r\n", 1)
        return refusal.replace(b"HTTP/1.1", b"HTTP/1.%d" % self.minor, 1)


def message_of(message: Received) -> str:
    """Return the name of the message in the credentials."""
    return MESSAGES.get(message.credentials, message.credentials.decode())


def messages(play: Play) -> list[tuple[int, str, str]]:
    """Return the connection, method and message of each request."""
    return [(one.connection, one.method.decode(), message_of(one)) for one in play.received]


# --- legs ---


def test_all_legs_use_the_same_connection_r_120() -> None:
    play = Play(NtlmPlay(), desk_for())
    assert play.ask(GET) == [200]
    assert messages(play) == [(1, "GET", "none"), (1, "GET", "type 1"), (1, "GET", "type 3")]
    assert len(play.desk.accepted) == 1


def test_an_authenticated_connection_carries_requests_unchanged() -> None:
    play = Play(NtlmPlay(), desk_for())
    assert play.ask(GET, GET, GET, GET, POST) == [200] * 5
    assert [message for _, _, message in messages(play)[3:]] == ["none"] * 4
    assert {connection for connection, _, _ in messages(play)} == {1}


@pytest.mark.parametrize("expected", [b"", b"100-continue"])
def test_content_is_sent_with_the_last_leg_only_r_125(expected: bytes) -> None:
    play = Play(NtlmPlay(), desk_for())
    lines = [b"Expect: " + expected] if expected else []
    assert play.ask(post(URL, b"content", *lines)) == [200]
    names = (b"content-length", b"expect")
    told = [(message_of(one), *map(one.value, names), one.content) for one in play.received]
    last = ("type 3", b"7", expected, b"content")
    assert told == [("none", *last[1:]), ("type 1", b"0", b"", b""), last]


def test_a_request_with_a_known_login_starts_with_the_first_leg() -> None:
    play = Play(NtlmPlay(), desk_for(is_known=True))
    assert play.ask(GET) == [200]
    assert [message for _, _, message in messages(play)] == ["type 1", "type 3"]


def test_no_site_receives_a_request_without_its_content() -> None:
    """A proxy without a login for some sites would forward a type 1 to them."""
    play = Play(NtlmPlay(needs_no_login=lambda message: True), desk_for(is_known=True))
    assert play.ask(POST) == [200]
    assert [(message_of(one), one.content) for one in play.received] == [("none", b"content")]


def test_a_first_leg_without_refusal_is_no_acceptance() -> None:
    play = Play(NtlmPlay(needs_no_login=lambda message: True), desk_for(is_known=True))
    assert play.ask(GET) == [200]
    assert not play.desk.accepted


def test_the_response_to_a_leg_without_content_is_not_relayed() -> None:
    upstream = NtlmPlay(
        needs_no_login=lambda message: message_of(message) == "type 1", authenticated_requests=0
    )
    play = Play(upstream, desk_for())
    assert play.ask(POST) == [503]
    assert play.desk.verdicts == [None, VerdictKind.UNUSABLE]


@pytest.mark.parametrize("minor", [0, 1])
def test_an_http_1_0_upstream_keeps_the_connection_open_during_a_handshake_r_120(
    minor: int,
) -> None:
    play = Play(NtlmPlay(minor=minor), desk_for())
    assert play.ask(GET) == [200]
    by_message = {message: connection for connection, _, message in messages(play)}
    assert by_message["type 1"] == by_message["type 3"]
    # In HTTP/1.0, the connection is closed after a refusal outside of a handshake.
    assert (by_message["none"] == by_message["type 1"]) is (minor == 1)


@pytest.mark.parametrize(
    "kept", [b"Proxy-Connection: keep-alive\r\n", b"Connection: keep-alive\r\n", b""]
)
@pytest.mark.parametrize("octets", [GET, POST, CONNECT, get(URL, method=b"HEAD")])
def test_a_handshake_asks_an_http_1_0_proxy_to_keep_the_connection_open_r_120(
    octets: bytes, kept: bytes
) -> None:
    """Squid 2 responds with HTTP/1.0, and closes the connection unless asked to keep it open."""
    asked: list[bool] = []

    def answer(message: Received) -> bytes | ClosingResponse:
        keeps_open = message.value(b"proxy-connection") == b"keep-alive"
        asked.append(keeps_open)
        is_authenticated = not message.credentials and message.connection > 1
        if message_of(message) == "type 3" or is_authenticated:
            octets = success(message)
        else:
            octets = TYPE_2 if message_of(message) == "type 1" else NTLM
        line = kept if keeps_open else b"Connection: close\r\n"
        octets = octets.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n", b"\r\n" + line, 1)
        return octets if keeps_open else ClosingResponse(octets)

    play = Play(answer, desk_for())
    is_tunnel = octets.startswith(b"CONNECT")
    asks = [octets] if is_tunnel else [octets, octets]
    assert play.ask(*asks) == [200] * len(asks)
    if kept or is_tunnel:
        # A request on the authenticated connection keeps it open, too.
        assert asked == [False, *[True] * (len(asked) - 1)]
        assert play.connections.count == 2


def test_only_a_handshake_sends_proxy_connection_keep_alive() -> None:
    """In other requests the field does harm (RFC 9112, appendix C.2.2)."""
    play = Play(in_turn(BASIC, OK), FakeBroker(LOGIN))
    assert play.ask(GET) == [200]
    assert not any(message.value(b"proxy-connection") for message in play.received)


# --- proxies that close the connection after a 407 without announcing it ---

CHALLENGES: dict[str, Callable[[], Scheme]] = {
    'Basic realm="corp"': Basic,
    'Digest realm="c", nonce="n", qop="auth"': lambda: Digest(os.urandom),
    "NTLM": ntlm_like_scheme,
    "Negotiate": TicketScheme,
}


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "when more has come"])
@pytest.mark.parametrize("challenged", CHALLENGES)
@pytest.mark.parametrize(
    "octets",
    [GET, CONNECT, POST, post(URL, b""), get(URL, method=b"HEAD")],
    ids=["get", "connect", "post", "empty post", "head"],
)
def test_after_a_407_with_a_closed_connection_the_login_uses_a_new_connection(
    octets: bytes, challenged: str, is_late: bool
) -> None:
    costly: list[Received] = []

    def answer(message: Received) -> bytes | ClosingResponse:
        if not message.credentials:
            is_empty = not message.value(b"content-length")
            return ClosingResponse(challenge(challenged), is_late=is_late and is_empty)
        if message_of(message) == "type 1":
            return TYPE_2
        costly.append(message)
        return success(message)

    desk = FakeBroker(LOGIN, schemes=(CHALLENGES[challenged](),))
    if challenged == "Negotiate":
        desk.begin(None, uses_own_sign_in=True)
    play = Play(answer, desk)
    assert play.ask(octets) == [200]
    assert len(costly) == 1
    assert not desk.without_verdict


@pytest.mark.parametrize(
    ("scheme", "challenged", "most"),
    [(Basic(), BASIC, 2), (ntlm_like_scheme(), NTLM, 1)],
    ids=["basic", "ntlm"],
)
@pytest.mark.parametrize("is_unread", [False, True])
def test_a_login_answered_with_resets_is_sent_at_most_twice(
    scheme: Scheme, challenged: bytes, most: int, is_unread: bool
) -> None:
    """After a reset it is unknown whether the upstream has read the login."""
    costly: list[Received] = []

    def answer(message: Received) -> bytes:
        if message.credentials and message_of(message) != "type 1":
            costly.append(message)
            raise ConnectionClosedError(is_unread=is_unread)
        return TYPE_2 if message.credentials else challenged

    play = Play(answer, desk_for(scheme))
    assert play.ask(GET) == [503]
    assert len(costly) <= most
    assert set(play.desk.login_was_sent) == {True}


# --- authenticated connections ---


def test_a_tunnel_authenticates_its_connection() -> None:
    play = Play(NtlmPlay(), desk_for())
    assert play.ask(CONNECT) == [200]
    assert [message for _, _, message in messages(play)] == ["none", "type 1", "type 3"]


def test_a_407_on_an_authenticated_connection_is_no_rejection() -> None:
    play = Play(NtlmPlay(authenticated_requests=2), desk_for())
    assert play.ask(GET, GET, GET) == [200] * 3
    assert messages(play)[4:] == [(1, "GET", "none"), (2, "GET", "type 1"), (2, "GET", "type 3")]
    assert len(play.desk.challenged_requests) == 1


def test_responses_on_an_authenticated_connection_are_no_verdicts() -> None:
    play = Play(NtlmPlay(), desk_for())
    assert play.ask(*[GET] * 5) == [200] * 5
    assert len(play.desk.accepted) == 1
    assert not play.desk.without_verdict


# --- failures ---


def test_a_connection_is_closed_after_a_rejected_handshake_r_122() -> None:
    """Squid accepts no second handshake on a connection after a failed handshake."""
    play = Play(NtlmPlay(rejects_all=True), desk_for())
    assert play.ask(GET, GET) == [503, 503]
    assert play.desk.verdicts == [None, VerdictKind.REJECTED] * 2
    assert {connection for connection, _, _ in messages(play)[3:]} == {2}
    assert not play.desk.accepted


def test_a_handshake_is_retried_once_after_its_connection_closed_r_126() -> None:
    play = Play(NtlmPlay(type_2_field=b"Connection: close\r\n"), desk_for())
    assert play.ask(GET) == [502]
    assert [message for _, _, message in messages(play)] == ["none", "type 1", "type 1"]
    assert play.desk.login_was_sent == [False]
    assert play.connections.lost_unused == [False]


def test_a_handshake_is_retried_once_after_a_lost_first_leg_r_126() -> None:
    play = Play(NtlmPlay(closes_after="type 1"), desk_for())
    assert play.ask(POST) == [502]
    assert [message for _, _, message in messages(play)] == ["none", "type 1", "type 1"]


@pytest.mark.parametrize(
    ("octets", "is_used", "requests", "lost_unused"),
    [(GET, False, 1, True), (GET, True, 2, True), (POST, False, 1, True), (POST, True, 1, False)],
)
def test_a_request_refused_after_a_lost_connection_says_if_the_upstream_has_ever_answered(
    octets: bytes, is_used: bool, requests: int, lost_unused: bool
) -> None:
    """An upstream that never answers counts as dead. A GET is sent again on a new connection."""

    def answer(message: Received) -> bytes:
        if message.method == b"HEAD":
            return OK
        raise ConnectionClosedError

    play = Play(answer, FakeBroker())
    if is_used:
        assert play.ask(get(URL, method=b"HEAD")) == [200]
    del play.received[:]
    assert play.ask(octets) == [502]
    assert len(play.received) == requests
    assert play.connections.lost_unused == [lost_unused]


def test_an_ntlm_login_on_trial_is_not_resent_after_a_lost_connection() -> None:
    play = Play(NtlmPlay(closes_after="type 3"), desk_for())
    assert play.ask(GET) == [503]
    assert [message for _, _, message in messages(play)].count("type 3") == 1
    assert play.desk.login_was_sent == [True]


def test_a_known_login_is_resent_with_an_idempotent_request() -> None:
    play = Play(NtlmPlay(closes_after="type 3"), desk_for(is_known=True))
    assert play.ask(GET) == [503]
    assert [message for _, _, message in messages(play)].count("type 3") == 2
    # Each may have cost a log-on.
    assert play.desk.login_was_sent == [True, True]


def test_a_basic_login_on_trial_is_not_resent_after_a_lost_connection() -> None:
    """The request returns to the desk, which decides whether the login may be sent again."""

    def answer(message: Received) -> bytes:
        if message.credentials:
            raise ConnectionClosedError
        return BASIC

    play = Play(answer, FakeBroker(LOGIN))
    assert play.ask(GET) == [503]
    assert len(play.logins) == 1
    assert play.connections.count == 2
    assert play.desk.login_was_sent == [True]


def test_an_unusable_scheme_is_followed_by_the_next_scheme() -> None:
    upstream = in_turn(challenge("NTLM", 'Basic realm="corp"'), OK)
    play = Play(upstream, desk_for(ScriptedScheme((UNUSABLE,)), Basic()))
    assert play.ask(GET) == [200]
    assert [request.verdict for request in play.desk.challenged_requests] == [None, UNUSABLE]
    assert [one.credentials for one in play.logins] == [basic_credentials(LOGIN)]


def test_the_next_scheme_uses_a_new_connection() -> None:
    both = challenge("NTLM", 'Basic realm="corp"')
    upstream = by_connection(in_turn(both), in_turn(OK))
    play = Play(upstream, desk_for(ScriptedScheme((TYPE_1, UNUSABLE)), Basic()))
    assert play.ask(GET) == [200]
    assert [(one.connection, one.credentials) for one in play.logins] == [
        (1, b"NTLM b25l"),
        (2, basic_credentials(LOGIN)),
    ]


def test_an_endless_handshake_is_ended() -> None:
    play = Play(in_turn(NTLM), desk_for(ScriptedScheme((TYPE_1,))))
    assert play.ask(GET) == [503]
    assert play.desk.verdicts[-1] is VerdictKind.UNUSABLE
    assert len(play.logins) == MAX_LEGS


def test_a_fallback_upstream_first_gets_the_request_without_a_login() -> None:
    """A request must not reach a site without its content if the fallback requires no login."""
    second = NtlmPlay(needs_no_login=lambda message: True)
    play = Play(by_connection(in_turn(NTLM), second), FakeBroker())

    def fail_over(desk: FakeBroker) -> None:
        other = Profile("office", "Office", Upstream("other.test", 3128))
        play.switch(Route.via_profile(other))
        desk.release_all()

    play.when_parked = fail_over
    assert play.ask(POST) == [200]
    on_second = [one for one in play.received if one.connection == 2]
    assert [(message_of(one), one.content) for one in on_second] == [("none", b"content")]


# --- nonces behind a load balancer ---


def nonces(play: Play) -> list[bytes]:
    """Return the nonces of all logins."""
    return [nonce for one in play.logins for nonce in re.findall(rb' nonce="(\w+)"', one.head)]


def test_a_login_on_trial_answers_the_nonce_of_its_own_connection() -> None:
    """Behind a load balancer, the proxy of another connection would reject the login."""
    upstream = by_connection(
        in_turn(closing(digest_challenge("a"))), in_turn(digest_challenge("b"), OK)
    )
    play = Play(upstream, FakeBroker())
    assert play.ask(GET) == [200]
    assert nonces(play) == [b"b"]
    assert len(play.desk.accepted) == 1


@pytest.mark.parametrize("octets", [GET, CONNECT], ids=["get", "connect"])
def test_a_login_on_trial_uses_the_connection_of_the_407(octets: bytes) -> None:
    """Behind a load balancer, each new connection may lead to a proxy with another realm."""
    found = ESTABLISHED if octets is CONNECT else OK
    upstream = by_connection(
        in_turn(digest_challenge("a"), digest_challenge("b"), found),
        in_turn(digest_challenge("x", "other")),
    )
    play = Play(upstream, FakeBroker())
    assert play.ask(octets) == [200]
    assert play.connections.count == 1
    assert nonces(play) == [b"b"]


@pytest.mark.parametrize("is_proved", [False, True])
def test_only_a_proved_login_uses_an_idle_connection_for_a_new_nonce(is_proved: bool) -> None:
    """An idle connection may be dead, and a login on trial is sent only once."""
    stale = digest_challenge("b").replace(b'nonce="b"', b'nonce="b", stale=true')

    def answer(message: Received) -> bytes | ClosingResponse:
        if not message.credentials:
            return digest_challenge("a")
        if b'nonce="b"' in message.head or message.head.startswith(b"HEAD"):
            return OK
        play.connections.idle = play.connections.open()
        return ClosingResponse(stale.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))

    play = Play(answer, desk_for(Digest(os.urandom)))
    if is_proved:
        assert play.ask(get(URL, method=b"HEAD")) == [200]
    assert play.ask(GET) == [200]
    # The idle connection is the second.
    assert play.logins[-1].connection == (2 if is_proved else 3)


def test_a_login_on_trial_uses_a_new_connection_if_each_closes_after_its_407() -> None:
    def answer(message: Received) -> bytes | ClosingResponse:
        if message.credentials:
            return OK
        play.connections.idle = play.connections.open()
        return closing(digest_challenge("a"))

    play = Play(answer, FakeBroker())
    assert play.ask(GET) == [200]
    # The first idle connection was used for another challenge, the next is left.
    assert [one.connection for one in play.received] == [1, 2, 4]


def test_a_tunnel_with_a_proved_nonce_leaves_the_idle_connection_to_other_requests() -> None:
    play = Play(in_turn(digest_challenge("a"), OK, ESTABLISHED), desk_for(Digest(os.urandom)))
    assert play.ask(GET) == [200]
    play.connections.release()
    assert play.ask(CONNECT) == [200]
    assert [one.connection for one in play.received] == [1, 1, 2]


def test_a_login_is_not_sent_to_a_connection_with_another_realm() -> None:
    upstream = by_connection(
        in_turn(closing(digest_challenge("a"))), in_turn(digest_challenge("b", "other"), OK)
    )
    play = Play(upstream, FakeBroker())
    assert play.ask(GET) == [503]
    assert not play.logins
    assert play.desk.verdicts == [None, VerdictKind.UNUSABLE]
    assert play.desk.challenged_requests[1].challenges[0].realm == "other"


class LoadBalancedUpstream:
    """Several Digest proxies behind one address. Connections lead to the proxies in turn, and each
    proxy refuses the nonces of the other proxies like a wrong password."""

    def __init__(self, *, wrong: bool = False, is_for_head: bool = True) -> None:
        self._wrong = wrong
        self._is_for_head = is_for_head
        self._own: dict[int, set[bytes]] = {}
        self._nonces = count()

    def __call__(self, message: Received) -> bytes:
        """Return the response to a message."""
        own = self._own.setdefault(message.connection, set())
        nonce = re.search(rb' nonce="(\w+)"', message.head)
        is_right = nonce is not None and nonce[1] in own and not self._wrong
        if is_right or (message.method == b"HEAD" and not self._is_for_head):
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        new = f"n{next(self._nonces)}"
        own.add(new.encode())
        return digest_challenge(new)


def methods(play: Play) -> list[tuple[int, bytes]]:
    """Return the connection and the method of each message."""
    return [(one.connection, one.method) for one in play.received]


@pytest.mark.parametrize("octets", [POST, post(URL, b"")], ids=["content", "no content"])
def test_a_post_with_a_login_on_trial_uses_the_connection_of_a_head_request(octets: bytes) -> None:
    play = Play(LoadBalancedUpstream(), FakeBroker())
    assert play.ask(octets) == [200]
    # The first time, the second HEAD proves that the connection stays open after a 407.
    assert methods(play) == [(1, b"POST"), (2, b"HEAD"), (2, b"HEAD"), (2, b"POST")]
    assert len(play.logins) == 1
    content = octets.partition(b"\r\n\r\n")[2]
    assert [one.content for one in play.received] == [content, b"", b"", content]
    assert len(play.desk.accepted) == 1


def test_a_wrong_login_of_a_post_is_rejected_after_one_log_on() -> None:
    play = Play(LoadBalancedUpstream(wrong=True), FakeBroker())
    assert play.ask(POST) == [503]
    assert len(play.logins) == 1
    assert play.desk.verdicts[-1] is VerdictKind.REJECTED
    # The upstream is known to keep connections open: no second HEAD is sent.
    assert play.ask(POST) == [503]
    assert [method for _, method in methods(play)[4:]] == [b"POST", b"HEAD", b"POST"]


def test_a_post_obtains_the_challenge_itself_if_head_needs_no_login() -> None:
    play = Play(LoadBalancedUpstream(is_for_head=False), FakeBroker())
    assert play.ask(POST) == [503]
    assert [method for _, method in methods(play)] == [b"POST", b"HEAD", b"POST", b"POST"]
    assert len(play.logins) == 1
    assert play.desk.verdicts[-1] is VerdictKind.UNCLEAR


def test_a_post_with_the_nonce_of_another_proxy_succeeds() -> None:
    """The login was accepted before, so a refusal by the first proxy does not reject it."""
    play = Play(LoadBalancedUpstream(), FakeBroker())
    assert play.ask(POST) == [200]
    play.forget_connections()
    del play.received[:]
    assert play.ask(POST) == [200]
    assert methods(play) == [(3, b"POST"), (4, b"HEAD"), (4, b"POST")]
    assert len(play.desk.challenged_requests) == 1


@pytest.mark.parametrize(
    ("stale", "expected"),
    [
        (", stale=true", [b"POST", b"POST"]),
        (", stale=TRUE", [b"POST", b"POST"]),
        (", stale=false", [b"POST", b"HEAD", b"HEAD", b"POST"]),
        ("", [b"POST", b"HEAD", b"HEAD", b"POST"]),
    ],
)
def test_a_stale_nonce_is_replaced_without_a_head_request(
    stale: str, expected: list[bytes]
) -> None:
    """A proxy that calls a nonce stale knows it, so it is not the proxy of another connection."""

    def answer(message: Received) -> bytes:
        if message.method == b"GET":
            return OK if message.credentials else digest_challenge("a")
        if b'nonce="b"' in message.head:
            return OK
        return challenge(f'Digest realm="c", nonce="b", qop="auth"{stale}')

    play = Play(answer, desk_for(Digest(os.urandom)))
    assert play.ask(GET) == [200]
    del play.received[:]
    assert play.ask(POST) == [200]
    assert [method for _, method in methods(play)] == expected


def test_a_post_with_a_proved_login_is_one_request() -> None:
    play = Play(LoadBalancedUpstream(), FakeBroker())
    assert play.ask(POST) == [200]
    del play.received[:]
    assert play.ask(POST) == [200]
    assert methods(play) == [(2, b"POST")]


class ChallengeCollectingDesk(FakeBroker):
    """A desk letting the first request obtain another challenge, at once or later."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__(LOGIN, schemes=[Basic()])
        self.at_once = at_once

    def challenged(
        self,
        space: UpstreamId,
        profile: Profile,
        challenges: Sequence[Challenge],
        waiter: PendingRequest,
        tried: Credentials | None,
        verdict: Verdict | None = None,
    ) -> "asyncio.Future[Credentials | Refusal | None]":
        is_first = not self.challenged_requests
        self.login = None if is_first else LOGIN
        future = super().challenged(space, profile, challenges, waiter, tried, verdict)
        if is_first and self.at_once:
            future.set_result(None)
        return future


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("octets", [GET, CONNECT], ids=["get", "connect"])
def test_a_request_is_resent_without_a_login_if_the_desk_returns_none(
    octets: bytes, at_once: bool
) -> None:
    found = ESTABLISHED if octets is CONNECT else OK
    desk = ChallengeCollectingDesk(at_once=at_once)
    play = Play(
        by_connection(in_turn(BASIC), in_turn(BASIC, found)),
        desk,
        when_parked=lambda desk: desk.challenged_requests[0].future.set_result(None),
    )
    assert play.ask(octets) == [200]
    # A new connection: the first may be in a handshake.
    assert [(one.connection, bool(one.credentials)) for one in play.received] == [
        (1, False),
        (2, False),
        (2, True),
    ]
    assert [request.refused for request in desk.challenged_requests] == [None, None]


def test_a_wrong_password_costs_one_failed_log_on_by_digest() -> None:
    upstream = by_connection(
        in_turn(closing(digest_challenge("a"))),
        in_turn(digest_challenge("b"), digest_challenge("d")),
    )
    play = Play(upstream, FakeBroker())
    assert play.ask(GET) == [503]
    assert len(play.logins) == 1


def test_an_old_nonce_is_not_used_with_an_unproved_login() -> None:
    """If the password was changed, the old nonce and the new nonce would each cost a log-on."""
    upstream = in_turn(digest_challenge("a"), OK, digest_challenge("b"), digest_challenge("c"))
    desk = desk_for(Digest(os.urandom))
    desk.wants_all_reports = True
    play = Play(upstream, desk, when_parked=FakeBroker.refuse_all)
    assert play.ask(GET, GET) == [200, 503]
    assert play.connections.count == 1
    assert [b'nonce="a"' in one.head for one in play.received] == [False, True, False, False]
    assert [b'nonce="b"' in one.head for one in play.received] == [False, False, False, True]


@pytest.mark.parametrize("answer", [OK, BASIC, b""], ids=["accepted", "refused", "lost"])
def test_the_desk_gets_back_the_credentials_with_its_permit(answer: bytes) -> None:
    def respond(message: Received) -> bytes:
        if not answer:
            raise ConnectionClosedError
        return answer

    desk = FakeBroker(LOGIN, schemes=(Basic(),), is_known=True)
    Play(respond, desk, when_parked=FakeBroker.refuse_all).ask(post(URL, b"once"))
    refused = [one.refused for one in desk.challenged_requests if one.refused is not None]
    reported = [*desk.accepted, *refused, *desk.without_verdict]
    assert [one.permit for one in reported] == [1]


def test_a_request_without_a_challenge_needs_no_permit() -> None:
    desk = desk_for(Digest(os.urandom))
    desk.wants_all_reports = desk.is_permit_used = True
    play = Play(in_turn(digest_challenge("a"), OK, OK), desk)
    assert play.ask(GET) == [200]
    desk.is_permit_used = True
    assert play.ask(GET) == [200]
    assert desk.permit_count == 0


@pytest.mark.parametrize("octets", [GET, POST], ids=["get", "post"])
def test_a_missing_ticket_is_reported_with_the_challenges(octets: bytes) -> None:
    upstream = in_turn(closing(challenge("NTLM", 'Basic realm="corp"')))
    scheme = ScriptedScheme((NO_TICKET,))
    play = Play(upstream, desk_for(scheme, is_known=True))
    assert play.ask(octets) == [503]
    # No content is read for a second handshake.
    assert (play.connections.count, len(scheme.handshakes)) == (1, 1)
    (request,) = play.desk.challenged_requests
    assert (request.verdict, [one.scheme for one in request.challenges]) == (
        NO_TICKET,
        ["ntlm", "basic"],
    )


def test_a_request_without_a_challenge_needs_no_ticket() -> None:
    play = Play(in_turn(OK), desk_for(ScriptedScheme((NO_TICKET,)), is_known=True))
    assert play.ask(GET) == [200]
    assert not play.desk.challenged_requests


# --- credentials of each request ---


def test_each_request_gets_its_own_credentials_if_they_cannot_be_repeated() -> None:
    scheme = ScriptedScheme((Leg(b"NTLM eA=="), REJECTED), binds_connection=False)
    play = Play(in_turn(NTLM, OK), desk_for(scheme))
    assert play.ask(*[GET] * 4) == [200] * 4
    assert len(scheme.handshakes) == 4
    assert [one.final_responses for one in scheme.handshakes] == [1] * 4


def test_each_step_of_a_handshake_receives_the_last_challenges() -> None:
    steps = (Leg(b"NTLM eA=="), Leg(b"NTLM eQ=="), REJECTED)
    scheme = ScriptedScheme(steps, binds_connection=False)
    play = Play(in_turn(challenge("NTLM a"), challenge("NTLM b"), OK), desk_for(scheme))
    assert play.ask(GET) == [200]
    (handshake,) = scheme.handshakes
    assert [[one.token68 for one in told] for told in handshake.challenges] == [["a"], ["b"]]


def test_the_whole_proxy_is_one_protection_space_r_110() -> None:
    """One 407 is enough for all sites, programs and connections; the nonce count continues."""
    play = Play(in_turn(digest_challenge("n"), OK), desk_for(Digest(os.urandom)))
    for number in range(3):
        assert play.ask(get(b"http://site%d.test/" % number)) == [200]
        play.forget_connections()
    assert nonces(play) == [b"n"] * 3
    counts = [re.findall(rb"nc=(\w+)", one.head) for one in play.logins]
    assert counts == [[b"00000001"], [b"00000002"], [b"00000003"]]
    assert len(play.desk.challenged_requests) == 1


@pytest.mark.parametrize(
    ("request_octets", "signed"),
    [
        (GET, (b"GET", URL, b"")),
        (CONNECT, (b"CONNECT", b"origin.test:443", b"")),
        (POST, (b"POST", URL, b"content")),
    ],
    ids=["get", "connect", "post"],
)
def test_a_handshake_receives_the_request_as_sent_r_103(
    request_octets: bytes, signed: tuple[bytes, ...]
) -> None:
    scheme = ScriptedScheme((Leg(b"NTLM eA=="), REJECTED), binds_connection=False)
    play = Play(lambda message: success(message) if message.credentials else NTLM, desk_for(scheme))
    assert play.ask(request_octets) == [200]
    request = scheme.handshakes[0].request
    assert (request.method, request.target, request.body) == signed


def test_a_login_refused_during_a_connect_is_not_sent() -> None:
    """The login was refused to another request; this request would cost a second log-on."""
    asks = challenge('Basic realm="r"')
    upstream = by_connection(in_turn(asks, closing(OK)), in_turn(asks))
    play = Play(upstream, FakeBroker(LOGIN), when_parked=FakeBroker.refuse_all)
    assert play.ask(GET) == [200]
    play.connections.before_open = play.desk.forget_login
    assert play.ask(get(b"http://other.test/")) == [503]
    assert [one.connection for one in play.logins] == [1]
    assert [request.refused for request in play.desk.challenged_requests] == [None, None]


def test_a_short_refusal_has_256_kibibytes_in_two_seconds_r_084() -> None:
    assert (EngineLimits().max_drain_octets, EngineLimits().drain_407_s) == (256 << 10, 2.0)


# --- uploads that are refused ---


def test_an_upload_is_resent_without_an_expectation_after_a_417() -> None:
    refused = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
    play = Play(
        by_connection(in_turn(refused), in_turn(OK)), FakeBroker(LOGIN), is_repeatable=False
    )
    assert play.ask(POST) == [200]
    assert [one.value(b"expect") for one in play.received] == [b"100-continue", b""]
    assert [one.content for one in play.received] == [b"", b"content"]


# --- a 401 in place of a 407 ---

WRONG = b"HTTP/1.0 401 Unauthorized\r\nServer: tiny/1\r\n%bConnection: close\r\n\r\nno"
OWN = b'WWW-Authenticate: Basic realm="tiny"\r\n'


def tinyproxy_like(
    answer: bytes, server: bytes = b"Server: tiny/1\r\n", scheme: bytes = b'Basic realm="tiny"'
) -> PlayUpstream:
    """Return an upstream requiring a login like tinyproxy, and responding to a login with this
    answer."""
    line = b"Proxy-Authenticate: " + scheme + b"\r\n"
    asks = b"HTTP/1.0 407 Auth\r\n" + server + line + b"Connection: close\r\n\r\nno"
    return lambda message: answer if message.credentials else asks


@pytest.mark.parametrize("scheme", [b'Basic realm="tiny"', b'Digest realm="tiny", nonce="n"'])
@pytest.mark.parametrize("request_octets", [GET, CONNECT], ids=["get", "connect"])
def test_a_401_of_the_proxy_is_a_rejection(request_octets: bytes, scheme: bytes) -> None:
    answer = WRONG % (b"WWW-Authenticate: " + scheme + b"\r\n")
    play = Play(tinyproxy_like(answer, scheme=scheme), FakeBroker(LOGIN))
    assert play.ask(request_octets) == [503]
    assert play.desk.verdicts == [None, VerdictKind.REJECTED]
    assert not play.desk.accepted


@pytest.mark.parametrize(
    ("answer", "server", "is_doubtful"),
    [
        (WRONG % (b"Via: 1.1 tiny\r\n" + OWN), b"Server: tiny/1\r\n", False),
        (WRONG % b'WWW-Authenticate: Basic realm="site"\r\n', b"Server: tiny/1\r\n", False),
        (WRONG % b"", b"Server: tiny/1\r\n", True),
        (WRONG % OWN, b"Server: other\r\n", False),
        (WRONG % OWN, b"", False),
    ],
    ids=["passed on", "another realm", "without a challenge", "another server", "unknown server"],
)
def test_a_401_of_a_site_is_relayed_to_the_client(
    answer: bytes, server: bytes, is_doubtful: bool
) -> None:
    play = Play(tinyproxy_like(answer, server), FakeBroker(LOGIN))
    assert play.ask(GET) == [401]
    assert play.desk.unproved == [("origin.test:80", is_doubtful)]
    assert play.desk.accepted == []


def test_a_401_to_connect_without_a_challenge_is_no_rejection() -> None:
    play = Play(tinyproxy_like(WRONG % b""), FakeBroker(LOGIN))
    assert play.ask(CONNECT) == [401]
    assert play.desk.unproved == [("origin.test:443", True)]


def test_a_401_to_a_request_without_a_login_comes_from_the_site() -> None:
    play = Play(in_turn(WRONG % OWN), FakeBroker(LOGIN))
    assert play.ask(GET) == [401]
    assert not play.desk.challenged_requests
