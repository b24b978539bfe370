"""Tests for trayproxy.auth.scheme."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Authenticator, ConstantAuthenticator, choose
from trayproxy.http.challenges import Challenge, parse_challenges


@dataclass(frozen=True, slots=True)
class FakeDigest:
    """A scheme that needs a nonce, like Digest."""

    name: str = "digest"
    title: str = "Digest"
    family: str = "digest"
    sends_password: bool = False
    binds_connection: bool = False
    blocks: bool = False
    needs_login: bool = True

    def check(self, login: Login) -> None:
        pass

    def understands(self, challenge: Challenge) -> bool:
        return "nonce" in dict(challenge.params)

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> Authenticator:
        return ConstantAuthenticator(b"Digest")


def chosen(lines: Sequence[bytes]) -> str:
    offer = choose(parse_challenges(lines), [FakeDigest(), Basic()])
    return offer.scheme.name if offer else ""


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b""],
        [b'Bearer realm="x"'],
        [b"NTLM"],
        [b"Negotiate"],
    ],
)
def test_a_407_without_known_schemes_gets_no_credentials_r_080(lines: list[bytes]) -> None:
    # Corpus U069, U070, U097.
    assert chosen(lines) == ""


@pytest.mark.parametrize("line", [b"Basic", b"basic realm=corp", b'BASIC realm="corp"'])
def test_basic_is_recognised_in_any_case_and_without_a_realm_r_081(line: bytes) -> None:
    # Corpus U090; proxy.py sends no realm.
    assert chosen([line]) == "basic"


def test_the_strongest_scheme_is_chosen_in_any_order_r_082() -> None:
    # Corpus U093.
    lines = [b'Basic realm="a"', b'Digest realm="b", nonce="n"']
    assert chosen(lines) == chosen(lines[::-1]) == "digest"


def test_after_an_unusable_challenge_the_next_weaker_scheme_is_chosen() -> None:
    assert chosen([b'Digest realm="b"', b'Basic realm="a"']) == "basic"
