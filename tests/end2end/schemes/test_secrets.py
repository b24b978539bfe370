"""A password is left nowhere but in the keyring, and neither is anything that stands for one."""

import json
from collections.abc import Iterable, Iterator
from hashlib import md5, sha256
from secrets import token_hex

import pytest
from msgspec import to_builtins

# MD4, which Python's own hashes have not had since OpenSSL 3.
from spnego._ntlm_raw.crypto import ntowfv1

from tests.end2end.stage import HELLO, Stand
from tests.support.doors import REALM, Door, Doors, Negotiate, Setup, doors
from tests.support.kerberos import Kdc
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.reports import Reports
from tests.support.secrets import Canary, Place, files_below, process_and_children, text
from trayproxy.domain.signin import PromptReason
from trayproxy.profiles.profile import Profile, Upstream


@pytest.fixture
def canary(directory: Kdc) -> Canary:
    made = Canary(f"user{token_hex(4)}")
    directory.add_user(made.user, made.password)
    return made


@pytest.fixture
def proxy(canary: Canary, directory: Kdc, reports: Reports) -> Iterator[Doors]:
    setup = Setup(
        {canary.user: canary.password},
        canary.password,
        Negotiate.KERBEROS,
        directory.keytab("localhost"),
        directory.environment,
    )
    with doors(setup) as running:
        reports["squid"] = running.describe
        yield running


def forms(canary: Canary) -> dict[str, bytes]:
    """Return what stands for the password: with each of these one can sign in as with itself."""
    a1 = f"{canary.user}:{REALM}:{canary.password}".encode()
    hashes = {
        "NT hash": ntowfv1(canary.password),
        "HA1 of MD5": md5(a1, usedforsecurity=False).digest(),
        "HA1 of SHA-256": sha256(a1).digest(),
    }
    written = {f"{name}, written": octets.hex().encode() for name, octets in hashes.items()}
    return {**hashes, **written}


def assert_absent(secrets: dict[str, bytes], places: Iterable[Place]) -> None:
    """Assert that none of these is there; the failure names them, and not what they are."""
    found = [
        f"{place} holds {name}"
        for place, octets in places
        for name, secret in secrets.items()
        if secret in octets
    ]
    assert not found, found


@pytest.mark.parametrize("door", [Door.BASIC, Door.DIGEST, Door.NTLM, Door.NEGOTIATE, Door.ALL])
def test_nothing_that_signs_in_is_left_anywhere(
    proxy: Doors,
    canary: Canary,
    keyring: KeyringSession,
    stand: Stand,
    origin: Origin,
    place: Home,
    directory: Kdc,
    door: Door,
) -> None:
    mistyped = Canary(canary.user)
    profile = Profile("office", "Office", Upstream("localhost", proxy.port(door)), user=canary.user)
    environment = {
        **directory.environment,
        "DBUS_SESSION_BUS_ADDRESS": keyring.bus,
        "TRAYPROXY_LOG_LEVEL": "DEBUG",
    }
    here = stand(profile, environment)
    front_end, running = here.front_end, here.service
    waiting = here.visit()
    front_end.answer(front_end.wait_for_prompt(), mistyped.login)
    again = front_end.wait_for_prompt(lambda question: question.rejections == 1)
    assert again.reason is PromptReason.TYPED_REJECTED
    front_end.answer(again, canary.login)
    assert waiting.result().out == HELLO
    for options in ((), ("--proxytunnel",)):
        got = here.curl(*options, origin.url("/hello")).result()
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
        text("origin", repr(origin.heard)),
    ]
    tokens = {f"token {number}": token.encode() for number, token in enumerate(proxy.tokens())}
    assert tokens
    for secret in (canary, mistyped):
        secret.assert_absent(places)
        assert_absent(forms(secret), places)
    assert_absent(tokens, places)
