"""A password, or data equivalent to a password, is stored only in the keyring."""

import json
from collections.abc import Iterable, Iterator
from hashlib import md5, sha256
from secrets import token_hex

import pytest
from msgspec import to_builtins

# MD4, which Python's own hashes have not had since OpenSSL 3.
from spnego._ntlm_raw.crypto import ntowfv1

from tests.end2end.scenario import HELLO, StartWithProfile
from tests.support.kerberos import Kdc
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.reports import Reports
from tests.support.searchable_secret import (
    Place,
    SearchableSecret,
    files_below,
    process_and_children,
    text,
)
from tests.support.squid import ALL_SCHEMES, NegotiateHelper, Squid, SquidSetup, squid
from trayproxy.domain.signin import PromptReason
from trayproxy.profiles.profile import Upstream

REALM = "Corporate Internet"


@pytest.fixture
def account(directory: Kdc) -> SearchableSecret:
    made = SearchableSecret(f"user{token_hex(4)}")
    directory.add_user(made.user, made.password)
    return made


@pytest.fixture(params=[*((scheme,) for scheme in ALL_SCHEMES), ALL_SCHEMES], ids="-".join)
def proxy(
    request: pytest.FixtureRequest, account: SearchableSecret, directory: Kdc, reports: Reports
) -> Iterator[Squid]:
    setup = SquidSetup(
        {account.user: account.password},
        request.param,
        realm=REALM,
        negotiate=NegotiateHelper.KERBEROS,
        keytab=directory.keytab("localhost"),
        environment=directory.environment,
    )
    with squid(setup) as running:
        reports["squid"] = running.describe
        yield running


def forms(account: SearchableSecret) -> dict[str, bytes]:
    """Return the data equivalent to the password: each item allows signing in by itself."""
    a1 = f"{account.user}:{REALM}:{account.password}".encode()
    hashes = {
        "NT hash": ntowfv1(account.password),
        "HA1 of MD5": md5(a1, usedforsecurity=False).digest(),
        "HA1 of SHA-256": sha256(a1).digest(),
    }
    written = {f"{name}, written": octets.hex().encode() for name, octets in hashes.items()}
    return {**hashes, **written}


def assert_absent(secrets: dict[str, bytes], places: Iterable[Place]) -> None:
    """Assert the absence of secrets; the failure shows only the names of secrets."""
    found = [
        f"{place} holds {name}"
        for place, octets in places
        for name, secret in secrets.items()
        if secret in octets
    ]
    assert not found, found


def test_no_password_equivalent_is_left_outside_the_keyring(
    proxy: Squid,
    account: SearchableSecret,
    keyring: KeyringSession,
    start_with_profile: StartWithProfile,
    origin: Origin,
    place: Home,
    directory: Kdc,
) -> None:
    mistyped = SearchableSecret(account.user)
    environment = {
        **directory.environment,
        "DBUS_SESSION_BUS_ADDRESS": keyring.bus,
        "TRAYPROXY_LOG_LEVEL": "DEBUG",
    }
    user = start_with_profile(Upstream("localhost", proxy.port), account.user, environment)
    front_end, running = user.front_end, user.service
    waiting = user.visit()
    front_end.answer(front_end.wait_for_prompt(), mistyped.login)
    again = front_end.wait_for_prompt(lambda question: question.rejections == 1)
    assert again.reason is PromptReason.TYPED_REJECTED
    front_end.answer(again, account.login)
    assert waiting.result().out == HELLO
    for options in ((), ("--proxytunnel",)):
        got = user.curl(*options, origin.url("/hello")).result()
        assert got.out == "hello"
    keyring.wait_for_entries(1)
    alive = list(process_and_children(running.pid))
    status = json.dumps(to_builtins(running.status()))
    assert running.stop() == 0
    places = [
        *alive,
        *files_below(place.root),
        *files_below(keyring.home),
        text("status", status),
        text("log", running.log()),
        ("control socket", front_end.trace),
        text("origin", repr(origin.received)),
    ]
    tokens = {f"token {number}": token.encode() for number, token in enumerate(proxy.tokens())}
    assert tokens
    for secret in (account, mistyped):
        secret.assert_absent(places)
        assert_absent(forms(secret), places)
    assert_absent(tokens, places)
