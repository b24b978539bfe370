"""Tests for trayproxy.auth.scheme."""

from collections.abc import Sequence

import pytest

from trayproxy.auth.basic import Basic
from trayproxy.auth.digest import Digest
from trayproxy.auth.scheme import choose
from trayproxy.http.challenges import parse_challenges


def chosen(lines: Sequence[bytes]) -> str:
    offer = choose(parse_challenges(lines), [Digest(bytes), Basic()])
    return offer.scheme.name if offer else ""


@pytest.mark.parametrize("lines", [[], [b""], [b'Bearer realm="x"'], [b"NTLM"], [b"Negotiate"]])
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
