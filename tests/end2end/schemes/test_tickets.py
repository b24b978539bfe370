"""The own sign-in with a Kerberos ticket of the desktop: no password and no prompt."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from tests.end2end.scenario import HELLO, StartService, StartWithProfile, UserSession
from tests.pac.pac_server import PacServer, ok
from tests.support.counterparts import Counterpart
from tests.support.kerberos import Kdc, kdc
from tests.support.process_output import PATIENCE
from tests.support.processes import Home
from tests.support.service import run_command
from trayproxy.auth.scheme import VerdictKind
from trayproxy.auth.spnego import KerberosTickets
from trayproxy.auth.windows import TokenError
from trayproxy.control.messages import Status
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Profile, SignIn

pytestmark = pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)


@pytest.fixture(scope="module")
def directory() -> Iterator[Kdc]:
    """A directory with an accepted clock skew of a few seconds instead of five minutes."""
    with kdc(skew_s=4) as running:
        yield running


@pytest.fixture
def cache(place: Home) -> Path:
    """The file with the Kerberos ticket of the logged-on user."""
    return place.root / "ticket"


@pytest.fixture
def user(proxy: Counterpart, cache: Path, start_with_profile: StartWithProfile) -> UserSession:
    """A user with a profile for the own sign-in."""
    environment = {**proxy.environment, "KRB5CCNAME": f"FILE:{cache}"}
    return start_with_profile(proxy.upstream, "", environment, sign_in=SignIn.SSO)


def reports_missing_ticket(status: Status) -> bool:
    return "TP-305" in [notice.id for notice in status.notices]


def test_a_ticket_signs_in_without_a_prompt(
    proxy: Counterpart, directory: Kdc, cache: Path, user: UserSession
) -> None:
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    assert user.fetch() == user.fetch() == HELLO
    assert user.front_end.prompts == []
    assert proxy.squid
    assert proxy.squid.verdicts("negotiate") == ["yes"]


def test_a_service_name_replaces_that_of_an_alias(
    proxy: Counterpart, directory: Kdc, cache: Path, start_with_profile: StartWithProfile
) -> None:
    """The sign-in server knows the proxy as HTTP/localhost, and not by the address of the
    profile."""
    environment = {**proxy.environment, "KRB5CCNAME": f"FILE:{cache}"}
    alias = replace(proxy.upstream, host="127.0.0.1")
    user = start_with_profile(alias, "", environment, sign_in=SignIn.SSO)
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    assert "does not know this proxy" in user.fetch()
    user.use(Profile("office", "Office", alias, SignIn.SSO, spn="HTTP/localhost"))
    assert user.fetch() == HELLO
    assert user.front_end.prompts == []


def test_the_canonical_name_replaces_that_of_an_alias(
    proxy: Counterpart, directory: Kdc, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, because the system resolves no aliases that a test could add."""
    right, alias = proxy.right, "alias.test.lan"
    for name, value in directory.ticket(right.user, right.password, cache).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "localhost")])
    with pytest.raises(TokenError) as unknown:
        KerberosTickets(None, alias).token(b"")
    assert unknown.value.verdict.kind is VerdictKind.UNKNOWN_PROXY
    assert KerberosTickets(None, alias, is_canonical=True).token(b"")


def test_a_missing_ticket_is_reported_without_a_prompt(
    proxy: Counterpart, user: UserSession
) -> None:
    said = user.fetch()
    assert said.endswith("503")
    assert "TP-305" in said
    assert "You have no Kerberos ticket" in said
    user.front_end.wait_for_status(reports_missing_ticket)
    assert user.front_end.prompts == []
    assert proxy.squid
    assert proxy.squid.verdicts("negotiate") == []


def test_a_new_ticket_is_used_without_a_restart(
    proxy: Counterpart, directory: Kdc, cache: Path, user: UserSession
) -> None:
    assert "TP-305" in user.fetch()
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    until = monotonic() + PATIENCE
    # The service looks for a ticket every few seconds at most, when a program sends a request.
    while "TP-305" in (said := user.fetch()):
        assert monotonic() < until
    assert said == HELLO
    user.front_end.wait_for_status(lambda status: not reports_missing_ticket(status))
    assert user.front_end.prompts == []


def test_a_restarted_sign_in_server_is_used_within_seconds(
    proxy: Counterpart, directory: Kdc, cache: Path, user: UserSession
) -> None:
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    directory.stop()
    try:
        for _ in range(3):  # The pause after a failure grows each time.
            assert "The sign-in server cannot be reached" in user.fetch()
    finally:
        directory.start_again()
    until = monotonic() + PATIENCE
    while "cannot be reached" in (said := user.fetch()):
        assert monotonic() < until
    assert said == HELLO
    assert user.front_end.prompts == []


def test_an_expired_ticket_is_reported(
    proxy: Counterpart, directory: Kdc, cache: Path, user: UserSession
) -> None:
    tunnel = (
        "--proxytunnel",
        "-o",
        "/dev/null",
        "-w",
        "%{http_connect}",
        user.origin.url("/hello"),
    )
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    statuses = [user.curl(*tunnel).result().out]
    # On a busy computer, this request may have ended before the first request.
    directory.ticket(proxy.right.user, proxy.right.password, cache, "-l", "1s")
    until = monotonic() + PATIENCE
    # Each tunnel is a new connection, which is authenticated again. The directory accepts an
    # expired ticket within its clock skew.
    while "503" not in statuses:
        assert monotonic() < until
        statuses.append(user.curl(*tunnel).result().out)
    assert statuses[0] == "200"
    assert not directory.is_valid(cache)
    user.front_end.wait_for_status(reports_missing_ticket)
    assert user.front_end.prompts == []


def test_the_ticket_is_not_sent_to_a_proxy_that_anybody_could_have_named(
    proxy: Counterpart, directory: Kdc, cache: Path, user: UserSession, run: StartService
) -> None:
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    assert proxy.squid
    place = f"{proxy.upstream.host}:{proxy.upstream.port}"
    script = ok(f'function FindProxyForURL(url, host) {{ return "PROXY {place}"; }}')
    with PacServer(script) as server:
        source = PacSource(PacKind.URL, f"http://127.0.0.1:{server.port}/proxy.pac")
        automatic = Profile("auto", "Auto", None, SignIn.SSO, pac=source)
        user.use(automatic)
        assert "TP-506" in user.fetch()
        tested = run_command(run.place, "test", "Auto", "--url", user.origin.url("/hello"))
        assert "TP-506" in tested.stdout
        assert proxy.squid.verdicts("negotiate") == []
        # The user says that this proxy belongs to the company.
        user.use(replace(automatic, shared_sign_in=(place,)))
        assert user.fetch() == HELLO
        assert proxy.squid.verdicts("negotiate") == ["yes"]
