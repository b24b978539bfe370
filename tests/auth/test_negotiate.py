"""Tests for trayproxy.auth.negotiate. End-to-end tests send the tokens to real proxies."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.steps import second_step, verdict_kind
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.negotiate import kerberos_scheme, spnego_init
from trayproxy.auth.scheme import Authenticator, Leg, RequestToAuthenticate, Verdict, VerdictKind
from trayproxy.auth.windows import TokenError
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.fields import Fields

LOGIN = Login("jdoe", "secret")
GET = RequestToAuthenticate(b"GET", b"http://a.example/", b"", b"end point")
BARE = Challenge("negotiate")


class FakeTickets:
    """Tickets with numbered tokens, or with a verdict instead."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.verdict = verdict
        self.end_points: list[bytes] = []

    def token(self, end_point: bytes) -> bytes:
        self.end_points.append(end_point)
        if self.verdict:
            raise TokenError(self.verdict)
        return b"token %d" % len(self.end_points)


def authenticator_with(tickets: FakeTickets, login: Login | None = None) -> Authenticator:
    scheme = kerberos_scheme(lambda login, host: tickets.token)
    return scheme.authenticator(BARE, login, "proxy.corp.example")


def test_the_handshake_is_a_single_leg_with_content() -> None:
    tickets = FakeTickets()
    authenticator = authenticator_with(tickets)
    leg = authenticator.begin(GET).step(())
    assert isinstance(leg, Leg)
    assert (leg.with_content, leg.same_connection) == (True, False)
    assert not authenticator.is_constant
    assert leg.credentials.startswith(b"Negotiate ")
    assert b"token 1" in b64decode(leg.credentials.removeprefix(b"Negotiate "), validate=True)
    assert tickets.end_points == [b"end point"]


def test_every_connection_gets_a_token_of_its_own_r_121() -> None:
    """Proxies remember received tokens and refuse them the second time."""
    authenticator = authenticator_with(FakeTickets())
    legs = {authenticator.begin(GET).step(()) for _ in range(3)}
    assert len(legs) == 3


@pytest.mark.parametrize("challenges", [(), (BARE,), (BARE, Challenge("basic"))])
def test_a_refused_ticket_is_not_sent_again_r_122(challenges: tuple[Challenge, ...]) -> None:
    # Corpus U153.
    handshake = authenticator_with(FakeTickets()).begin(GET)
    assert second_step(handshake, *challenges) == Verdict(VerdictKind.REJECTED)


def test_a_password_accepted_by_the_kdc_is_not_rejected_by_the_proxy() -> None:
    handshake = authenticator_with(FakeTickets(), LOGIN).begin(GET)
    assert verdict_kind(second_step(handshake, BARE)) is VerdictKind.UNUSABLE


def test_a_407_after_an_accepted_ticket_is_a_rejection() -> None:
    """The proxy may forbid the URL."""
    authenticator = authenticator_with(FakeTickets(), LOGIN)
    first = authenticator.begin(GET)
    first.step(())
    first.finish(Fields())
    second = authenticator.begin(GET)
    assert verdict_kind(second_step(second, BARE)) is VerdictKind.REJECTED


def response(state: int, size: int = 0) -> str:
    """Return a token of the proxy with this state (RFC 4178, section 4.2.2)."""
    content = bytes([0xA0, 3, 0x0A, 1, state]) + element(0xA2, b"r" * size)
    return b64encode(element(0xA1, element(0x30, content))).decode()


def element(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = [size] if size < 128 else [0x82, size >> 8, size & 255]
    return bytes([tag, *length]) + content


@pytest.mark.parametrize("size", [0, 100, 300])
def test_a_completed_token_in_a_407_does_not_continue_the_handshake(size: int) -> None:
    """Squid adds the completed handshake's token to the 407 for a forbidden address."""
    taken = Challenge("negotiate", token68=response(0, size))
    authenticator = authenticator_with(FakeTickets(), LOGIN)
    first, second = authenticator.begin(GET), authenticator.begin(GET)
    for handshake in (first, second):
        handshake.step(())
    verdict = first.step((taken,))
    assert isinstance(verdict, Verdict)
    assert verdict.kind is VerdictKind.UNUSABLE
    assert "has accepted the Kerberos ticket" in verdict.text
    second.finish(Fields())
    assert second_step(authenticator.begin(GET), taken) == Verdict(VerdictKind.REJECTED)
    # Another mechanism would need a further token.
    incomplete = Challenge("negotiate", token68=response(1, size))
    fourth = second_step(authenticator.begin(GET), incomplete)
    assert verdict_kind(fourth) is VerdictKind.UNUSABLE


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda octets: b64encode(octets).decode()))
def test_no_token_of_a_proxy_raises(token: str) -> None:
    handshake = authenticator_with(FakeTickets(), LOGIN).begin(GET)
    step = second_step(handshake, Challenge("negotiate", token68=token))
    assert verdict_kind(step) is VerdictKind.UNUSABLE


@pytest.mark.parametrize("value", [b"Negotiate oYIBhjCC", b"Negotiate ???"])
def test_another_mechanism_of_negotiate_is_unusable(value: bytes) -> None:
    # Corpus U149, U150: NTLM inside Negotiate is a scheme of its own.
    handshake = authenticator_with(FakeTickets()).begin(GET)
    step = second_step(handshake, *parse_challenges([value]))
    assert verdict_kind(step) is VerdictKind.UNUSABLE


@pytest.mark.parametrize("reason", VerdictKind)
def test_a_missing_ticket_is_the_verdict(reason: VerdictKind) -> None:
    verdict = Verdict(reason, "why")
    assert authenticator_with(FakeTickets(verdict), LOGIN).begin(GET).step(()) == verdict


def test_a_token_in_the_first_challenge_is_no_beginning_r_123() -> None:
    # Corpus U152.
    assert kerberos_scheme().understands(BARE)
    assert not kerberos_scheme().understands(Challenge("negotiate", token68="Zm9vYmFy"))


def test_a_login_without_a_user_name_is_refused() -> None:
    with pytest.raises(LoginError, match="user name"):
        authenticator_with(FakeTickets(), Login("", "secret"))


def test_the_token_is_wrapped_as_in_rfc_4178() -> None:
    """Section 4.2.1: an InitialContextToken with a single mechanism."""
    assert spnego_init(b"ticket").hex() == "".join(
        [
            "6025",  # [APPLICATION 0]
            "06062b0601050502",  # SPNEGO
            "a01b3019",  # negTokenInit, SEQUENCE
            "a00d300b06092a864886f712010202",  # mechTypes: Kerberos
            "a2080406",  # mechToken, OCTET STRING
            b"ticket".hex(),
        ]
    )


@given(st.integers(1, 70_000))
def test_tokens_of_any_size_are_wrapped(size: int) -> None:
    token = b"t" * size
    init = inner(inner(spnego_init(token))[8:])
    behind_mechanisms = inner(init)[15:]
    assert inner(inner(behind_mechanisms)) == token


def inner(element: bytes) -> bytes:
    """Return the content of a DER element without trailing octets."""
    if element[1] < 0x80:
        assert len(element) == 2 + element[1]
        return element[2:]
    octets = element[1] & 0x7F
    size = int.from_bytes(element[2 : 2 + octets], "big")
    assert size >= 0x80
    assert len(element) == 2 + octets + size
    return element[2 + octets :]
