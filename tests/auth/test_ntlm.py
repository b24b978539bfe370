"""Tests for trayproxy.auth.ntlm, against pyspnego's server wherever messages must be valid."""

import os
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.steps import SECRET, second_step, verdict_kind
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.ntlm import MAX_TYPE2_SIZE, ntlm_in_negotiate, ntlm_scheme, read_type2
from trayproxy.auth.scheme import Handshake, Leg, RequestToAuthenticate, Verdict, VerdictKind
from trayproxy.auth.spnego import NTLM_EXTRA
from trayproxy.auth.windows import TokenError, WindowsScheme
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.fields import Fields

spnego = pytest.importorskip("spnego")

LOGIN = Login("CORP\\jdoe", SECRET)
GET = RequestToAuthenticate(b"GET", b"http://a.example/", b"")
REJECTED = Verdict(VerdictKind.REJECTED)
BARE = Challenge("ntlm")
TYPE_2 = (
    "TlRMTVNTUAACAAAACAAIADgAAAAFgomiASNFZ4mrze8AAAAAAAAAABwAHABAAAAABgGxHQAAAA9DAE8AUgBQAAIACABDAE"
    "8AUgBQAAcACAAAAAAAAADaAQAAAAA="
)
"""Of the corpus (U140)."""
TYPE_2_CHALLENGE = Challenge("ntlm", token68=TYPE_2)


def begin(scheme: WindowsScheme, login: Login = LOGIN, end_point: bytes = b"") -> Handshake:
    authenticator = scheme.authenticator(BARE, login, "proxy.corp.example")
    assert not authenticator.is_constant
    return authenticator.begin(RequestToAuthenticate(GET.method, GET.target, GET.body, end_point))


def sent(leg: Leg | Verdict, title: bytes = b"NTLM ") -> bytes:
    """Return the message of a leg."""
    assert isinstance(leg, Leg)
    assert leg.credentials.startswith(title)
    return b64decode(leg.credentials.removeprefix(title), validate=True)


def challenge(message: bytes, scheme: str = "ntlm") -> tuple[Challenge, ...]:
    return parse_challenges([f"{scheme} ".encode() + b64encode(message)])


# --- the two legs -------------------------------------------------------------------------------


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("end_point", [b"", bytes(range(32))])
@pytest.mark.parametrize(
    ("scheme", "title", "name"),
    [(ntlm_scheme(), b"NTLM ", "ntlm"), (ntlm_in_negotiate(), b"Negotiate ", "negotiate")],
)
def test_a_login_is_accepted_in_two_legs_on_the_same_connection_r_120_r_125_r_127(
    scheme: WindowsScheme, title: bytes, name: str, end_point: bytes
) -> None:
    # Corpus U140.
    bindings = spnego.channel_bindings.GssChannelBindings(
        application_data=b"tls-server-end-point:" + end_point
    )
    server = spnego.server(protocol="ntlm", channel_bindings=bindings if end_point else None)
    handshake = begin(scheme, end_point=end_point)
    first = handshake.step(())
    type_2 = server.step(sent(first, title))
    second = handshake.step(challenge(type_2, name))
    assert isinstance(first, Leg)
    assert isinstance(second, Leg)
    assert (first.with_content, first.same_connection) == (False, False)
    assert (second.with_content, second.same_connection) == (True, True)
    server.step(sent(second, title))
    assert (server.complete, server.client_principal) == (True, "CORP\\jdoe")
    handshake.finish(Fields())


@pytest.mark.usefixtures("users")
def test_a_wrong_password_is_sent_once_and_rejected_r_122() -> None:
    server = spnego.server(protocol="ntlm")
    handshake = begin(ntlm_scheme(), Login("CORP\\jdoe", "wrong"))
    type_3 = handshake.step(challenge(server.step(sent(handshake.step(())))))
    with pytest.raises(spnego.exceptions.InvalidTokenError):
        server.step(sent(type_3))
    assert handshake.step((BARE,)) == REJECTED


@pytest.mark.parametrize("challenges", [(), (BARE,), (Challenge("basic"),), challenge(b"x")])
def test_any_407_after_the_response_is_a_rejection_r_122(challenges: tuple[Challenge, ...]) -> None:
    handshake = begin(ntlm_scheme())
    assert isinstance(second_step(handshake, TYPE_2_CHALLENGE), Leg)
    assert handshake.step(challenges) == REJECTED
    assert handshake.step(challenges) == REJECTED


def test_the_response_is_ntlmv2_and_has_no_lm_part() -> None:
    type_3 = sent(second_step(begin(ntlm_scheme()), TYPE_2_CHALLENGE))
    lm_size, nt_size = (int.from_bytes(type_3[at : at + 2], "little") for at in (12, 20))
    lm_start = int.from_bytes(type_3[16:20], "little")
    assert nt_size > 24, "24 octets are NTLMv1"
    assert type_3[lm_start : lm_start + lm_size] == bytes(24)


