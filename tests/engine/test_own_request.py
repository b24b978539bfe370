"""Tests for trayproxy.engine.proxy_auth.own_request: an own request, signed in like a program's."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TypeVar

import pytest

from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.ntlm_upstream import NtlmBehaviour, NtlmUpstream
from tests.engine.schemes import REJECTED, ScriptedScheme, ntlm_like_scheme
from tests.support.process_output import PATIENCE
from tests.support.scripted_upstream import (
    OK,
    ScriptedConnection,
    ScriptedUpstream,
    answering,
    challenge,
)
from tests.support.tls import CertificateAuthority
from trayproxy.auth.basic import Basic
from trayproxy.auth.digest import Digest
from trayproxy.auth.scheme import Leg, Offer, Scheme
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.error_pages import RequestRefusedError
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.engine.proxy_auth.auth_port import SERVER_SILENT, AuthChallenge, AuthOutcome
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.proxy_auth.own_auth_port import OwnRequestTools
from trayproxy.engine.proxy_auth.own_request import NotSignedInError, OwnRequest
from trayproxy.engine.upstream.connector import Connector
from trayproxy.http.challenges import Challenge
from trayproxy.http.request import Request
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.profiles.profile import ProxyScheme as UpstreamScheme
from trayproxy.service.own_requests.profile_check import request_for
from trayproxy.service.own_requests.trial import request_to

T = TypeVar("T")

URL = "http://origin.test/"


def played(
    profile: Profile,
    schemes: Sequence[Scheme],
    play: Callable[[OwnRequest, FakeBroker], Awaitable[T]],
    limits: EngineLimits = LIMITS,
    request: Request | None = None,
    *,
    is_known: bool = True,
) -> tuple[T, FakeBroker]:
    """Run a coroutine with a probe on a loop of its own, and return its result."""

    async def run() -> tuple[T, FakeBroker]:
        loop = asyncio.get_running_loop()
        desk = FakeBroker(LOGIN, schemes=schemes, is_known=is_known)
        dialler = Connector(loop, limits, desk, lambda addresses: False)
        tools = OwnRequestTools(desk, dialler, HandshakeThreads(loop), limits, b"via", loop.time)
        return await play(OwnRequest(profile, request or request_for(URL), tools), desk), desk

    return asyncio.run(run())


async def signed_in(own: OwnRequest, desk: FakeBroker) -> bool:
    """Sign in; return whether the request needed a login."""
    wanted = (await own.send(None)).challenge
    assert wanted is not None
    return await own.sign_in(wanted) is not None


def test_all_legs_of_a_handshake_use_the_same_connection_r_120(stack: ExitStack) -> None:
    upstream = stack.enter_context(NtlmUpstream())
    was_signed, desk = played(office(upstream.port), [ntlm_like_scheme()], signed_in)
    assert was_signed
    assert len(desk.accepted) == 1
    connections = {message: connection for connection, _, message in upstream.messages}
    assert connections["type 1"] == connections["type 3"]


def test_a_refusal_of_the_desk_ends_the_sign_in_without_a_login(stack: ExitStack) -> None:
    upstream = stack.enter_context(NtlmUpstream())

    async def refused(own: OwnRequest, desk: FakeBroker) -> None:
        with pytest.raises(NotSignedInError):
            await signed_in(own, desk)
        own.close()

    played(office(upstream.port), [Basic()], refused)
    assert [message for _, _, message in upstream.messages] == ["none"]


def test_a_407_to_head_may_have_content_between_the_legs(stack: ExitStack) -> None:
    upstream = stack.enter_context(NtlmUpstream(NtlmBehaviour(sends_body_to_head=True)))
    was_signed, desk = played(
        office(upstream.port), [ntlm_like_scheme()], signed_in, request=request_to("")
    )
    assert was_signed
    assert len(desk.accepted) == 1


def test_an_http_1_0_proxy_is_asked_to_keep_the_connection_of_a_handshake_r_120(
    stack: ExitStack,
) -> None:
    def play(peer: ScriptedConnection) -> None:
        while True:
            head = peer.read_head()
            if b"NTLM dGhyZWU=" in head:
                peer.send(OK)
                return
            peer.send(challenge("NTLM dHdv" if b"NTLM b25l" in head else "NTLM"))
            if b"Proxy-Connection: keep-alive\r\n" not in head:
                return

    upstream = stack.enter_context(ScriptedUpstream(play))
    was_signed, _ = played(office(upstream.port), [ntlm_like_scheme()], signed_in)
    assert was_signed


def answering_logins(answer: bytes) -> Callable[[ScriptedConnection], None]:
    """Return a script that gives this answer to requests with a login, and a 407 to others."""

    def play(peer: ScriptedConnection) -> None:
        while True:
            has_login = b"Proxy-Authorization" in peer.read_head()
            peer.send(answer if has_login else challenge('Basic realm="c"'))

    return play


@pytest.mark.parametrize("is_first", [True, False], ids=["sent first", "chosen by the desk"])
def test_the_desk_is_asked_after_the_rejection_of_each_login(
    stack: ExitStack, is_first: bool
) -> None:
    refusal = challenge('Basic realm="c"')
    upstream = stack.enter_context(ScriptedUpstream(answering_logins(refusal)))

    async def rejected(own: OwnRequest, desk: FakeBroker) -> Credentials | None:
        assert own.route.upstream_id is not None
        known = desk.known(own.route.upstream_id)
        assert known is not None
        known.acceptance.is_recent = True
        wanted = (await own.send(None)).challenge
        assert wanted is not None
        with pytest.raises(NotSignedInError):
            await own.sign_in(wanted, known if is_first else None)
        return known

    known, desk = played(office(upstream.port), [Basic()], rejected)
    first: list[Credentials | None] = [] if is_first else [None]
    assert [one.refused for one in desk.challenged_requests] == [*first, known]
    assert not any(one.pending.is_own for one in desk.challenged_requests)
    logins = b"".join(peer.received for peer in upstream.peers).count(b"Proxy-Authorization")
    assert logins == 1


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(
    ("status", "is_proved"), [(b"200 OK", True), (b"404 No", False), (b"502 Bad Gateway", False)]
)
def test_only_a_proof_settles_a_login_on_trial(
    stack: ExitStack, status: bytes, is_proved: bool, is_known: bool
) -> None:
    answer = OK.replace(b"200 OK", status)
    upstream = stack.enter_context(ScriptedUpstream(answering_logins(answer)))

    async def is_unproved(own: OwnRequest, desk: FakeBroker) -> bool:
        wanted = (await own.send(None)).challenge
        assert wanted is not None
        assert not own.is_unproved
        assert own.route.upstream_id is not None
        offer = Offer(desk.schemes[-1], wanted.challenges[0])
        login = desk.answer_with(own.route.upstream_id, offer, LOGIN)
        await own.sign_in(wanted, login if is_known else replace(login, permit=1))
        return own.is_unproved

    found, _ = played(office(upstream.port), [Basic()], is_unproved, is_known=is_known)
    assert found is (not is_proved and not is_known)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_login_that_the_proxy_did_not_ask_for_is_not_proved(
    stack: ExitStack, is_known: bool
) -> None:
    upstream = stack.enter_context(ScriptedUpstream(answering(OK)))

    async def is_unproved(own: OwnRequest, desk: FakeBroker) -> bool:
        assert own.route.upstream_id is not None
        scheme, challenge = desk.schemes[-1], Challenge("ntlm")
        login = desk.answer_with(own.route.upstream_id, Offer(scheme, challenge), LOGIN)
        credentials = login if is_known else replace(login, permit=1)
        await own.sign_in(AuthChallenge((challenge,)), credentials)
        return own.is_unproved

    profile, schemes = office(upstream.port), [ntlm_like_scheme()]
    found, desk = played(profile, schemes, is_unproved, is_known=is_known)
    assert (found, desk.login_was_sent, desk.accepted) == (not is_known, [False], [])


def closing(answer: bytes) -> Callable[[ScriptedConnection], None]:
    """Return a script that answers one request and closes the connection."""

    def play(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(answer)

    return play


def test_a_request_uses_the_nonce_of_its_own_connection(stack: ExitStack) -> None:
    """Behind a load balancer, the proxy of another connection does not know the nonce."""
    asked = [challenge(f'Digest realm="c", nonce="{nonce}", qop="auth"') for nonce in "axb"]
    upstream = stack.enter_context(
        ScriptedUpstream(
            answering(asked[0], OK),
            # Announced: an unannounced end may or may not be noticed before the login is sent.
            closing(asked[1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)),
            answering(asked[2], OK),
        )
    )

    async def twice(own: OwnRequest, desk: FakeBroker) -> None:
        await signed_in(own, desk)
        await signed_in(own, desk)

    played(office(upstream.port), [Digest(os.urandom)], twice)
    received = b"".join(peer.received for peer in upstream.peers).decode()
    assert re.findall(r' nonce="(\w)"', received) == ["a", "b"]


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "when more has come"])
def test_a_proxy_closing_unannounced_after_a_407_gets_the_login_on_a_new_connection(
    stack: ExitStack, is_late: bool
) -> None:
    carried: list[bytes] = []

    def play(peer: ScriptedConnection) -> None:
        head = peer.read_head()
        if b"Proxy-Authorization: Digest" in head:
            carried.append(head)
            peer.send(OK)
            return
        peer.send(challenge('Digest realm="c", nonce="n", qop="auth"'))
        if is_late:
            peer.leave_unread()

    upstream = stack.enter_context(ScriptedUpstream(play))
    was_signed, desk = played(office(upstream.port), [Digest(os.urandom)], signed_in)
    assert was_signed
    assert len(carried) == len(desk.accepted) == 1
    assert not desk.without_verdict


def test_a_proxy_closing_instead_of_answering_gets_the_login_once(stack: ExitStack) -> None:
    """The proxy has read the login, which may be wrong: a repetition could cost a failed log-on."""
    carried: list[bytes] = []

    def play(peer: ScriptedConnection) -> None:
        while b"Proxy-Authorization: Digest" not in (head := peer.read_head()):
            peer.send(challenge('Digest realm="c", nonce="n", qop="auth"'))
        carried.append(head)

    upstream = stack.enter_context(ScriptedUpstream(play))
    with pytest.raises(RequestRefusedError):
        played(office(upstream.port), [Digest(os.urandom)], signed_in)
    assert len(carried) == 1


def test_a_sign_in_over_tls_is_bound_to_the_certificate_r_127(
    stack: ExitStack, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path)
    context = authority.issue("localhost").context()
    upstream = stack.enter_context(ScriptedUpstream(answering(challenge("NTLM"), OK), tls=context))
    address = Upstream("localhost", upstream.port, UpstreamScheme.HTTPS)
    scheme = ScriptedScheme((Leg(b"NTLM eA=="), REJECTED), binds_connection=False)
    profile = replace(office(1), upstream=address, ca_file=str(authority.pem))

    played(profile, [scheme], signed_in)
    assert len(scheme.handshakes[0].request.end_point) == sha256().digest_size


def test_a_silent_sign_in_server_delays_neither_the_verdict_nor_the_exit(stack: ExitStack) -> None:
    upstream = stack.enter_context(ScriptedUpstream(answering(challenge("NTLM"))))
    over = Event()
    stack.callback(over.set)
    scheme = ScriptedScheme(
        (Leg(b"NTLM eA=="),), blocks=True, before_step=lambda: over.wait(PATIENCE)
    )

    async def send(own: OwnRequest, desk: FakeBroker) -> AuthOutcome:
        assert own.route.upstream_id is not None
        return await own.send(desk.known(own.route.upstream_id))

    begun = monotonic()
    outcome, _ = played(office(upstream.port), [scheme], send, replace(LIMITS, auth_step_s=0.1))
    assert outcome.challenge is not None
    assert outcome.challenge.verdict == SERVER_SILENT
    assert monotonic() - begun < PATIENCE / 2
