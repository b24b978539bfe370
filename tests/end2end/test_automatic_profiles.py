"""Profiles with a PAC script: real Squids, and a user who is asked for each of them."""

import json
import socket
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.end2end.scenario import HELLO, StartService, StartUser
from tests.support.clients import Clients
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import run_command
from tests.support.squid import Squid, SquidSetup, squid
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Profile


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which no program listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


WriteScript = Callable[..., Profile]


@pytest.fixture
def automatic(tmp_path: Path) -> WriteScript:
    """Writes a PAC script with this body of the function; returns a profile for it."""
    numbers = count()

    def write(body: str, **more: Any) -> Profile:
        file = tmp_path / f"{next(numbers)}.pac"
        file.write_text(f"function FindProxyForURL(url, host) {{ {body} }}")
        return Profile("auto", "Auto", None, pac=PacSource(PacKind.FILE, str(file)), **more)

    return write


def test_each_proxy_of_a_script_is_asked_for_a_login_of_its_own(
    start_user: StartUser,
    automatic: WriteScript,
    proxy: Squid,
    second: Squid,
    account: SearchableSecret,
    second_account: SearchableSecret,
    keyring: KeyringSession,
    run: StartService,
) -> None:
    profile = automatic(
        f'return shExpMatch(url, "*hello") ? "PROXY {proxy.address}" : "PROXY {second.address}";'
    )
    user = start_user(profile, account.login, second_account.login)
    assert user.fetch() == HELLO
    assert "via" in dict(json.loads(user.get(user.origin.url("/echo")))["fields"])
    first_prompt, second_prompt = user.front_end.prompts
    assert (first_prompt.upstream, second_prompt.upstream) == (proxy.url, second.url)
    assert user.fetch() == HELLO
    assert (proxy.failed_logons(), second.failed_logons()) == (0, 0)
    keyring.wait_for_entries(2)
    user.end()
    # The next run finds both logins in the keyring.
    again = start_user(profile)
    assert again.fetch() == HELLO
    assert again.get(again.origin.url("/echo")) != ""
    assert again.front_end.prompts == []
    # Forgetting the password removes both.
    forgotten = run_command(run.place, "logout", "Auto", environment=keyring.environment)
    assert forgotten.returncode == 0, forgotten.stderr
    keyring.wait_for_entries(0)


def test_proxies_with_a_shared_sign_in_are_asked_once(
    start_user: StartUser, automatic: WriteScript, account: SearchableSecret, proxy: Squid
) -> None:
    with squid(SquidSetup(users={account.user: account.password})) as other:
        body = f'return url.includes("hello") ? "PROXY {proxy.address}" : "PROXY {other.address}";'
        profile = automatic(body, shared_sign_in=("127.0.0.1:*",))
        user = start_user(profile, account.login)
        assert user.fetch() == HELLO
        assert "via" in dict(json.loads(user.get(user.origin.url("/echo")))["fields"])
        assert len(user.front_end.prompts) == 1


def test_proxies_that_do_not_answer_are_skipped_in_the_order_of_the_script(
    start_user: StartUser,
    automatic: WriteScript,
    account: SearchableSecret,
    proxy: Squid,
    closed_port: int,
    run: StartService,
) -> None:
    profile = automatic(
        f'return "PROXY 127.0.0.1:{closed_port}; SOCKS4 x.test:1; PROXY {proxy.address}; DIRECT";'
    )
    user = start_user(profile, account.login)
    assert user.fetch() == HELLO
    assert user.fetch() == HELLO
    answer = run_command(run.place, "pac", "eval", user.origin.url("/hello"), "--json")
    found = json.loads(answer.stdout)
    assert found["proxies"] == [f"http://127.0.0.1:{closed_port}", proxy.url, "direct"]
    assert found["used"] == proxy.url
    assert "SOCKS4" in found["skipped"][0]


def test_a_script_connects_directly_only_if_it_says_so(
    start_user: StartUser, automatic: WriteScript, closed_port: int
) -> None:
    user = start_user(automatic(f'return "PROXY 127.0.0.1:{closed_port}; DIRECT";'))
    address = f"http://127.0.0.1:{user.origin.port}/hello"
    assert user.get(address, "-w", "\n%{http_code}") == HELLO
    user.use(automatic(f'return "PROXY 127.0.0.1:{closed_port}";'))
    assert user.get(address, "-w", "%{http_code}", "-o", "/dev/null") == "502"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return undefinedThing(host);", "undefinedThing"),
        ("return 7;", "TP-502"),
        ('return "PROXY";', "TP-502"),
        ("while (true) {}", "TP-502"),
        ("this is no script", "TP-502"),
    ],
)
def test_a_script_that_does_not_work_is_reported_and_requests_are_refused(
    start_user: StartUser, automatic: WriteScript, body: str, text: str, run: StartService
) -> None:
    user = start_user(automatic(body))
    page = user.get(user.origin.url("/hello"), "-w", "\n%{http_code}")
    assert page.endswith("\n503")
    assert "TP-502" in page
    evaluated = run_command(run.place, "pac", "eval", user.origin.url("/hello"))
    assert evaluated.returncode == 5
    assert text in evaluated.stdout


def test_the_test_of_a_profile_shows_the_steps_of_the_script(
    start_user: StartUser,
    automatic: WriteScript,
    account: SearchableSecret,
    proxy: Squid,
    run: StartService,
) -> None:
    user = start_user(automatic(f'return "PROXY {proxy.address}";'), account.login)
    url = user.origin.url("/hello")
    tested = run_command(run.place, "test", "Auto", "--url", url)
    assert tested.returncode == 0, tested.stdout
    assert "Load the automatic configuration" in tested.stdout
    assert proxy.url in tested.stdout
    assert tested.stdout.endswith("All good.\n")


def test_a_script_of_the_command_line_is_used_in_one_run(
    run: StartService,
    clients: Clients,
    origin: Origin,
    account: SearchableSecret,
    proxy: Squid,
    tmp_path: Path,
) -> None:
    """A headless computer: the password is on standard input, and the user cannot be asked."""
    script = tmp_path / "x.pac"
    script.write_text(f"function FindProxyForURL() {{ return 'PROXY {proxy.address}'; }}")
    service = run("--upstream", str(script), "--no-prompt", login=account.login)
    got = clients.curl("-x", service.url, "-w", "\n%{http_code}", origin.url("/hello"))
    assert got.result().out == HELLO