def test_the_type_1_message_contains_nothing_of_the_login() -> None:
    message = sent(begin(ntlm_scheme()).step(()))
    for word in ("jdoe", "CORP", SECRET):
        assert word.encode() not in message
        assert word.encode("utf-16-le") not in message


def test_every_connection_has_an_exchange_of_its_own_r_121() -> None:
    authenticator = ntlm_scheme().authenticator(BARE, LOGIN, "proxy.corp.example")
    handshakes = [authenticator.begin(GET) for _ in range(3)]
    assert len({sent(second_step(each, TYPE_2_CHALLENGE)) for each in handshakes}) == 3


# --- invalid type-2 messages --------------------------------------------------------------------


@pytest.mark.parametrize(
    "challenges",
    [
        pytest.param((), id="no challenge"),
        pytest.param((BARE,), id="bare, as squid after a failure on this connection"),
        pytest.param((Challenge("negotiate", token68=TYPE_2),), id="another scheme"),
        pytest.param((Challenge("ntlm", token68="!!!notbase64!!!"),), id="U143"),
        pytest.param((Challenge("ntlm", token68=TYPE_2[:-1]),), id="padding missing"),
        pytest.param((Challenge("ntlm", token68="TlRMTVNTUAACAA=="),), id="U144"),
        pytest.param((Challenge("ntlm", token68="\xe4\xf6"),), id="not ASCII"),
    ],
)
def test_without_a_type_2_message_nothing_of_the_login_is_sent_r_124(
    challenges: tuple[Challenge, ...],
) -> None:
    step = second_step(begin(ntlm_scheme()), *challenges)
    assert verdict_kind(step) is VerdictKind.UNUSABLE


def changed(at: int, value: int, size: int = 2, message: bytes = b64decode(TYPE_2)) -> bytes:
    """Return the message, by default a valid message, with a number changed."""
    return message[:at] + value.to_bytes(size, "little") + message[at + size :]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(changed(8, 3, 4), id="type"),
        pytest.param(changed(0, 0, 1), id="signature"),
        pytest.param(changed(12, 0xFFFF), id="name too long"),
        pytest.param(changed(16, 0xFFFFFFFF, 4), id="name beyond the end"),
        pytest.param(changed(16, 0, 4), id="name over the header"),
        pytest.param(changed(40, 29), id="information too long"),
        pytest.param(changed(44, 65, 4), id="information beyond the end"),
        pytest.param(changed(66, 0xFF), id="a pair too long"),
        pytest.param(changed(88, 7), id="no end of pairs"),
        pytest.param(b64decode(TYPE_2) + bytes(MAX_TYPE2_SIZE), id="endless"),
        pytest.param(b64decode(TYPE_2)[:47], id="short"),
    ],
)
def test_a_malformed_challenge_does_not_reach_the_library_r_124(message: bytes) -> None:
    with pytest.raises(TokenError) as refused:
        read_type2("ntlm", challenge(message))
    assert refused.value.verdict.kind is VerdictKind.UNUSABLE


@pytest.mark.parametrize(
    "message",
    [
        # Squid's ntlm_fake_auth and Windows NT 4 send such challenges.
        pytest.param(changed(40, 0)[:64], id="no target information"),
        pytest.param(changed(16, 0, 4, changed(12, 0)), id="empty name with an offset of 0"),
        pytest.param(changed(16, 48, 4), id="name directly after the fixed part"),
    ],
)
def test_a_challenge_with_unusual_parts_is_valid(message: bytes) -> None:
    assert read_type2("ntlm", challenge(message)) == message


@given(st.binary(max_size=200), st.booleans())
def test_no_challenge_makes_the_handshake_raise_r_124(octets: bytes, has_header: bool) -> None:
    header = b64decode(TYPE_2)[:40] if has_header else b""
    step = second_step(begin(ntlm_scheme()), *challenge(header + octets))
    assert isinstance(step, Leg) or step.kind is VerdictKind.UNUSABLE


@st.composite
def nearly_valid_messages(draw: st.DrawFn) -> bytes:
    """Draw messages that are valid except for some numbers, or the size of their payload."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=200))
    info = b"".join(
        kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
        for kind, value in pairs
    ) + bytes(4)
    name = draw(st.binary(max_size=64))
    head = b64decode(TYPE_2)[:56]
    message = bytearray(head + name + info)
    fields = {12: len(name), 14: len(name), 40: len(info), 42: len(info)}
    for at, value in fields.items():
        message[at : at + 2] = min(value, 0xFFFF).to_bytes(2, "little")
    for at, start in ((16, 56), (44, 56 + len(name))):
        message[at : at + 4] = start.to_bytes(4, "little")
    for at, octet in draw(st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)))):
        message[at % len(message)] = octet
    return bytes(message[: draw(st.integers(0, len(message)))] if draw(st.booleans()) else message)


@given(nearly_valid_messages())
def test_a_nearly_valid_challenge_gives_a_leg_or_a_verdict_r_124(message: bytes) -> None:
    """Even if the message passes TrayProxy's checks and not those of the library."""
    step = second_step(begin(ntlm_scheme()), *challenge(message))
    assert isinstance(step, Leg) or step.kind is VerdictKind.UNUSABLE
    if isinstance(step, Leg):
        assert len(message) <= MAX_TYPE2_SIZE
        assert read_type2("ntlm", challenge(message)) == message


