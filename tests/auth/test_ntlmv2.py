"""Tests for trayproxy.auth.ntlmv2, against pyspnego and the examples of the standards."""

import os
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.steps import SECRET, second_step, verdict_kind
from trayproxy.auth.login import Login
from trayproxy.auth.ntlm import ntlm_scheme
from trayproxy.auth.ntlmv2 import (
    NtlmEnvironment,
    NtlmKey,
    UnusableChallengeError,
    authenticate,
    channel_bindings,
    md4,
    rc4,
)
from trayproxy.auth.scheme import Handshake, Leg, RequestToAuthenticate, VerdictKind
from trayproxy.http.challenges import Challenge

spnego = pytest.importorskip("spnego")

HOST = "proxy.corp.example"
COMPUTER = "LAPTOP-7"
FLAGS = 0x6289_8205
"""As of Samba's ntlm_auth, asked by a client that signs nothing."""
SIGN, SEAL, VERSION, KEY_EXCHANGE, UNICODE = 0x10, 0x20, 0x0200_0000, 0x4000_0000, 0x1
NOW_NS = 1_764_467_274_123_456_000
MOMENT = (133_500_000_001_234_567).to_bytes(8, "little")


def random(count: int) -> bytes:
    return bytes(range(0xA0, 0xA0 + count))


ENVIRONMENT = NtlmEnvironment(random, lambda: NOW_NS, COMPUTER)


def pair(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value


def type_2(flags: int, pairs: bytes, name: bytes = b"C\0O\0R\0P\0") -> bytes:
    """Return a challenge with target information."""

    def buffer(size: int, at: int) -> bytes:
        return size.to_bytes(2, "little") * 2 + at.to_bytes(4, "little")

    return b"".join(
        (
            b"NTLMSSP\0\2\0\0\0",
            buffer(len(name), 56),
            flags.to_bytes(4, "little"),
            b"\1\x23\x45\x67\x89\xab\xcd\xef",
            bytes(8),
            buffer(len(pairs), 56 + len(name)),
            bytes.fromhex("0a00 614a 0000 000f"),
            name,
            pairs,
        )
    )


def gss_bindings(end_point: bytes) -> Any:
    return spnego.channel_bindings.GssChannelBindings(
        application_data=b"tls-server-end-point:" + end_point
    )


def pyspnego_messages(
    monkeypatch: pytest.MonkeyPatch, login: Login, challenge: bytes, end_point: bytes
) -> tuple[bytes, bytes]:
    """Return the messages of pyspnego for the same random numbers and the same time."""
    from spnego._ntlm_raw import messages

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=NOW_NS // 1000)

    def now(tz: object = None) -> messages.FileTime:
        return messages.FileTime.from_datetime(moment)

    binding = gss_bindings(end_point) if end_point else None
    with monkeypatch.context() as patched:
        patched.setattr(os, "urandom", random)
        patched.setattr(messages.FileTime, "now", now)
        patched.setenv("NETBIOS_COMPUTER_NAME", COMPUTER)
        client = spnego.client(
            spnego.Password(login.user, login.password),
            hostname=HOST,
            service="HTTP",
            channel_bindings=binding,
            protocol="ntlm",
        )
        negotiate = client.step()
        return negotiate, client.step(challenge)


PLAIN = pair(2, b"C\0O\0R\0P\0") + pair(1, b"P\0R\0O\0X\0Y\0")
END = bytes(4)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(b"", id="none"),
        pytest.param(PLAIN + END, id="no timestamp"),
        pytest.param(PLAIN + pair(7, MOMENT) + END, id="timestamp"),
        pytest.param(pair(6, b"\1\0\0\0") + pair(7, MOMENT) + PLAIN + END, id="flags first"),
        pytest.param(pair(9, b"o\0") + pair(7, MOMENT) + pair(10, bytes(16)) + END, id="replaced"),
    ],
)
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(FLAGS, id="Samba"),
        pytest.param(FLAGS | SIGN, id="sign"),
        pytest.param(FLAGS | SEAL, id="seal"),
        pytest.param(FLAGS & ~KEY_EXCHANGE, id="no key exchange"),
        pytest.param(FLAGS & ~VERSION, id="no version"),
        pytest.param((FLAGS & ~UNICODE & ~VERSION) | SIGN, id="OEM"),
    ],
)
@pytest.mark.parametrize(
    "login",
    [
        Login("CORP\\jdoe", SECRET),
        Login("jdoe", "p"),
        Login("jdoe@corp.example", "pässwörd €"),
        Login("cörp\\jörg ß", "x" * 120),
    ],
    ids=["domain", "name", "principal", "umlauts"],
)
def test_messages_equal_those_of_pyspnego(
    monkeypatch: pytest.MonkeyPatch, login: Login, flags: int, pairs: bytes
) -> None:
    challenge = type_2(flags, pairs)
    key = NtlmKey.derive(login, HOST)
    for end_point in (b"", bytes(range(32))):  # Without and with TLS.
        negotiate, response = pyspnego_messages(monkeypatch, login, challenge, end_point)
        assert authenticate(key, ENVIRONMENT, negotiate, challenge, end_point) == response