@given(st.text(max_size=100) | st.binary(max_size=100).map(lambda octets: octets.decode("latin-1")))
def test_no_text_in_place_of_a_challenge_raises_r_124(text: str) -> None:
    with suppress(TokenError):
        assert read_type2("ntlm", (Challenge("ntlm", token68=text),)).startswith(b"NTLMSSP")


# --- logins and libraries -----------------------------------------------------------------------


def test_a_token_in_the_first_challenge_is_no_beginning_r_123() -> None:
    # Corpus U152.
    assert ntlm_scheme().understands(BARE)
    assert not ntlm_scheme().understands(TYPE_2_CHALLENGE)


@pytest.mark.parametrize(
    ("user", "password", "text"),
    [
        ("", SECRET, "user name"),
        ("CORP\\", SECRET, "user name"),
        ("a", SECRET + "\udc80", "invalid character"),
        ("a", SECRET + "\0", "control"),
    ],
)
def test_logins_that_windows_cannot_carry_are_refused_without_quoting_them(
    user: str, password: str, text: str
) -> None:
    with pytest.raises(LoginError, match=text) as refused:
        ntlm_scheme().authenticator(BARE, Login(user, password), "proxy.corp.example")
    assert SECRET not in f"{refused.value!r}{refused.value.__context__!r}"


@pytest.mark.parametrize("user", ["jdoe", "CORP\\jdoe", "jdoe@corp.example", "a:b", "jörg"])
def test_user_names_are_accepted_in_every_form_of_windows(user: str) -> None:
    handshake = begin(ntlm_scheme(), Login(user, "pässword"))
    type_3 = sent(second_step(handshake, TYPE_2_CHALLENGE))
    assert user.rpartition("\\")[2].encode("utf-16-le") in type_3


def test_a_password_that_looks_like_a_hash_is_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyspnego takes ``LM:NT`` in hexadecimal digits for hashes."""
    password = f"{'0' * 32}:{'f' * 32}"
    file = tmp_path / "users"
    file.write_text(f"CORP\\jdoe:0:{'0' * 32}:{nt_hash(password)}:[U]:LCT-0\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(file))
    server = spnego.server(protocol="ntlm")
    handshake = begin(ntlm_scheme(), Login("CORP\\jdoe", password))
    type_2 = server.step(sent(handshake.step(())))
    server.step(sent(handshake.step(challenge(type_2))))
    assert server.complete


def nt_hash(password: str) -> str:
    from spnego._ntlm_raw.crypto import ntowfv1

    return str(ntowfv1(password).hex())


@pytest.mark.skipif(os.name == "nt", reason="the user is signed in to Windows")
def test_ntlm_without_a_login_needs_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NTLM_USER_FILE", raising=False)
    authenticator = ntlm_scheme().authenticator(BARE, None, "proxy.corp.example")
    step = authenticator.begin(GET).step(())
    assert isinstance(step, Verdict)
    assert step.kind is VerdictKind.NO_TICKET
    assert "Windows" in step.text


def test_a_missing_library_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spnego", None)
    assert begin(ntlm_scheme()).step(()) == Verdict(VerdictKind.UNUSABLE, NTLM_EXTRA)
    assert "trayproxy[ntlm]" in NTLM_EXTRA


def test_no_representation_contains_the_password() -> None:
    handshake = begin(ntlm_scheme())
    first = handshake.step(())
    second = handshake.step((TYPE_2_CHALLENGE,))
    assert isinstance(second, Leg)
    shown = f"{first!r}{second!r}{handshake!r}{handshake.step(())!r}"
    assert SECRET not in shown
    assert second.credentials.decode() not in shown


def test_a_failure_of_the_library_is_the_verdict() -> None:
    def fail_on_a_challenge(message: bytes | None) -> bytes:
        if message is None:
            return b"1"
        raise TokenError(Verdict(VerdictKind.UNUSABLE, "broken"))

    handshake = begin(ntlm_scheme(lambda login, host, end_point: fail_on_a_challenge))
    assert handshake.step(()) == Leg(b"NTLM MQ==", with_content=False)
    step = handshake.step((TYPE_2_CHALLENGE,))
    assert step == Verdict(VerdictKind.UNUSABLE, "broken")