def test_the_key_matches_the_example_of_ms_nlmp() -> None:
    """MS-NLMP, section 4.2.4.1.1 (``NTOWFv2``)."""
    key = NtlmKey.derive(Login("Domain\\User", "Password"), HOST)
    assert key.response_key.hex() == "0c868a403bfd7a93a3001ef22ef02e3f"


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "043f8582f241db351ce627e153e7f0e4",
        ),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_matches_rfc_1320(text: bytes, digest: str) -> None:
    assert md4(text).hex() == digest


@given(st.binary(max_size=300))
def test_md4_equals_the_md4_of_pyspnego(data: bytes) -> None:
    from spnego._ntlm_raw.md4 import md4 as other

    assert md4(data) == other(data)


@pytest.mark.parametrize(
    ("key", "text", "encrypted"),
    [
        (b"Key", b"Plaintext", "bbf316e8d940af0ad3"),
        (b"Wiki", b"pedia", "1021bf0420"),
        (b"Secret", b"Attack at dawn", "45a01f645fc35b383552544b9bf5"),
    ],
)
def test_rc4_matches_the_test_vectors(key: bytes, text: bytes, encrypted: str) -> None:
    assert rc4(key, text).hex() == encrypted


def test_channel_bindings_equal_those_of_pyspnego() -> None:
    from spnego._ntlm_raw.crypto import md5

    end_point = bytes(range(48))
    assert channel_bindings(end_point) == md5(gss_bindings(end_point).pack())


def test_a_password_that_looks_like_hashes_is_a_password() -> None:
    password = f"{'0' * 32}:{'f' * 32}"
    from spnego._ntlm_raw.crypto import ntowfv2

    expected = ntowfv2("jdoe", md4(password.encode("utf-16-le")), "CORP")
    assert NtlmKey.derive(Login("CORP\\jdoe", password), HOST).response_key == expected


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(pair(7, b"1234567") + END, id="short timestamp"),
        pytest.param(pair(7, bytes(8)) + pair(6, b"") + END, id="empty flags"),
        pytest.param(b"\2\0\xff\0", id="pair beyond the end"),
        pytest.param(PLAIN + b"\1", id="half a head"),
    ],
)
def test_target_information_of_a_wrong_size_is_not_answered(pairs: bytes) -> None:
    key = NtlmKey.derive(Login("jdoe", SECRET), HOST)
    with pytest.raises(UnusableChallengeError):
        authenticate(key, ENVIRONMENT, bytes(40), type_2(FLAGS, pairs), b"")


def test_a_name_outside_the_encoding_of_the_proxy_is_not_sent() -> None:
    key = NtlmKey.derive(Login("CORP\\иван", SECRET), HOST)
    with pytest.raises(UnusableChallengeError):
        authenticate(key, ENVIRONMENT, bytes(40), type_2(FLAGS & ~UNICODE, PLAIN + END), b"")


def test_no_representation_contains_the_key() -> None:
    key = NtlmKey.derive(Login("CORP\\jdoe", SECRET), HOST)
    assert key.response_key.hex() not in repr(key)
    assert repr(key.response_key) not in repr(key)


# --- instead of the library ---------------------------------------------------------------------


def challenge_with(message: bytes) -> Challenge:
    return Challenge("ntlm", token68=b64encode(message).decode())


def handshakes(count: int) -> list[Handshake]:
    environment = NtlmEnvironment(os.urandom, lambda: NOW_NS, COMPUTER)
    authenticator = ntlm_scheme(environment=environment).authenticator(
        Challenge("ntlm"), Login("CORP\\jdoe", SECRET), HOST
    )
    return [
        authenticator.begin(RequestToAuthenticate(b"GET", b"http://a.example/", b""))
        for _ in range(count)
    ]


def test_every_connection_has_random_numbers_of_its_own() -> None:
    challenge = challenge_with(type_2(FLAGS | SIGN, PLAIN + END))
    steps = [second_step(handshake, challenge) for handshake in handshakes(3)]
    assert len({step.credentials for step in steps if isinstance(step, Leg)}) == 3


def test_an_unusable_challenge_is_not_a_rejection() -> None:
    (handshake,) = handshakes(1)
    step = second_step(handshake, challenge_with(type_2(FLAGS, pair(7, b"short") + END)))
    assert verdict_kind(step) is VerdictKind.UNUSABLE


@pytest.mark.usefixtures("users")
def test_pyspnegos_server_accepts_the_response() -> None:
    for handshake in handshakes(2):
        server = spnego.server(protocol="ntlm")
        first = handshake.step(())
        assert isinstance(first, Leg)
        challenge = server.step(b64decode(first.credentials.removeprefix(b"NTLM ")))
        second = handshake.step((challenge_with(challenge),))
        assert isinstance(second, Leg)
        server.step(b64decode(second.credentials.removeprefix(b"NTLM ")))
        assert server.client_principal == "CORP\\jdoe"
